// Package ledgertest holds every store of core/ledger to one behaviour: Run is
// the suite, Schedule drives random schedules over several stores at once and
// compares them after each step. Edge is a small model of a holder that is easy
// to make lie.
package ledgertest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"pgregory.net/rapid"

	"nearside/core/ledger"
	"nearside/sync/lease"
	"nearside/sync/wire"
)

// Fixture is an empty store and what tests do to it from outside.
type Fixture struct {
	ledger.Store
	SetBudget func(id lease.Budget, asked int64)
	SetCap    func(kind lease.Kind, owner uint32, c ledger.Cap)
	Kill      func(flight uint32)
	// AllowJoin makes a join token valid for a region ("": any) until it expires,
	// in unix milliseconds (0: never).
	AllowJoin func(token, region string, expires int64)
	Dump      func() ledger.Truth
	Reset     func() // to an empty store; join tokens may stay
	// Restore puts an earlier truth back, as a restored backup would: its holders,
	// budgets, leases and rollups.
	Restore func(ledger.Truth)
}

// String names the edge in a schedule that is told.
func (e *Edge) String() string { return fmt.Sprintf("edge %d", e.ID) }

// Start is the moment at which tests begin: 2026-03-02T12:00:00Z, a Monday.
const Start = 1772452800000

// Today is the day of Start.
const Today = int32(Start / 86400000)

// T is a *testing.T or a *rapid.T.
type T interface {
	rapid.TB
	Context() context.Context
}

// World is a store with a clock and edges.
type World struct {
	T
	Fixture
	Now   int64
	Rules ledger.Rules
}

// NewWorld begins at Start with the default rules.
func NewWorld(t T, f Fixture) *World {
	return &World{T: t, Fixture: f, Now: Start, Rules: ledger.DefaultRules()}
}

// Edge is a holder that says what it is told to.
type Edge struct {
	world   *World // nil: it is not in one
	now     *int64 // unix milliseconds
	ID      uint32
	Boot    uint64
	Ordinal uint64
	Leases  map[lease.Budget]lease.Totals
	Seal    *wire.Cursor
	Acked   *wire.Cursor // what the core has applied of it
	Out     *wire.Batch  // sealed, not acknowledged
	First   bool
	Reply   *wire.SyncResponse // the last one
	Stamp   *wire.Stamp        // the newest

	Region, Node, Disk string

	dirty   map[lease.Budget]bool
	gone    bool // drained
	rollups *wire.Rollups
	topics  *wire.TopicRollups
	wants   map[lease.Budget]*wire.Want
	foreign []*wire.Event
	verdict []*wire.Verdict
	ack     uint64
	applied [2]uint64 // catalog, control
}

// Join registers a node of a region and boots it.
func (w *World) Join(region, node string) *Edge {
	w.Helper()
	disk := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(region+"/"+node), uint64(w.Now)))
	r, err := ledger.Register(w.Context(), w.Store, &wire.RegisterRequest{
		Protocol: 1, Region: region, Node: node, Disk: hex(disk[:16]), PublicUrl: "https://" + node + ".example",
	}, ledger.Hash("secret of "+node), w.Now, w.Rules)
	if err != nil {
		w.Fatalf("register %s/%s: %v", region, node, err)
	}
	e := w.edge(r.Holder)
	e.Stamp, e.Region, e.Node, e.Disk = r.Stamp, region, node, hex(disk[:16])
	return e
}

// Statement is what the edge says of its account. A batch that is out is
// pending.
func (e *Edge) Statement() *wire.Statement {
	r := &wire.Statement{
		Holder: e.ID, Region: e.Region, Node: e.Node, Disk: e.Disk, Boot: e.Boot, BootOrdinal: e.Ordinal,
		SecretHash: ledger.Hash("secret of " + e.Node), Stamp: e.Stamp, Acked: e.Acked, Sealed: e.Seal,
		ForeignAck: e.ack, Catalog: e.applied[0], Control: e.applied[1], Totals: &wire.Totals{},
	}
	if e.Out != nil {
		c := &wire.Counted{Batch: e.Out.GetSeal().GetBatch()}
		for i, flight := range e.Out.GetRollups().GetFlight() {
			c.Flight, c.Views = append(c.Flight, flight), append(c.Views, e.Out.GetRollups().Views[i])
			c.Clicks, c.SpentMicros = append(c.Clicks, 0), append(c.SpentMicros, e.Out.GetRollups().SpentMicros[i])
		}
		r.Pending = append(r.Pending, c)
	}
	for _, b := range slices.Sorted(maps.Keys(e.Leases)) {
		l := e.Leases[b]
		r.Totals.Budget = append(r.Totals.Budget, int64(b))
		r.Totals.Granted = append(r.Totals.Granted, l.Granted)
		r.Totals.Spent = append(r.Totals.Spent, l.Spent)
		r.Totals.Returned = append(r.Totals.Returned, l.Returned)
	}
	return r
}

// State gives the edge's statement to the core; own says that its credential
// was good.
func (e *Edge) State(own bool) ledger.Taken {
	w := e.world
	w.Helper()
	if len(e.dirty) > 0 && e.Out == nil {
		e.Cut()
	}
	r := e.Statement()
	if err := ledger.ValidateState(&wire.StateRequest{Protocol: 1, Statement: r}); err != nil {
		w.Fatalf("the statement is not valid: %v", err)
	}
	taken, err := ledger.TakeStatement(w.Context(), w.Store, r, own, w.Now)
	if err != nil {
		w.Fatalf("state: %v", err)
	}
	return taken
}

// Recover has the core recover.
func (w *World) Recover(o ledger.RecoverOptions) (*ledger.Recovery, error) {
	return ledger.Recover(w.Context(), w.Store, o, w.Now)
}

// edge is one that is registered, with the world's clock.
func (w *World) edge(id uint32) *Edge {
	e := NewEdge(id, w.Now)
	e.world, e.now = w, &w.Now
	return e
}

// NewEdge is one that is registered and has just booted.
func NewEdge(id uint32, now int64) *Edge {
	e := &Edge{
		ID: id, now: &now, Seal: &wire.Cursor{}, Acked: &wire.Cursor{}, Leases: map[lease.Budget]lease.Totals{},
		rollups: &wire.Rollups{}, topics: &wire.TopicRollups{}, dirty: map[lease.Budget]bool{}, wants: map[lease.Budget]*wire.Want{},
	}
	e.Restart()
	return e
}

func hex(b []byte) string {
	const digits = "0123456789abcdef"
	var out []byte
	for _, c := range b {
		out = append(out, digits[c>>4], digits[c&15])
	}
	return string(out)
}

// Restart is a new boot on the same directory.
func (e *Edge) Restart() {
	e.Ordinal++
	e.Boot = uint64(e.ID)<<32 | e.Ordinal
	e.First = true
}

// Want asks for a budget at every exchange from now on.
func (e *Edge) Want(b lease.Budget, target, velocityMilli int64) {
	e.wants[b] = &wire.Want{Budget: int64(b), Target: target, VelocityMilli: velocityMilli}
}

// Spend takes up to n from the lease, counts them as views of a flight, and
// says how many there were.
func (e *Edge) Spend(b lease.Budget, n int64) int64 {
	l := e.Leases[b]
	n = min(n, l.Available())
	if n <= 0 {
		return 0
	}
	l.Spent += n
	e.Leases[b] = l
	e.dirty[b] = true
	e.count(b.Owner(), n, n*2000)
	return n
}

func (e *Edge) count(flight uint32, views, micros int64) {
	r := e.rollups
	r.Hour = append(r.Hour, *e.now/1000/3600*3600)
	r.Flight = append(r.Flight, flight)
	r.Ad = append(r.Ad, 1)
	r.Publisher = append(r.Publisher, 1)
	r.Country = append(r.Country, "DE")
	r.Views = append(r.Views, views)
	r.Clicks = append(r.Clicks, 0)
	r.UnbilledViews = append(r.UnbilledViews, 0)
	r.UnbilledClicks = append(r.UnbilledClicks, 0)
	r.SpentMicros = append(r.SpentMicros, micros)
	for _, topic := range [...]uint32{1, 2} { // every page is about both
		t := e.topics
		t.Hour = append(t.Hour, *e.now/1000/3600*3600)
		t.Topic = append(t.Topic, topic)
		t.Flight = append(t.Flight, flight)
		t.Country = append(t.Country, "DE")
		t.Views = append(t.Views, views)
		t.Clicks = append(t.Clicks, 0)
		t.UnbilledViews = append(t.UnbilledViews, 0)
		t.UnbilledClicks = append(t.UnbilledClicks, 0)
		t.SpentMicros = append(t.SpentMicros, micros)
		t.HomeLost = append(t.HomeLost, 0)
	}
}

// Return gives n of the lease back.
func (e *Edge) Return(b lease.Budget, n int64) {
	l := e.Leases[b]
	n = min(n, l.Available())
	if n <= 0 {
		return
	}
	l.Returned += n
	e.Leases[b] = l
	e.dirty[b] = true
}

// Ship takes an event whose home is another holder.
func (e *Edge) Ship(ev *wire.Event) { e.foreign = append(e.foreign, ev) }

// Judge says what came of a foreign event that the core brought.
func (e *Edge) Judge(position uint64, outcome uint32) {
	e.verdict = append(e.verdict, &wire.Verdict{Position: position, Outcome: outcome})
	e.ack = max(e.ack, position)
}

// Cut seals what is unsaid into the next batch, unless one is out already.
func (e *Edge) Cut() *wire.Batch {
	if e.Out != nil {
		return e.Out
	}
	totals := &wire.Totals{}
	for _, b := range slices.Sorted(maps.Keys(e.dirty)) {
		l := e.Leases[b]
		totals.Budget = append(totals.Budget, int64(b))
		totals.Granted = append(totals.Granted, l.Granted)
		totals.Spent = append(totals.Spent, l.Spent)
		totals.Returned = append(totals.Returned, l.Returned)
	}
	n := e.Seal.GetBatch() + 1
	hash := sha256.Sum256(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(e.ID)), n))
	e.Seal = &wire.Cursor{Batch: n, Position: e.Seal.GetPosition() + 100, Hash: hash[:16]}
	e.Out = &wire.Batch{
		Seal: e.Seal, Totals: totals, Foreign: e.foreign, Verdicts: e.verdict, ForeignAck: e.ack,
		Rollups: e.rollups, Topics: e.topics,
	}
	e.dirty, e.foreign, e.verdict = map[lease.Budget]bool{}, nil, nil
	e.rollups, e.topics = &wire.Rollups{}, &wire.TopicRollups{}
	return e.Out
}

// Request is what the edge would say now. It seals where there is something
// to say.
func (e *Edge) Request() *wire.SyncRequest {
	if e.Out == nil && (len(e.dirty) > 0 || len(e.foreign) > 0 || len(e.verdict) > 0) {
		e.Cut()
	}
	r := &wire.SyncRequest{
		Protocol: 1, Holder: e.ID, Boot: e.Boot, BootOrdinal: e.Ordinal, First: e.First, Batch: e.Out, Seal: e.Seal, Stamp: e.Stamp,
		Side: &wire.Side{AppliedCatalog: e.applied[0], AppliedControl: e.applied[1]},
	}
	for _, b := range slices.Sorted(maps.Keys(e.wants)) {
		r.Side.Wants = append(r.Side.Wants, e.wants[b])
	}
	return r
}

// Hear takes a reply as a holder does.
func (e *Edge) Hear(r *wire.SyncResponse) {
	e.Reply = r
	if r.GetStatus() != wire.SyncResponse_OK {
		return
	}
	e.First = false
	if r.GetStamp() != nil {
		e.Stamp = r.GetStamp()
	}
	if e.Out != nil && r.GetCursor().GetBatch() == e.Out.GetSeal().GetBatch() {
		e.Acked, e.Out = e.Out.GetSeal(), nil
	}
	for _, g := range r.GetLeases() {
		b := lease.Budget(g.GetBudget())
		l := e.Leases[b]
		l.Granted = max(l.Granted, g.GetGranted())
		e.Leases[b] = l
		if to := g.GetRecallTo(); to >= 0 {
			e.Return(b, l.Available()-to)
		}
	}
}

// Sync is one exchange whose reply arrives.
func (e *Edge) Sync() *wire.SyncResponse {
	e.world.Helper()
	e.world.SyncAll(e)
	return e.Reply
}

// SyncAll is one exchange of several edges in one transaction.
func (w *World) SyncAll(edges ...*Edge) ledger.Result {
	w.Helper()
	var requests []*wire.SyncRequest
	for _, e := range edges {
		requests = append(requests, e.Request())
	}
	result := w.Exchange(requests...)
	for i, e := range edges {
		e.Hear(result.Replies[i])
	}
	return result
}

// Exchange brings requests to the core, as core/ingest does.
func (w *World) Exchange(requests ...*wire.SyncRequest) ledger.Result {
	w.Helper()
	for _, r := range requests {
		if err := ledger.Validate(r); err != nil {
			w.Fatalf("the request is not valid: %v", err)
		}
	}
	if err := w.OpenDays(w.Context(), ledger.DaysWanted(requests, w.Now, w.Rules)); err != nil {
		w.Fatal(err)
	}
	result, err := ledger.Exchange(w.Context(), w.Store, requests, w.Now, w.Rules)
	if err != nil {
		w.Fatalf("exchange: %v", err)
	}
	return result
}

// Check fails the test where an invariant does not hold.
func (w *World) Check() ledger.Truth {
	w.Helper()
	truth := w.Dump()
	diff, err := truth.Check()
	if err != nil {
		w.Fatal(err)
	}
	for _, d := range diff {
		w.Errorf("%s of %d: have %d, its parts make %d", d.What, d.Of, d.Have, d.Want)
	}
	return truth
}
