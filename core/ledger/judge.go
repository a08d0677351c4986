package ledger

import (
	"context"
	"time"

	"nearside/sync/exchange"
	"nearside/sync/lease"
)

// Judged says what Judge did.
type Judged struct {
	Events  int // that got their verdict
	Waiting int // of those looked at, that wait on: for windows, or for the view of a click
	Billed  int
	Lost    int // refused as home lost
	Closed  bool
	Budgets []Budget // as they are now, those that changed
}

// Judge decides the first MaxDocket foreign events of a home that is no longer
// open, by its windows and the core's own verdicts. Fenced without windows they
// wait; closed without windows they are refused as home lost. A holder that
// handed in is closed once nothing of its is left to judge.
func Judge(ctx context.Context, store Store, home uint32, now int64, rules Rules) (Judged, error) {
	var result Judged
	err := store.Update(ctx, func(tx Tx) error {
		loaded := NewLoaded()
		if err := tx.Load(ctx, Needs{Holders: []uint32{home}, Docket: home}, loaded); err != nil {
			return err
		}
		h := loaded.Holders[home]
		if h == nil || h.State == Open || loaded.Forgotten {
			result = Judged{}
			return nil
		}
		var needs Needs
		for i := range loaded.Docket {
			f := &loaded.Docket[i]
			needs.Killed = append(needs.Killed, f.Event.GetFlight())
			d, n := debits(f)
			for _, d := range d[:n] {
				needs.Budgets = append(needs.Budgets, d.Budget)
				needs.Leases = append(needs.Leases, LeaseKey{home, d.Budget})
			}
		}
		if h.State == Fenced && h.HandedIn {
			needs.Release = []uint32{home}
		}
		needs.sort()
		if err := tx.Load(ctx, needs, loaded); err != nil {
			return err
		}
		s := newStep(loaded, now, rules)
		result = s.judge(h)
		changes := s.changes()
		for _, b := range changes.Budgets {
			result.Budgets = append(result.Budgets, *b)
		}
		return tx.Write(ctx, changes)
	})
	return result, err
}

// debits is what an event takes, by its token alone.
func debits(f *Foreign) (d [exchange.MaxDebits]exchange.Debit, n int) {
	e := f.Event
	return exchange.Debits(f.Kind, uint16(e.GetFlags()), e.GetFlight(), e.GetPublisher(), e.GetIssued(), price(f))
}

func price(f *Foreign) int64 {
	if f.Kind == exchange.View {
		return f.Event.GetViewPrice()
	}
	return f.Event.GetClickPrice()
}

// settleDelay is how long after its token died a click still waits for its
// view, which may be on its way from another edge.
const settleDelay = 15 * time.Minute

// handInLife is how long events that a closed home handed in wait for the rest
// of its hand-in: its disk may be lost in the middle of it.
const handInLife = 24 * time.Hour

func (s *step) judge(h *Holder) Judged {
	var result Judged
	if h.State == Fenced && !h.HandedIn {
		result.Waiting = len(s.Docket)
		return result
	}
	// Views first: a click's view may have a later position.
	for _, kind := range [...]exchange.Kind{exchange.View, exchange.Click} {
		for i := range s.Docket {
			f := &s.Docket[i]
			if f.Kind != kind {
				continue
			}
			f.Outcome = s.verdict(h, f)
			switch f.Outcome {
			case Waiting:
				result.Waiting++
				continue
			case exchange.Billed:
				result.Billed++
			case HomeLost:
				result.Lost++
			}
			result.Events++
			s.written.Verdicts = append(s.written.Verdicts, Verdict{f.Home, f.Position, f.Outcome})
			if kind == exchange.View && (f.Outcome == exchange.Billed || f.Outcome == exchange.Unbilled) {
				s.Viewed[f.EventKey] = true
			}
		}
	}
	if h.State == Fenced && len(s.Docket) < MaxDocket && result.Waiting == 0 {
		s.close(h, h.Reason)
		result.Closed = true
	}
	return result
}

// verdict judges one event and does what follows from it.
func (s *step) verdict(h *Holder, f *Foreign) exchange.Outcome {
	if !h.HandedIn {
		if f.Sender == h.ID && s.now < f.At+handInLife.Milliseconds() { // its hand-in has begun
			return Waiting
		}
		s.rollupEvent(h, f.Event, Counts{HomeLost: 1})
		return HomeLost
	}
	if h.Recovered == told {
		return exchange.Duplicate
	}
	click := f.Kind == exchange.Click
	w := s.Windows[f.Boot]
	if w == nil && s.now < f.Event.GetIssued()+(TokenLife+settleDelay).Milliseconds() {
		// What was handed in is older than its boot: a copy's, while the holder
		// lives and does not know that it is fenced. It may yet bring the window.
		return Waiting
	}
	if w == nil || f.Seq < w.Floor {
		// It came so late that its bits are gone: nobody can tell whether it was
		// judged before.
		s.rollupEvent(h, f.Event, Counts{HomeLost: 1})
		return HomeLost
	}
	if w.used(f.Seq, click) {
		return exchange.Duplicate
	}
	view := f.EventKey
	view.Kind = exchange.View
	if click && !w.used(f.Seq, false) && !s.Viewed[view] {
		if s.now < f.Event.GetIssued()+(TokenLife+settleDelay).Milliseconds() {
			return Waiting
		}
		return exchange.NotViewed
	}
	counts, outcome := Counts{}, exchange.Unbilled
	if d, n := debits(f); !s.Killed[f.Event.GetFlight()] && s.debit(h, d[:n]) {
		outcome = exchange.Billed
		if n > 0 {
			counts.Spent = price(f)
		}
	}
	switch {
	case outcome == exchange.Billed && click:
		counts.Clicks = 1
	case outcome == exchange.Billed:
		counts.Views = 1
	case click:
		counts.UnbilledClicks = 1
	default:
		counts.UnbilledViews = 1
	}
	s.rollupEvent(h, f.Event, counts)
	return outcome
}

// debit takes all of the debits or none: from the holder's remainder while it
// is fenced, then from unleased.
func (s *step) debit(h *Holder, debits []exchange.Debit) bool {
	for _, d := range debits {
		b := s.Budgets[d.Budget]
		if b == nil || b.Unleased+s.remainder(h, d.Budget) < d.Amount {
			return false
		}
	}
	for _, d := range debits {
		mine := min(s.remainder(h, d.Budget), d.Amount)
		if mine > 0 {
			s.settle(s.Leases[LeaseKey{h.ID, d.Budget}], mine)
		}
		if rest := d.Amount - mine; rest > 0 {
			s.Budgets[d.Budget].judge(rest)
			s.budgets[d.Budget] = true
		}
	}
	return true
}

// remainder is what a fenced holder still has of a budget; a closed one has
// nothing.
func (s *step) remainder(h *Holder, b lease.Budget) int64 {
	l := s.Leases[LeaseKey{h.ID, b}]
	if l == nil {
		return 0
	}
	return l.Available()
}
