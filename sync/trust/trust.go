package trust

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// CoreName is the DNS name in every core's certificate.
const CoreName = "core.nearside.internal"

const (
	edgeSuffix = ".edge.nearside.internal"
	scheme     = "nearside"

	// Backdate is how long before its making a certificate begins.
	Backdate = 24 * time.Hour

	// NodeLife is how long a node's certificate counts. It is renewed when a third
	// of that has passed, so a core may be away for days.
	NodeLife = 7 * 24 * time.Hour

	maxRoots   = 16
	maxPEM     = 256 << 10
	maxRequest = 16 << 10
)

// Identity is who a certificate names. The zero Holder is a core.
type Identity struct {
	Region, Node string
	Holder       uint32
}

var goodName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)

// Core is the identity of every core.
var Core = Identity{}

// IsCore reports whether it is a core's.
func (i Identity) IsCore() bool { return i == Core }

// String names it as a log may.
func (i Identity) String() string {
	if i.IsCore() {
		return "core"
	}
	return fmt.Sprintf("holder %d, %s/%s", i.Holder, i.Region, i.Node)
}

// Name is the DNS name in its certificate.
func (i Identity) Name() string {
	if i.IsCore() {
		return CoreName
	}
	return EdgeName(i.Holder)
}

// EdgeName is the DNS name in the certificate of a holder.
func EdgeName(holder uint32) string { return strconv.FormatUint(uint64(holder), 10) + edgeSuffix }

func (i Identity) uri() *url.URL {
	if i.IsCore() {
		return &url.URL{Scheme: scheme, Host: "core"}
	}
	return &url.URL{Scheme: scheme, Host: "edge", Path: fmt.Sprintf("/%s/%s/%d", i.Region, i.Node, i.Holder)}
}

var errIdentity = errors.New("the certificate names no machine of nearside")

// Identify reads who a certificate names. It does not check who signed it.
func Identify(cert *x509.Certificate) (Identity, error) {
	if len(cert.URIs) != 1 || len(cert.DNSNames) != 1 || cert.IsCA {
		return Identity{}, errIdentity
	}
	id, err := parseURI(cert.URIs[0])
	if err != nil || cert.DNSNames[0] != id.Name() {
		return Identity{}, errIdentity
	}
	return id, nil
}

func parseURI(u *url.URL) (Identity, error) {
	if u.String() == Core.uri().String() {
		return Core, nil
	}
	parts := strings.Split(u.Path, "/")
	if u.Scheme != scheme || u.Host != "edge" || len(parts) != 4 || parts[0] != "" {
		return Identity{}, errIdentity
	}
	holder, err := strconv.ParseUint(parts[3], 10, 31)
	id := Identity{Region: parts[1], Node: parts[2], Holder: uint32(holder)}
	if err != nil || holder == 0 || !goodName.MatchString(id.Region) || !goodName.MatchString(id.Node) || u.String() != id.uri().String() {
		return Identity{}, errIdentity
	}
	return id, nil
}

// Roots are the authorities that a machine goes by. They do not change.
type Roots struct {
	PEM   []byte // the certificates alone, in order
	Certs []*x509.Certificate
	Sum   [sha256.Size]byte // of PEM
	pool  *x509.CertPool
}

// ParseRoots reads certificates of authorities.
func ParseRoots(text []byte) (*Roots, error) {
	if len(text) > maxPEM {
		return nil, fmt.Errorf("authorities: %d bytes, expected at most %d", len(text), maxPEM)
	}
	r := &Roots{pool: x509.NewCertPool()}
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, errors.New("authorities: expected certificates alone")
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("authorities: certificate %d: %w", len(r.Certs)+1, err)
		}
		if !cert.IsCA || !cert.BasicConstraintsValid {
			return nil, fmt.Errorf("authorities: certificate %d: expected one of an authority", len(r.Certs)+1)
		}
		r.pool.AddCert(cert)
		r.Certs = append(r.Certs, cert)
	}
	if len(r.Certs) == 0 || len(r.Certs) > maxRoots {
		return nil, fmt.Errorf("authorities: %d certificates, expected 1 to %d", len(r.Certs), maxRoots)
	}
	r.PEM = EncodeCertificates(r.Certs...)
	r.Sum = sha256.Sum256(r.PEM)
	return r, nil
}

// EncodeCertificates writes certificates as PEM.
func EncodeCertificates(certs ...*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range certs {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // to memory
	}
	return b.Bytes()
}

// Fingerprint names a certificate: the first 16 hex digits of its SHA-256.
func Fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:8])
}

// Signer is the authority that signed a certificate; nil: none of these.
func (r *Roots) Signer(cert *x509.Certificate) *x509.Certificate {
	for _, c := range r.Certs {
		if cert.CheckSignatureFrom(c) == nil {
			return c
		}
	}
	return nil
}

// verify checks that a chain, the machine's own certificate first, leads to one
// of the roots.
func (r *Roots) verify(chain []*x509.Certificate, usage x509.ExtKeyUsage, at time.Time) error {
	if len(chain) == 0 {
		return errors.New("expected a certificate")
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: r.pool, Intermediates: between, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{usage}})
	return err
}

// Edge says which edge a chain belongs to, as the client or the server of a
// connection. With expired, one whose time has run out counts too.
func (r *Roots) Edge(chain []*x509.Certificate, usage x509.ExtKeyUsage, now time.Time, expired bool) (Identity, error) {
	if expired && len(chain) > 0 && now.After(chain[0].NotAfter) {
		now = chain[0].NotAfter
	}
	if err := r.verify(chain, usage, now); err != nil {
		return Identity{}, err
	}
	id, err := Identify(chain[0])
	if err == nil && id.IsCore() {
		err = errors.New("the certificate is a core's, expected an edge's")
	}
	return id, err
}

// Core checks that a chain belongs to a core: it says so, or it is good for the
// host that was called, where the operator has certificates of another kind.
func (r *Roots) Core(chain []*x509.Certificate, host string, now time.Time) error {
	if err := r.verify(chain, x509.ExtKeyUsageServerAuth, now); err != nil {
		return err
	}
	if id, err := Identify(chain[0]); err == nil {
		if !id.IsCore() {
			return errors.New("the certificate is an edge's, expected a core's")
		}
		return nil
	}
	return chain[0].VerifyHostname(host)
}

// NewKey makes a machine's key.
func NewKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// Request asks for a certificate for a key.
func Request(key crypto.Signer) ([]byte, error) {
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
}

// ParseRequest checks that whoever asks has the key, and gives its public half.
func ParseRequest(der []byte) (*ecdsa.PublicKey, error) {
	if len(der) > maxRequest {
		return nil, fmt.Errorf("csr: %d bytes, expected at most %d", len(der), maxRequest)
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("csr: expected a PKCS #10 request: %w", err)
	}
	key, ok := request.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("csr: expected a key on P-256")
	}
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("csr: %w", err)
	}
	return key, nil
}

// Authority signs. Its methods may be called from any goroutine.
type Authority struct {
	Cert *x509.Certificate
	key  crypto.Signer
}

// NewAuthority makes one with a key of its own.
func NewAuthority(name string, now time.Time, life time.Duration) (*Authority, *ecdsa.PrivateKey, error) {
	key, err := NewKey()
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-Backdate), NotAfter: now.Add(life),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &Authority{cert, key}, key, err
}

// ParseAuthority is the authority of a certificate and its key, as PEM.
func ParseAuthority(cert *x509.Certificate, key []byte) (*Authority, error) {
	signer, err := ParseKey(key)
	if err != nil {
		return nil, err
	}
	if public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(cert.PublicKey) {
		return nil, errors.New("the key is not that of the first certificate")
	}
	return &Authority{cert, signer}, nil
}

// EncodeKey writes a key as PEM.
func EncodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// ParseKey reads a key. Errors say nothing of what the text holds.
func ParseKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("expected a private key as PEM")
	}
	if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		if signer, ok := key.(crypto.Signer); ok {
			return signer, nil
		}
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	return nil, errors.New("expected a private key, PKCS #8 or SEC 1")
}

// Issue signs a machine's certificate; the chain is it alone, DER.
func (a *Authority) Issue(public crypto.PublicKey, id Identity, now time.Time, life time.Duration) (*x509.Certificate, error) {
	usage := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if !id.IsCore() {
		usage = append(usage, x509.ExtKeyUsageClientAuth)
	}
	ends := now.Add(life)
	if ends.After(a.Cert.NotAfter) {
		ends = a.Cert.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: id.Name()},
		NotBefore: now.Add(-Backdate), NotAfter: ends,
		DNSNames: []string{id.Name()}, URIs: []*url.URL{id.uri()},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: usage, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Cert, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of %s: %w", id, err)
	}
	return x509.ParseCertificate(der)
}

func serial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b[:])
}

// Pair is a certificate with its key for crypto/tls, as PEM has them.
func Pair(cert, key []byte) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, errors.New("expected a certificate and its private key, as PEM")
	}
	return &pair, nil
}
