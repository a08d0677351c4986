package simulation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"nearside/core/ledger"
	"nearside/sync/exchange"
	"nearside/sync/lease"
	"nearside/sync/wire"
)

// core is the process that owns the truth: core/ledger over its memory store,
// and the thinnest ingest before it. What waits in it is lost when it dies;
// what was committed is not.
type core struct {
	w       *World
	mem     *ledger.Memory
	store   flaky
	up      bool
	since   int64 // when it came up
	life    int
	pending []pending
	due     bool
	changed bool                  // the truth, since it was last checked
	asked   map[lease.Budget]bool // limits that an operator changed since then

	controls []*wire.Control // newest of each flight
	version  uint64
	killed   map[uint32]bool
	catalog  uint64
	keys     []*wire.TokenKey
}

type pending struct {
	request *wire.SyncRequest
	reply   func(*wire.SyncResponse)
}

func newCore(w *World) *core {
	c := &core{w: w, mem: ledger.NewMemory(), up: true, since: w.now, killed: map[uint32]bool{}, asked: map[lease.Budget]bool{}}
	c.store = flaky{c.mem, c}
	for i := range w.plan.flights {
		f := &w.plan.flights[i]
		c.mem.SetBudget(f.budget(), f.limit, 1)
		if f.cap > 0 {
			c.mem.SetCap(lease.FlightDay, f.id, ledger.Cap{Micros: f.cap, From: f.from, Unit: w.plan.unitOf(lease.FlightDay, f.id)})
		}
	}
	for _, s := range w.plan.sites {
		if s.cap > 0 {
			c.mem.SetCap(lease.PublisherDay, s.id, ledger.Cap{Micros: s.cap, From: s.from, Unit: w.plan.unitOf(lease.PublisherDay, s.id)})
		}
	}
	c.changed = true
	c.catalog = 1
	keys, err := ledger.RotateKeys(context.Background(), c.mem, w.now-12*hour, w.plan.rules, func() []byte {
		b := make([]byte, 32)
		fill(w.rng, b)
		return b
	})
	if err != nil {
		w.fail("protocol", "token keys: %v", err)
	}
	c.keys = keys
	return c
}

func (f *flight) budget() lease.Budget {
	if f.view > 0 || f.click == 0 && f.flags&1 != 0 {
		return lease.Of(lease.FlightViews, f.id, 0)
	}
	return lease.Of(lease.FlightClicks, f.id, 0)
}

// flaky is a store whose transactions fail as a database's do: before the
// commit, after it, or so that they run once more.
type flaky struct {
	*ledger.Memory
	c *core
}

var (
	errRefused = errors.New("simulated: the transaction failed")
	errUnknown = errors.New("simulated: the connection broke around the commit")
	errAgain   = errors.New("simulated: serialization failure")
)

// Update implements ledger.Store.
func (f flaky) Update(ctx context.Context, step func(ledger.Tx) error) error {
	w := f.c.w
	f.c.changed = true
	plain := step
	step = func(tx ledger.Tx) error { return plain(watched{tx, f.c}) }
	if w.ending {
		return f.Memory.Update(ctx, step)
	}
	switch x := w.rng.Float64(); {
	case x < 0.01:
		w.count["transaction refused"]++
		return errRefused
	case x < 0.02:
		w.count["commit unknown"]++
		if err := f.Memory.Update(ctx, step); err != nil {
			return err
		}
		return errUnknown
	case x < 0.03:
		w.count["transaction repeated"]++
		err := f.Memory.Update(ctx, func(tx ledger.Tx) error {
			if err := step(tx); err != nil {
				return err
			}
			return errAgain
		})
		if !errors.Is(err, errAgain) {
			return err
		}
	}
	return f.Memory.Update(ctx, step)
}

// watched tells the oracle what was in hand when an event was given up. A verdict
// that is not committed is given again.
type watched struct {
	ledger.Tx
	c *core
}

// Write implements ledger.Tx.
func (t watched) Write(ctx context.Context, changes *ledger.Changes) error {
	for _, v := range changes.Verdicts {
		if v.Outcome == ledger.HomeLost && t.c.mem.Holders[v.Home].HandedIn {
			t.c.w.books.gaveUp[ledger.Verdict{Home: v.Home, Position: v.Position}] = true
		}
	}
	return t.Tx.Write(ctx, changes)
}

// die ends the process; what it had not answered is lost.
func (c *core) die(away int64) {
	c.w.say("core-died", "for %d s", away/second)
	c.up, c.pending, c.due = false, nil, false
	c.life++
	life := c.life
	c.w.after(away, func() {
		if c.life == life {
			c.rise()
		}
	})
}

func (c *core) rise() {
	if !c.up {
		c.w.say("core-up", "")
		c.up, c.since = true, c.w.now
	}
}

// exchange queues a request for the next group.
func (c *core) exchange(r *wire.SyncRequest, reply func(*wire.SyncResponse)) {
	if !c.up {
		return
	}
	if err := ledger.Validate(r); err != nil {
		c.w.fail("protocol", "holder %d said: %v", r.GetHolder(), err)
	}
	c.pending = append(c.pending, pending{r, reply})
	c.wake()
}

func (c *core) wake() {
	if c.due {
		return
	}
	c.due = true
	life := c.life
	c.w.after(c.w.between(5, 50), func() {
		if c.life == life {
			c.due = false
			c.group()
		}
	})
}

// group is one transaction of many holders.
func (c *core) group() {
	var now, later []pending
	seen := map[uint32]bool{}
	for _, p := range c.pending {
		if seen[p.request.GetHolder()] {
			later = append(later, p)
			continue
		}
		seen[p.request.GetHolder()] = true
		now = append(now, p)
	}
	c.pending = later
	if len(later) > 0 {
		c.wake()
	}
	if c.together(now) != nil && len(now) > 1 {
		for _, p := range now {
			_ = c.together([]pending{p}) // a holder whose turn fails hears nothing and asks again
		}
	}
}

func (c *core) together(group []pending) error {
	w := c.w
	requests := make([]*wire.SyncRequest, len(group))
	for i, p := range group {
		requests[i] = p.request
	}
	ctx := context.Background()
	err := c.store.OpenDays(ctx, ledger.DaysWanted(requests, w.now, w.plan.rules))
	if err != nil {
		return err
	}
	result, err := ledger.Exchange(ctx, c.store, requests, w.now, w.plan.rules)
	if err != nil {
		w.say("group-failed", "%d holders: %v", len(group), err)
		if !errors.Is(err, errRefused) && !errors.Is(err, errUnknown) {
			w.fail("I1", "an exchange was refused by the store: %v", err)
		}
		return err
	}
	w.books.check() // before anybody hears of it
	for _, note := range result.Notes {
		w.say("note", "holder %d %v: %s", note.Holder, note.Status, note.Reason)
		if note.Status == wire.SyncResponse_FORGOTTEN && !c.w.restored {
			w.fail("I3", "the core believes it forgot: %s", note.Reason)
		}
	}
	if !w.ending && w.chance(0.004) {
		c.die(w.between(second, 20*second)) // after the commit, before the replies
		return nil
	}
	for i, r := range result.Replies {
		if r == nil {
			if !w.restored {
				w.fail("protocol", "holder %d is unknown", requests[i].GetHolder())
			}
			group[i].reply(&wire.SyncResponse{Status: unauthenticated})
			continue
		}
		for _, x := range c.controls {
			if x.GetVersion() > requests[i].GetSide().GetAppliedControl() {
				r.Controls = append(r.Controls, x)
			}
		}
		r.Control, r.Catalog = c.version, c.catalog
		if requests[i].GetFirst() {
			r.Keys = c.keys
		}
		c.delivered(r)
		group[i].reply(r)
	}
	return nil
}

// delivered adds what is known of every budget.
func (c *core) delivered(r *wire.SyncResponse) {
	for _, id := range slices.Sorted(maps.Keys(c.mem.Truth.Budgets)) {
		b := c.mem.Truth.Budgets[id]
		r.Delivered = append(r.Delivered, &wire.Delivered{
			Budget: int64(id), Settled: b.Settled, Limit: b.Limit, Unleased: b.Unleased, VelocityMilli: b.Velocity, Brokered: b.Brokered, Refunded: b.Refunded,
		})
	}
}

func (c *core) register(r *wire.RegisterRequest, reply func(*wire.RegisterResponse)) {
	if !c.up {
		return
	}
	if err := ledger.ValidateRegister(r); err != nil {
		c.w.fail("protocol", "%v", err)
	}
	done, err := ledger.Register(context.Background(), c.store, r, ledger.Hash("secret"), c.w.now, c.w.plan.rules)
	if err != nil {
		c.w.say("register-refused", "%s: %v", r.GetNode(), err)
		return
	}
	c.w.say("registered", "%s as holder %d, fencing %d", r.GetNode(), done.Holder, done.Fenced)
	reply(&wire.RegisterResponse{Holder: done.Holder, Secret: fmt.Sprintf("%d.secret", done.Holder), Keys: c.keys, Stamp: done.Stamp})
}

// handIn answers without a cursor where the journal is of no use.
func (c *core) handIn(r *wire.HandInRequest, reply func(*wire.HandInResponse)) {
	if !c.up {
		return
	}
	if err := ledger.ValidateHandIn(r); err != nil {
		c.w.fail("protocol", "hand-in of holder %d: %v", r.GetHolder(), err)
	}
	answer, err := ledger.HandIn(context.Background(), c.store, r, c.w.now)
	switch {
	case errors.Is(err, ledger.ErrBehind):
		c.w.say("handin-behind", "holder %d: %v", r.GetHolder(), err)
		c.w.books.lost(r.GetHolder())
		reply(&wire.HandInResponse{})
	case errors.Is(err, ledger.ErrNoHolder) && c.mem.Forgotten == "": // forgotten, and recovered without it
		c.w.books.lost(r.GetHolder())
		reply(&wire.HandInResponse{})
	case err != nil:
		c.w.say("handin-refused", "holder %d: %v", r.GetHolder(), err)
	default:
		reply(answer)
	}
}

// sweep does what is due every few seconds.
func (c *core) sweep() {
	c.w.after(5*second+c.w.between(0, second), func() {
		if c.up && c.w.now-c.since > 15*second {
			c.sweepNow()
		}
		if !c.w.ending {
			c.sweep()
		}
	})
}

func (c *core) sweepNow() {
	swept, err := ledger.Sweep(context.Background(), c.store, c.w.now, c.w.plan.rules)
	if err != nil {
		c.w.say("sweep-failed", "%v", err)
		if !errors.Is(err, errRefused) && !errors.Is(err, errUnknown) {
			c.w.fail("I1", "a sweep was refused by the store: %v", err)
		}
	}
	if len(swept.Expired) > 0 {
		c.w.say("expired", "%v", swept.Expired)
	}
	if j := swept.Judged; j.Events > 0 {
		c.w.say("judged", "%d events, %d billed, %d lost", j.Events, j.Billed, j.Lost)
	}
}

// control is an operator's word about a flight. A killed flight stays killed.
func (c *core) control(flight uint32, state uint32) {
	if c.killed[flight] {
		return
	}
	c.version++
	kept := c.controls[:0:0]
	for _, x := range c.controls {
		if x.GetFlight() != flight {
			kept = append(kept, x)
		}
	}
	c.controls = append(kept, &wire.Control{Version: c.version, Flight: flight, State: state})
	if state == 2 {
		c.killed[flight] = true
		c.mem.Kill(flight)
	}
	c.w.say("control", "flight %d state %d version %d", flight, state, c.version)
}

// ask changes a budget's limit.
func (c *core) ask(id lease.Budget, limit int64) {
	c.w.say("ask", "budget %x limit %d", int64(id), limit)
	c.mem.SetBudget(id, limit, 1)
	c.asked[id] = true
	c.catalog++
	c.changed = true
}

// fence fences a holder alive, as an operator may by mistake.
func (c *core) fence(id uint32) {
	if err := ledger.Fence(context.Background(), c.store, id, "an operator's word", c.w.now); err == nil {
		c.w.say("fenced", "holder %d", id)
	}
}

// close closes a fenced holder, handed in or not.
func (c *core) close(id uint32) {
	if err := ledger.Close(context.Background(), c.store, id, c.w.now); err == nil {
		c.w.say("closed", "holder %d", id)
	}
}

// describe is a holder's state at the core.
func (c *core) describe(id uint32) string {
	h := c.mem.Holders[id]
	return fmt.Sprintf("%v at %s", h.State, exchange.Describe(h.Cursor()))
}

// lease is what the core has granted of a budget to a holder.
func (c *core) lease(holder uint32, b lease.Budget) ledger.Lease {
	return c.mem.Leases[ledger.LeaseKey{Holder: holder, Budget: b}]
}
