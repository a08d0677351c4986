package simulation

import (
	"context"
	"errors"
	"maps"
	"slices"

	"nearside/core/ledger"
	"nearside/sync/exchange"
	"nearside/sync/lease"
	"nearside/sync/wire"
)

// unauthenticated is how a core of the simulation refuses a credential.
const unauthenticated wire.SyncResponse_Status = -1

// restores has Postgres restored from the past, once, in one run of eight: the
// truth of a while ago is put back while nodes have gone on. In half of these
// runs the operator says so before any node speaks.
func (w *World) restores() {
	if w.seed%8 != 5 || w.plan.quiet {
		return
	}
	w.after(w.between(10*second, w.plan.lasts/2), func() {
		past := w.core.mem.Dump()
		w.say("backup", "")
		w.after(w.between(2*second, w.plan.lasts/3), func() {
			if w.ending {
				return
			}
			w.restored, w.begun = true, w.chance(0.5)
			w.say("restored", "begun %v", w.begun)
			w.core.die(w.between(second, 20*second))
			w.books.forgotten(w.core.mem.Foreign)
			past.LastHolder = w.core.mem.LastHolder // credentials are not simulated, so no number is given twice
			w.core.mem.Restore(past)
			if w.begun {
				if err := ledger.Stop(context.Background(), w.core.mem, w.now); err != nil {
					w.fail("protocol", "%v", err)
				}
			}
			w.books.restart()
			w.recovers(0)
		})
	})
}

// recovers is the operator's part: look now and then, wait a while for those who
// have not stated, then leave them out.
func (w *World) recovers(waited int64) {
	w.after(3*second, func() {
		if !w.core.recoverNow(waited > 30*second) && !w.ending {
			w.recovers(waited + 3*second)
		}
	})
}

// heeds is what an operator who has restored a database makes of a claim that
// only its holder speaks for, since its stamp was lost: it is true.
func (c *core) heeds() {
	for _, id := range slices.Sorted(maps.Keys(c.mem.Holders)) {
		if h := c.mem.Holders[id]; h.State == ledger.Open && h.Doubt != "" {
			c.stop(id, h.Doubt)
		}
	}
	for _, id := range c.unproven() {
		c.stop(id, "it is not known, and has no stamp")
	}
}

func (c *core) stop(id uint32, why string) {
	if c.mem.Forgotten != "" {
		return
	}
	c.w.say("heeded", "holder %d: %s", id, why)
	if err := ledger.Stop(context.Background(), c.mem, c.w.now); err != nil {
		c.w.fail("protocol", "%v", err)
	}
}

// unproven are holders whose statements nothing proves; the operator knows them.
func (c *core) unproven() (ids []uint32) {
	for _, id := range slices.Sorted(maps.Keys(c.mem.Statements)) {
		if !c.mem.Statements[id].Proven {
			ids = append(ids, id)
		}
	}
	return ids
}

// recoverNow recovers, if the core knows that it forgot and everybody has
// stated, or is left out.
func (c *core) recoverNow(leave bool) bool {
	if !c.up || c.mem.Forgotten == "" {
		return false
	}
	dry, err := ledger.Recover(context.Background(), c.store, ledger.RecoverOptions{Trust: c.unproven()}, c.w.now)
	if err != nil || len(dry.Missing) > 0 && !leave {
		return false
	}
	before := map[lease.Budget]int64{}
	for id, b := range c.mem.Truth.Budgets {
		before[id] = b.Judged
	}
	r, err := ledger.Recover(context.Background(), c.store, ledger.RecoverOptions{Without: dry.Missing, Trust: c.unproven(), Apply: true}, c.w.now)
	if err != nil {
		if !errors.Is(err, errRefused) && !errors.Is(err, errUnknown) {
			c.w.fail("I1", "the recovery was refused by the store: %v", err)
		}
		if c.mem.Forgotten != "" {
			return false
		}
	}
	c.w.books.hearsay(before)
	c.w.say("recovered", "without %v", dry.Missing)
	if r != nil {
		for _, h := range r.Holders {
			c.w.say("recovered-"+string(h.Standing), "holder %d %s", h.ID, h.Detail)
		}
		c.version = max(c.version, r.Rebuilt.Control)
	}
	c.w.leftOut += len(dry.Missing)
	c.changed = true
	c.w.books.restart()
	return true
}

// takeStatement answers a statement; own says that the sender's credential fits.
func (c *core) takeStatement(r *wire.StateRequest, reply func(*wire.StateResponse)) {
	if !c.up {
		return
	}
	if err := ledger.ValidateState(r); err != nil {
		c.w.fail("protocol", "statement of holder %d: %v", r.GetStatement().GetHolder(), err)
	}
	h, known := c.mem.Holders[r.GetStatement().GetHolder()]
	own := known && h.Disk == r.GetStatement().GetDisk()
	taken, err := ledger.TakeStatement(context.Background(), c.store, r.GetStatement(), own, c.w.now)
	if err != nil {
		return
	}
	c.w.say("stated", "holder %d: %v", r.GetStatement().GetHolder(), taken.Status)
	reply(&wire.StateResponse{Status: taken.Status})
}

// state is uplink's: tell the core of the account.
func (n *node) state() error {
	s, err := n.k.Statement(context.Background())
	if err != nil {
		return errLine
	}
	s.Region, s.Node = n.region, n.name
	n.w.books.stated(s)
	reply, err := ask(n, &wire.StateRequest{Protocol: exchange.Protocol, Statement: s}, n.w.core.takeStatement)
	if err != nil {
		return err
	}
	if reply.GetStatus() == wire.SyncResponse_FENCED {
		if err := n.k.Fence(context.Background(), "recovered without it"); err != nil {
			n.exit("fence", err)
		}
	}
	return nil
}
