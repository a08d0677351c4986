package simulation

import (
	"maps"
	"slices"

	"nearside/core/ledger"
	"nearside/edge/journal/faultfs"
)

// faults happen from now on.
func (w *World) faults() {
	if w.plan.quiet {
		return
	}
	w.after(w.about(w.plan.trouble), func() {
		if w.ending {
			return
		}
		w.fault(w.nodes[w.rng.IntN(len(w.nodes))])
		w.faults()
	})
}

func (w *World) fault(n *node) {
	long := w.between(2*second, 40*second)
	if w.plan.lasts > hour && w.chance(0.5) {
		long = w.between(minute, 3*hour)
	}
	switch x := w.rng.IntN(100); {
	case x < 14:
		if n.up {
			n.die("killed", false)
		}
	case x < 26:
		if n.up {
			n.die("lost power", true)
		}
	case x < 40:
		w.say("arm", "%s power cut", n.name)
		n.fs.CutAt(faultfs.Any, 1+w.rng.IntN(12))
	case x < 52:
		ops := []faultfs.Op{faultfs.Write, faultfs.Sync, faultfs.SyncDir, faultfs.Create, faultfs.Rename, faultfs.Remove}
		op := ops[w.rng.IntN(len(ops))]
		w.say("arm", "%s failing %s", n.name, op)
		n.fs.FailAt(op, 1+w.rng.IntN(5), "", faultfs.ErrIO)
	case x < 66:
		w.say("cut", "%s from the core for %d s", n.name, long/second)
		w.net.sever(n.place(), 0, w.now+long)
	case x < 74:
		w.say("cut", "%s from its peers for %d s", n.name, long/second)
		for _, m := range w.nodes {
			if m != n {
				w.net.sever(n.place(), m.place(), w.now+long)
			}
		}
	case x < 84:
		w.core.die(long)
	case x < 88:
		w.say("disk-lost", "%s", n.name)
		if n.up {
			n.end("disk lost", true)
		}
		for _, f := range n.id.Former {
			w.books.lost(f.Holder)
		}
		w.books.lost(n.id.Holder)
		n.fs, n.id = faultfs.New(w.rng.Uint64()), identity{}
		n.start(w.between(second, 90*second))
	case x < 96:
		if n.up {
			w.say("drain", "%s", n.name)
			n.draining = true
			life := n.life
			w.after(w.between(0, 8*second), func() {
				if n.life == life {
					n.finish = true
				}
			})
		}
	default:
		if len(w.nodes) > 1 {
			n.gossip(w.nodes[w.rng.IntN(len(w.nodes))])
		}
	}
}

// operators pause, kill, fence, change budgets, and spread gossip.
func (w *World) operators() {
	w.after(w.about(w.plan.meddling), func() {
		if w.ending {
			return
		}
		w.meddle()
		w.operators()
	})
}

func (w *World) meddle() {
	f := &w.plan.flights[w.rng.IntN(len(w.plan.flights))]
	switch x := w.rng.IntN(100); {
	case x < 30:
		w.core.control(f.id, uint32(w.rng.IntN(2)))
	case x < 34:
		w.core.control(f.id, 2)
	case x < 60:
		w.core.ask(f.budget(), w.between(0, 2*f.limit))
	case x < 75:
		var open []uint32
		for id, h := range w.core.mem.Holders {
			if h.State == ledger.Open {
				open = append(open, id)
			}
		}
		slices.Sort(open)
		if len(open) > 0 {
			w.core.fence(open[w.rng.IntN(len(open))])
		}
	case x < 80:
		for _, id := range w.core.fenced() {
			w.core.close(id)
		}
	default:
		for _, n := range w.nodes {
			if n.up {
				n.gossip(w.nodes[w.rng.IntN(len(w.nodes))])
			}
		}
	}
}

func (c *core) fenced() []uint32 {
	var ids []uint32
	for id, h := range c.mem.Holders {
		if h.State == ledger.Fenced {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// heal ends all faults, lets everybody say the last word, and waits until
// every token is dead.
func (w *World) heal() {
	w.say("heal", "")
	w.ending = true
	w.net.cut = nil
	w.core.rise()
	for _, n := range w.nodes {
		if n.up {
			n.end("restarted to heal", false)
		} else {
			n.life++
			n.fs.Crash()
		}
		n.start(w.between(0, second))
	}
	end := w.now + 10*minute
	for w.now < end && slices.ContainsFunc(w.nodes, func(n *node) bool { return !n.drained }) {
		w.until(w.now + 5*second)
		w.core.sweepNow()
		w.books.check()
	}
	for _, n := range w.nodes {
		if !n.drained {
			w.fail("sum", "%s did not drain: %s, at the core %s, former %v", n.name, n.state(), w.core.describe(n.id.Holder), n.id.Former)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(w.core.mem.Holders)) {
		if h := w.books.history(id); h.gone || len(h.recs) == 0 { // its disk is lost, or its registration was
			w.core.fence(id)
		}
	}
	w.until(w.now + 7*hour) // the clock of a node may be three hours ahead
	w.core.sweepNow()
	for _, id := range w.core.fenced() { // nobody has their journals
		w.core.close(id)
	}
	w.core.sweepNow()
	w.books.check()
}

func (n *node) state() string {
	switch b := n.book; {
	case !n.up:
		return "down"
	case b == nil:
		return "without a holder"
	case b.st.Fenced():
		return "fenced"
	case b.st.Closed():
		return "closed"
	}
	return "open"
}
