package ledger

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	"nearside/sync/exchange"
	"nearside/sync/lease"
	"nearside/sync/wire"
)

// Memory is a Store without a database, for tests and the simulation: the same
// constraints, one transaction at a time.
type Memory struct {
	mu sync.Mutex
	Truth
	caps   map[lease.Budget]Cap // by kind and owner, day 0
	killed map[uint32]bool
	joins  map[string]*join
	issued map[uint32]Issued
	trusts map[uint32][]byte
	keys   map[uint32]*wire.TokenKey
	prices map[uint32]Price
}

// MemoryStampKey is the key under the stamps of a Memory.
var MemoryStampKey = Hash("memory")

// Truth is everything that a store keeps of the ledger, for comparing stores
// and for checking the invariants.
type Truth struct {
	Holders   map[uint32]Holder
	Budgets   map[lease.Budget]Budget
	Leases    map[LeaseKey]Lease
	Windows   map[uint32]map[uint64]Window
	Foreign   map[EventKey]Foreign
	Rollups   map[RollupKey]Counts
	Topics    map[TopicKey]TopicCounts
	Totals    map[uint32]Counts
	Decisions map[DecisionKey]Decisions
	Refusals  map[RefusalKey]int64
	Receipts  map[Receipt]bool // At 0
	Forgotten string

	Statements  map[uint32]Statement
	RecoveredAt int64
	LastHolder  uint32 // the highest id given out
}

// NewMemory is an empty store.
func NewMemory() *Memory {
	return &Memory{
		Truth:  NewTruth(),
		caps:   map[lease.Budget]Cap{},
		killed: map[uint32]bool{},
		joins:  map[string]*join{},
		issued: map[uint32]Issued{},
		trusts: map[uint32][]byte{},
		keys:   map[uint32]*wire.TokenKey{},
		prices: map[uint32]Price{},
	}
}

// SetPrice tells what an event of a flight costs, for what a recovery has to
// put into reports.
func (m *Memory) SetPrice(flight uint32, p Price) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.prices[flight] = p
}

// NewTruth is that of an empty store.
func NewTruth() Truth {
	return Truth{
		Holders:   map[uint32]Holder{},
		Budgets:   map[lease.Budget]Budget{},
		Leases:    map[LeaseKey]Lease{},
		Windows:   map[uint32]map[uint64]Window{},
		Foreign:   map[EventKey]Foreign{},
		Rollups:   map[RollupKey]Counts{},
		Topics:    map[TopicKey]TopicCounts{},
		Totals:    map[uint32]Counts{},
		Decisions: map[DecisionKey]Decisions{},
		Refusals:  map[RefusalKey]int64{},
		Receipts:  map[Receipt]bool{},

		Statements: map[uint32]Statement{},
	}
}

func (t Truth) clone() Truth {
	t.Holders, t.Budgets, t.Leases = maps.Clone(t.Holders), maps.Clone(t.Budgets), maps.Clone(t.Leases)
	t.Foreign, t.Rollups, t.Totals = maps.Clone(t.Foreign), maps.Clone(t.Rollups), maps.Clone(t.Totals)
	t.Topics = maps.Clone(t.Topics)
	t.Decisions, t.Refusals, t.Receipts = maps.Clone(t.Decisions), maps.Clone(t.Refusals), maps.Clone(t.Receipts)
	t.Windows, t.Statements = maps.Clone(t.Windows), maps.Clone(t.Statements)
	for h, ws := range t.Windows {
		t.Windows[h] = maps.Clone(ws)
	}
	return t
}

// Difference is a place where two accounts of the same thing disagree.
type Difference struct {
	What string // of a budget: outstanding, settled, velocity; of a flight: views, clicks, …, spent_micros, and those of one topic
	Of   int64  // the budget or the flight
	Have int64
	Want int64
}

// Check holds the truth against the invariants: the constraints of every row,
// and each budget against the sum of its leases, each flight's totals against
// the sum of its rollups.
func (t Truth) Check() ([]Difference, error) {
	type sums struct{ outstanding, spent, velocity int64 }
	of := map[lease.Budget]sums{}
	for _, l := range t.Leases {
		if err := l.Check(); err != nil {
			return nil, err
		}
		s := of[l.Budget]
		of[l.Budget] = sums{s.outstanding + l.Available(), s.spent + l.Spent, s.velocity + l.Velocity}
	}
	var diff []Difference
	differ := func(what string, of, have, want int64) {
		if have != want {
			diff = append(diff, Difference{what, of, have, want})
		}
	}
	for id, b := range t.Budgets {
		if err := b.Check(); err != nil {
			return nil, err
		}
		differ("outstanding", int64(id), b.Outstanding, of[id].outstanding)
		differ("settled", int64(id), b.Settled-b.Judged, of[id].spent)
		differ("velocity", int64(id), b.Velocity, of[id].velocity)
	}
	sum := Totals(t.Rollups)
	for flight, want := range sum {
		have := t.Totals[flight]
		differ("views", int64(flight), have.Views, want.Views)
		differ("clicks", int64(flight), have.Clicks, want.Clicks)
		differ("unbilled_views", int64(flight), have.UnbilledViews, want.UnbilledViews)
		differ("unbilled_clicks", int64(flight), have.UnbilledClicks, want.UnbilledClicks)
		differ("home_lost", int64(flight), have.HomeLost, want.HomeLost)
		differ("spent_micros", int64(flight), have.Spent, want.Spent)
	}
	// What pages of one topic had is part of what all pages had.
	type part struct{ topic, flight uint32 }
	parts := map[part]Counts{}
	for k, c := range t.Topics {
		of := part{k.Topic, k.Flight}
		parts[of] = parts[of].plus(c.Counts)
	}
	for of, have := range parts {
		want := sum[of.flight]
		for _, c := range [...]struct {
			what       string
			have, want int64
		}{
			{"topic views", have.Views, want.Views}, {"topic clicks", have.Clicks, want.Clicks},
			{"topic unbilled_views", have.UnbilledViews, want.UnbilledViews}, {"topic unbilled_clicks", have.UnbilledClicks, want.UnbilledClicks},
			{"topic home_lost", have.HomeLost, want.HomeLost}, {"topic spent_micros", have.Spent, want.Spent},
		} {
			if c.have > c.want {
				diff = append(diff, Difference{c.what, int64(of.flight), c.have, c.want})
			}
		}
	}
	slices.SortFunc(diff, func(a, b Difference) int { return cmp.Or(cmp.Compare(a.What, b.What), cmp.Compare(a.Of, b.Of)) })
	return diff, nil
}

// Dump is a copy of the truth as it is now.
func (m *Memory) Dump() Truth {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.Truth.clone()
}

// Restore puts an earlier truth back, as a restored backup would.
func (m *Memory) Restore(t Truth) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Truth = t.clone()
}

// SetBudget creates a budget or changes its limit.
func (m *Memory) SetBudget(id lease.Budget, limit, unit int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.Truth.Budgets[id]
	switch {
	case !ok:
		b = NewBudget(id, limit, unit)
	case b.Asked != limit:
		b.Ask(limit)
		b.Changed++
	}
	m.Truth.Budgets[id] = b
}

// SetCap sets the daily cap of a kind for an owner.
func (m *Memory) SetCap(kind lease.Kind, owner uint32, c Cap) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.caps[lease.Of(kind, owner, 0)] = c
}

// Kill makes the flight one whose events are no longer billed.
func (m *Memory) Kill(flight uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.killed[flight] = true
}

// AllowJoin makes a join token valid.
func (m *Memory) AllowJoin(token string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.joins[string(Hash(token))] = &join{JoinToken: JoinToken{ID: int32(len(m.joins) + 1)}}
}

// Update implements Store.
func (m *Memory) Update(_ context.Context, f func(Tx) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	tx := &memoryTx{m: m}
	if err := f(tx); err != nil {
		for _, undo := range slices.Backward(tx.undo) {
			undo()
		}
		return err
	}
	return nil
}

// Holder implements Store.
func (m *Memory) Holder(_ context.Context, id uint32) (Holder, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h, ok := m.Holders[id]
	return h, ok, nil
}

// join is a join token as it is kept.
type join struct {
	JoinToken
	expires int64 // unix milliseconds; 0: never
	uses    int
}

// AllowJoinTo makes a join token valid for one region until it expires.
func (m *Memory) AllowJoinTo(token, region string, expires int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.joins[string(Hash(token))] = &join{JoinToken: JoinToken{ID: int32(len(m.joins) + 1), Region: region}, expires: expires}
}

// Revoke ends a holder's credential.
func (m *Memory) Revoke(holder uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.Truth.Holders[holder]
	h.SecretHash = nil
	m.Truth.Holders[holder] = h
}

// JoinToken implements Store.
func (m *Memory) JoinToken(_ context.Context, hash []byte, now int64) (JoinToken, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	j := m.joins[string(hash)]
	if j == nil || j.expires != 0 && j.expires <= now {
		return JoinToken{}, false, nil
	}
	return j.JoinToken, true, nil
}

// Joined implements Store.
func (m *Memory) Joined(_ context.Context, token int32, _ int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, j := range m.joins {
		if j.ID == token {
			j.uses++
		}
	}
	return nil
}

// Issue implements Store.
func (m *Memory) Issue(_ context.Context, holder uint32, issued Issued) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.issued[holder] = issued
	return nil
}

// UseSecret implements Store.
func (m *Memory) UseSecret(_ context.Context, holder uint32, hash []byte) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	issued, h := m.issued[holder], m.Truth.Holders[holder]
	if len(issued.NextSecret) == 0 || !bytes.Equal(issued.NextSecret, hash) {
		return false, nil
	}
	h.SecretHash, issued.NextSecret = bytes.Clone(hash), nil
	m.Truth.Holders[holder], m.issued[holder] = h, issued
	return true, nil
}

// Trusted implements Store.
func (m *Memory) Trusted(_ context.Context, holder uint32, sum []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trusts[holder] = bytes.Clone(sum)
	return nil
}

// Credential implements Store.
func (m *Memory) Credential(_ context.Context, holder uint32) (Credential, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h, ok := m.Truth.Holders[holder]
	i := m.issued[holder]
	return Credential{
		Region: h.Region, Node: h.Node, SecretHash: h.SecretHash, NextSecret: i.NextSecret, IssuedAt: i.At,
		Authority: i.Authority, Expires: i.Expires, Trust: m.trusts[holder],
	}, ok, nil
}

// Budgets implements Store.
func (m *Memory) Budgets(_ context.Context, from int32, f func(Budget)) error {
	m.mu.Lock()
	all := slices.SortedFunc(maps.Values(m.Truth.Budgets), func(a, b Budget) int { return cmp.Compare(a.ID, b.ID) })
	m.mu.Unlock()
	for _, b := range all {
		if b.ID.Day() == 0 || b.ID.Day() >= from {
			f(b)
		}
	}
	return nil
}

// Silent implements Store.
func (m *Memory) Silent(_ context.Context, before int64) ([]uint32, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var silent []uint32
	for id, h := range m.Holders {
		if h.State == Open && h.SeenAt < before {
			silent = append(silent, id)
		}
	}
	slices.Sort(silent)
	return silent, nil
}

// Unjudged implements Store.
func (m *Memory) Unjudged(context.Context) ([]uint32, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var homes []uint32
	waiting := map[uint32]bool{}
	for key, f := range m.Foreign {
		if f.Outcome == Waiting {
			waiting[key.Home] = true
		}
	}
	for id, h := range m.Holders {
		if h.State == Fenced && h.HandedIn || h.State == Closed && waiting[id] {
			homes = append(homes, id)
		}
	}
	slices.Sort(homes)
	return homes, nil
}

// Stale implements Store.
func (m *Memory) Stale(_ context.Context, before int64) ([]uint32, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var stale []uint32
	for id, h := range m.Holders {
		if h.State == Closed && !h.Retired && h.ClosedAt < before {
			stale = append(stale, id)
		}
	}
	slices.Sort(stale)
	return stale, nil
}

// DropForeign implements Store.
func (m *Memory) DropForeign(_ context.Context, before int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dropped := len(m.Foreign)
	maps.DeleteFunc(m.Foreign, func(key EventKey, f Foreign) bool {
		return f.Outcome != Waiting && f.At < before && m.Holders[key.Home].State == Open
	})
	return dropped - len(m.Foreign), nil
}

// OpenDays implements Store.
func (m *Memory) OpenDays(_ context.Context, ids []lease.Budget) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range ids {
		if _, exists := m.Truth.Budgets[id]; exists {
			continue
		}
		if b, ok := DayBudget(id, m.caps[lease.Of(id.Kind(), id.Owner(), 0)]); ok {
			m.Truth.Budgets[id] = b
		}
	}
	return nil
}

// memoryTx writes at once and remembers how to undo.
type memoryTx struct {
	m    *Memory
	undo []func()
}

// put sets one key of a table.
func put[K comparable, V any](tx *memoryTx, table map[K]V, key K, value V) {
	old, existed := table[key]
	tx.undo = append(tx.undo, func() {
		if existed {
			table[key] = old
		} else {
			delete(table, key)
		}
	})
	table[key] = value
}

// drop removes keys of a table.
func drop[K comparable, V any](tx *memoryTx, table map[K]V, which func(K) bool) {
	for key, value := range table {
		if which(key) {
			tx.undo = append(tx.undo, func() { table[key] = value })
			delete(table, key)
		}
	}
}

func (tx *memoryTx) Load(_ context.Context, n Needs, l *Loaded) error {
	m := tx.m
	l.Forgotten, l.StampKey, l.RecoveredAt = m.Forgotten != "", MemoryStampKey, m.RecoveredAt
	l.Open, l.Doubted = 0, nil
	for id, h := range m.Holders {
		if h.State != Open {
			continue
		}
		l.Open++
		if h.Doubt != "" {
			l.Doubted = append(l.Doubted, id)
		}
	}
	for _, id := range n.Holders {
		if h, ok := m.Holders[id]; ok {
			l.Holders[id] = &h
		}
	}
	for _, key := range n.Leases {
		tx.lease(key, l)
	}
	whole := map[uint32]bool{}
	for _, id := range slices.Concat(n.Whole, n.Release) {
		whole[id] = true
	}
	budgets := slices.Clone(n.Budgets)
	for key, v := range m.Leases {
		if whole[key.Holder] {
			tx.lease(key, l)
		}
		if _, release := slices.BinarySearch(n.Release, key.Holder); release {
			budgets = append(budgets, key.Budget)
		}
		if _, asked := slices.BinarySearch(n.Holders, key.Holder); asked && m.Truth.Budgets[key.Budget].Tight && v.Available() > 0 {
			l.Tight = append(l.Tight, TightLease{v, m.Truth.Budgets[key.Budget]})
		}
	}
	for _, id := range budgets {
		if b, ok := m.Truth.Budgets[id]; ok && l.Budgets[id] == nil {
			l.Budgets[id] = &b
		}
	}
	for _, key := range n.Events {
		if _, known := m.Foreign[key]; known {
			l.Known[key] = true
		}
	}
	for _, home := range n.Inbox {
		for _, f := range m.waiting(home) {
			if f.Position > m.Holders[home].ForeignAck && len(l.Inbox[home]) < MaxInbox {
				e := proto.CloneOf(f.Event)
				e.Position = f.Position
				l.Inbox[home] = append(l.Inbox[home], e)
			}
		}
	}
	for _, flight := range n.Killed {
		l.Killed[flight] = m.killed[flight]
	}
	if n.Docket != 0 {
		tx.docket(n.Docket, l)
	}
	return nil
}

func (tx *memoryTx) lease(key LeaseKey, l *Loaded) {
	if v, ok := tx.m.Leases[key]; ok && l.Leases[key] == nil {
		l.Leases[key] = &v
	}
}

// waiting lists a home's events without a verdict, by position.
func (m *Memory) waiting(home uint32) []Foreign {
	var list []Foreign
	for key, f := range m.Foreign {
		if key.Home == home && f.Outcome == Waiting {
			list = append(list, f)
		}
	}
	slices.SortFunc(list, func(a, b Foreign) int { return cmp.Compare(a.Position, b.Position) })
	return list
}

func (tx *memoryTx) docket(home uint32, l *Loaded) {
	list := tx.m.waiting(home)
	slices.SortStableFunc(list, func(a, b Foreign) int { return cmp.Compare(a.Kind, b.Kind) })
	l.Docket = list[:min(len(list), MaxDocket)]
	for _, w := range tx.m.Windows[home] {
		l.Windows[w.Boot] = &w
	}
	for _, f := range l.Docket {
		view := f.EventKey
		view.Kind = exchange.View
		if v, ok := tx.m.Foreign[view]; ok && (v.Outcome == exchange.Billed || v.Outcome == exchange.Unbilled) {
			l.Viewed[view] = true
		}
	}
}

func (tx *memoryTx) Write(_ context.Context, c *Changes) error {
	m := tx.m
	for _, h := range c.Holders {
		put(tx, m.Holders, h.ID, *h)
	}
	for _, b := range c.Budgets {
		if err := b.Check(); err != nil {
			return err
		}
		put(tx, m.Truth.Budgets, b.ID, *b)
	}
	for _, l := range slices.Concat(c.Leases, c.NewLeases) {
		if err := l.Check(); err != nil {
			return err
		}
		put(tx, m.Leases, LeaseKey{l.Holder, l.Budget}, *l)
	}
	for key, n := range c.Rollups {
		put(tx, m.Rollups, key, m.Rollups[key].plus(n))
	}
	for flight, n := range Totals(c.Rollups) {
		put(tx, m.Totals, flight, m.Totals[flight].plus(n))
	}
	for key, n := range c.Topics {
		put(tx, m.Topics, key, m.Topics[key].plus(n))
	}
	for key, n := range c.Decisions {
		put(tx, m.Decisions, key, m.Decisions[key].plus(n))
	}
	for key, n := range c.Refusals {
		put(tx, m.Refusals, key, m.Refusals[key]+n)
	}
	for _, r := range c.Receipts {
		r.At = 0
		put(tx, m.Receipts, r, true)
	}
	for _, w := range c.Windows {
		ws := maps.Clone(m.Windows[w.Holder])
		if ws == nil {
			ws = map[uint64]Window{}
		}
		w.Bits = bytes.Clone(w.Bits)
		ws[w.Boot] = w
		put(tx, m.Windows, w.Holder, ws)
	}
	for _, f := range c.Foreign {
		if _, twice := m.Foreign[f.EventKey]; twice {
			return fmt.Errorf("event %+v is known", f.EventKey)
		}
		f.Event = proto.CloneOf(f.Event)
		put(tx, m.Foreign, f.EventKey, f)
	}
	for _, v := range c.Verdicts {
		for _, f := range m.waiting(v.Home) {
			if f.Position == v.Position {
				f.Outcome = v.Outcome
				put(tx, m.Foreign, f.EventKey, f)
			}
		}
	}
	for _, id := range c.Retired {
		drop(tx, m.Leases, func(key LeaseKey) bool { return key.Holder == id })
		drop(tx, m.Windows, func(holder uint32) bool { return holder == id })
		drop(tx, m.Foreign, func(key EventKey) bool { return key.Home == id })
	}
	if c.Forgotten != "" {
		old := m.Forgotten
		tx.undo = append(tx.undo, func() { m.Forgotten = old })
		m.Forgotten = c.Forgotten
	}
	for _, x := range c.Statements {
		put(tx, m.Statements, x.Holder, x)
	}
	return nil
}

func (tx *memoryTx) Unproven(context.Context) (n int, err error) {
	for _, x := range tx.m.Statements {
		if !x.Proven {
			n++
		}
	}
	return n, nil
}

func (tx *memoryTx) AddHolderAs(_ context.Context, h *Holder) error {
	if _, exists := tx.m.Holders[h.ID]; exists {
		return fmt.Errorf("holder %d exists", h.ID)
	}
	put(tx, tx.m.Holders, h.ID, *h)
	tx.raise(h.ID)
	return nil
}

func (tx *memoryTx) raise(holder uint32) {
	old := tx.m.LastHolder
	tx.undo = append(tx.undo, func() { tx.m.LastHolder = old })
	tx.m.LastHolder = max(old, holder)
}

func (tx *memoryTx) Everything(context.Context) (*Everything, error) {
	m := tx.m
	all := &Everything{
		Forgotten: m.Forgotten, StampKey: MemoryStampKey,
		Holders: map[uint32]*Holder{}, Budgets: map[lease.Budget]*Budget{}, Leases: map[LeaseKey]*Lease{}, Statements: map[uint32]*Statement{},
		Prices: maps.Clone(m.prices), Controls: map[uint32]*wire.Control{},
	}
	for id, h := range m.Holders {
		all.Holders[id] = &h
	}
	for id, b := range m.Truth.Budgets {
		all.Budgets[id] = &b
	}
	for key, l := range m.Leases {
		all.Leases[key] = &l
	}
	for id, x := range m.Statements {
		all.Statements[id] = &x
	}
	for _, k := range m.keys {
		all.Keys = append(all.Keys, k)
	}
	return all, nil
}

func (tx *memoryTx) Rebuild(ctx context.Context, r *Rebuilt) error {
	m := tx.m
	for _, b := range r.NewBudgets {
		put(tx, m.Truth.Budgets, b.ID, *b)
	}
	for _, h := range r.NewHolders {
		if err := tx.AddHolderAs(ctx, h); err != nil {
			return err
		}
	}
	if err := tx.Write(ctx, &Changes{
		Holders: r.Holders, Budgets: slices.Concat(r.Budgets, r.NewBudgets), Leases: r.Leases, NewLeases: r.NewLeases, Rollups: r.Rollups, At: r.At,
	}); err != nil {
		return err
	}
	for _, home := range r.Renumber {
		h := m.Holders[home]
		for _, f := range m.waiting(home) {
			h.ForeignPosition++
			f.Position = h.ForeignPosition
			put(tx, m.Foreign, f.EventKey, f)
		}
		put(tx, m.Holders, home, h)
	}
	for _, k := range r.Keys {
		put(tx, m.keys, k.GetId(), k)
	}
	tx.raise(r.Holder)
	forgotten, at := m.Forgotten, m.RecoveredAt
	tx.undo = append(tx.undo, func() { m.Forgotten, m.RecoveredAt = forgotten, at })
	m.Forgotten, m.RecoveredAt = "", r.At
	drop(tx, m.Statements, func(uint32) bool { return true })
	return nil
}

func (tx *memoryTx) HolderNamed(_ context.Context, region, node string) (*Holder, error) {
	for _, h := range tx.m.Holders {
		if h.State == Open && h.Region == region && h.Node == node {
			return &h, nil
		}
	}
	return nil, nil
}

func (tx *memoryTx) AddHolder(ctx context.Context, h *Holder) error {
	if named, _ := tx.HolderNamed(ctx, h.Region, h.Node); named != nil {
		return ErrNameTaken
	}
	tx.raise(tx.m.LastHolder + 1)
	h.ID = tx.m.LastHolder
	put(tx, tx.m.Holders, h.ID, *h)
	return nil
}

func (tx *memoryTx) Keys(context.Context) ([]*wire.TokenKey, error) {
	var keys []*wire.TokenKey
	for _, id := range slices.Sorted(maps.Keys(tx.m.keys)) {
		keys = append(keys, proto.CloneOf(tx.m.keys[id]))
	}
	return keys, nil
}

func (tx *memoryTx) PutKeys(_ context.Context, keys []*wire.TokenKey, old []uint32) error {
	for _, k := range keys {
		put(tx, tx.m.keys, k.GetId(), proto.CloneOf(k))
	}
	drop(tx, tx.m.keys, func(id uint32) bool { return slices.Contains(old, id) })
	return nil
}
