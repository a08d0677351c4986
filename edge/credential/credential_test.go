package credential

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nearside/edge/statedir"
	"nearside/sync/trust"
)

// disk keeps a certificate in memory; with err it cannot.
type disk struct {
	kept statedir.Certificate
	err  error
}

func (d *disk) StoredCertificate() (statedir.Certificate, error) { return d.kept, nil }

func (d *disk) StoreCertificate(c statedir.Certificate) error {
	if d.err == nil {
		d.kept = c
	}
	return d.err
}

var quiet = slog.New(slog.DiscardHandler)

func authority(t *testing.T) *trust.Authority {
	t.Helper()
	a, _, err := trust.NewAuthority("a", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := trust.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, dir string, d *disk) *Store {
	t.Helper()
	s, err := Open(dir, d, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// answer has an authority answer the store's request, with what to believe.
func answer(t *testing.T, s *Store, signs *trust.Authority, believe ...*trust.Authority) error {
	t.Helper()
	csr, take, err := s.Request()
	if err != nil {
		t.Fatal(err)
	}
	key, err := trust.ParseRequest(csr)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := signs.Issue(key, trust.Identity{Region: "eu", Node: "n", Holder: 7}, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	var authorities []byte
	for _, a := range believe {
		authorities = append(authorities, trust.EncodeCertificates(a.Cert)...)
	}
	return take([][]byte{cert.Raw}, authorities)
}

// TestWhomItBelieves: the operator's file at first, then what the core says with
// a certificate, then the operator again who has changed the file.
func TestWhomItBelieves(t *testing.T) {
	dir, d := t.TempDir(), &disk{}
	if s, err := Open(dir, d, quiet); s != nil || err != nil {
		t.Fatalf("without ca.pem: %v, %v", s, err)
	}
	first, next, third := authority(t), authority(t), authority(t)
	write(t, filepath.Join(dir, "ca.pem"), trust.EncodeCertificates(first.Cert))
	s := open(t, dir, d)
	believes := func(about string, s *Store, want ...*trust.Authority) {
		t.Helper()
		got := s.Roots().Certs
		same := len(got) == len(want)
		for i := range want {
			same = same && got[i].Equal(want[i].Cert)
		}
		if !same {
			t.Errorf("%s: it believes %d others", about, len(got))
		}
	}
	believes("at first", s, first)
	if s.Has() || !s.Until().IsZero() {
		t.Error("it has a certificate")
	}
	if err := answer(t, s, first, next, first); err != nil {
		t.Fatal(err)
	}
	believes("as the core said", s, next, first)
	if !s.Has() || s.Generation() != 1 || s.Until().IsZero() {
		t.Error("it has no certificate")
	}
	again := open(t, dir, d)
	believes("after a restart", again, next, first)
	if !again.Has() {
		t.Error("it lost its certificate")
	}
	d.err = errors.New("disk full")
	if err := answer(t, s, first, third); err == nil {
		t.Error("a certificate that could not be kept is in force")
	}
	believes("where the disk is full", s, next, first)
	d.err = nil
	if err := answer(t, s, first); err == nil {
		t.Error("a certificate without authorities is taken")
	}
	write(t, filepath.Join(dir, "ca.pem"), trust.EncodeCertificates(third.Cert, first.Cert))
	believes("after the operator changed the file", open(t, dir, d), third, first)
	write(t, filepath.Join(dir, "ca.pem"), []byte("nonsense"))
	if _, err := Open(dir, d, quiet); err == nil || !strings.Contains(err.Error(), "ca.pem") {
		t.Errorf("a file of nonsense: %v", err)
	}
	write(t, filepath.Join(dir, "ca.pem"), trust.EncodeCertificates(first.Cert))
	d.kept.Key = "nonsense"
	if _, err := Open(dir, d, quiet); err == nil || !strings.Contains(err.Error(), "certificate.json") || strings.Contains(err.Error(), "nonsense") {
		t.Errorf("a kept key of nonsense: %v", err)
	}
}

// TestThePublicCertificateIsReplaced shows readers another certificate as soon
// as the files hold one, and the last good one until then.
func TestThePublicCertificateIsReplaced(t *testing.T) {
	dir := t.TempDir()
	if config, err := Public(dir, quiet); config != nil || err != nil {
		t.Fatalf("without files: %v, %v", config, err)
	}
	a := authority(t)
	put := func(holder uint32) {
		t.Helper()
		key, err := trust.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		cert, err := a.Issue(key.Public(), trust.Identity{Region: "eu", Node: "n", Holder: holder}, time.Now(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		text, err := trust.EncodeKey(key)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "public.key"), text)
		write(t, filepath.Join(dir, "public.pem"), trust.EncodeCertificates(cert))
	}
	put(1)
	config, err := Public(dir, quiet)
	if err != nil {
		t.Fatal(err)
	}
	shown := func() string {
		t.Helper()
		here, there := net.Pipe()
		go func() {
			_ = tls.Server(there, config).Handshake()
			_ = there.Close()
		}()
		c := tls.Client(here, &tls.Config{InsecureSkipVerify: true})
		defer func() { _ = here.Close() }()
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		return c.ConnectionState().PeerCertificates[0].DNSNames[0]
	}
	if got := shown(); got != trust.EdgeName(1) {
		t.Errorf("it shows %s", got)
	}
	put(2)
	for limit := time.Now().Add(time.Minute); shown() != trust.EdgeName(2); {
		if time.Now().After(limit) {
			t.Fatal("it never shows the second")
		}
		time.Sleep(20 * time.Millisecond) // a poll: files are looked at once a second
	}
	if err := os.Remove(filepath.Join(dir, "public.key")); err != nil {
		t.Fatal(err)
	}
	if got := shown(); got != trust.EdgeName(2) {
		t.Errorf("without its key it shows %s", got)
	}
	if _, err := Public(dir, quiet); err == nil || !strings.Contains(err.Error(), "public.key") {
		t.Errorf("a certificate without a key: %v", err)
	}
	put(3)
	both, err := os.ReadFile(filepath.Join(dir, "public.pem"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(dir, "public.key"))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range [][]byte{append(append([]byte(nil), both...), key...), append(append([]byte(nil), key...), both...)} {
		alone := t.TempDir()
		write(t, filepath.Join(alone, "public.pem"), text)
		if config, err = Public(alone, quiet); err != nil {
			t.Fatalf("a certificate and its key in one file: %v", err)
		}
		if got := shown(); got != trust.EdgeName(3) {
			t.Errorf("from one file it shows %s", got)
		}
	}
}
