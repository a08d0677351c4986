// Package credential is what a node shows other machines over TLS, and whom it
// believes.
//
// # Files
//
// The operator's directory (--tls-dir) holds ca.pem, the authorities that a node
// believes before the core has told it anything, and public.pem, what the public
// port shows to readers; its key is in public.key or, where there is none, in
// public.pem too, so that both are replaced by one rename. The node's own key never leaves the
// node: the key is made here, the core signs for it when the node registers and
// when it renews, and both are kept in the state directory.
//
// # Whom it believes
//
// The authorities that came with the certificate, since the core knows when one
// follows another; but the operator's ca.pem as soon as that has changed after
// them, so that a node that was left behind can be helped by hand.
//
// # When things fail
//
// A certificate that cannot be used any more (its time ran out while the core was
// away) still serves to renew. Without one the peer port refuses everybody, and
// events go by way of the core. Nothing falls back to plain HTTP.
package credential

import (
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"nearside/edge/statedir"
	"nearside/sync/trust"
)

// Keep is where the certificate is kept: a keeper.
type Keep interface {
	StoredCertificate() (statedir.Certificate, error)
	StoreCertificate(statedir.Certificate) error
}

// Store is a node's credential. Its methods may be called from any goroutine.
type Store struct {
	file *trust.Reread[operators]
	keep Keep

	mu         sync.Mutex // around changes of held
	held       atomic.Pointer[held]
	generation atomic.Uint64
}

// operators is the operator's ca.pem.
type operators struct {
	roots *trust.Roots
	sum   string // of the file, hex
}

// held is the certificate in use, with what came with it.
type held struct {
	pair   *tls.Certificate
	roots  *trust.Roots
	beside string
}

// Open reads the operator's ca.pem and what was kept. nil, without an error,
// where the directory has no ca.pem: the node shows nothing, and believes the
// system's roots.
func Open(dir string, keep Keep, log *slog.Logger) (*Store, error) {
	path := filepath.Join(dir, "ca.pem")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	said := func(err error) {
		if err != nil {
			log.Error("ca.pem cannot be read again: what it held stays in force", "error", err)
			return
		}
		log.Info("ca.pem was read again")
	}
	file, err := trust.Open(func() (o operators, err error) {
		text, err := os.ReadFile(path)
		if err != nil {
			return o, err
		}
		sum := sha256.Sum256(text)
		o.sum = hex.EncodeToString(sum[:])
		o.roots, err = trust.ParseRoots(text)
		return o, err
	}, said, path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	s := &Store{file: file, keep: keep}
	kept, err := keep.StoredCertificate()
	if err != nil {
		return nil, err
	}
	if kept.Key == "" {
		return s, nil
	}
	h, err := parse(kept)
	if err != nil {
		return nil, fmt.Errorf("certificate.json: %w", err)
	}
	s.held.Store(h)
	return s, nil
}

func parse(kept statedir.Certificate) (*held, error) {
	key, err := trust.ParseKey([]byte(kept.Key))
	if err != nil {
		return nil, err
	}
	roots, err := trust.ParseRoots([]byte(kept.Authorities))
	if err != nil {
		return nil, err
	}
	if len(kept.Chain) == 0 {
		return nil, errors.New("no certificate in it")
	}
	leaf, err := x509.ParseCertificate(kept.Chain[0])
	if err != nil {
		return nil, err
	}
	if public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(leaf.PublicKey) {
		return nil, errors.New("the key is not the certificate's")
	}
	return &held{&tls.Certificate{Certificate: kept.Chain, PrivateKey: key, Leaf: leaf}, roots, kept.Beside}, nil
}

// Roots are whom the node believes now.
func (s *Store) Roots() *trust.Roots {
	file := s.file.Now()
	if h := s.held.Load(); h != nil && h.beside == file.sum {
		return h.roots
	}
	return file.roots
}

// Sum names them, for the exchange.
func (s *Store) Sum() []byte {
	sum := s.Roots().Sum
	return sum[:]
}

// Has reports whether the node has a certificate.
func (s *Store) Has() bool { return s.held.Load() != nil }

// Until is when the certificate's time runs out; zero: there is none.
func (s *Store) Until() time.Time {
	if h := s.held.Load(); h != nil {
		return h.pair.Leaf.NotAfter
	}
	return time.Time{}
}

// Generation changes with the certificate, and with whom the node believes:
// connections from before should not be used for what comes next.
func (s *Store) Generation() uint64 {
	return s.generation.Load()
}

// Request asks for a certificate for a new key. take keeps the answer and puts
// it in force.
func (s *Store) Request() (csr []byte, take func(chain [][]byte, authorities []byte) error, err error) {
	key, err := trust.NewKey()
	if err != nil {
		return nil, nil, err
	}
	if csr, err = trust.Request(key); err != nil {
		return nil, nil, err
	}
	text, err := trust.EncodeKey(key)
	if err != nil {
		return nil, nil, err
	}
	return csr, func(chain [][]byte, authorities []byte) error {
		kept := statedir.Certificate{Key: string(text), Chain: chain, Authorities: string(authorities), Beside: s.file.Now().sum}
		h, err := parse(kept)
		if err != nil {
			return fmt.Errorf("the core's certificate: %w", err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := s.keep.StoreCertificate(kept); err != nil {
			return err
		}
		s.held.Store(h)
		s.generation.Add(1)
		return nil
	}, nil
}

var errNone = errors.New("this node has no certificate yet")

// CoreClient is how the node calls a core. It shows its certificate, if it has
// one: who registers has none.
func (s *Store) CoreClient() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		// What a core is called is the operator's affair: its certificate says that
		// it is one. VerifyConnection checks all that would be checked, and that.
		InsecureSkipVerify: true,
		VerifyConnection: func(c tls.ConnectionState) error {
			return s.Roots().Core(c.PeerCertificates, c.ServerName, time.Now())
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if h := s.held.Load(); h != nil {
				return h.pair, nil
			}
			return new(tls.Certificate), nil
		},
	}
}

// PeerServer is how the peer port speaks: with nodes of this region alone.
func (s *Store) PeerServer(region string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAnyClientCert,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.pair() },
		VerifyConnection: func(c tls.ConnectionState) error {
			_, err := s.peer(c, region, x509.ExtKeyUsageClientAuth)
			return err
		},
	}
}

// PeerClient is how the node calls another one of its region. The name that is
// called must be the holder's: trust.EdgeName.
func (s *Store) PeerClient(region string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		// As for CoreClient: roots are read anew for each connection.
		InsecureSkipVerify: true,
		VerifyConnection: func(c tls.ConnectionState) error {
			id, err := s.peer(c, region, x509.ExtKeyUsageServerAuth)
			if err == nil && id.Name() != c.ServerName {
				err = fmt.Errorf("%s answers instead of %s", id, c.ServerName)
			}
			return err
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return s.pair() },
	}
}

func (s *Store) pair() (*tls.Certificate, error) {
	if h := s.held.Load(); h != nil {
		return h.pair, nil
	}
	return nil, errNone
}

func (s *Store) peer(c tls.ConnectionState, region string, usage x509.ExtKeyUsage) (trust.Identity, error) {
	id, err := s.Roots().Edge(c.PeerCertificates, usage, time.Now(), false)
	if err == nil && id.Region != region {
		err = fmt.Errorf("%s is of another region", id)
	}
	return id, err
}

// Public is how the public port speaks, from public.pem and public.key in the
// operator's directory, or from public.pem alone; nil: plain HTTP. Replaced files
// count from the next handshake on: connections that are open go on.
func Public(dir string, log *slog.Logger) (*tls.Config, error) {
	cert, key := filepath.Join(dir, "public.pem"), filepath.Join(dir, "public.key")
	if _, err := os.Stat(cert); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	said := func(err error) {
		if err != nil {
			log.Error("public.pem or public.key cannot be used: what they held before stays in force", "error", err)
			return
		}
		log.Info("public.pem was read again")
	}
	files, err := trust.Open(func() (*tls.Certificate, error) {
		certificate, err := os.ReadFile(cert)
		if err != nil {
			return nil, err
		}
		private, err := os.ReadFile(key)
		if errors.Is(err, fs.ErrNotExist) {
			private, err = certificate, nil
		}
		if err != nil {
			return nil, err
		}
		return trust.Pair(certificate, private)
	}, said, cert, key)
	if err != nil {
		return nil, fmt.Errorf("public.pem or public.key: %w", err)
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return files.Now(), nil },
	}, nil
}
