// Package fakecore is a core of a few hundred lines for tests of the edge: it
// keeps the ledger in memory, applies batches exactly once by their cursor, and
// checks after every message what no core may ever see. It is not the core that
// ships, and is kept apart from it on purpose: it says in the simplest way what
// the edge may rely on.
package fakecore

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"nearside/sync/exchange"
	"nearside/sync/lease"
	"nearside/sync/wire"
)

// ErrUnknown refuses a holder or a secret.
var ErrUnknown = errors.New("fakecore: no such holder")

// State of a holder.
type State uint8

const (
	Open State = iota
	Fenced
	Closed
)

// Budget is one account.
type Budget struct {
	Limit, Unleased, Outstanding, Settled, Refunded int64
	Brokered                                        bool
}

// Counts sums rollups.
type Counts struct{ Views, Clicks, UnbilledViews, UnbilledClicks, HomeLost, Micros int64 }

// Holder is what the core knows of one.
type Holder struct {
	ID      uint32
	Secret  string
	Disk    string
	State   State
	Cursor  *wire.Cursor
	Ordinal uint64
	Boot    uint64
	Leases  map[lease.Budget]*lease.Totals
	Windows map[uint64]*wire.Window
	Handed  bool
	Ack     uint64
	inbox   []*wire.Event
	late    []*wire.Event
	want    map[lease.Budget]*wire.Want
	told    map[lease.Budget]lease.Totals // in a reply, which may have been lost
}

// Core is the ledger. All methods may be called from any goroutine.
type Core struct {
	mu       sync.Mutex
	Budgets  map[lease.Budget]*Budget
	Holders  map[uint32]*Holder
	Counts   Counts
	Verdicts map[uint64]uint32 // outcomes of foreign events, by position
	Lost     int64             // events that nobody could judge
	Controls []*wire.Control
	Catalog  uint64
	Keys     []*wire.TokenKey
	Forgot   bool
	Largest  int64            // most granted at once; 0: no bound
	Decided  int64            // decisions told of
	Topics   map[uint32]int64 // the same, by topic
	Refused  map[string]int64
	Receipts map[uint64]bool // catalog versions applied

	known    map[string]bool // foreign events, by home, boot, seq and kind
	position uint64
	broken   []string
}

// New makes a core with one token key.
func New() *Core {
	secret := make([]byte, 32)
	secret[0] = 1
	return &Core{
		Budgets: map[lease.Budget]*Budget{}, Holders: map[uint32]*Holder{}, Verdicts: map[uint64]uint32{},
		Refused: map[string]int64{}, Topics: map[uint32]int64{}, Receipts: map[uint64]bool{}, known: map[string]bool{},
		Keys: []*wire.TokenKey{{Id: 1, Secret: secret}},
	}
}

// Do runs f with the core locked.
func (c *Core) Do(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

// Sell makes a budget.
func (c *Core) Sell(b lease.Budget, limit int64) {
	c.Do(func() { c.Budgets[b] = &Budget{Limit: limit, Unleased: limit} })
}

// Broken lists what was wrong so far.
func (c *Core) Broken() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.broken)
}

func (c *Core) bad(format string, args ...any) {
	c.broken = append(c.broken, fmt.Sprintf(format, args...))
}

// Register binds a disk to a holder. Another disk's holder of the only name
// there is gets fenced.
func (c *Core) Register(r *wire.RegisterRequest) *wire.RegisterResponse {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.Holders {
		if h.State != Open {
			continue
		}
		if h.Disk == r.GetDisk() {
			h.Secret += "+"
			return &wire.RegisterResponse{Holder: h.ID, Secret: h.Secret, Keys: c.Keys}
		}
		h.State = Fenced
	}
	h := &Holder{
		ID: uint32(len(c.Holders) + 1), Disk: r.GetDisk(), Cursor: &wire.Cursor{},
		Leases: map[lease.Budget]*lease.Totals{}, Windows: map[uint64]*wire.Window{}, want: map[lease.Budget]*wire.Want{}, told: map[lease.Budget]lease.Totals{},
	}
	h.Secret = fmt.Sprintf("secret of %d", h.ID)
	c.Holders[h.ID] = h
	return &wire.RegisterResponse{Holder: h.ID, Secret: h.Secret, Keys: c.Keys}
}

// Allow reports whether the secret is the holder's.
func (c *Core) Allow(id uint32, secret string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.Holders[id]
	return h != nil && h.Secret == secret
}

// Fence ends a holder's right to judge.
func (c *Core) Fence(id uint32) { c.Do(func() { c.Holders[id].State = Fenced }) }

// Sync answers one exchange.
func (c *Core) Sync(r *wire.SyncRequest) (*wire.SyncResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.Holders[r.GetHolder()]
	if h == nil {
		return nil, ErrUnknown
	}
	reply := &wire.SyncResponse{Cursor: h.Cursor, Catalog: c.Catalog}
	b := r.GetBatch()
	switch {
	case h.State == Closed && b.GetClosing() && exchange.Compare(b.GetSeal(), h.Cursor) == exchange.Same:
		return reply, nil
	case h.State != Open:
		reply.Status = wire.SyncResponse_FENCED
		return reply, nil
	case r.GetBootOrdinal() < h.Ordinal:
		reply.Status = wire.SyncResponse_SUPERSEDED
		return reply, nil
	case r.GetBootOrdinal() == h.Ordinal && r.GetBoot() != h.Boot:
		c.bad("boot %d of holder %d was claimed twice", h.Ordinal, h.ID)
	}
	h.Boot, h.Ordinal = r.GetBoot(), r.GetBootOrdinal()
	if c.Forgot {
		reply.Status = wire.SyncResponse_FORGOTTEN
		return reply, nil
	}
	seal := r.GetSeal()
	if b != nil {
		seal = b.GetSeal()
	}
	again := false
	switch order := exchange.Compare(seal, h.Cursor); {
	case order == exchange.Another:
		c.bad("holder %d is at %s, the core at %s", h.ID, exchange.Describe(seal), exchange.Describe(h.Cursor))
	case order == exchange.Ahead && (b == nil || seal.GetBatch() != h.Cursor.GetBatch()+1):
		c.bad("holder %d skipped from %s to %s", h.ID, exchange.Describe(h.Cursor), exchange.Describe(seal))
	case order == exchange.Ahead:
		c.apply(h, b)
		reply.Cursor = h.Cursor
	default:
		again = b != nil
	}
	c.side(h, r.GetSide())
	if h.State == Open {
		c.grant(h)
	}
	if r.GetFirst() || again {
		clear(h.told)
	}
	for _, id := range slices.Sorted(maps.Keys(h.Leases)) {
		l := h.Leases[id]
		if was, ok := h.told[id]; ok && *l == was {
			continue
		}
		h.told[id] = *l
		reply.Leases = append(reply.Leases, &wire.Grant{Budget: int64(id), Granted: l.Granted, Spent: l.Spent, Returned: l.Returned, RecallTo: -1})
		if b := c.Budgets[id]; b != nil {
			reply.Delivered = append(reply.Delivered, &wire.Delivered{Budget: int64(id), Settled: b.Settled, Limit: b.Limit, Unleased: b.Unleased, Brokered: b.Brokered, Refunded: b.Refunded})
		}
	}
	for _, e := range h.inbox {
		if e.GetPosition() > h.Ack {
			reply.ForeignIn = append(reply.ForeignIn, e)
		}
	}
	for _, control := range c.Controls {
		if control.GetVersion() > r.GetSide().GetAppliedControl() {
			reply.Controls = append(reply.Controls, control)
		}
	}
	if r.GetFirst() {
		reply.Keys = c.Keys
	}
	c.check()
	return reply, nil
}

func (c *Core) apply(h *Holder, b *wire.Batch) {
	t := b.GetTotals()
	for i, id := range t.GetBudget() {
		l, budget := h.Leases[lease.Budget(id)], c.Budgets[lease.Budget(id)]
		if l == nil || budget == nil {
			c.bad("I3: holder %d tells of budget %d, which it was never granted", h.ID, id)
			continue
		}
		if t.Granted[i] > l.Granted {
			c.bad("I3: holder %d has %d of budget %d, the core granted %d", h.ID, t.Granted[i], id, l.Granted)
		}
		if t.Spent[i] < l.Spent || t.Returned[i] < l.Returned {
			c.bad("I7: holder %d, budget %d: spent %d and returned %d after %d and %d", h.ID, id, t.Spent[i], t.Returned[i], l.Spent, l.Returned)
		}
		if t.Spent[i]+t.Returned[i] > t.Granted[i] {
			c.bad("I2: holder %d, budget %d: spent %d and returned %d of %d", h.ID, id, t.Spent[i], t.Returned[i], t.Granted[i])
		}
		budget.Outstanding -= t.Spent[i] - l.Spent + t.Returned[i] - l.Returned
		budget.Settled += t.Spent[i] - l.Spent
		budget.Unleased += t.Returned[i] - l.Returned
		l.Spent, l.Returned = t.Spent[i], t.Returned[i]
	}
	r := b.GetRollups()
	for i := range r.GetHour() {
		c.Counts.Views += r.GetViews()[i]
		c.Counts.Clicks += r.GetClicks()[i]
		c.Counts.UnbilledViews += r.GetUnbilledViews()[i]
		c.Counts.UnbilledClicks += r.GetUnbilledClicks()[i]
		c.Counts.Micros += r.GetSpentMicros()[i]
	}
	for _, n := range r.GetHomeLost() {
		c.Counts.HomeLost += n
	}
	for _, e := range b.GetForeign() {
		c.foreign(e)
	}
	for _, v := range b.GetVerdicts() {
		if was, ok := c.Verdicts[v.GetPosition()]; ok {
			c.bad("I4: event %d was judged %d and then %d", v.GetPosition(), was, v.GetOutcome())
		}
		c.Verdicts[v.GetPosition()] = v.GetOutcome()
	}
	h.Ack = b.GetForeignAck()
	h.Cursor = b.GetSeal()
	if b.GetClosing() {
		for _, w := range b.GetFinal() {
			h.Windows[w.GetBoot()] = w
		}
		h.Handed = true
		c.close(h)
		for _, e := range b.GetHeld() {
			c.foreign(e)
		}
	}
}

func (c *Core) close(h *Holder) {
	h.State = Closed
	for id, l := range h.Leases {
		c.Budgets[id].Unleased += l.Available()
		c.Budgets[id].Outstanding -= l.Available()
		l.Returned += l.Available()
	}
}

// foreign passes an event to its home, or keeps it for judging.
func (c *Core) foreign(e *wire.Event) {
	key := fmt.Sprint(e.GetHolder(), e.GetBoot(), e.GetSeq(), e.GetKind())
	if c.known[key] {
		return
	}
	c.known[key] = true
	c.position++
	e.Position = c.position
	home := c.Holders[e.GetHolder()]
	switch {
	case home == nil:
		c.Lost++
	case home.State == Open:
		home.inbox = append(home.inbox, e)
	default:
		home.late = append(home.late, e)
		if home.Handed {
			c.judge(home)
		}
	}
}

func (c *Core) side(h *Holder, s *wire.Side) {
	for _, w := range s.GetWants() {
		h.want[lease.Budget(w.GetBudget())] = w
	}
	for i := range s.GetDecisions().GetDecisions() {
		c.Decided += s.GetDecisions().GetDecisions()[i]
	}
	for i, topic := range s.GetTopics().GetTopic() {
		c.Topics[topic] += s.GetTopics().GetDecisions()[i]
	}
	for i, reason := range s.GetRefusals().GetReason() {
		c.Refused[reason] += s.GetRefusals().GetN()[i]
	}
	if v := s.GetAppliedCatalog(); v > 0 {
		c.Receipts[v] = true
	}
}

func (c *Core) grant(h *Holder) {
	for _, id := range slices.Sorted(maps.Keys(h.want)) {
		w, b := h.want[id], c.Budgets[id]
		if b == nil {
			continue
		}
		l := h.Leases[id]
		if l == nil {
			l = &lease.Totals{}
		}
		open := 0
		for _, o := range c.Holders {
			if o.State == Open {
				open++
			}
		}
		g := lease.Grant(w.GetTarget(), l.Available(), b.Unleased, 0, 0, open, 1)
		if c.Largest > 0 {
			g = min(g, c.Largest)
		}
		if g == 0 {
			continue
		}
		h.Leases[id] = l
		l.Granted += g
		b.Unleased -= g
		b.Outstanding += g
	}
}

// HandIn takes a part of a fenced holder's journal.
func (c *Core) HandIn(r *wire.HandInRequest) (*wire.HandInResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.Holders[r.GetHolder()]
	if h == nil || h.State == Open {
		return nil, ErrUnknown
	}
	if order := exchange.Compare(r.GetSeal(), h.Cursor); order == exchange.Behind || order == exchange.Another {
		c.bad("holder %d hands in a journal at %s, the core is at %s", h.ID, exchange.Describe(r.GetSeal()), exchange.Describe(h.Cursor))
	}
	if !h.Handed {
		for _, w := range r.GetWindows() {
			h.Windows[w.GetBoot()] = w
		}
		for _, e := range r.GetLate() {
			if e.GetHolder() != h.ID {
				c.bad("holder %d hands in an event of holder %d", h.ID, e.GetHolder())
			}
			c.foreign(e)
		}
	}
	if r.GetLast() && !h.Handed {
		h.Handed = true
		c.judge(h)
	}
	c.check()
	return &wire.HandInResponse{Cursor: h.Cursor}, nil
}

// judge judges the late events of a holder that was handed in, out of what is
// left of its leases, and closes it.
func (c *Core) judge(h *Holder) {
	late := append(h.late, unjudged(h.inbox, c.Verdicts)...)
	slices.SortStableFunc(late, func(a, b *wire.Event) int { return int(a.GetKind()) - int(b.GetKind()) })
	var waiting []*wire.Event
	for _, e := range late {
		w := h.Windows[e.GetBoot()]
		if w == nil || e.GetSeq() < w.GetFloor() {
			c.Lost++
			continue
		}
		i, mask := (e.GetSeq()-w.GetFloor())/4, byte(e.GetKind())<<((e.GetSeq()-w.GetFloor())%4*2)
		for uint64(len(w.Bits)) <= i {
			w.Bits = append(w.Bits, 0)
		}
		viewed := w.Bits[i]>>((e.GetSeq()-w.GetFloor())%4*2)&1 != 0
		switch {
		case w.Bits[i]&mask != 0:
			c.Verdicts[e.GetPosition()] = uint32(exchange.Duplicate)
			continue
		case e.GetKind() == uint32(exchange.Click) && !viewed:
			waiting = append(waiting, e) // its view may be on another way here
			continue
		}
		w.Bits[i] |= mask
		c.Verdicts[e.GetPosition()] = c.debit(h, e)
	}
	h.late, h.inbox = waiting, nil
	if h.State != Closed {
		c.close(h)
	}
}

func unjudged(events []*wire.Event, verdicts map[uint64]uint32) []*wire.Event {
	var list []*wire.Event
	for _, e := range events {
		if _, ok := verdicts[e.GetPosition()]; !ok {
			list = append(list, e)
		}
	}
	return list
}

func (c *Core) debit(h *Holder, e *wire.Event) uint32 {
	price := e.GetViewPrice()
	if e.GetKind() == uint32(exchange.Click) {
		price = e.GetClickPrice()
	}
	debits, n := exchange.Debits(exchange.Kind(e.GetKind()), uint16(e.GetFlags()), e.GetFlight(), e.GetPublisher(), e.GetIssued(), price)
	billed := true
	for _, d := range debits[:n] {
		l, b := h.Leases[d.Budget], c.Budgets[d.Budget]
		if b == nil || (l == nil || l.Available() < d.Amount) && b.Unleased < d.Amount {
			billed = false
		}
	}
	view := e.GetKind() == uint32(exchange.View)
	switch {
	case !billed && view:
		c.Counts.UnbilledViews++
		return uint32(exchange.Unbilled)
	case !billed:
		c.Counts.UnbilledClicks++
		return uint32(exchange.Unbilled)
	case view:
		c.Counts.Views++
	default:
		c.Counts.Clicks++
	}
	for _, d := range debits[:n] {
		l, b := h.Leases[d.Budget], c.Budgets[d.Budget]
		b.Settled += d.Amount
		if l != nil && l.Available() >= d.Amount {
			l.Spent += d.Amount
			b.Outstanding -= d.Amount
		} else {
			b.Unleased -= d.Amount
		}
	}
	if n > 0 {
		c.Counts.Micros += price
	}
	return uint32(exchange.Billed)
}

// check checks I1 and I10.
func (c *Core) check() {
	for id, b := range c.Budgets {
		if b.Limit+b.Refunded != b.Unleased+b.Outstanding+b.Settled || b.Unleased < 0 || b.Outstanding < 0 {
			c.bad("I1: budget %d: %+v", id, *b)
		}
		if b.Settled-b.Refunded > b.Limit {
			c.bad("I10: budget %d: %+v", id, *b)
		}
		held := int64(0)
		for _, h := range c.Holders {
			if l := h.Leases[id]; l != nil {
				held += l.Available()
			}
		}
		if held != b.Outstanding {
			c.bad("I1: budget %d: holders have %d, outstanding are %d", id, held, b.Outstanding)
		}
	}
}
