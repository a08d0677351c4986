package holder

import (
	"fmt"
	"slices"

	"nearside/sync/exchange"
	"nearside/sync/lease"
	"nearside/sync/token"
	"nearside/sync/wire"
)

// Life is how long a token's events may be counted after the offer, in
// milliseconds.
const Life = 2 * 3600 * 1000

// Keep is how long after an offer its bits are kept: its life, and a margin in
// which events that went round through the core may come home.
const Keep = Life + 30*60*1000

// MaxHeld is how many clicks may wait here for their views at once. One more is
// refused as not viewed.
const MaxHeld = 8192

// keepDays is how long the lease of a day's budget is remembered.
const keepDays = 30

// Verdict is what became of a view or a click.
type Verdict uint8

const (
	Billed    Verdict = iota // debited
	Counted                  // touches no budget: a view of a flight that sells clicks
	Exhausted                // valid but beyond a budget: recorded, not billed
	Killed                   // valid, but of a killed flight: recorded, not billed
	Duplicate                // judged before
	NotViewed                // a click whose view was never counted
	Foreign                  // kept for its home, which judges it
	HomeLost                 // of a boot that is not known any more
	Expired                  // of an offer too old to be counted
	Held                     // a click that came before its view, and waits for it
	Verdicts                 // their number
)

var verdictNames = [Verdicts]string{
	"Billed", "Counted", "Budget exhausted", "Flight killed", "Duplicate", "Not viewed", "Foreign", "Home lost", "Old/Invalid nonce", "Waits for its view",
}

// String names a verdict; the set is bounded.
func (v Verdict) String() string {
	if v < Verdicts {
		return verdictNames[v]
	}
	return fmt.Sprintf("verdict %d", uint8(v))
}

// Taken reports whether the event has been recorded, here or for its home.
func (v Verdict) Taken() bool { return v <= Killed || v == Foreign || v == Held }

// Boot begins a boot: a random number that is not 0, and how many boots this
// state directory has had. Nothing may be offered before the record is durable.
func (s *State) Boot(dst []byte, boot, ordinal uint64, now int64) []byte {
	return s.do(dst, &record{kind: recBoot, holder: s.holder, boot: boot, ordinal: ordinal, at: now})
}

// Judge says what an event may do, and does it. Where the verdict is Taken
// a record was appended. A Duplicate's answer must wait for all records so far.
// An event of another holder, or any once this one is fenced or closed, is
// Foreign.
func (s *State) Judge(dst []byte, e *Event) ([]byte, Verdict) {
	if e.Holder != s.holder || s.fenced || s.closed {
		if _, ok := s.received[e.key()]; ok {
			return dst, Duplicate
		}
		return s.do(dst, &record{kind: recForeign, event: *e}), Foreign
	}
	r := record{kind: recJudged, event: *e}
	v := s.judge(&r)
	if v == NotViewed {
		if _, held := s.findHeld(e); held {
			return dst, Duplicate
		}
		if e.At-e.Issued <= Life && len(s.held) < MaxHeld {
			return s.do(dst, &record{kind: recHeld, event: *e}), Held
		}
	}
	if r.outcome != exchange.Billed && r.outcome != exchange.Unbilled {
		return dst, v
	}
	return s.do(dst, &r), v
}

// judge fills in outcome and debits; the outcome is 0 where the event is not
// to be recorded if it came straight to its home.
func (s *State) judge(r *record) Verdict {
	e := &r.event
	w := s.boots[e.Boot]
	switch {
	case w == nil:
		if r.position > 0 {
			r.outcome = exchange.HomeLost
		}
		return HomeLost
	case !w.inSpan(e.Seq):
		if r.position > 0 { // nobody can tell whether it came before, by another way
			r.outcome = exchange.HomeLost
		}
		return Expired
	case w.has(e.Kind, e.Seq):
		r.outcome = exchange.Duplicate
		return Duplicate
	case e.Kind == exchange.Click && !w.has(exchange.View, e.Seq):
		r.outcome = exchange.NotViewed
		return NotViewed
	case e.At-e.Issued > Life:
		return Expired
	case s.controls[e.Flight].State == killed:
		r.outcome = exchange.Unbilled
		return Killed
	}
	r.debits, r.n = e.debits()
	for _, d := range r.debits[:r.n] {
		if a := s.leases[d.Budget]; a == nil || a.Available() < d.Amount {
			r.n = 0
			r.outcome = exchange.Unbilled
			return Exhausted
		}
	}
	r.outcome = exchange.Billed
	if r.n == 0 {
		return Counted
	}
	return Billed
}

// ForeignIn takes an event of this holder that reached another node, as the
// core passed it on under a position. It is judged once; a click whose view has
// not come waits.
func (s *State) ForeignIn(dst []byte, position uint64, e *Event, now int64) []byte {
	if position <= s.ack || s.fenced || s.closed {
		return dst
	}
	r := record{kind: recJudged, position: position, event: *e}
	r.event.Holder = s.holder
	if s.judge(&r); r.outcome == exchange.NotViewed && now-e.Issued <= Keep {
		r.kind = recWaiting
	}
	return s.answer(dst, &r)
}

// answer records a foreign event, which always gets an outcome: unbilled where it
// is too old. Where its bits are gone it is counted as home lost: it may have come
// before, and have been counted then.
func (s *State) answer(dst []byte, r *record) []byte {
	if r.outcome == 0 {
		r.outcome = exchange.Unbilled
	}
	return s.do(dst, r)
}

// Settle judges one click that waited, if one can be judged now: its view has
// come, or never will. It returns dst as it was when there is none. held says that
// the click e had come straight here; v is what became of it then.
func (s *State) Settle(dst []byte, now int64) (rec []byte, e Event, v Verdict, held bool) {
	for len(s.ready) > 0 {
		e = s.ready[0]
		s.ready = s.ready[1:]
		if _, waits := s.findHeld(&e); !waits {
			continue // it came through the core as well, and was judged so
		}
		r := record{kind: recJudged, event: e}
		v = s.judge(&r)
		if r.outcome != exchange.Billed && r.outcome != exchange.Unbilled {
			v, r.outcome = HomeLost, exchange.HomeLost // its bits went in between
		}
		return s.do(dst, &r), e, v, true
	}
	if len(s.held) > 0 && now-s.held[0].Issued > Keep {
		e = s.held[0]
		return s.do(dst, &record{kind: recJudged, event: e, outcome: exchange.NotViewed}), e, NotViewed, true
	}
	for i := range s.waiting {
		r := record{kind: recJudged, position: s.waiting[i].position, event: s.waiting[i].event}
		if v = s.judge(&r); r.outcome == exchange.NotViewed && now-r.event.Issued <= Keep {
			continue
		}
		return s.answer(dst, &r), r.event, v, false
	}
	return dst, e, 0, false
}

// Ready reports whether the view of a click that is held has come.
func (s *State) Ready() bool { return len(s.ready) > 0 }

// Held are the clicks that wait here for their views, for whoever judges them
// when this holder does not any more.
func (s *State) Held() []Event { return s.held }

// Waits reports whether clicks wait for their views.
func (s *State) Waits() bool { return len(s.waiting)+len(s.held) > 0 }

// Has says what is known of an offer of this holder: nothing where its bits
// are gone or it has another home.
func (s *State) Has(holder uint32, boot, seq uint64) (known, viewed, clicked bool) {
	w := s.boots[boot]
	if holder != s.holder || w == nil || !w.inSpan(seq) {
		return false, false, false
	}
	return true, w.has(exchange.View, seq), w.has(exchange.Click, seq)
}

// Grant takes what the core has granted in all. A total that is not above the
// known one is old news.
func (s *State) Grant(dst []byte, b lease.Budget, granted int64) []byte {
	known := int64(0)
	if a := s.leases[b]; a != nil {
		known = a.Granted
	}
	if b <= 0 || granted <= known || s.fenced || s.closed {
		return dst
	}
	return s.do(dst, &record{kind: recGrant, budget: b, total: granted})
}

// Dead reports whether a lease is of a day so long past that nothing is kept
// of it.
func Dead(b lease.Budget, now int64) bool {
	return b.Micros() && b.Day()+keepDays < exchange.Day(now)
}

// Contradicts says why the core's totals of a lease cannot be: it has settled
// more than was ever spent here. Such a journal is an old copy. It is empty
// where they can be.
func (s *State) Contradicts(g *wire.Grant) string {
	var t lease.Totals
	if a := s.leases[lease.Budget(g.GetBudget())]; a != nil {
		t = a.Totals
	}
	if g.GetSpent() > t.Spent || g.GetReturned() > t.Returned {
		return fmt.Sprintf("budget %d: the core has settled %d spent and %d returned, this journal knows of %d and %d",
			g.GetBudget(), g.GetSpent(), g.GetReturned(), t.Spent, t.Returned)
	}
	return ""
}

// Return gives an amount of what is available back to the core.
func (s *State) Return(dst []byte, b lease.Budget, amount int64) []byte {
	a := s.leases[b]
	if a == nil || s.closed || s.fenced {
		return dst
	}
	amount = min(amount, a.Available())
	if amount <= 0 {
		return dst
	}
	return s.do(dst, &record{kind: recReturn, budget: b, total: a.Returned + amount})
}

// Control takes what an operator said of a flight, unless something newer is
// known.
func (s *State) Control(dst []byte, c Control) []byte {
	if c.Version <= s.controls[c.Flight].Version || c.State > killed || s.closed {
		return dst
	}
	return s.do(dst, &record{kind: recControl, control: c.Version, flight: c.Flight, state: c.State})
}

// Floor forgets the bits of a boot below a sequence number, which is rounded
// down to a block, or all of an earlier boot with Gone.
func (s *State) Floor(dst []byte, boot, floor uint64) []byte {
	w := s.boots[boot]
	if floor != Gone {
		floor -= floor % blockSeqs
	}
	if w == nil || floor <= w.floor || floor == Gone && boot == s.current || floor != Gone && floor > token.MaxSeq || s.closed {
		return dst
	}
	return s.do(dst, &record{kind: recFloor, boot: boot, floor: floor})
}

// Dropped lists the earlier boots of which every token is dead.
func (s *State) Dropped(now int64) []uint64 {
	var list []uint64
	for _, w := range s.byOrdinal() {
		if w.boot != s.current && w.ended+Keep < now {
			list = append(list, w.boot)
		}
	}
	return list
}

// Span is the range of sequence numbers that the current boot remembers.
func (s *State) Span() (floor, end uint64) {
	if w := s.boots[s.current]; w != nil {
		return w.floor, w.floor + MaxSpan
	}
	return 0, 0
}

// Said reports whether there is nothing for the next batch to say.
func (s *State) Said() bool {
	return len(s.dirty) == 0 && len(s.counts) == 0 && len(s.foreign) == 0 && len(s.verdicts) == 0 && s.ack == s.saidAck
}

// Size is about what the next batch would take, in bytes.
func (s *State) Size() int {
	return 32*len(s.dirty) + 48*len(s.counts) + 44*len(s.topics) + 96*len(s.foreign) + 12*len(s.verdicts)
}

// Seal cuts a batch of all that was recorded since the last seal. It may be
// sent once the record is durable and Covered has given it its hash. A closing
// batch carries the windows, and nothing is judged after it. next is the first
// sequence number that was not offered.
func (s *State) Seal(dst []byte, now int64, closing bool, next uint64) []byte {
	if s.closed {
		return dst
	}
	return s.do(dst, &record{kind: recSeal, batch: s.batch + 1, acked: s.acked.GetBatch(), at: now, closing: closing, next: next})
}

// Covered gives the journal's commit hash to the seals up to a position. It
// returns the batches that became ready to be sent.
func (s *State) Covered(pos uint64, hash []byte) []*wire.Batch {
	var ready []*wire.Batch
	for _, b := range s.sealed {
		if c := b.GetSeal(); c.GetHash() == nil && c.GetPosition() <= pos {
			c.Hash = slices.Clone(hash)
			ready = append(ready, b)
		}
	}
	return ready
}

// Acknowledge drops the batches up to the core's cursor.
func (s *State) Acknowledge(c *wire.Cursor) { s.forget(c.GetBatch()) }

// Fence leaves judging to the core from here on: events of this holder are
// recorded as foreign.
func (s *State) Fence(dst []byte, now int64) []byte {
	if s.fenced {
		return dst
	}
	return s.do(dst, &record{kind: recFence, at: now})
}
