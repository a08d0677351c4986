package keeper_test

import (
	"testing"
	"time"

	"nearside/edge/journal/faultfs"
	"nearside/edge/keeper"
	"nearside/sync/lease"
)

// regionOf has the node "here" be the broker of the test's flight, or not.
func regionOf(t *testing.T, broker bool) (self string, nodes []string) {
	t.Helper()
	nodes = []string{"a", "b", "c"}
	i := lease.Broker(flight, nodes)
	if !broker {
		i = (i + 1) % len(nodes)
	}
	return nodes[i], nodes
}

// TestOnlyTheBrokerOffers: of a flight of which little remains one node of the
// region keeps a lease. Another gives back what it has, but for what its last
// offers may need, and takes it up again when it is its turn.
func TestOnlyTheBrokerOffers(t *testing.T) {
	e := newEdge(t, faultfs.New(1))
	e.core.Sell(views, 40)
	e.start()
	defer e.stop()
	e.exchange(false)
	e.exchange(false)
	left := func() int64 { return e.Account(views).Left.Load() }
	held := func() (n int64) {
		e.core.Do(func() {
			b := e.core.Budgets[views]
			n = b.Outstanding
		})
		return n
	}
	settle := func() {
		e.Helper()
		for range 4 {
			e.clock.pass(time.Second)
			if err := e.Tick(e.clock.Now().UnixMilli()); err != nil {
				e.Fatal(err)
			}
			e.exchange(false)
		}
	}
	if left() == 0 {
		t.Fatal("nothing was granted")
	}
	viewed, pending := e.mustOffer(), e.mustOffer()
	e.Members(regionOf(t, false))
	settle()
	if left() == 0 || e.Account(views).Elsewhere.Load() {
		t.Fatal("left a flight to a broker that is not brokered")
	}

	e.core.Do(func() { e.core.Budgets[views].Brokered = true })
	if v := e.view(viewed); v != keeper.Verdict(0) {
		t.Fatalf("a view of an offer from before: %v", v)
	}
	settle()
	if left() != 0 || !e.Account(views).Elsewhere.Load() {
		t.Errorf("%d left at a node that is not the broker", left())
	}
	if n := held(); n != 1 {
		t.Errorf("%d are out, want the one that the open offer may need", n)
	}
	if v := e.view(pending); v != keeper.Verdict(0) {
		t.Errorf("the view of an offer from before was %v", v)
	}
	settle()
	if n := held(); n != 0 {
		t.Errorf("%d are still out", n)
	}

	e.Members(regionOf(t, true))
	settle()
	if left() == 0 || e.Account(views).Elsewhere.Load() {
		t.Error("the new broker has nothing to offer")
	}
	e.Members("here", nil) // gossip is gone: it is alone
	settle()
	if left() == 0 {
		t.Error("alone it has nothing to offer")
	}
	e.healthy()
}
