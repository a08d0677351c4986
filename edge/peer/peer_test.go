package peer

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	"nearside/sync/wire"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// A probe in flight when the pool closes ends by itself; memberlist does not wait for it.
		goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode"))
}

// home is a node that judges its own events and knows one catalog.
type home struct {
	mu     sync.Mutex
	judged []*wire.Event
	fail   error
	wait   chan struct{}
}

func (h *home) Judge(ctx context.Context, e *wire.Event) (uint32, error) {
	if h.wait != nil {
		select {
		case <-h.wait:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.fail != nil:
		return 0, h.fail
	case e.GetHolder() != 7:
		return 0, ErrNotHome
	}
	h.judged = append(h.judged, e)
	return 1, nil
}

func (h *home) Catalog() (uint64, []byte) { return 5, []byte("five") }

func (h *home) Controls(after uint64) ([]*wire.Control, uint64) {
	if after >= 9 {
		return nil, 9
	}
	return []*wire.Control{{Version: 9, Flight: 3, State: 1}}, 9
}

var key, otherKey = bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)

func serve(t *testing.T, h *home, keys ...[]byte) (addr string, s *Server) {
	t.Helper()
	s, err := NewServer(h, h, nil, keys)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l, 10*time.Second) }() // HTTP/2 itself takes a second to say goodbye
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String(), s
}

func client(t *testing.T, limit time.Duration, keys ...[]byte) *Client {
	t.Helper()
	c, err := NewClient(keys, limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestTheHomeJudges(t *testing.T) {
	h := &home{}
	addr, _ := serve(t, h, key)
	c := client(t, time.Minute, key)
	outcome, err := c.Judge(t.Context(), addr, &wire.Event{Kind: 1, Holder: 7, Seq: 42})
	if err != nil || outcome != 1 {
		t.Fatalf("outcome %d, %v", outcome, err)
	}
	if len(h.judged) != 1 || h.judged[0].GetSeq() != 42 {
		t.Fatalf("the home judged %v", h.judged)
	}
	if _, err := c.Judge(t.Context(), addr, &wire.Event{Kind: 1, Holder: 8}); !errors.Is(err, ErrNotHome) {
		t.Errorf("another's event: %v, want ErrNotHome", err)
	}
	if _, err := c.Judge(t.Context(), addr, &wire.Event{Kind: 3, Holder: 7}); err == nil || !strings.Contains(err.Error(), "event.kind") {
		t.Errorf("an event of no kind: %v, want an error that names event.kind", err)
	}
	h.fail = errors.New("journal: disk gone")
	if _, err := c.Judge(t.Context(), addr, &wire.Event{Kind: 2, Holder: 7}); connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("a home that cannot write: %v, want unavailable", err)
	}
}

func TestASilentHomeIsGivenUp(t *testing.T) {
	h := &home{wait: make(chan struct{})}
	addr, _ := serve(t, h, key)
	defer close(h.wait)
	c := client(t, 20*time.Millisecond, key)
	// Both sides know the deadline, and either may be the first to say so.
	_, err := c.Judge(t.Context(), addr, &wire.Event{Kind: 1, Holder: 7})
	if !errors.Is(err, context.DeadlineExceeded) && connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("%v, want the deadline", err)
	}
}

func TestNewsIsOnlyWhatIsNewer(t *testing.T) {
	addr, _ := serve(t, &home{}, key)
	c := client(t, time.Minute, key)
	for _, row := range []struct {
		catalog, control uint64
		bytes            string
		controls         int
	}{{0, 0, "five", 1}, {4, 9, "five", 0}, {5, 8, "", 1}, {6, 10, "", 0}} {
		res, err := c.News(t.Context(), addr, 1, row.catalog, row.control)
		if err != nil {
			t.Fatal(err)
		}
		if string(res.GetCatalog()) != row.bytes || len(res.GetControls()) != row.controls || res.GetControlVersion() != 9 {
			t.Errorf("news after catalog %d, control %d: %v", row.catalog, row.control, res)
		}
	}
}

func TestOnlyTheRegionsKeysOpenThePort(t *testing.T) {
	h := &home{}
	addr, s := serve(t, h, key)
	event := &wire.Event{Kind: 1, Holder: 7}
	stranger := client(t, time.Minute, otherKey)
	if _, err := stranger.Judge(t.Context(), addr, event); connect.CodeOf(err) != connect.CodeUnauthenticated {
		t.Errorf("a stranger's event: %v, want unauthenticated", err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/nearside.sync.v1.Peer/Judge", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
	if _ = res.Body.Close(); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a credential: %d, want 401", res.StatusCode)
	}
	if len(h.judged) != 0 {
		t.Fatalf("judged for a stranger: %v", h.judged)
	}
	// Rotation: both keys for a while, then the new one alone.
	if err := s.UseKeys([][]byte{otherKey, key}); err != nil {
		t.Fatal(err)
	}
	if _, err := stranger.Judge(t.Context(), addr, event); err != nil {
		t.Errorf("after the key was added: %v", err)
	}
	if err := s.UseKeys([][]byte{otherKey}); err != nil {
		t.Fatal(err)
	}
	if _, err := client(t, time.Minute, key).Judge(t.Context(), addr, event); connect.CodeOf(err) != connect.CodeUnauthenticated {
		t.Errorf("a dropped key: %v, want unauthenticated", err)
	}
}
