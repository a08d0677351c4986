package peer

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"nearside/edge/credential"
	"nearside/edge/statedir"
	"nearside/sync/trust"
	"nearside/sync/wire"
)

// disk keeps a certificate in memory.
type disk struct {
	mu   sync.Mutex
	kept statedir.Certificate
}

func (d *disk) StoredCertificate() (statedir.Certificate, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.kept, nil
}

func (d *disk) StoreCertificate(c statedir.Certificate) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kept = c
	return nil
}

func authority(t *testing.T, name string) *trust.Authority {
	t.Helper()
	a, _, err := trust.NewAuthority(name, time.Now(), 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// certified is a node that believes the first authority and shows a certificate
// that the second signed; without an identity it has none yet.
func certified(t *testing.T, believes, signs *trust.Authority, id trust.Identity, life time.Duration) *credential.Store {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), trust.EncodeCertificates(believes.Cert), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := credential.Open(dir, &disk{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if id == (trust.Identity{}) {
		return s
	}
	renew(t, s, believes, signs, id, life)
	return s
}

func renew(t *testing.T, s *credential.Store, believes, signs *trust.Authority, id trust.Identity, life time.Duration) {
	t.Helper()
	csr, take, err := s.Request()
	if err != nil {
		t.Fatal(err)
	}
	key, err := trust.ParseRequest(csr)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := signs.Issue(key, id, time.Now(), life)
	if err == nil {
		err = take([][]byte{cert.Raw}, trust.EncodeCertificates(believes.Cert))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// asked says who it was asked by.
type asked struct {
	home
	by []trust.Identity
}

func (a *asked) Judge(ctx context.Context, e *wire.Event) (uint32, error) {
	id, ok := Caller(ctx)
	a.mu.Lock()
	if ok {
		a.by = append(a.by, id)
	}
	a.mu.Unlock()
	return a.home.Judge(ctx, e)
}

// TestNodesKnowEachOther is the table of who may ask whom on the peer port. All
// of them hold the region's key.
func TestNodesKnowEachOther(t *testing.T) {
	ours, theirs := authority(t, "ours"), authority(t, "ours")
	node := func(region string, holder uint32) trust.Identity {
		return trust.Identity{Region: region, Node: "n", Holder: holder}
	}
	const life = time.Hour
	for _, c := range []struct {
		about          string
		server, client *credential.Store
		answered       bool
	}{
		{"two of one region", certified(t, ours, ours, node("eu", 7), life), certified(t, ours, ours, node("eu", 8), life), true},
		{"a node of another region asks", certified(t, ours, ours, node("eu", 7), life), certified(t, ours, ours, node("us", 8), life), false},
		{"a node of another region answers", certified(t, ours, ours, node("us", 7), life), certified(t, ours, ours, node("eu", 8), life), false},
		{"another holder answers", certified(t, ours, ours, node("eu", 9), life), certified(t, ours, ours, node("eu", 8), life), false},
		{"a core asks", certified(t, ours, ours, node("eu", 7), life), certified(t, ours, ours, trust.Core, life), false},
		{"a stranger of the same name asks", certified(t, ours, ours, node("eu", 7), life), certified(t, ours, theirs, node("eu", 8), life), false},
		{"a stranger answers", certified(t, ours, theirs, node("eu", 7), life), certified(t, ours, ours, node("eu", 8), life), false},
		{"one asks whose time has run out", certified(t, ours, ours, node("eu", 7), life), certified(t, ours, ours, node("eu", 8), -time.Minute), false},
		{"one answers whose time has run out", certified(t, ours, ours, node("eu", 7), -time.Minute), certified(t, ours, ours, node("eu", 8), life), false},
		{"one asks that has no certificate yet", certified(t, ours, ours, node("eu", 7), life), certified(t, ours, ours, trust.Identity{}, 0), false},
		{"one answers that has none yet", certified(t, ours, ours, trust.Identity{}, 0), certified(t, ours, ours, node("eu", 8), life), false},
		{"one asks in plain HTTP", certified(t, ours, ours, node("eu", 7), life), nil, false},
		{"one answers in plain HTTP", nil, certified(t, ours, ours, node("eu", 8), life), false},
	} {
		h := &asked{}
		s, err := NewServer(h, h, nil, [][]byte{key})
		if err != nil {
			t.Fatal(err)
		}
		if c.server != nil {
			s.UseTLS(c.server, "eu")
		}
		addr := run(t, s)
		cl := client(t, 10*time.Second, key)
		if c.client != nil {
			cl.UseTLS(c.client, "eu")
		}
		_, err = cl.Judge(t.Context(), addr, &wire.Event{Kind: 1, Holder: 7})
		if (err == nil) != c.answered || (len(h.judged) > 0) != c.answered {
			t.Errorf("%s: %v, judged %d; want answered: %v", c.about, err, len(h.judged), c.answered)
		}
		if c.answered && (len(h.by) != 1 || h.by[0] != node("eu", 8)) {
			t.Errorf("%s: asked by %v", c.about, h.by)
		}
	}
}

func run(t *testing.T, s *Server) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l, 0) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// TestARenewedCertificateIsShown asks with a certificate and, without a new
// client, with the next one, of another holder and by another authority.
func TestARenewedCertificateIsShown(t *testing.T) {
	first, next := authority(t, "first"), authority(t, "next")
	id := func(holder uint32) trust.Identity { return trust.Identity{Region: "eu", Node: "n", Holder: holder} }
	server, caller := certified(t, first, first, id(7), time.Hour), certified(t, first, first, id(8), time.Hour)
	h := &asked{}
	s, err := NewServer(h, h, nil, [][]byte{key})
	if err != nil {
		t.Fatal(err)
	}
	s.UseTLS(server, "eu")
	addr := run(t, s)
	cl := client(t, 10*time.Second, key)
	cl.UseTLS(caller, "eu")
	ask := func() {
		t.Helper()
		if _, err := cl.Judge(t.Context(), addr, &wire.Event{Kind: 1, Holder: 7}); err != nil {
			t.Fatal(err)
		}
	}
	ask()
	renew(t, server, next, next, id(7), time.Hour)
	renew(t, caller, next, next, id(9), time.Hour)
	ask()
	if len(h.by) != 2 || h.by[0] != id(8) || h.by[1] != id(9) {
		t.Errorf("asked by %v", h.by)
	}
}
