package ledgertest

import (
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	"nearside/core/ledger"
	"nearside/sync/lease"
	"nearside/sync/wire"
)

// doubted: a holder that claims to have been granted more than the core knows
// of stops nobody but itself.
func doubted(w *World) {
	w.SetBudget(views, 1000)
	a, b, c := w.Join("us", "a"), w.Join("eu", "b"), w.Join("ap", "c")
	for _, e := range []*Edge{a, b, c} {
		e.Want(views, 10, 1000)
	}
	w.SyncAll(a, b, c)
	honest := a.Leases[views]
	a.Leases[views] = lease.Totals{Granted: 11}
	a.dirty[views] = true
	b.Want(views, 50, 1000)
	result := w.SyncAll(a, b)
	equal(w, "who remembers more", a.Reply.GetStatus(), forgotten)
	equal(w, "is to say what it holds", a.Reply.GetStateWanted(), true)
	equal(w, "others go on", b.Reply.GetStatus(), ok)
	equal(w, "and get grants", b.Leases[views].Granted > 10, true)
	equal(w, "notes", len(result.Notes), 1)
	equal(w, "of one alone", result.Notes[0].Alone, true)
	equal(w, "the store has not forgotten", w.Dump().Forgotten, "")
	equal(w, "it is not fenced", w.Dump().Holders[a.ID].State, ledger.Open)
	equal(w, "its statement is kept", a.State(true).Status, forgotten)

	a.Leases[views], a.Out, a.Seal, a.dirty = honest, nil, a.Acked, map[lease.Budget]bool{}
	equal(w, "it comes to reason", a.Sync().GetStatus(), ok)
	equal(w, "and is not doubted any more", w.Dump().Holders[a.ID].Doubt, "")

	for _, e := range []*Edge{a, c} {
		l := e.Leases[views]
		l.Granted += 5
		e.Leases[views], e.dirty[views] = l, true
	}
	equal(w, "one again", a.Sync().GetStatus(), forgotten)
	equal(w, "the others go on", b.Sync().GetStatus(), ok)
	equal(w, "a second one", c.Sync().GetStatus(), forgotten)
	equal(w, "bears it out", b.Sync().GetStatus(), forgotten)
}

// forgets: nothing is settled, granted, closed or registered until the recovery.
func forgets(w *World) {
	w.SetBudget(views, 1000)
	a, b := w.Join("us", "a"), w.Join("eu", "b")
	a.Want(views, 10, 1000)
	b.Want(views, 10, 1000)
	w.SyncAll(a, b)
	w.fence(b)
	c := w.Join("ap", "c")
	if err := ledger.Stop(w.Context(), w.Store, w.Now); err != nil {
		w.Fatal(err)
	}
	before := w.Dump()
	a.Spend(views, 5)
	equal(w, "an exchange", a.Sync().GetStatus(), forgotten)
	equal(w, "of anybody", c.Sync().GetStatus(), forgotten)
	if _, err := ledger.Register(w.Context(), w.Store, &wire.RegisterRequest{Protocol: 1, Region: "us", Node: "d", Disk: a.Disk}, ledger.Hash(""), w.Now, w.Rules); !errors.Is(err, ledger.ErrForgotten) {
		w.Errorf("registered: %v", err)
	}
	if err := w.handIn(&wire.HandInRequest{Holder: b.ID, Seal: b.Seal, Last: true}); !errors.Is(err, ledger.ErrForgotten) {
		w.Errorf("handed in: %v", err)
	}
	if err := ledger.Close(w.Context(), w.Store, b.ID, w.Now); !errors.Is(err, ledger.ErrForgotten) {
		w.Errorf("closed: %v", err)
	}
	w.tick(2 * w.Rules.FenceAfter)
	swept, err := ledger.Sweep(w.Context(), w.Store, w.Now, w.Rules)
	if err != nil {
		w.Fatal(err)
	}
	equal(w, "closed for silence", len(swept.Expired), 0)
	equal(w, "the budget stays", w.Dump().Budgets[views], before.Budgets[views])
}

// past lets a world go on and then restores what it was.
func past(w *World, future func()) {
	was := w.Dump()
	w.tick(1000000)
	future()
	w.tick(1000000)
	w.Restore(was)
}

func stamped(w *World) {
	w.SetBudget(views, 1000)
	a, b := w.Join("us", "a"), w.Join("eu", "b")
	w.SyncAll(a, b)
	past(w, func() { a.Sync() }) // which told of nothing, and was granted nothing
	equal(w, "who has heard nothing since", b.Sync().GetStatus(), ok)
	forged := a.Request()
	forged.Stamp = proto.CloneOf(forged.Stamp)
	forged.Stamp.At++
	equal(w, "a stamp that the core did not make", w.Exchange(forged).Replies[0].GetStatus(), ok)
	w.Restore(func() ledger.Truth {
		x := w.Dump()
		h := x.Holders[a.ID]
		h.SeenAt -= 1500
		x.Holders[a.ID] = h
		return x
	}())
	equal(w, "one that it made", a.Sync().GetStatus(), forgotten)
	equal(w, "stops all", b.Sync().GetStatus(), forgotten)
}

// apply recovers, and fails the test where that was refused.
func apply(w *World, o ledger.RecoverOptions) *ledger.Recovery {
	w.Helper()
	before := w.Dump()
	if dry, err := w.Recover(o); err != nil || dry.Applied {
		w.Fatalf("a dry run: %+v, %v", dry, err)
	}
	same(w, before, w.Dump())
	o.Apply = true
	r, err := w.Recover(o)
	if err != nil {
		w.Fatal(err)
	}
	equal(w, "applied", r.Applied, true)
	w.Check()
	return r
}

func standing(r *ledger.Recovery, e *Edge) ledger.Standing {
	for _, h := range r.Holders {
		if h.ID == e.ID {
			return h.Standing
		}
	}
	return ""
}

func recovers(w *World) {
	w.SetBudget(views, 1000)
	a, b := w.Join("us", "a"), w.Join("eu", "b")
	a.Want(views, 100, 1000)
	b.Want(views, 100, 1000)
	w.SyncAll(a, b)
	past(w, func() {
		a.Spend(views, 60)
		a.Want(views, 200, 2000)
		a.Sync()
		a.Spend(views, 30)
		a.Return(views, 10)
		a.Sync()
		b.Spend(views, 5)
		b.Sync()
	})
	equal(w, "a", a.Sync().GetStatus(), forgotten)
	equal(w, "its statement is wanted", a.Reply.GetStateWanted(), true)
	equal(w, "its statement", a.State(true).Status, forgotten)
	equal(w, "it is wanted once", a.Sync().GetStateWanted(), false)
	r, err := w.Recover(ledger.RecoverOptions{Apply: true})
	if !errors.Is(err, ledger.ErrMissing) {
		w.Fatalf("applied without b: %+v, %v", r, err)
	}
	equal(w, "b is missing", r.Missing[0], b.ID)
	b.Sync()
	b.State(true)
	r = apply(w, ledger.RecoverOptions{})
	equal(w, "a", standing(r, a), ledger.Restated)
	equal(w, "b", standing(r, b), ledger.Restated)
	truth := w.Dump()
	equal(w, "settled", truth.Budgets[views].Settled, 95)
	equal(w, "outstanding", truth.Budgets[views].Outstanding, a.Leases[views].Available()+b.Leases[views].Available())
	equal(w, "in the reports", truth.Totals[1].Views, 95)
	equal(w, "a's lease", truth.Leases[ledger.LeaseKey{Holder: a.ID, Budget: views}].Totals, a.Leases[views])

	w.tick(1000000)
	a.Want(views, 300, 3000)
	equal(w, "a goes on", a.Sync().GetStatus(), ok)
	equal(w, "with grants", a.Sync().GetStatus(), ok)
	a.Spend(views, 10)
	a.Sync()
	equal(w, "and settles", w.Check().Budgets[views].Settled, 105)
	equal(w, "nothing to recover", apply2(w).Forgotten, "")
}

// apply2 asks again after a recovery.
func apply2(w *World) *ledger.Recovery {
	r, err := w.Recover(ledger.RecoverOptions{Apply: true})
	if err != nil {
		w.Fatal(err)
	}
	return r
}

func recoversPending(w *World) {
	w.SetBudget(views, 1000)
	a := w.Join("us", "a")
	a.Want(views, 100, 1000)
	a.Sync()
	past(w, func() {
		a.Spend(views, 20)
		a.Sync()
	})
	a.Spend(views, 7)
	equal(w, "a batch beyond what the core has", a.Sync().GetStatus(), forgotten)
	a.State(true)
	apply(w, ledger.RecoverOptions{})
	equal(w, "settled, with what the batch will tell", w.Dump().Budgets[views].Settled, 27)
	equal(w, "in the reports, without it", w.Dump().Totals[1].Views, 20)
	w.tick(1000)
	equal(w, "the batch", a.Sync().GetStatus(), ok)
	equal(w, "settled", w.Check().Budgets[views].Settled, 27)
	equal(w, "in the reports", w.Dump().Totals[1].Views, 27)
	a.Spend(views, 3)
	a.Sync()
	equal(w, "the next batch counts whole", w.Check().Budgets[views].Settled, 30)
	equal(w, "in the reports too", w.Dump().Totals[1].Views, 30)
}

// recoversFenced is of a holder that is fenced before the batches have come that its
// statement told of. Its clock is hours ahead, which says nothing of what was told.
func recoversFenced(w *World) {
	w.SetBudget(views, 1000)
	a, peer := w.Join("us", "a"), w.Join("us", "peer")
	a.Want(views, 100, 1000)
	w.SyncAll(a, peer)
	past(w, func() {
		a.Spend(views, 20)
		w.SyncAll(a, peer)
	})
	a.Spend(views, 1) // the event of sequence 1
	w.SyncAll(a, peer)
	a.State(true)
	peer.State(true)
	apply(w, ledger.RecoverOptions{})
	equal(w, "settled, with what the batch would tell", w.Dump().Budgets[views].Settled, 21)
	w.tick(1000)
	peer.Sync()
	w.fence(a)

	cursor, proof := w.Dump().Holders[a.ID].Batch, a.Acked
	for _, by := range []*Edge{a, peer} {
		answer, err := ledger.HandInBy(w.Context(), w.Store, &wire.HandInRequest{Holder: a.ID, Seal: a.Seal}, by.ID, w.Now)
		if err != nil {
			w.Fatal(err)
		}
		equal(w, "the cursor", answer.GetCursor().GetBatch(), cursor)
		equal(w, "what was told", answer.GetTold(), a.Seal.GetBatch())
	}
	told, since := eventOf(w, a, 1, 1), eventOf(w, a, 2, 1)
	for _, e := range []*wire.Event{told, since} {
		e.At += (2 * time.Hour).Milliseconds()
		e.Issued = e.At
	}
	r := &wire.HandInRequest{Holder: a.ID, Seal: a.Seal, Proof: proof, Windows: []*wire.Window{windowOf(a.Boot, 0, 8)}, Late: []*wire.Event{told, since}, Last: true}
	for _, by := range []*Edge{a, peer} {
		if _, err := ledger.HandInBy(w.Context(), w.Store, r, by.ID, w.Now); !errors.Is(err, ledger.ErrBehind) {
			w.Errorf("as of the cursor, by holder %d: %v", by.ID, err)
		}
	}
	if err := w.handIn(&wire.HandInRequest{
		Holder: a.ID, Seal: a.Seal, Told: a.Seal.GetBatch(), Windows: []*wire.Window{windowOf(a.Boot, 0, 8, 1)}, Late: []*wire.Event{told, since}, Last: true,
	}); err != nil {
		w.Fatal(err)
	}
	j := w.judge(a)
	equal(w, "judged", j.Events, 2)
	equal(w, "billed", j.Billed, 1)
	equal(w, "settled", w.Check().Budgets[views].Settled, 22)
}

func recoversHolder(w *World) {
	w.SetBudget(views, 100)
	a := w.Join("us", "a")
	a.Sync()
	var b *Edge
	past(w, func() {
		b = w.Join("eu", "b")
		b.Want(views, 30, 1000)
		b.Sync()
		b.Spend(views, 12)
		b.Sync()
	})
	if reply := w.Exchange(b.Request()).Replies[0]; reply != nil {
		w.Errorf("a holder that the core does not know was answered %v", reply.GetStatus())
	}
	forged := b.Statement()
	forged.Holder += 7
	taken, err := ledger.TakeStatement(w.Context(), w.Store, forged, false, w.Now)
	if err != nil || taken.Status != forgotten || w.Dump().Forgotten != "" || len(taken.Notes) != 1 || !taken.Notes[0].Alone {
		w.Errorf("under a number that is not its own: %+v, %v", taken, err)
	}
	equal(w, "its statement", b.State(false).Status, forgotten)
	equal(w, "proves that the core forgot", w.Dump().Forgotten != "", true)
	a.Sync()
	a.State(true)
	r := apply(w, ledger.RecoverOptions{})
	equal(w, "it is made anew", standing(r, b), ledger.Anew)
	h, found, err := w.Holder(w.Context(), b.ID)
	if err != nil || !found || string(h.SecretHash) != string(ledger.Hash("secret of b")) || h.Region != "eu" || h.Disk != b.Disk {
		w.Errorf("as %+v, %v", h, err)
	}
	equal(w, "settled", w.Dump().Budgets[views].Settled, 12)
	equal(w, "in the reports", w.Dump().Totals[1].Views, 12)
	w.tick(1000)
	b.Spend(views, 3)
	equal(w, "it goes on", b.Sync().GetStatus(), ok)
	equal(w, "and settles", w.Check().Budgets[views].Settled, 15)
	c := w.Join("ap", "c")
	equal(w, "nobody gets its number", c.ID > b.ID, true)

	late := b.Statement()
	late.Holder, late.Region, late.Node = b.ID+20, "eu", "late" // registered and forgotten, and silent until now
	late.Stamp = nil
	if taken, err := ledger.TakeStatement(w.Context(), w.Store, late, false, w.Now); err != nil || taken.Status != forgotten || w.Dump().Forgotten != "" {
		w.Errorf("a late one that nothing proves: %+v, %v", taken, err)
	}
}

// grantedTwice is a budget of 100 of which a had 90 before the core forgot, and b then
// got 80; so much of it they have spent, and both have stated it.
func grantedTwice(w *World, byA, byB int64) (a, b *Edge) {
	w.SetBudget(views, 100)
	a, b = w.Join("us", "a"), w.Join("eu", "b")
	w.SyncAll(a, b)
	past(w, func() {
		for range 5 {
			a.Want(views, 90, 1000)
			a.Sync()
		}
		delete(a.wants, views)
		a.Spend(views, byA)
		a.Sync()
	})
	equal(w, "granted before", a.Leases[views].Granted, 90)
	for range 8 {
		b.Want(views, 80, 1000)
		b.Sync() // of what the core takes to be there
	}
	delete(b.wants, views)
	equal(w, "granted again", b.Leases[views].Granted, 80)
	b.Spend(views, byB)
	a.Sync()
	a.State(true)
	b.Sync()
	b.State(true)
	return a, b
}

func recoversOver(w *World) {
	a, b := grantedTwice(w, 40, 10)
	r := apply(w, ledger.RecoverOptions{})
	equal(w, "over", r.Budgets[0].Over, 70)
	equal(w, "who had most to spend", standing(r, b), ledger.TooMuch)
	equal(w, "the other", standing(r, a), ledger.Restated)
	now := w.Dump().Budgets[views]
	equal(w, "settled", now.Settled, 50)
	equal(w, "outstanding is what a holds", now.Outstanding, 50)
	equal(w, "unleased", now.Unleased, 0)
	equal(w, "the limit", now.Limit, 100)
	w.tick(1000)
	equal(w, "b hears so", b.Sync().GetStatus(), fenced)
	equal(w, "its cursor is that of its statement", b.Reply.GetCursor().GetBatch(), b.Seal.GetBatch())
	a.Spend(views, 50)
	equal(w, "a goes on", a.Sync().GetStatus(), ok)
	if err := w.handIn(&wire.HandInRequest{
		Holder: b.ID, Seal: b.Seal, Windows: []*wire.Window{windowOf(b.Boot, 0, 100)}, Last: true,
		Late: []*wire.Event{eventOf(w, b, 20, 1), eventOf(w, b, 21, 1)},
	}); err != nil {
		w.Fatal(err)
	}
	j := w.judge(b)
	equal(w, "what b billed since is", j.Events, 2)
	equal(w, "not billed", j.Billed, 0)
	end := w.Check()
	equal(w, "settled in the end", end.Budgets[views].Settled, 100)
	equal(w, "unbilled", end.Totals[1].UnbilledViews, 2)
}

// What was given away twice and is spent, too, is given back: nobody is charged for
// more than was sold.
func recoversTwice(w *World) {
	grantedTwice(w, 60, 70)
	r := apply(w, ledger.RecoverOptions{})
	equal(w, "over", r.Budgets[0].Over, 70)
	equal(w, "of that spent", r.Budgets[0].Refunded, 30)
	now := w.Dump().Budgets[views]
	equal(w, "settled", now.Settled, 130)
	equal(w, "refunded", now.Refunded, 30)
	equal(w, "the limit", now.Limit, 100)
	equal(w, "outstanding", now.Outstanding, 0)
	equal(w, "unleased", now.Unleased, 0)
}

func recoversWithout(w *World) {
	w.SetBudget(views, 100)
	a, b := w.Join("us", "a"), w.Join("eu", "b")
	b.Want(views, 20, 1000)
	w.SyncAll(a, b)
	var c *Edge
	past(w, func() {
		b.Spend(views, 15)
		w.SyncAll(a, b)
		w.tick(1000)
		w.fence(b)
		c = w.Join("eu", "b") // the same node, as another holder
		c.Sync()
	})
	a.Sync()
	a.State(true)
	d := w.Dump()
	equal(w, "the core has b as open", d.Holders[b.ID].State, ledger.Open)
	equal(w, "c's statement", c.State(false).Status, forgotten)
	r := apply(w, ledger.RecoverOptions{})
	equal(w, "b was replaced by c", standing(r, b), ledger.Replaced)
	equal(w, "c", standing(r, c), ledger.Anew)
	equal(w, "what b held stays set aside", w.Dump().Budgets[views].Outstanding, 20)
	w.tick(1000)
	equal(w, "b proves nothing any more", b.Sync().GetStatus(), fenced)
	equal(w, "a goes on", a.Sync().GetStatus(), ok)

	w.tick(1000)
	if err := ledger.Stop(w.Context(), w.Store, w.Now); err != nil {
		w.Fatal(err)
	}
	c.Sync()
	c.State(true)
	r = apply(w, ledger.RecoverOptions{Without: []uint32{a.ID, 77}})
	equal(w, "a is left out", standing(r, a), ledger.Left)
	equal(w, "a number that nobody has is named", len(r.Warnings), 1)
	equal(w, "a is fenced", w.Dump().Holders[a.ID].State, ledger.Fenced)
	w.tick(1000)
	equal(w, "a hears so", a.Sync().GetStatus(), fenced)
	equal(w, "c goes on", c.Sync().GetStatus(), ok)
}

// statesHearsay begins a recovery, in which a holder states how many views it has heard
// that all holders together had settled.
func statesHearsay(w *World, a *Edge, settled int64) {
	if err := ledger.Stop(w.Context(), w.Store, w.Now); err != nil {
		w.Fatal(err)
	}
	a.Sync()
	s := a.Statement()
	s.Delivered = []*wire.Delivered{{Budget: int64(views), Settled: settled, Limit: 100}}
	if _, err := ledger.TakeStatement(w.Context(), w.Store, s, true, w.Now); err != nil {
		w.Fatal(err)
	}
}

// recoversHeard: what a holder settled that is gone by now is known from what
// the others had heard.
func recoversHeard(w *World) {
	w.SetBudget(views, 100)
	a := w.Join("us", "a")
	a.Want(views, 10, 1000)
	a.Sync()
	past(w, func() {})
	statesHearsay(w, a, 33)
	r := apply(w, ledger.RecoverOptions{})
	equal(w, "heard", r.Budgets[0].Heard, 33)
	now := w.Dump()
	equal(w, "settled", now.Budgets[views].Settled, 33)
	equal(w, "unleased", now.Budgets[views].Unleased, 57)
	equal(w, "in the reports", now.Totals[1].Views, 33)
}

// recoversHeardOfClosed is of a budget that a holder had leased which was fenced and
// closed: its journal may still come, and what is in it is settled then, once.
func recoversHeardOfClosed(w *World) {
	w.SetBudget(views, 100)
	a, gone := w.Join("us", "a"), w.Join("us", "gone")
	a.Want(views, 10, 1000)
	gone.Want(views, 10, 1000)
	w.SyncAll(a, gone)
	w.fence(gone)
	w.close(gone)
	past(w, func() {})
	statesHearsay(w, a, 1) // one of the two below, which the core had judged
	r := apply(w, ledger.RecoverOptions{})
	for _, b := range r.Budgets {
		equal(w, "heard", b.Heard, 0)
	}
	if err := w.handIn(&wire.HandInRequest{
		Holder: gone.ID, Seal: gone.Seal, Windows: []*wire.Window{windowOf(gone.Boot, 0, 8)},
		Late: []*wire.Event{eventOf(w, gone, 1, 1), eventOf(w, gone, 2, 1)}, Last: true,
	}); err != nil {
		w.Fatal(err)
	}
	equal(w, "judged", w.judge(gone).Billed, 2)
	equal(w, "settled", w.Dump().Budgets[views].Settled, 2)
}

// recoversHeardOfLeftOut is of a budget that a holder first leased after the backup, and
// of a recovery that does not wait for it: nobody knows of that lease, and when its
// journal comes what is in it is settled, once.
func recoversHeardOfLeftOut(w *World) {
	w.SetBudget(views, 100)
	a, gone := w.Join("us", "a"), w.Join("us", "gone")
	a.Want(views, 10, 1000)
	w.SyncAll(a, gone)
	past(w, func() {
		gone.Want(views, 10, 1000)
		w.SyncAll(a, gone)
		gone.Sync()
		equal(w, "spent before the core was lost", gone.Spend(views, 2), 2)
		gone.Sync()
		equal(w, "settled before the core was lost", w.Dump().Budgets[views].Settled, 2)
	})
	statesHearsay(w, a, 2)
	for _, b := range apply(w, ledger.RecoverOptions{Without: []uint32{gone.ID}}).Budgets {
		equal(w, "heard", b.Heard, 0)
	}
	w.tick(1000)
	equal(w, "status", gone.Sync().GetStatus(), fenced)
	if err := w.handIn(&wire.HandInRequest{
		Holder: gone.ID, Seal: gone.Seal, Windows: []*wire.Window{windowOf(gone.Boot, 0, 8)},
		Late: []*wire.Event{eventOf(w, gone, 1, 1), eventOf(w, gone, 2, 1)}, Last: true,
	}); err != nil {
		w.Fatal(err)
	}
	equal(w, "judged", w.judge(gone).Billed, 2)
	equal(w, "settled", w.Dump().Budgets[views].Settled, 2)
}

func recoversLie(w *World) {
	w.SetBudget(views, 100)
	a, b := w.Join("us", "a"), w.Join("eu", "b")
	a.Want(views, 10, 1000)
	w.SyncAll(a, b)
	a.Spend(views, 4)
	a.Sync()
	if err := ledger.Stop(w.Context(), w.Store, w.Now); err != nil {
		w.Fatal(err)
	}
	w.SyncAll(a, b)
	for _, lie := range []func(*wire.Statement){
		func(s *wire.Statement) { s.Totals.Spent[0] = 3 },
		func(s *wire.Statement) {
			s.Acked = &wire.Cursor{Batch: 1, Position: 7, Hash: []byte("another")}
			s.Sealed = s.Acked
		},
		func(s *wire.Statement) { s.Acked, s.Sealed = &wire.Cursor{}, &wire.Cursor{} },
		func(s *wire.Statement) { s.Disk = b.Disk },
	} {
		s := a.Statement()
		lie(s)
		if _, err := ledger.TakeStatement(w.Context(), w.Store, s, true, w.Now); err != nil {
			w.Fatal(err)
		}
		r, err := w.Recover(ledger.RecoverOptions{})
		if err != nil || standing(r, a) != ledger.Disagrees {
			w.Errorf("%v stands as %q, %v", s, standing(r, a), err)
		}
	}
	b.State(true)
	r := apply(w, ledger.RecoverOptions{Without: []uint32{a.ID}})
	equal(w, "left out", standing(r, a), ledger.Left)
	equal(w, "what it settled stays", w.Dump().Budgets[views].Settled, 4)
}
