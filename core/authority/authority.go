// Package authority keeps what a core has in its TLS directory: the operator's
// own certificate authority, which signs for nodes, and the certificates that
// the core itself shows.
//
// # Files
//
//	ca.pem     the authorities that machines go by, 1 to 16 certificates
//	ca.key     the key of one of them: that one signs
//	next.key   the key of the authority that is to sign next (Rollover)
//	core.pem   what the sync port shows, with core.key; without them the core
//	core.key   makes itself a certificate that ca.key signs, and keeps it in memory
//	admin.pem  what the admin port shows, with admin.key; without them it speaks
//	admin.key  plain HTTP
//
// Keys are readable by their owner alone. Several cores share an authority by
// having the same files; a core without ca.key admits nodes and signs for none.
// Files are read again when they change.
//
// # Rollover
//
// One authority follows another in three steps, each of which asks first whether
// the nodes have taken the one before: the next one is trusted; it signs; the
// former is forgotten. A node is told at its next exchange, and renews.
//
// # How it fails
//
// Files that cannot be read at the start are an error. Later, what was last read
// stays in force, and the log says why.
package authority

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"nearside/sync/trust"
)

// Life of an authority.
const Life = 10 * 365 * 24 * time.Hour

// ErrNone says that the directory has no authority.
var ErrNone = errors.New("no authority in it: nearside-core ca init makes one")

// Store is a TLS directory in use. Its methods may be called from any goroutine.
type Store struct {
	files *trust.Reread[*state]

	mu    sync.Mutex
	key   *ecdsa.PrivateKey // the core's own, where no core.pem is there
	own   *tls.Certificate
	from  *x509.Certificate // what signed own
	until time.Time         // when own is to be made anew
	seen  seen
}

// seen remembers chains that were checked against the roots in force.
type seen struct {
	roots *trust.Roots
	ids   map[string]trust.Identity // by the raw certificate
}

// state is what the files hold.
type state struct {
	roots       *trust.Roots // nil: no ca.pem
	signer      *trust.Authority
	core, admin *tls.Certificate
}

// Open reads a directory.
func Open(dir string, log *slog.Logger) (*Store, error) {
	var paths []string
	for _, name := range []string{"ca.pem", "ca.key", "core.pem", "core.key", "admin.pem", "admin.key"} {
		paths = append(paths, filepath.Join(dir, name))
	}
	said := func(err error) {
		if err != nil {
			log.Error("the TLS directory cannot be read again: what it held stays in force", "error", err)
			return
		}
		log.Info("the TLS directory was read again")
	}
	had := false
	files, err := trust.Open(func() (*state, error) {
		s, err := read(dir)
		if err == nil && had && s.roots == nil {
			err = errors.New("ca.pem: expected, since it was there")
		}
		had = had || err == nil && s.roots != nil
		return s, err
	}, said, paths...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return &Store{files: files}, nil
}

func read(dir string) (*state, error) {
	s := new(state)
	text, err := optional(dir, "ca.pem")
	if err != nil {
		return nil, err
	}
	if text != nil {
		if s.roots, err = trust.ParseRoots(text); err != nil {
			return nil, fmt.Errorf("ca.pem: %w", err)
		}
		if s.signer, err = signer(dir, s.roots); err != nil {
			return nil, err
		}
	}
	if s.core, err = pair(dir, "core"); err != nil {
		return nil, err
	}
	if s.admin, err = pair(dir, "admin"); err != nil {
		return nil, err
	}
	if s.roots != nil && s.signer == nil && s.core == nil {
		return nil, errors.New("core.pem: expected, since there is a ca.pem and no ca.key")
	}
	return s, nil
}

// signer is the authority whose key is there.
func signer(dir string, roots *trust.Roots) (*trust.Authority, error) {
	key, err := optional(dir, "ca.key")
	if err != nil || key == nil {
		return nil, err
	}
	return match(roots, key, "ca.key")
}

func match(roots *trust.Roots, key []byte, name string) (*trust.Authority, error) {
	for _, cert := range roots.Certs {
		a, err := trust.ParseAuthority(cert, key)
		if err == nil {
			return a, nil
		}
	}
	return nil, fmt.Errorf("%s: expected the private key of a certificate in ca.pem", name)
}

func pair(dir, name string) (*tls.Certificate, error) {
	cert, err := optional(dir, name+".pem")
	if err != nil {
		return nil, err
	}
	key, err := optional(dir, name+".key")
	if err != nil || cert == nil && key == nil {
		return nil, err
	}
	p, err := trust.Pair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s.pem and %s.key: %w", name, name, err)
	}
	return p, nil
}

// optional is a file of the directory, nil where it is not there.
func optional(dir, name string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return text, err
}

// Roots are what nodes are to go by; nil: this core asks for no certificates.
func (s *Store) Roots() *trust.Roots { return s.files.Now().roots }

// Signs reports whether this core signs for nodes.
func (s *Store) Signs() bool { return s.files.Now().signer != nil }

// Sign answers a node's request; nil where this core signs none.
func (s *Store) Sign(csr []byte, id trust.Identity, now time.Time) (*x509.Certificate, error) {
	signer := s.files.Now().signer
	if signer == nil {
		return nil, nil
	}
	key, err := trust.ParseRequest(csr)
	if err != nil {
		return nil, err
	}
	return signer.Issue(key, id, now, trust.NodeLife)
}

// mostSeen bounds the chains that are remembered.
const mostSeen = 4096

// Caller is the edge that a connection belongs to.
func (s *Store) Caller(connection *tls.ConnectionState, now time.Time, expired bool) (trust.Identity, error) {
	roots := s.Roots()
	if connection == nil || len(connection.PeerCertificates) == 0 || roots == nil {
		return trust.Identity{}, errors.New("no certificate was shown")
	}
	own := connection.PeerCertificates[0]
	inTime := now.Before(own.NotAfter) && now.After(own.NotBefore)
	s.mu.Lock()
	if s.seen.roots != roots || len(s.seen.ids) >= mostSeen {
		s.seen = seen{roots, map[string]trust.Identity{}}
	}
	id, ok := s.seen.ids[string(own.Raw)]
	s.mu.Unlock()
	if ok && inTime {
		return id, nil
	}
	id, err := roots.Edge(connection.PeerCertificates, x509.ExtKeyUsageClientAuth, now, expired)
	if err == nil && inTime {
		s.mu.Lock()
		if s.seen.roots == roots {
			s.seen.ids[string(own.Raw)] = id
		}
		s.mu.Unlock()
	}
	return id, err
}

// Sync is how the sync port speaks TLS; nil: it does not. Certificates of
// callers are asked for, and checked call by call, since who registers has none.
func (s *Store) Sync() *tls.Config {
	if state := s.files.Now(); state.roots == nil && state.core == nil {
		return nil
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.RequestClientCert,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.certificate(time.Now()) },
	}
}

// Admin is how the admin port speaks TLS; nil: it does not.
func (s *Store) Admin() *tls.Config {
	if s.files.Now().admin == nil {
		return nil
	}
	var last *tls.Certificate
	var mu sync.Mutex
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			mu.Lock()
			defer mu.Unlock()
			if now := s.files.Now().admin; now != nil { // files that were taken away leave the last ones in force
				last = now
			}
			return last, nil
		},
	}
}

// certificate is what the core shows edges.
func (s *Store) certificate(now time.Time) (*tls.Certificate, error) {
	state := s.files.Now()
	if state.core != nil {
		return state.core, nil
	}
	if state.signer == nil {
		return nil, errors.New("the core has no certificate: its files are gone")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.own != nil && now.Before(s.until) && s.from.Equal(state.signer.Cert) {
		return s.own, nil
	}
	if s.key == nil {
		var err error
		if s.key, err = trust.NewKey(); err != nil {
			return nil, err
		}
	}
	cert, err := state.signer.Issue(s.key.Public(), trust.Core, now, trust.NodeLife)
	if err != nil {
		return nil, err
	}
	s.own = &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: s.key, Leaf: cert}
	s.from, s.until = state.signer.Cert, now.Add(trust.NodeLife/3)
	return s.own, nil
}

// Listed is an authority of a directory.
type Listed struct {
	Cert  *x509.Certificate
	Signs bool
	Next  bool // it is to sign next
}

// List reads the authorities of a directory, and what nodes are to go by.
func List(dir string) (*trust.Roots, []Listed, error) {
	text, err := optional(dir, "ca.pem")
	if err != nil {
		return nil, nil, err
	}
	if text == nil {
		return nil, nil, fmt.Errorf("%s: %w", dir, ErrNone)
	}
	roots, err := trust.ParseRoots(text)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: ca.pem: %w", dir, err)
	}
	now, err := signer(dir, roots)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", dir, err)
	}
	next, err := nextSigner(dir, roots)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", dir, err)
	}
	var list []Listed
	for _, c := range roots.Certs {
		list = append(list, Listed{c, now != nil && c.Equal(now.Cert), next != nil && c.Equal(next.Cert) && (now == nil || !c.Equal(now.Cert))})
	}
	return roots, list, nil
}

func nextSigner(dir string, roots *trust.Roots) (*trust.Authority, error) {
	key, err := optional(dir, "next.key")
	if err != nil || key == nil {
		return nil, err
	}
	for _, cert := range roots.Certs {
		if a, err := trust.ParseAuthority(cert, key); err == nil {
			return a, nil
		}
	}
	return nil, nil // a rollover was cut off before ca.pem had the next one
}

// Init makes an authority in a directory that has none.
func Init(dir, name string, now time.Time) (*x509.Certificate, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	for _, file := range []string{"ca.pem", "ca.key"} {
		if _, err := os.Lstat(filepath.Join(dir, file)); err == nil {
			return nil, fmt.Errorf("%s is there already: ca rollover replaces an authority", filepath.Join(dir, file))
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	a, key, err := newAuthority(name, now)
	if err != nil {
		return nil, err
	}
	if err := trust.WriteFile(filepath.Join(dir, "ca.key"), key, 0o600); err != nil {
		return nil, err
	}
	return a.Cert, trust.WriteFile(filepath.Join(dir, "ca.pem"), trust.EncodeCertificates(a.Cert), 0o644)
}

func newAuthority(name string, now time.Time) (*trust.Authority, []byte, error) {
	a, key, err := trust.NewAuthority(name, now, Life)
	if err != nil {
		return nil, nil, err
	}
	text, err := trust.EncodeKey(key)
	return a, text, err
}

// Step is what Rollover does next.
type Step int

// Steps of a rollover.
const (
	Trust  Step = iota // a next authority is made, and trusted
	Sign               // it signs
	Forget             // the former ones are forgotten
)

// Next says which step comes next.
func Next(list []Listed) Step {
	for _, l := range list {
		if l.Next {
			return Sign
		}
	}
	switch {
	case len(list) == 1:
		return Trust
	case list[0].Signs:
		return Forget
	}
	return Sign // which was cut off
}

// Rollover does the next step in the directory. A step that was cut off is
// finished by doing it again.
func Rollover(dir, name string, now time.Time) (Step, error) {
	roots, list, err := List(dir)
	if err != nil {
		return 0, err
	}
	if !slices.ContainsFunc(list, func(l Listed) bool { return l.Signs }) {
		return 0, fmt.Errorf("%s: ca.key: expected, since it signs; this authority is kept elsewhere", dir)
	}
	ca := filepath.Join(dir, "ca.pem")
	step := Next(list)
	switch step {
	case Trust:
		a, key, err := newAuthority(name, now)
		if err != nil {
			return step, err
		}
		if err := trust.WriteFile(filepath.Join(dir, "next.key"), key, 0o600); err != nil {
			return step, err
		}
		return step, trust.WriteFile(ca, trust.EncodeCertificates(append(roots.Certs, a.Cert)...), 0o644)
	case Sign:
		return step, sign(dir, roots)
	}
	var keep []*x509.Certificate
	for _, l := range list {
		if l.Signs {
			keep = append(keep, l.Cert)
		}
	}
	return step, trust.WriteFile(ca, trust.EncodeCertificates(keep...), 0o644)
}

// sign puts next.key to use, and its certificate first.
func sign(dir string, roots *trust.Roots) error {
	key, err := optional(dir, "next.key")
	if err != nil {
		return err
	}
	if key == nil { // cut off after the key was put to use
		if key, err = os.ReadFile(filepath.Join(dir, "ca.key")); err != nil {
			return err
		}
	}
	a, err := match(roots, key, "next.key")
	if err != nil {
		return err
	}
	// The key decides who signs; the order tells nodes to renew.
	if err := trust.WriteFile(filepath.Join(dir, "ca.key"), key, 0o600); err != nil {
		return err
	}
	certs := []*x509.Certificate{a.Cert}
	for _, c := range roots.Certs {
		if !bytes.Equal(c.Raw, a.Cert.Raw) {
			certs = append(certs, c)
		}
	}
	if err := trust.WriteFile(filepath.Join(dir, "ca.pem"), trust.EncodeCertificates(certs...), 0o644); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, "next.key")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
