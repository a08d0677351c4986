package simulation

import (
	"errors"
	"fmt"
	"slices"

	"nearside/core/ledger"
	"nearside/edge/journal"
	"nearside/edge/keeper"
	"nearside/sync/wire"
)

// gossip brings one node's controls to another.
func (n *node) gossip(to *node) {
	if n.k == nil {
		return
	}
	controls, _ := n.k.Controls(0)
	n.w.net.send(n.place(), to.place(), func() {
		if !to.up || to.k == nil {
			return
		}
		to.uncredited(func() { to.told(controls) })
	})
}

// told brings controls to a node, and then once more what was said before each of them,
// as a message that was late would: it obeys the newest that it has ever heard of, whether
// or not its disk has room for that.
func (n *node) told(controls []*wire.Control) {
	_, _, open := n.k.Registered()
	newest := map[uint32]uint64{}
	var late []*wire.Control
	for _, c := range controls {
		newest[c.GetFlight()] = max(newest[c.GetFlight()], n.k.Switch(c.GetFlight()).Version.Load())
		if open {
			newest[c.GetFlight()] = max(newest[c.GetFlight()], c.GetVersion())
			late = append(late, &wire.Control{Version: c.GetVersion() - 1, Flight: c.GetFlight(), State: 1 - min(c.GetState(), 1)})
		}
	}
	for _, said := range [][]*wire.Control{controls, late} {
		if _, err := n.k.Control(said); err != nil && !errors.Is(err, journal.ErrFull) {
			n.fail("gossip", err)
			n.look()
			return
		}
		for _, c := range controls {
			if now := n.k.Switch(c.GetFlight()).Version.Load(); now < newest[c.GetFlight()] {
				n.w.fail("I11", "%s: obeys control %d of flight %d, and has heard of %d", n.name, now, c.GetFlight(), newest[c.GetFlight()])
			}
		}
	}
}

// members tells a node who is in its region, as gossip sees it: those that are
// up and not cut off from it, and now and then anything else.
func (n *node) members() {
	w := n.w
	var names []string
	for _, m := range w.nodes {
		if m.region != n.region {
			continue
		}
		here := m == n || m.up && m.k != nil && !w.net.severed(n.place(), m.place())
		if !w.ending && w.chance(0.01) {
			here = !here
		}
		if here {
			names = append(names, m.name)
		}
	}
	if slices.Equal(names, n.peers) {
		return
	}
	n.peers = names
	w.count["members"]++
	n.uncredited(func() { n.k.Members(n.name, names) })
}

// uncredited does something that gossip brought. Nobody may spend more for it:
// what is offered here is no more than what the core has granted and this
// holder has not yet recorded as spent or returned.
func (n *node) uncredited(do func()) {
	k, w := n.k, n.w
	if err := k.Tick(n.clock()); err != nil {
		return
	}
	if said := n.overdrawn(); said != "" { // gossip had nothing to do with it yet
		w.fail("I3", "%s", said)
	}
	before := available(k)
	do()
	if err := k.Tick(n.clock()); err != nil {
		return // whatever comes next will find it
	}
	if after := available(k); after > before {
		w.fail("I12", "%s: gossip made %d available of %d", n.name, after, before)
	}
	if said := n.overdrawn(); said != "" {
		w.fail("I12", "%s", said)
	}
}

// overdrawn says of which budget more is offered here than the core has granted
// and this holder has not yet recorded as spent or returned.
func (n *node) overdrawn() string {
	k, w := n.k, n.w
	id, _, ok := k.Registered()
	h := w.books.histories[id]
	if !ok || h == nil || h.gone {
		return ""
	}
	for _, b := range w.budgets(w.now, w.now) {
		l := w.core.lease(id, b)
		spent := h.leases[b]
		granted := max(l.Granted, w.books.granted[ledger.LeaseKey{Holder: id, Budget: b}]) // a restored core knows of less
		if left := k.Account(b).Left.Load(); left > max(granted-spent.Spent-spent.Returned, 0) {
			return fmt.Sprintf("%s: %d of budget %x for offers, the core granted %d", n.name, left, int64(b), granted)
		}
	}
	return ""
}

// available is what a node may still spend of events.
func available(k *keeper.Keeper) int64 {
	_, n, _ := k.Held()
	return n
}
