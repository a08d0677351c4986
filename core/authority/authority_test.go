package authority

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nearside/sync/trust"
)

var (
	now   = time.Now()
	quiet = slog.New(slog.DiscardHandler)
	edge  = trust.Identity{Region: "eu", Node: "n", Holder: 7}
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// caller is a connection of an edge that the store has signed for.
func caller(t *testing.T, s *Store) *tls.ConnectionState {
	t.Helper()
	key, err := trust.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := trust.Request(key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := s.Sign(csr, edge, now)
	if err != nil || cert == nil {
		t.Fatalf("%v, %v", cert, err)
	}
	c := new(tls.ConnectionState)
	c.PeerCertificates = append(c.PeerCertificates, cert)
	return c
}

func TestInit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	if _, err := Init(dir, "a", now); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]fs.FileMode{"": 0o700, "ca.key": 0o600, "ca.pem": 0o644} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%q: %v, %v, want %v", name, info.Mode(), err, mode)
		}
	}
	before, err := os.ReadFile(filepath.Join(dir, "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Init(dir, "b", now); err == nil || !strings.Contains(err.Error(), "rollover") {
		t.Errorf("a second one: %v", err)
	}
	if after, err := os.ReadFile(filepath.Join(dir, "ca.key")); err != nil || string(after) != string(before) {
		t.Errorf("the key has changed (%v)", err)
	}
	if _, _, err := List(t.TempDir()); !errors.Is(err, ErrNone) {
		t.Errorf("an empty directory: %v", err)
	}
}

// TestRollover takes an authority through the steps; what was signed in one of
// them counts until its signer is forgotten. Each step is also cut off after
// each of its writes, and done again.
func TestRollover(t *testing.T) {
	dir := t.TempDir()
	if _, err := Init(dir, "first", now); err != nil {
		t.Fatal(err)
	}
	counts := func(c *tls.ConnectionState) bool {
		_, err := open(t, dir).Caller(c, now, false)
		return err == nil
	}
	first := caller(t, open(t, dir))
	roll := func(want Step) {
		t.Helper()
		if step, err := Rollover(dir, "next", now); err != nil || step != want {
			t.Fatalf("step %v, %v, want %v", step, err, want)
		}
	}
	roll(Trust)
	second := caller(t, open(t, dir)) // the first one still signs
	if !counts(first) || !counts(second) {
		t.Error("the first authority counts no more, though it signs")
	}
	// Cut off after the key was put to use: the certificates still stand in the
	// old order.
	key, err := os.ReadFile(filepath.Join(dir, "next.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := trust.WriteFile(filepath.Join(dir, "ca.key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	between := caller(t, open(t, dir))
	roll(Sign)
	third := caller(t, open(t, dir))
	for i, c := range []*tls.ConnectionState{first, second, between, third} {
		if !counts(c) {
			t.Errorf("certificate %d counts no more, though its authority is trusted", i+1)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "next.key")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("next.key is still there (%v)", err)
	}
	_, list, err := List(dir)
	if err != nil || len(list) != 2 || !list[0].Signs || list[0].Cert.Subject.CommonName != "next" {
		t.Errorf("%+v, %v", list, err)
	}
	roll(Forget)
	for i, c := range []*tls.ConnectionState{first, second, between, third} {
		if counts(c) != (i > 1) {
			t.Errorf("certificate %d counts: %v", i+1, !(i > 1))
		}
	}
	roll(Trust) // and so on
}

// TestTheCoreShowsItself makes the core's own certificate anew when its signer
// changes, without a restart, and takes no broken files.
func TestTheCoreShowsItself(t *testing.T) {
	dir := t.TempDir()
	if _, err := Init(dir, "first", now); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	shown := func() *tls.Certificate {
		t.Helper()
		c, err := s.Sync().GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	one := shown()
	if err := s.Roots().Core(append(caller(t, s).PeerCertificates[:0:0], one.Leaf), "10.1.2.3", now); err != nil {
		t.Error(err)
	}
	if again := shown(); again != one {
		t.Error("it is made anew for each connection")
	}
	if later, err := s.certificate(now.Add(trust.NodeLife / 2)); err != nil || later == one {
		t.Errorf("it is not renewed in time (%v)", err)
	}
	for range 2 {
		if _, err := Rollover(dir, "next", now); err != nil {
			t.Fatal(err)
		}
	}
	for limit := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) { // a poll: files are looked at once a second
		if signer := s.Roots().Signer(shown().Leaf); signer != nil && signer.Subject.CommonName == "next" {
			break
		}
		if time.Now().After(limit) {
			t.Fatal("the next authority never signs for it")
		}
	}
	for about, spoil := range map[string]func(dir string) error{
		"ca.key": func(dir string) error { return os.WriteFile(filepath.Join(dir, "ca.key"), []byte("secret"), 0o600) },
		"core.pem": func(dir string) error {
			return os.Remove(filepath.Join(dir, "ca.key"))
		},
		"ca.pem": func(dir string) error { return os.WriteFile(filepath.Join(dir, "ca.pem"), []byte("secret"), 0o600) },
		"admin.pem": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "admin.pem"), []byte("secret"), 0o600)
		},
	} {
		bad := filepath.Join(t.TempDir(), "tls")
		if _, err := Init(bad, "x", now); err != nil {
			t.Fatal(err)
		}
		if err := spoil(bad); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(bad, quiet); err == nil || !strings.Contains(err.Error(), about) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", about, err)
		}
	}
	if s, err := Open(t.TempDir(), quiet); err != nil || s.Sync() != nil || s.Admin() != nil || s.Roots() != nil {
		t.Errorf("an empty directory: %v", err)
	}
	if _, err := s.Caller(nil, now, true); err == nil {
		t.Error("who shows nothing is somebody")
	}
}
