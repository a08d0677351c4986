package simulation

import (
	"fmt"
	"maps"
	"slices"
	"strings"

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
	switch x := w.rng.IntN(112); {
	case x >= 109:
		n.rollBack()
	case x >= 106:
		n.flip()
	case x >= 100:
		room := w.between(0, 5*segment)
		w.say("disk-full", "%s after %d bytes, for %d s", n.name, room, long/second)
		disk := n.disk
		disk.Limit(disk.Used() + room)
		w.after(long, func() { disk.Limit(0) })
	case w.plan.copies && x < 20: // its last group goes to the peer, and to half a disk
		w.say("arm", "%s torn write", n.name)
		n.disk.torn = true
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
		n.disk.CutAt(faultfs.Any, 1+w.rng.IntN(12))
	case x < 52:
		ops := []faultfs.Op{faultfs.Write, faultfs.Sync, faultfs.SyncDir, faultfs.Create, faultfs.Rename, faultfs.Remove}
		op := ops[w.rng.IntN(len(ops))]
		w.say("arm", "%s failing %s", n.name, op)
		n.disk.FailAt(op, 1+w.rng.IntN(5), "", faultfs.ErrIO)
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
		n.harmed = w.now
		for _, h := range n.disk.known {
			h.gone, h.alone = true, h.alone || !n.up && n.alone
		}
		if n.up {
			n.end("disk lost", true)
		}
		n.newDisk()
		n.start(w.between(second, 90*second))
	case x < 96:
		if n.up {
			w.say("drain", "%s", n.name)
			n.leaving = true
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

// flip turns one bit of a segment of a journal over. What the disk held proves
// nothing from then on: in its last group a bit makes it look like one that was torn.
func (n *node) flip() {
	for _, dir := range slices.Sorted(maps.Keys(n.disk.known)) {
		names, _ := n.disk.Names(dir)
		for _, name := range names {
			b, _ := n.disk.Content(dir + "/" + name)
			if strings.HasPrefix(name, "seg-") && len(b) > 0 && n.w.chance(0.5) {
				n.w.say("flip", "%s %s/%s", n.name, dir, name)
				h, at := n.disk.known[dir], n.w.rng.Int64N(int64(len(b)))
				h.gone, n.damaged, n.harmed = true, true, n.w.now
				if g, ok := groupAt(b, int(at)); ok {
					h.flipped = append(h.flipped, g)
				}
				_ = n.disk.Flip(dir+"/"+name, at, uint(n.w.rng.IntN(8)))
				return
			}
		}
	}
}

// rollBack takes a snapshot of the machine and goes back to it later, as an
// operator's hypervisor may: the worst of disks, one that lies about the past.
func (n *node) rollBack() {
	disk, was := n.disk, n.disk.Snapshot()
	type past struct {
		recs    []entry
		durable uint64
	}
	held := map[*history]past{}
	for _, h := range disk.known {
		held[h] = past{h.onDisk(), h.durable}
	}
	n.w.say("snapshot", "%s", n.name)
	n.w.after(n.w.between(second, 40*second), func() {
		if n.disk != disk || n.w.ending {
			return
		}
		n.w.say("rolled-back", "%s", n.name)
		if n.up {
			n.end("rolled back", false)
		}
		n.harmed = n.w.now
		for _, dir := range slices.Sorted(maps.Keys(disk.known)) {
			h := disk.known[dir]
			h.fork()
			h.recall(held[h].recs)
			h.durable = held[h].durable // a holder that was drained writes nothing more before it speaks
		}
		disk.Rollback(was)
		n.start(n.w.between(second, 20*second))
	})
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
	w.closing = !w.plan.copies
	w.net.cut = nil
	w.core.rise()
	if w.plan.copies {
		w.fenceLost()
	}
	for _, n := range w.nodes {
		if n.up {
			n.end("restarted to heal", false)
		} else {
			n.life++
			n.disk.Crash()
		}
		n.disk.Limit(0)
		n.start(w.between(0, second))
	}
	if w.plan.copies { // their peers hand them in before they leave
		w.until(w.now + 15*w.beat() + minute)
		w.closing = true
		for _, n := range w.nodes {
			n.leaving = true
		}
	}
	end := w.now + 10*minute
	for w.now < end && slices.ContainsFunc(w.nodes, func(n *node) bool { return !n.drained }) {
		w.until(w.now + 5*second)
		w.core.sweepNow()
		if w.restored {
			w.core.heeds()
			w.core.recoverNow(w.now > end-8*minute)
		}
		w.books.check()
	}
	for _, n := range w.nodes {
		if !n.drained {
			w.fail("sum", "%s did not drain: %s", n.name, n.describe())
		}
	}
	w.fenceLost()
	w.until(w.now + 7*hour) // the clock of a node may be three hours ahead
	w.core.sweepNow()
	for _, id := range w.core.fenced() { // nobody has their journals
		w.core.close(id)
	}
	w.until(w.now + 25*hour) // for hand-ins that never came to their end
	w.core.sweepNow()
	w.books.check()
}

// fenceLost is an operator who has heard whose disks, or registrations, are lost.
func (w *World) fenceLost() {
	for _, id := range slices.Sorted(maps.Keys(w.core.mem.Holders)) {
		if w.books.isLost(id) || w.restored {
			w.core.fence(id)
		}
	}
}

func (n *node) describe() string {
	if n.k == nil {
		return "down"
	}
	x := n.k.Status()
	return fmt.Sprintf("holder %d (fenced %v, %d sealed, %d former), at the core %s", x.Holder, x.Fenced, x.Sealed, x.Former, n.w.core.describe(x.Holder))
}
