package ledger

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"nearside/sync/exchange"
	"nearside/sync/lease"
	"nearside/sync/wire"
)

// want is what one holder asks of one budget.
type want struct {
	holder   *Holder
	target   int64
	velocity int64
}

// grant gives out what is unleased, budget by budget, once every settlement
// and return of the group is in.
func (s *step) grant(turns []*turn) {
	wants := map[lease.Budget][]want{}
	for _, t := range turns {
		if !t.grants {
			continue
		}
		for _, w := range t.request.GetSide().GetWants() {
			b := lease.Budget(w.GetBudget())
			if s.Budgets[b] == nil || !leasable(b, s.now, s.rules.MaxOffline) {
				continue
			}
			wants[b] = append(wants[b], want{t.holder, min(w.GetTarget(), maxAmount), min(w.GetVelocityMilli(), maxCount)})
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(wants), cmp.Compare) {
		s.grantOf(s.Budgets[id], wants[id])
	}
}

func (s *step) grantOf(b *Budget, wants []want) {
	sum := b.Velocity
	for _, w := range wants {
		l := s.Leases[LeaseKey{w.holder.ID, b.ID}]
		if l == nil {
			sum += w.velocity
			continue
		}
		if notable(l.Velocity, w.velocity) || s.isTouched(l) {
			sum += w.velocity - l.Velocity
			s.demand(l, w.velocity)
		}
	}
	starving := false
	for _, w := range wants {
		key := LeaseKey{w.holder.ID, b.ID}
		l := s.Leases[key]
		held := int64(0)
		if l != nil {
			held = l.Available()
		}
		n := int64(0)
		if !s.Forgotten {
			n = size(b, w, held, sum, s.Open)
		}
		if n > 0 {
			if l == nil {
				l = &Lease{Holder: w.holder.ID, Budget: b.ID}
				s.Leases[key] = l
				s.leases[key] = true
				s.demand(l, w.velocity)
			}
			l.Granted += n
			b.grant(n)
			s.touch(l)
			s.budgets[b.ID] = true
			s.told[w.holder.ID] = append(s.told[w.holder.ID], l)
		}
		starving = starving || held+n < min(w.target, hot(b, w.velocity, s.rules.Interval))
	}
	if starving && b.Unleased < b.Unit && b.Outstanding > 0 && !b.Tight {
		b.Tight = true
		s.budgets[b.ID] = true
	}
}

func (s *step) isTouched(l *Lease) bool {
	_, touched := s.leases[LeaseKey{l.Holder, l.Budget}]
	return touched
}

// size is lease.Grant, in whole units. A remainder of less than a unit is
// given whole: cheaper events, or what the holder has beside it, may use it.
func size(b *Budget, w want, held, sum int64, open int) int64 {
	gap := w.target - held
	if gap <= 0 || b.Unleased <= 0 {
		return 0
	}
	if b.Unleased < b.Unit {
		return b.Unleased
	}
	gap = (gap + b.Unit - 1) / b.Unit * b.Unit
	return lease.Grant(held+gap, held, b.Unleased, w.velocity, sum, open, b.Unit)
}

// hot is what a holder with this demand needs until its next exchange, and
// nothing in store: what it keeps when others starve.
func hot(b *Budget, velocity int64, interval time.Duration) int64 {
	if velocity <= 0 {
		return 0
	}
	return lease.Target(lease.Demand{Velocity: velocity, Unit: b.Unit, Interval: interval, Endgame: true})
}

// notable says whether demand changed enough to be written for its own sake.
func notable(old, now int64) bool {
	diff := max(old-now, now-old)
	return diff > old/8 || now == 0 && old > 0
}

// loosen ends the recall where the budget has something to give again, or
// nothing to recall.
func (b *Budget) loosen() {
	if b.Tight && (b.Outstanding == 0 || b.Limit <= b.Asked && b.Unleased >= b.Unit) {
		b.Tight = false
	}
}

// recallTo is down to what a lease of a tight budget is to go: while the limit
// is to fall, by its part of what is out; else to what its holder will use
// before it speaks again, so that those who starve are fed.
func recallTo(b *Budget, l *Lease, interval time.Duration) (to int64, wanted bool) {
	if !b.Tight {
		return 0, false
	}
	held := l.Available()
	if b.Limit > b.Asked {
		excess := min(b.Limit-b.Asked, b.Outstanding)
		to = share(held, b.Outstanding-excess, b.Outstanding)
	} else {
		to = hot(b, l.Velocity, interval)
	}
	return to, to < held
}

// leasable reports whether b may be granted from at a time: always, or for the
// budget of a day from maxOffline before the day until the last token of the
// day is dead.
func leasable(b lease.Budget, now int64, maxOffline time.Duration) bool {
	if b.Day() == 0 {
		return true
	}
	const day = int64(24 * time.Hour / time.Millisecond)
	begin := int64(b.Day()) * day
	return begin-maxOffline.Milliseconds() <= now && now < begin+day+TokenLife.Milliseconds()
}

// DaysWanted lists the budgets of days that requests want and that may be
// leased now, whether they exist or not: see Store.OpenDays.
func DaysWanted(requests []*wire.SyncRequest, now int64, rules Rules) []lease.Budget {
	var days []lease.Budget
	for _, r := range requests {
		for _, w := range r.GetSide().GetWants() {
			if b := lease.Budget(w.GetBudget()); b.Day() != 0 && leasable(b, now, rules.MaxOffline) {
				days = append(days, b)
			}
		}
	}
	return sorted(days, cmp.Compare)
}

// OldestDay is the first day whose budgets may still change by grants.
func OldestDay(now int64) int32 { return exchange.Day(now - TokenLife.Milliseconds()) }

// DayBudget is the budget of a day for an owner's cap as it is now; false where
// no cap is in force on that day.
func DayBudget(id lease.Budget, c Cap) (Budget, bool) {
	if id.Day() == 0 || c.Micros <= 0 || id.Day() < c.From {
		return Budget{}, false
	}
	return NewBudget(id, c.Micros, c.Unit), true
}
