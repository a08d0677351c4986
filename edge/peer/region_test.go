package peer

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"nearside/sync/gossip"
	"nearside/sync/wire"
)

// node is one edge of a region, reduced to what its region sees.
type node struct {
	holder uint32

	mu       sync.Mutex
	judged   int
	catalog  uint64
	controls map[uint32]*wire.Control
	newest   uint64
	members  []string
}

func (n *node) Judge(_ context.Context, e *wire.Event) (uint32, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if e.GetHolder() != n.holder {
		return 0, ErrNotHome
	}
	n.judged++
	if n.judged > 1 {
		return 3, nil
	}
	return 1, nil
}

func (n *node) Catalog() (uint64, []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.catalog, []byte{byte(n.catalog)}
}

func (n *node) Controls(after uint64) ([]*wire.Control, uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []*wire.Control
	for _, c := range n.controls {
		if c.GetVersion() > after {
			list = append(list, c)
		}
	}
	return list, n.newest
}

func (n *node) Registered() (uint32, string, bool) { return n.holder, "", true }

func (n *node) Members(self string, nodes []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.members = append([]string{"I am " + self}, nodes...)
}

func (n *node) know(members ...string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Equal(n.members, members)
}

func (n *node) TakeControls(controls []*wire.Control) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range controls {
		if c.GetVersion() > n.controls[c.GetFlight()].GetVersion() {
			n.controls[c.GetFlight()] = c
			n.newest = max(n.newest, c.GetVersion())
		}
	}
	return nil
}

func (n *node) TakeCatalog(_ context.Context, published []byte) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.catalog = max(n.catalog, uint64(published[0]))
	return nil
}

func (n *node) state(flight uint32) uint32 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.controls[flight].GetState()
}

func join(t *testing.T, name string, holder uint32, seeds ...string) (*Region, *node) {
	t.Helper()
	n := &node{holder: holder, controls: map[uint32]*wire.Control{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r, err := OpenRegion(RegionConfig{
		Gossip: gossip.Config{Region: "eu", Name: name, Bind: netip.MustParseAddrPort("127.0.0.1:0"), Seeds: seeds, Keys: [][]byte{key}},
		Listen: l, JudgeLimit: 10 * time.Second, Log: nil,
	}, n)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r, n
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func TestAViewAtTheWrongNodeIsJudgedOnceByItsHome(t *testing.T) {
	a, home := join(t, "a", 1)
	b, other := join(t, "b", 2, a.Addr())
	eventually(t, "b knows whose home holder 1 is", func() bool { _, ok := b.pool.Home(1); return ok })
	event := &wire.Event{Kind: 1, Holder: 1, Seq: 5}
	for i, want := range []uint32{1, 3} {
		if outcome, err := b.Home(t.Context(), event); err != nil || outcome != want {
			t.Errorf("time %d: outcome %d, %v, want %d", i+1, outcome, err, want)
		}
	}
	if home.judged != 2 || other.judged != 0 {
		t.Errorf("the home judged %d times, the other node %d times", home.judged, other.judged)
	}
	if _, err := b.Home(t.Context(), &wire.Event{Kind: 1, Holder: 9}); !errors.Is(err, ErrNotHome) {
		t.Errorf("a home of another region: %v, want ErrNotHome", err)
	}
	if _, err := b.Home(t.Context(), &wire.Event{Kind: 1, Holder: 2}); !errors.Is(err, ErrNotHome) {
		t.Errorf("its own event: %v, want ErrNotHome: the node judges it itself", err)
	}
}

// Brokers are worked out from this list: who has no holder cannot be one.
func TestNodesKnowWhoMayBeABroker(t *testing.T) {
	a, first := join(t, "a", 1)
	_, second := join(t, "b", 2, a.Addr())
	_, third := join(t, "c", 0, a.Addr())
	eventually(t, "a has a and b", func() bool { return first.know("I am a", "a", "b") })
	eventually(t, "b has a and b", func() bool { return second.know("I am b", "a", "b") })
	eventually(t, "c has a and b", func() bool { return third.know("I am c", "a", "b") })
}

func TestANodeWithoutTheCoreHearsAPauseAndACatalogFromAPeer(t *testing.T) {
	a, ahead := join(t, "a", 1)
	_, behind := join(t, "b", 2, a.Addr())
	if err := ahead.TakeControls([]*wire.Control{{Version: 7, Flight: 3, State: 1}}); err != nil {
		t.Fatal(err)
	}
	if err := ahead.TakeCatalog(t.Context(), []byte{4}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "b has the pause", func() bool { return behind.state(3) == 1 })
	eventually(t, "b has the catalog", func() bool { v, _ := behind.Catalog(); return v == 4 })
}
