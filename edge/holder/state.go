package holder

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"nearside/sync/exchange"
	"nearside/sync/lease"
	"nearside/sync/token"
	"nearside/sync/wire"
)

// State is all that a holder knows and keeps. It has no lock: its user is one
// goroutine at a time.
type State struct {
	holder  uint32
	pos     uint64 // of the last record
	current uint64 // boot; 0: none yet
	boots   map[uint64]*window

	leases   map[lease.Budget]*account
	controls map[uint32]Control
	newest   uint64 // control version

	batch  uint64       // the last one sealed
	acked  *wire.Cursor // the last one that the core is known to have applied
	sealed []*wire.Batch
	closed bool // the last seal was the last of all
	fenced bool // from here on the core judges

	// Since the last seal.
	counts   map[countKey]*counts
	topics   map[topicKey]*counts
	foreign  []Event
	received map[eventKey]struct{} // the same, to find repeats
	verdicts []verdict
	dirty    []lease.Budget // leases whose totals changed

	ack     uint64    // highest position of a foreign event journalled here
	saidAck uint64    // the same, in the last batch
	waiting []waiting // foreign clicks whose view has not come, by position
	held    []Event   // clicks that came here before their views, by offer (byOffer)
	ready   []Event   // of these, whose views have come by now
	swept   int32     // the last day on which leases of dead days were forgotten
}

type account struct {
	lease.Totals
	dirty bool // changed since the last seal
}

// Control is what an operator said of a flight. State is a catalog.State.
type Control struct {
	Version uint64
	Flight  uint32
	State   uint8
}

const killed = 2 // catalog.Kill

type countKey struct {
	hour      int64 // unix seconds
	flight    uint32
	ad        uint32
	publisher uint32
	country   [2]byte
}

// topicKey is by what events count once more for each topic of their pages. It
// knows neither ad nor publisher, so that the rows of topics stay few.
type topicKey struct {
	hour    int64 // unix seconds
	topic   uint16
	flight  uint32
	country [2]byte
}

type counts struct {
	views, clicks, unbilledViews, unbilledClicks, spent, homeLost int64
}

type eventKey struct {
	holder uint32
	boot   uint64
	seq    uint64
	kind   exchange.Kind
}

func (e *Event) key() eventKey { return eventKey{e.Holder, e.Boot, e.Seq, e.Kind} }

type verdict struct {
	position uint64
	outcome  exchange.Outcome
}

type waiting struct {
	position uint64
	event    Event
}

// New is the state of a holder before its first record.
func New(holder uint32) *State {
	return &State{
		holder:   holder,
		boots:    map[uint64]*window{},
		leases:   map[lease.Budget]*account{},
		controls: map[uint32]Control{},
		acked:    &wire.Cursor{},
		counts:   map[countKey]*counts{},
		topics:   map[topicKey]*counts{},
		received: map[eventKey]struct{}{},
	}
}

// ErrHistory is what Replay's errors wrap: a record that cannot follow from
// the ones before it.
var ErrHistory = errors.New("journal is not a history of this holder")

// Replay makes the change that the record made when it was written. pos is the
// record's position in the journal.
func (s *State) Replay(pos uint64, rec []byte) error {
	var r record
	if err := r.decode(rec); err != nil {
		return fmt.Errorf("%w: at position %d: %w", ErrHistory, pos, err)
	}
	if pos != s.pos+1 {
		return fmt.Errorf("%w: position %d after %d", ErrHistory, pos, s.pos)
	}
	if err := s.allows(&r); err != nil {
		return fmt.Errorf("%w: at position %d: %w", ErrHistory, pos, err)
	}
	s.apply(&r)
	return nil
}

// do applies a record that a step has made, and appends it to dst.
func (s *State) do(dst []byte, r *record) []byte {
	dst = r.append(dst)
	s.apply(r)
	return dst
}

// allows checks what the steps make sure of by themselves.
func (s *State) allows(r *record) error {
	if s.closed && r.kind != recFence && r.kind != recForeign {
		return fmt.Errorf("record of kind %d after the closing seal", r.kind)
	}
	switch r.kind {
	case recBoot:
		if r.holder != s.holder {
			return fmt.Errorf("boot of holder %d, this is %d", r.holder, s.holder)
		}
		if r.boot == 0 || s.boots[r.boot] != nil {
			return fmt.Errorf("boot %x again", r.boot)
		}
		if w := s.boots[s.current]; w != nil && r.ordinal <= w.ordinal {
			return fmt.Errorf("boot %d after boot %d", r.ordinal, w.ordinal)
		}
	case recJudged:
		return s.allowsJudged(r)
	case recHeld:
		return s.allowsHeld(&r.event)
	case recWaiting:
		if r.position <= s.ack {
			return fmt.Errorf("foreign position %d after %d", r.position, s.ack)
		}
	case recGrant:
		if a := s.leases[r.budget]; a != nil && r.total <= a.Granted {
			return fmt.Errorf("budget %d: granted %d after %d", r.budget, r.total, a.Granted)
		}
	case recReturn:
		a := s.leases[r.budget]
		if a == nil || r.total <= a.Returned || r.total-a.Returned > a.Available() {
			return fmt.Errorf("budget %d: returned %d", r.budget, r.total)
		}
	case recSeal:
		if r.batch != s.batch+1 || r.acked > s.batch {
			return fmt.Errorf("seal %d (acknowledged %d) after %d", r.batch, r.acked, s.batch)
		}
	case recFloor:
		w := s.boots[r.boot]
		whole := r.floor == Gone
		if w == nil || r.floor <= w.floor || whole && r.boot == s.current || !whole && (r.floor%blockSeqs != 0 || r.floor > token.MaxSeq+1) {
			return fmt.Errorf("floor %d of boot %x", r.floor, r.boot)
		}
	case recControl:
		if r.control <= s.controls[r.flight].Version || r.state > killed {
			return fmt.Errorf("control %d (state %d) of flight %d", r.control, r.state, r.flight)
		}
	case recFence:
		if s.fenced {
			return errors.New("fenced again")
		}
	}
	return nil
}

func (s *State) allowsHeld(e *Event) error {
	w := s.boots[e.Boot]
	switch {
	case e.Holder != s.holder || s.fenced:
		return fmt.Errorf("held an event of holder %d", e.Holder)
	case e.Kind != exchange.Click:
		return fmt.Errorf("held an event of kind %d", e.Kind)
	case w == nil || !w.inSpan(e.Seq):
		return fmt.Errorf("held sequence %d of boot %x, which has no window", e.Seq, e.Boot)
	case w.has(exchange.View, e.Seq) || w.has(exchange.Click, e.Seq):
		return fmt.Errorf("held sequence %d of boot %x, which has been judged", e.Seq, e.Boot)
	}
	if _, twice := s.findHeld(e); twice || len(s.held) >= MaxHeld {
		return fmt.Errorf("held sequence %d of boot %x, as one of %d", e.Seq, e.Boot, len(s.held))
	}
	return nil
}

func (s *State) allowsJudged(r *record) error {
	e := &r.event
	if e.Holder != s.holder || s.fenced {
		return fmt.Errorf("judged an event of holder %d", e.Holder)
	}
	switch r.outcome {
	case exchange.Billed, exchange.Unbilled, exchange.Duplicate, exchange.NotViewed, exchange.HomeLost:
	default:
		return fmt.Errorf("judged.outcome: %d", r.outcome)
	}
	if r.outcome != exchange.Billed && r.n > 0 {
		return fmt.Errorf("debits with outcome %d", r.outcome)
	}
	if r.position > 0 && r.position <= s.ack && s.findWaiting(r.position) < 0 {
		return fmt.Errorf("foreign position %d after %d", r.position, s.ack)
	}
	if r.outcome != exchange.Billed && r.outcome != exchange.Unbilled {
		if _, held := s.findHeld(e); r.position == 0 && (!held || r.outcome == exchange.Duplicate) {
			return fmt.Errorf("outcome %d of an event that is neither foreign nor held", r.outcome)
		}
		return nil
	}
	w := s.boots[e.Boot]
	if w == nil || !w.inSpan(e.Seq) {
		if r.outcome == exchange.Unbilled && r.position > 0 {
			return nil
		}
		return fmt.Errorf("judged sequence %d of boot %x, which has no window", e.Seq, e.Boot)
	}
	if w.has(e.Kind, e.Seq) {
		return fmt.Errorf("sequence %d of boot %x, kind %d, judged again", e.Seq, e.Boot, e.Kind)
	}
	if e.Kind == exchange.Click && !w.has(exchange.View, e.Seq) {
		return fmt.Errorf("click of sequence %d of boot %x before its view", e.Seq, e.Boot)
	}
	for i, d := range r.debits[:r.n] {
		a := s.leases[d.Budget]
		if a == nil || d.Amount > a.Available() {
			return fmt.Errorf("budget %d: debit of %d beyond what is available", d.Budget, d.Amount)
		}
		for _, before := range r.debits[:i] {
			if before.Budget == d.Budget {
				return fmt.Errorf("budget %d: debited twice", d.Budget)
			}
		}
	}
	return nil
}

// apply is the one place where state changes by a record.
func (s *State) apply(r *record) {
	s.pos++
	switch r.kind {
	case recBoot:
		if w := s.boots[s.current]; w != nil {
			w.ended = max(r.at, w.began)
		}
		s.boots[r.boot] = &window{boot: r.boot, ordinal: r.ordinal, began: r.at}
		s.current = r.boot
	case recJudged:
		s.judged(r)
	case recForeign:
		s.foreign = append(s.foreign, r.event)
		s.received[r.event.key()] = struct{}{}
	case recWaiting:
		s.waiting = append(s.waiting, waiting{r.position, r.event})
		s.ack = r.position
	case recHeld:
		i, _ := s.findHeld(&r.event)
		s.held = slices.Insert(s.held, i, r.event)
	case recGrant:
		a := s.leases[r.budget]
		if a == nil {
			a = &account{}
			s.leases[r.budget] = a
		}
		a.Granted = r.total
		s.mark(r.budget, a)
	case recReturn:
		a := s.leases[r.budget]
		a.Returned = r.total
		s.mark(r.budget, a)
	case recSeal:
		s.seal(r)
	case recFloor:
		if r.floor == Gone {
			delete(s.boots, r.boot)
		} else {
			s.boots[r.boot].raise(r.floor)
		}
	case recControl:
		s.controls[r.flight] = Control{r.control, r.flight, r.state}
		s.newest = max(s.newest, r.control)
	case recFence:
		s.fenced = true
	}
}

func (s *State) mark(b lease.Budget, a *account) {
	if !a.dirty {
		a.dirty = true
		s.dirty = append(s.dirty, b)
	}
}

func (s *State) judged(r *record) {
	e := &r.event
	if r.position > 0 {
		if i := s.findWaiting(r.position); i >= 0 {
			s.waiting = slices.Delete(s.waiting, i, i+1)
		}
		s.verdicts = append(s.verdicts, verdict{r.position, r.outcome})
		s.ack = max(s.ack, r.position)
	}
	if r.outcome == exchange.Duplicate {
		return
	}
	switch i, held := s.findHeld(e); {
	case held && e.Kind == exchange.Click: // whichever way it came: it is one event
		s.held = slices.Delete(s.held, i, i+1)
	case held && e.Kind == exchange.View && r.outcome != exchange.HomeLost:
		s.ready = append(s.ready, s.held[i])
	}
	if r.outcome == exchange.NotViewed {
		return
	}
	if w := s.boots[e.Boot]; w != nil && w.inSpan(e.Seq) && r.outcome != exchange.HomeLost {
		w.set(e.Kind, e.Seq)
	}
	for _, d := range r.debits[:r.n] {
		a := s.leases[d.Budget]
		a.Spent += d.Amount
		s.mark(d.Budget, a)
	}
	hour := e.At / 1000
	hour -= hour % 3600
	k := countKey{hour, e.Flight, e.Ad, e.Publisher, e.Country}
	c := s.counts[k]
	if c == nil {
		c = &counts{}
		s.counts[k] = c
	}
	c.add(r)
	for _, topic := range e.Topics.All() {
		k := topicKey{hour, topic, e.Flight, e.Country}
		c := s.topics[k]
		if c == nil {
			c = &counts{}
			s.topics[k] = c
		}
		c.add(r)
	}
}

// add counts an event that was judged.
func (c *counts) add(r *record) {
	e := &r.event
	switch {
	case r.outcome == exchange.HomeLost:
		c.homeLost++
	case r.outcome == exchange.Billed && e.Kind == exchange.View:
		c.views++
	case r.outcome == exchange.Billed:
		c.clicks++
	case e.Kind == exchange.View:
		c.unbilledViews++
	default:
		c.unbilledClicks++
	}
	if r.n > 0 {
		c.spent += e.Price()
	}
}

// byOffer orders events by when they were offered, then by their offers' numbers.
// The time of an offer is in its token, so all its events have the same.
func byOffer(a, b *Event) int {
	return cmp.Or(cmp.Compare(a.Issued, b.Issued), cmp.Compare(a.Boot, b.Boot), cmp.Compare(a.Seq, b.Seq))
}

// findHeld is where the click of e's offer is held, or where it would be.
func (s *State) findHeld(e *Event) (int, bool) {
	return sort.Find(len(s.held), func(i int) int { return byOffer(e, &s.held[i]) })
}

func (s *State) findWaiting(position uint64) int {
	i, ok := slices.BinarySearchFunc(s.waiting, position, func(w waiting, p uint64) int { return cmp.Compare(w.position, p) })
	if !ok {
		return -1
	}
	return i
}

// seal cuts the batch: all that was counted since the previous seal.
func (s *State) seal(r *record) {
	s.forget(r.acked)
	b := &wire.Batch{
		Seal:       &wire.Cursor{Batch: r.batch, Position: s.pos},
		ForeignAck: s.ack,
		Closing:    r.closing,
	}
	if len(s.dirty) > 0 {
		t := &wire.Totals{}
		b.Totals = t
		slices.Sort(s.dirty)
		for _, id := range s.dirty {
			a := s.leases[id]
			a.dirty = false
			t.Budget = append(t.Budget, int64(id))
			t.Granted = append(t.Granted, a.Granted)
			t.Spent = append(t.Spent, a.Spent)
			t.Returned = append(t.Returned, a.Returned)
		}
	}
	if len(s.counts) > 0 {
		b.Rollups = s.rollups()
	}
	if len(s.topics) > 0 {
		b.Topics = s.topicRollups()
	}
	for i := range s.foreign {
		b.Foreign = append(b.Foreign, s.foreign[i].Wire())
	}
	for _, v := range s.verdicts {
		b.Verdicts = append(b.Verdicts, &wire.Verdict{Position: v.position, Outcome: uint32(v.outcome)})
	}
	if r.closing {
		b.Final = s.Windows(r.next)
		for i := range s.held {
			b.Held = append(b.Held, s.held[i].Wire())
		}
		s.held, s.ready, s.closed = nil, nil, true // the core's from here on
	}
	if day := exchange.Day(r.at); day != s.swept {
		s.swept = day
		maps.DeleteFunc(s.leases, func(b lease.Budget, a *account) bool { return Dead(b, r.at) && a.Available() == 0 })
	}
	clear(s.counts)
	clear(s.topics)
	clear(s.received)
	s.foreign, s.verdicts, s.dirty, s.saidAck = nil, nil, s.dirty[:0], s.ack
	s.batch = r.batch
	if len(s.sealed) >= Kept {
		b = &wire.Batch{Seal: b.GetSeal()}
	}
	s.sealed = append(s.sealed, b)
}

// Kept is how many sealed batches are kept whole. Of those after them, which
// queue while the core is away, only the seals are kept: what they tell of is in
// the journal, and the state that Replay makes of it as far as such a seal has
// the batch whole (edge/keeper does that before it is sent).
const Kept = 4

// Hollow reports whether nothing is known of a sealed batch but its seal. It
// goes by the message's own list of fields, so that no new one is forgotten.
func Hollow(b *wire.Batch) bool {
	hollow := true
	b.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		hollow = f.Name() == "seal"
		return hollow
	})
	return hollow
}

// Fill makes a hollow batch whole by the same one as it was rebuilt.
func Fill(b, rebuilt *wire.Batch) {
	seal := b.GetSeal() // with its hash
	proto.Reset(b)
	proto.Merge(b, rebuilt)
	b.Seal = seal
}

// Whole reports whether no sealed batch is hollow. Encode makes a checkpoint only
// of such a state: what is before a checkpoint can be rebuilt no more.
func (s *State) Whole() bool { return !slices.ContainsFunc(s.sealed, Hollow) }

func (s *State) rollups() *wire.Rollups {
	w := &wire.Rollups{}
	lost, keys := false, s.countKeys()
	for _, k := range keys {
		c := s.counts[k]
		w.Hour = append(w.Hour, k.hour)
		w.Flight = append(w.Flight, k.flight)
		w.Ad = append(w.Ad, k.ad)
		w.Publisher = append(w.Publisher, k.publisher)
		w.Country = append(w.Country, country(k.country))
		w.Views = append(w.Views, c.views)
		w.Clicks = append(w.Clicks, c.clicks)
		w.UnbilledViews = append(w.UnbilledViews, c.unbilledViews)
		w.UnbilledClicks = append(w.UnbilledClicks, c.unbilledClicks)
		w.SpentMicros = append(w.SpentMicros, c.spent)
		lost = lost || c.homeLost > 0
	}
	for _, k := range keys {
		if lost {
			w.HomeLost = append(w.HomeLost, s.counts[k].homeLost)
		}
	}
	return w
}

func (s *State) topicRollups() *wire.TopicRollups {
	w := &wire.TopicRollups{}
	for _, k := range s.topicKeys() {
		c := s.topics[k]
		w.Hour = append(w.Hour, k.hour)
		w.Topic = append(w.Topic, uint32(k.topic))
		w.Flight = append(w.Flight, k.flight)
		w.Country = append(w.Country, country(k.country))
		w.Views = append(w.Views, c.views)
		w.Clicks = append(w.Clicks, c.clicks)
		w.UnbilledViews = append(w.UnbilledViews, c.unbilledViews)
		w.UnbilledClicks = append(w.UnbilledClicks, c.unbilledClicks)
		w.SpentMicros = append(w.SpentMicros, c.spent)
		w.HomeLost = append(w.HomeLost, c.homeLost)
	}
	return w
}

func (s *State) topicKeys() []topicKey {
	return slices.SortedFunc(maps.Keys(s.topics), func(a, b topicKey) int {
		return cmp.Or(
			cmp.Compare(a.hour, b.hour), cmp.Compare(a.topic, b.topic), cmp.Compare(a.flight, b.flight), slices.Compare(a.country[:], b.country[:]),
		)
	})
}

func (s *State) countKeys() []countKey {
	return slices.SortedFunc(maps.Keys(s.counts), func(a, b countKey) int {
		return cmp.Or(
			cmp.Compare(a.hour, b.hour), cmp.Compare(a.flight, b.flight), cmp.Compare(a.ad, b.ad),
			cmp.Compare(a.publisher, b.publisher), slices.Compare(a.country[:], b.country[:]),
		)
	})
}

// forget drops sealed batches up to the one that the core acknowledged.
func (s *State) forget(batch uint64) {
	n := 0
	for n < len(s.sealed) && s.sealed[n].GetSeal().GetBatch() <= batch {
		s.acked = s.sealed[n].GetSeal()
		n++
	}
	s.sealed = slices.Delete(s.sealed, 0, n)
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// byOrdinal are the boots in the order in which they began.
func (s *State) byOrdinal() []*window {
	return slices.SortedFunc(maps.Values(s.boots), func(a, b *window) int { return cmp.Compare(a.ordinal, b.ordinal) })
}

// Holder is whose state this is.
func (s *State) Holder() uint32 { return s.holder }

// Position is that of the last record.
func (s *State) Position() uint64 { return s.pos }

// Current is the boot that offers now and its number, 0 before the first.
func (s *State) Current() (boot, ordinal uint64) {
	if w := s.boots[s.current]; w != nil {
		return w.boot, w.ordinal
	}
	return 0, 0
}

// Closed reports whether the last batch of all has been sealed.
func (s *State) Closed() bool { return s.closed }

// Fenced reports whether the core judges from here on.
func (s *State) Fenced() bool { return s.fenced }

// Acked is the last batch that the core is known to have applied.
func (s *State) Acked() *wire.Cursor { return s.acked }

// Sealed are the batches beyond it, oldest first; all but the first few may be
// hollow.
func (s *State) Sealed() []*wire.Batch { return slices.Clone(s.sealed) }

// Lease returns the totals of a budget's lease.
func (s *State) Lease(b lease.Budget) (lease.Totals, bool) {
	a := s.leases[b]
	if a == nil {
		return lease.Totals{}, false
	}
	return a.Totals, true
}

// Leases calls f for every lease, in no order.
func (s *State) Leases(f func(lease.Budget, lease.Totals)) {
	for b, a := range s.leases {
		f(b, a.Totals)
	}
}

// ControlOf is the newest control of a flight; its version is 0 where there is none.
func (s *State) ControlOf(flight uint32) Control { return s.controls[flight] }

// Controls returns the controls above a version, oldest first, and the newest
// version of all.
func (s *State) Controls(above uint64) ([]Control, uint64) {
	var list []Control
	for _, c := range s.controls {
		if c.Version > above {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b Control) int { return cmp.Compare(a.Version, b.Version) })
	return list, s.newest
}

// Windows are the dedupe bits of all boots. next is the first sequence number
// that the current boot has not offered.
func (s *State) Windows(next uint64) []*wire.Window {
	var list []*wire.Window
	for _, w := range s.byOrdinal() {
		n := uint64(0)
		if w.boot == s.current {
			n = next
		}
		list = append(list, w.wire(n))
	}
	return list
}

// ForeignAck is the highest position of a foreign event journalled here.
func (s *State) ForeignAck() uint64 { return s.ack }

// Batch is the number of the last batch sealed.
func (s *State) Batch() uint64 { return s.batch }
