package ledger

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"nearside/sync/exchange"
	"nearside/sync/lease"
	"nearside/sync/wire"
)

// Rules are what an operator may set. Every core of one database has the same.
type Rules struct {
	Interval   time.Duration // between exchanges of one holder
	MaxOffline time.Duration // how long an edge serves without the core
	FenceAfter time.Duration // silence after which a holder is fenced and closed; 0: never
	NameHold   time.Duration // silence after which a new disk may take a holder's name
}

// DefaultRules are the design's.
func DefaultRules() Rules {
	return Rules{Interval: time.Second, MaxOffline: 4 * time.Hour, FenceAfter: 24 * time.Hour, NameHold: time.Minute}
}

// TokenLife is how long an offer's token may still become a view or a click.
const TokenLife = 2 * time.Hour

// Result is what an exchange came to.
type Result struct {
	Replies []*wire.SyncResponse // in the order of the requests; nil: no such holder
	Budgets []Budget             // as they are now, those that changed
	Notes   []Note               // what an operator should know
	Rows    int                  // leases written
}

// Note tells of a holder that an exchange fenced, or that claims what the core
// does not know.
type Note struct {
	Holder uint32
	Status wire.SyncResponse_Status
	Alone  bool // with FORGOTTEN: nothing but its word speaks for it, and the others go on
	Reason string
}

// Exchange answers requests that Validate found right, at most one of each
// holder, in one transaction. now is in unix milliseconds.
func Exchange(ctx context.Context, store Store, requests []*wire.SyncRequest, now int64, rules Rules) (Result, error) {
	var result Result
	err := store.Update(ctx, func(tx Tx) error {
		result = Result{}
		loaded := NewLoaded()
		needs := needsOf(requests)
		if err := tx.Load(ctx, needs, loaded); err != nil {
			return err
		}
		if more := repeated(loaded, requests, needs.Whole); len(more) > 0 {
			if err := tx.Load(ctx, Needs{Whole: more}, loaded); err != nil {
				return err
			}
		}
		s := newStep(loaded, now, rules)
		result.Replies = s.exchange(requests)
		changes := s.changes()
		if err := tx.Write(ctx, changes); err != nil {
			return err
		}
		for _, b := range changes.Budgets {
			result.Budgets = append(result.Budgets, *b)
		}
		result.Notes = s.notes
		result.Rows = len(changes.Leases) + len(changes.NewLeases)
		return nil
	})
	return result, err
}

// needsOf is what requests are about, as far as can be told without knowing
// the holders.
func needsOf(requests []*wire.SyncRequest) Needs {
	var n Needs
	for _, r := range requests {
		n.Holders = append(n.Holders, r.GetHolder())
		n.Inbox = append(n.Inbox, r.GetHolder())
		b := r.GetBatch()
		switch {
		case b.GetClosing():
			n.Release = append(n.Release, r.GetHolder())
		case r.GetFirst():
			n.Whole = append(n.Whole, r.GetHolder())
		}
		for _, id := range b.GetTotals().GetBudget() {
			n.Leases = append(n.Leases, LeaseKey{r.GetHolder(), lease.Budget(id)})
			n.Budgets = append(n.Budgets, lease.Budget(id))
		}
		for _, w := range r.GetSide().GetWants() {
			n.Leases = append(n.Leases, LeaseKey{r.GetHolder(), lease.Budget(w.GetBudget())})
			n.Budgets = append(n.Budgets, lease.Budget(w.GetBudget()))
		}
		for _, e := range b.GetForeign() {
			n.Holders = append(n.Holders, e.GetHolder())
			n.Events = append(n.Events, keyOf(e))
		}
		for _, e := range b.GetHeld() {
			n.Events = append(n.Events, keyOf(e))
		}
	}
	n.sort()
	return n
}

func (n *Needs) sort() {
	n.Holders = sorted(n.Holders, cmp.Compare)
	n.Whole = sorted(n.Whole, cmp.Compare)
	n.Release = sorted(n.Release, cmp.Compare)
	n.Inbox = sorted(n.Inbox, cmp.Compare)
	n.Budgets = sorted(n.Budgets, cmp.Compare)
	n.Killed = sorted(n.Killed, cmp.Compare)
	n.Leases = sorted(n.Leases, func(a, b LeaseKey) int {
		return cmp.Or(cmp.Compare(a.Holder, b.Holder), cmp.Compare(a.Budget, b.Budget))
	})
	n.Events = sorted(n.Events, func(a, b EventKey) int {
		return cmp.Or(cmp.Compare(a.Home, b.Home), cmp.Compare(a.Boot, b.Boot), cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.Kind, b.Kind))
	})
}

func sorted[T comparable](list []T, compare func(a, b T) int) []T {
	slices.SortFunc(list, compare)
	return slices.Compact(list)
}

func keyOf(e *wire.Event) EventKey {
	return EventKey{Home: e.GetHolder(), Boot: e.GetBoot(), Seq: e.GetSeq(), Kind: exchange.Kind(e.GetKind())}
}

// repeated lists holders that are to be told all of their leases, beyond those
// in whole: a new boot, or one that did not hear the answer to its batch.
func repeated(l *Loaded, requests []*wire.SyncRequest, whole []uint32) []uint32 {
	var more []uint32
	for _, r := range requests {
		h := l.Holders[r.GetHolder()]
		if h == nil || r.GetBatch().GetClosing() {
			continue
		}
		again := r.GetBatch() != nil && r.GetBatch().GetSeal().GetBatch() <= h.Batch
		if _, listed := slices.BinarySearch(whole, h.ID); !listed && (again || r.GetBootOrdinal() > h.BootOrdinal) {
			more = append(more, h.ID)
		}
	}
	return sorted(more, cmp.Compare)
}

// step is one transaction's work on what was loaded.
type step struct {
	*Loaded
	now   int64
	rules Rules

	notes     []Note
	written   Changes
	holders   map[uint32]bool
	budgets   map[lease.Budget]bool
	leases    map[LeaseKey]bool   // true: new
	told      map[uint32][]*Lease // by holder: leases whose core's side changed
	doubted   map[uint32]bool     // open holders that claim what cannot be
	dismissed map[Verdict]bool    // waiting events that got their verdict here; Outcome 0
}

func newStep(l *Loaded, now int64, rules Rules) *step {
	return &step{
		Loaded: l, now: now, rules: rules,
		written: Changes{
			At:        now,
			Rollups:   map[RollupKey]Counts{},
			Topics:    map[TopicKey]TopicCounts{},
			Decisions: map[DecisionKey]Decisions{},
			Refusals:  map[RefusalKey]int64{},
		},
		holders:   map[uint32]bool{},
		budgets:   map[lease.Budget]bool{},
		leases:    map[LeaseKey]bool{},
		told:      map[uint32][]*Lease{},
		doubted:   map[uint32]bool{},
		dismissed: map[Verdict]bool{},
	}
}

// changes lists the changed rows, in the order of their ids.
func (s *step) changes() *Changes {
	c := &s.written
	for id := range s.holders {
		c.Holders = append(c.Holders, s.Holders[id])
	}
	for id := range s.budgets {
		b := s.Budgets[id]
		b.loosen()
		if s.Open > 0 { // it was counted
			b.broker(s.Open)
		}
		b.Changed++
		c.Budgets = append(c.Budgets, b)
	}
	for key, fresh := range s.leases {
		if fresh {
			c.NewLeases = append(c.NewLeases, s.Leases[key])
		} else {
			c.Leases = append(c.Leases, s.Leases[key])
		}
	}
	slices.SortFunc(c.Holders, func(a, b *Holder) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(c.Budgets, func(a, b *Budget) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(c.Leases, byID)
	slices.SortFunc(c.NewLeases, byID)
	return c
}

// byID orders leases by holder, then budget.
func byID(a, b *Lease) int {
	return cmp.Or(cmp.Compare(a.Holder, b.Holder), cmp.Compare(a.Budget, b.Budget))
}

func (s *step) touch(l *Lease) {
	key := LeaseKey{l.Holder, l.Budget}
	if _, known := s.leases[key]; !known {
		s.leases[key] = false
	}
}

// turn is one request and what becomes of it.
type turn struct {
	request *wire.SyncRequest
	holder  *Holder
	reply   *wire.SyncResponse
	whole   bool // tell all leases
	grants  bool // may be granted something
	repeat  bool
}

func (s *step) exchange(requests []*wire.SyncRequest) []*wire.SyncResponse {
	replies := make([]*wire.SyncResponse, len(requests))
	var turns []*turn
	for i, r := range requests {
		h := s.Holders[r.GetHolder()]
		if h == nil {
			continue
		}
		replies[i] = &wire.SyncResponse{NowMs: s.now}
		turns = append(turns, &turn{request: r, holder: h, reply: replies[i]})
	}
	slices.SortStableFunc(turns, func(a, b *turn) int { return cmp.Compare(a.holder.ID, b.holder.ID) })
	for _, id := range s.Doubted {
		s.doubted[id] = true
	}
	for _, t := range turns {
		s.prove(t.holder, t.request.GetStamp())
	}
	for _, t := range turns {
		s.take(t)
	}
	s.grant(turns)
	for id := range s.budgets {
		s.Budgets[id].loosen()
	}
	of := map[uint32][]*Lease{} // the leases of holders that are told all
	for _, t := range turns {
		if t.whole {
			of[t.holder.ID] = nil
		}
	}
	for key, l := range s.Leases {
		if list, whole := of[key.Holder]; whole {
			of[key.Holder] = append(list, l)
		}
	}
	for _, t := range turns {
		s.answer(t, of)
	}
	return replies
}

// take does what comes in with a request.
func (s *step) take(t *turn) {
	h, r := t.holder, t.request
	h.SeenAt = max(h.SeenAt, s.now)
	s.holders[h.ID] = true
	if h.State != Open {
		lastWord := h.State == Closed && h.HandedIn && r.GetBatch().GetClosing() && exchange.Compare(r.GetBatch().GetSeal(), h.Cursor()) == exchange.Same
		if !lastWord {
			t.reply.Status = wire.SyncResponse_FENCED
		}
		return
	}
	switch {
	case r.GetBootOrdinal() < h.BootOrdinal:
		t.reply.Status = wire.SyncResponse_SUPERSEDED
		return
	case r.GetBootOrdinal() > h.BootOrdinal:
		h.Boot, h.BootOrdinal, t.whole = r.GetBoot(), r.GetBootOrdinal(), true
	case r.GetBoot() != h.Boot:
		s.refuse(t, fmt.Sprintf("boot number %d was claimed by two boots: its directory was copied or rolled back", h.BootOrdinal))
		return
	case r.GetFirst():
		t.whole = true
	}
	if s.Forgotten {
		s.freeze(t)
		return
	}
	b := r.GetBatch()
	seal := b.GetSeal()
	if b == nil {
		seal = r.GetSeal()
	}
	switch order := exchange.Compare(seal, h.Cursor()); {
	case order == exchange.Another:
		s.refuse(t, fmt.Sprintf("its %s is not the core's %s", exchange.Describe(seal), exchange.Describe(h.Cursor())))
		return
	case order == exchange.Ahead && (b == nil || seal.GetBatch() > h.Batch+1):
		s.doubt(t, fmt.Sprintf("holder %d is at %s, the core at %s", h.ID, exchange.Describe(seal), exchange.Describe(h.Cursor())))
		return
	case order == exchange.Ahead:
		switch status, reason := s.contradiction(h, b); {
		case reason == "":
			s.apply(h, b)
		case status == wire.SyncResponse_FORGOTTEN:
			s.doubt(t, reason)
			return
		default:
			s.refuse(t, reason)
			return
		}
	case b != nil:
		t.whole, t.repeat = true, true
	}
	if h.Doubt != "" { // it has come to reason
		h.Doubt, h.Stated = "", 0
		delete(s.doubted, h.ID)
	}
	s.side(t)
	t.grants = h.State == Open
}

// refuse fences a holder for what it said.
func (s *step) refuse(t *turn, reason string) {
	t.reply.Status = wire.SyncResponse_FENCED
	s.notes = append(s.notes, Note{Holder: t.holder.ID, Status: wire.SyncResponse_FENCED, Reason: reason})
	t.holder.fence(reason)
}

// prove looks at the stamp that a holder brings: the core's own signature under
// what it does not remember. One from before the last recovery proves nothing.
func (s *step) prove(h *Holder, given *wire.Stamp) {
	if s.Forgotten || h.State != Open {
		return
	}
	if until := attested(s.StampKey, h, given); until > max(h.SeenAt, s.RecoveredAt) {
		s.forget(h.ID, fmt.Sprintf("the core has signed what it committed of holder %d until %s, and remembers until %s", h.ID, at(until), at(h.SeenAt)))
	}
}

// doubt is for a claim that cannot be while the core remembers everything, and
// that nothing but the holder's word speaks for. One alone stops nobody else:
// it gets no grants. Two, or all there are, are believed.
func (s *step) doubt(t *turn, reason string) {
	h := t.holder
	s.freeze(t)
	h.Doubt, s.doubted[h.ID] = reason, true
	if len(s.doubted) >= min(2, s.Open) {
		s.forget(h.ID, reason)
		return
	}
	s.notes = append(s.notes, Note{Holder: h.ID, Status: wire.SyncResponse_FORGOTTEN, Alone: true, Reason: reason})
}

// forget stops everything until the recovery.
func (s *step) forget(by uint32, reason string) {
	s.Forgotten = true
	s.written.Forgotten, s.written.Forgetter = reason, by
	s.notes = append(s.notes, Note{Holder: by, Status: wire.SyncResponse_FORGOTTEN, Reason: reason})
}

// freeze answers without applying anything. A statement is wanted unless the
// one that is here was made after the last word of the core that the holder
// heard.
func (s *step) freeze(t *turn) {
	t.reply.Status = wire.SyncResponse_FORGOTTEN
	t.reply.StateWanted = t.holder.Stated != 1+t.request.GetStamp().GetAt()
}

// at is unix milliseconds for people.
func at(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339Nano) }

// contradiction says why the next batch of h cannot be true.
func (s *step) contradiction(h *Holder, b *wire.Batch) (wire.SyncResponse_Status, string) {
	const fenced, forgotten = wire.SyncResponse_FENCED, wire.SyncResponse_FORGOTTEN
	t := b.GetTotals()
	for i, id := range t.GetBudget() {
		var known lease.Totals
		if l := s.Leases[LeaseKey{h.ID, lease.Budget(id)}]; l != nil {
			known = l.Totals
		}
		if t.Granted[i] > known.Granted {
			return forgotten, fmt.Sprintf("holder %d was granted %d of budget %d, the core knows of %d", h.ID, t.Granted[i], id, known.Granted)
		}
	}
	if b.GetForeignAck() > h.ForeignPosition {
		return forgotten, fmt.Sprintf("holder %d has foreign event %d, the core gave it %d", h.ID, b.GetForeignAck(), h.ForeignPosition)
	}
	if b.GetSeal().GetPosition() < h.Position {
		return fenced, fmt.Sprintf("its %s lies before the core's %s", exchange.Describe(b.GetSeal()), exchange.Describe(h.Cursor()))
	}
	for i, id := range t.GetBudget() {
		var known lease.Totals
		if l := s.Leases[LeaseKey{h.ID, lease.Budget(id)}]; l != nil && b.GetSeal().GetBatch() > h.Recovered {
			known = l.Totals
		}
		if t.Spent[i] < known.Spent || t.Returned[i] < known.Returned || t.Spent[i]+t.Returned[i] > t.Granted[i] {
			return fenced, fmt.Sprintf("of budget %d it says granted %d, spent %d, returned %d; the core knows %d, %d, %d",
				id, t.Granted[i], t.Spent[i], t.Returned[i], known.Granted, known.Spent, known.Returned)
		}
	}
	return 0, ""
}

// apply is the next batch, whole.
func (s *step) apply(h *Holder, b *wire.Batch) {
	t := b.GetTotals()
	for i, id := range t.GetBudget() {
		l := s.Leases[LeaseKey{h.ID, lease.Budget(id)}]
		if l == nil || b.GetSeal().GetBatch() <= h.Recovered {
			continue // never granted, and so nothing spent; or a statement has told it
		}
		s.settle(l, t.Spent[i]-l.Spent)
		s.giveBack(l, t.Returned[i]-l.Returned)
	}
	s.count(h, b.GetRollups())
	s.countTopics(h, b.GetTopics())
	for _, e := range b.GetForeign() {
		s.foreign(h, e)
	}
	for _, e := range b.GetHeld() {
		s.foreign(h, e)
	}
	for _, v := range b.GetVerdicts() {
		s.written.Verdicts = append(s.written.Verdicts, Verdict{h.ID, v.GetPosition(), exchange.Outcome(v.GetOutcome())})
		s.dismissed[Verdict{Home: h.ID, Position: v.GetPosition()}] = true
	}
	h.ForeignAck = max(h.ForeignAck, b.GetForeignAck())
	h.Batch, h.Position, h.Hash = b.GetSeal().GetBatch(), b.GetSeal().GetPosition(), bytes.Clone(b.GetSeal().GetHash())
	if b.GetClosing() {
		s.keepWindows(h, b.GetFinal())
		h.HandedIn = true
		s.close(h, drained)
	}
}

func (s *step) settle(l *Lease, n int64) {
	if n == 0 {
		return
	}
	l.Spent += n
	s.Budgets[l.Budget].settle(n)
	s.touch(l)
	s.budgets[l.Budget] = true
}

func (s *step) giveBack(l *Lease, n int64) {
	if n == 0 {
		return
	}
	l.Returned += n
	s.Budgets[l.Budget].giveBack(n)
	s.touch(l)
	s.budgets[l.Budget] = true
}

// count adds up what the holder counted since its last batch.
func (s *step) count(h *Holder, r *wire.Rollups) {
	for i := range r.GetHour() {
		lost := int64(0)
		if len(r.GetHomeLost()) > 0 {
			lost = r.HomeLost[i]
		}
		s.rollup(h, RollupKey{Hour: r.Hour[i], Flight: r.Flight[i], Ad: r.Ad[i], Publisher: r.Publisher[i], Country: r.Country[i]}, Counts{
			Views: r.Views[i], Clicks: r.Clicks[i], UnbilledViews: r.UnbilledViews[i], UnbilledClicks: r.UnbilledClicks[i],
			HomeLost: lost, Spent: r.SpentMicros[i],
		})
	}
}

func (s *step) countTopics(h *Holder, r *wire.TopicRollups) {
	for i := range r.GetHour() {
		s.topic(h, TopicKey{Hour: r.Hour[i], Topic: r.Topic[i], Flight: r.Flight[i], Country: r.Country[i]}, TopicCounts{Counts: Counts{
			Views: r.Views[i], Clicks: r.Clicks[i], UnbilledViews: r.UnbilledViews[i], UnbilledClicks: r.UnbilledClicks[i],
			HomeLost: r.HomeLost[i], Spent: r.SpentMicros[i],
		}})
	}
}

func (s *step) topic(h *Holder, key TopicKey, c TopicCounts) {
	key.Region, key.Country = h.Region, country(key.Country)
	s.written.Topics[key] = s.written.Topics[key].plus(c)
}

// rollupEvent counts an event that is judged here, in the hour in which it
// happened.
func (s *step) rollupEvent(h *Holder, e *wire.Event, c Counts) {
	seconds := e.GetAt() / 1000
	hour := seconds - seconds%3600
	s.rollup(h, RollupKey{Hour: hour, Flight: e.GetFlight(), Ad: e.GetAd(), Publisher: e.GetPublisher(), Country: e.GetCountry()}, c)
	for _, topic := range e.GetTopics() {
		s.topic(h, TopicKey{Hour: hour, Topic: topic, Flight: e.GetFlight(), Country: e.GetCountry()}, TopicCounts{Counts: c})
	}
}

func (s *step) rollup(h *Holder, key RollupKey, c Counts) {
	key.Region, key.Country = h.Region, country(key.Country)
	s.written.Rollups[key] = s.written.Rollups[key].plus(c)
}

// foreign keeps an event for its judge. An event that is known already is
// already judged, or waits. In a hand-in, and of clicks that were held when a
// holder drained, the sender is the home itself; such events wait for the windows
// that belong to them.
func (s *step) foreign(sender *Holder, e *wire.Event) {
	key := keyOf(e)
	if s.Known[key] {
		return
	}
	home := s.Holders[key.Home]
	if home == nil { // no such holder was ever registered here
		s.rollupEvent(sender, e, Counts{HomeLost: 1})
		return
	}
	s.Known[key] = true
	s.holders[home.ID] = true
	home.ForeignPosition++
	f := Foreign{EventKey: key, Position: home.ForeignPosition, Sender: sender.ID, Event: e, At: s.now}
	if home.State == Closed && !home.HandedIn && home != sender {
		f.Outcome = HomeLost
		s.rollupEvent(home, e, Counts{HomeLost: 1})
	}
	s.written.Foreign = append(s.written.Foreign, f)
}

func (s *step) keepWindows(h *Holder, ws []*wire.Window) {
	for _, w := range ws {
		s.written.Windows = append(s.written.Windows, Window{Holder: h.ID, Boot: w.GetBoot(), Floor: w.GetFloor(), Next: w.GetNext(), Bits: w.GetBits()})
	}
}

// close frees what h held: the one way in which money comes back without its
// holder's word. All leases of h are loaded and their budgets locked.
func (s *step) close(h *Holder, reason string) {
	for key, l := range s.Leases {
		if key.Holder != h.ID {
			continue
		}
		s.giveBack(l, l.Available())
		s.demand(l, 0)
	}
	h.State, h.Reason, h.ClosedAt = Closed, reason, s.now
	s.holders[h.ID] = true
}

// demand notes what l's holder needs per second.
func (s *step) demand(l *Lease, velocity int64) {
	if velocity == l.Velocity {
		return
	}
	b := s.Budgets[l.Budget]
	b.Velocity += velocity - l.Velocity
	l.Velocity = velocity
	s.touch(l)
	s.budgets[l.Budget] = true
}

// side takes what may be lost: receipts and counts for reports. Demand is
// taken where it is granted upon.
func (s *step) side(t *turn) {
	h, side := t.holder, t.request.GetSide()
	if side == nil {
		return
	}
	h.Alone = side.GetAlone()
	if v := side.GetVersion(); v != "" {
		h.Version = v
	}
	if v := side.GetAppliedCatalog(); v != h.AppliedCatalog {
		h.AppliedCatalog = v
		s.receipt(h, "catalog", v)
	}
	if v := side.GetAppliedControl(); v != h.AppliedControl {
		h.AppliedControl = v
		s.receipt(h, "control", v)
	}
	if t.repeat { // these counts may be in already; too few is better than twice
		return
	}
	d := side.GetDecisions()
	for i := range d.GetHour() {
		key := DecisionKey{d.Hour[i], h.Region, d.Publisher[i], country(d.Country[i]), d.Flight[i]}
		s.written.Decisions[key] = s.written.Decisions[key].plus(Decisions{d.Decisions[i], d.Offers[i]})
	}
	b := side.GetTopics()
	for i := range b.GetHour() {
		s.topic(h, TopicKey{Hour: b.Hour[i], Topic: b.Topic[i], Flight: b.Flight[i], Country: b.Country[i]}, TopicCounts{Decisions: Decisions{b.Decisions[i], b.Offers[i]}})
	}
	seconds := s.now / 1000
	f := side.GetRefusals()
	for i := range f.GetFlight() {
		s.written.Refusals[RefusalKey{seconds - seconds%3600, h.Region, f.Flight[i], f.Reason[i]}] += f.N[i]
	}
}

func (s *step) receipt(h *Holder, kind string, version uint64) {
	if version > 0 {
		s.written.Receipts = append(s.written.Receipts, Receipt{h.ID, kind, version, s.now})
	}
}

// answer completes a reply once all of the group is in.
func (s *step) answer(t *turn, of map[uint32][]*Lease) {
	h := t.holder
	t.reply.Cursor = h.Cursor()
	if t.reply.GetStatus() != wire.SyncResponse_OK || h.State != Open {
		return
	}
	t.reply.Stamp = stamp(s.StampKey, h, h.SeenAt)
	t.reply.Holders = uint32(s.Open)
	tell := s.told[h.ID]
	if t.whole {
		tell = of[h.ID]
	}
	recall := map[lease.Budget]int64{}
	for i := range s.Tight {
		l, b := &s.Tight[i].Lease, &s.Tight[i].Budget
		if l.Holder != h.ID {
			continue
		}
		if now := s.Leases[LeaseKey{h.ID, l.Budget}]; now != nil {
			l = now
		}
		if now := s.Budgets[l.Budget]; now != nil {
			b = now
		}
		if to, wanted := recallTo(b, l, s.rules.Interval); wanted {
			recall[l.Budget] = to
			tell = append(tell, l)
		}
	}
	slices.SortFunc(tell, byID)
	for i, l := range tell {
		if i > 0 && tell[i-1].Budget == l.Budget {
			continue
		}
		to, recalled := recall[l.Budget]
		if !recalled {
			to = -1
		}
		t.reply.Leases = append(t.reply.Leases, &wire.Grant{
			Budget: int64(l.Budget), Granted: l.Granted, Spent: l.Spent, Returned: l.Returned, RecallTo: to,
		})
	}
	for _, e := range s.Inbox[h.ID] {
		if e.GetPosition() > h.ForeignAck && !s.dismissed[Verdict{Home: h.ID, Position: e.GetPosition()}] {
			t.reply.ForeignIn = append(t.reply.ForeignIn, e)
		}
	}
}
