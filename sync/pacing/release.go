package pacing

import (
	"math"

	"nearside/sync/catalog"
)

const (
	millisPerHour = 60 * 60 * 1000
	millisPerWeek = catalog.HoursPerWeek * millisPerHour

	// mondayOffset is how far 1970-01-01, a Thursday, is into its week.
	mondayOffset = 3 * catalog.MillisPerDay

	// earlyPart of the last interval is kept free, but never more than earlyMost,
	// and earlyLeast where half an interval is longer.
	earlyPart  = 20
	earlyMost  = millisPerHour
	earlyLeast = 30_000
)

// span is the interval that now is in. Intervals are counted back from the
// end, and forth from it for a flight that is overdue; the first is cut off at
// the start.
func (s *Schedule) span(now int64) (begin, end int64) {
	if now < s.End {
		left := s.Left(now)
		return max(s.Start, s.End-(left+1)*s.Interval), s.End - left*s.Interval
	}
	begin = now - (now-s.End)%s.Interval
	return begin, begin + s.Interval
}

// Allowed is how much of sold may have been delivered by the end of the
// interval that now is in: at every moment, Need is Allowed less what has been
// delivered.
func (s *Schedule) Allowed(sold, now int64) int64 {
	if sold <= 0 || now < s.Start {
		return 0
	}
	if s.Pacing == catalog.ASAP {
		return sold
	}
	return sold - portion(sold, min(s.Left(now), s.Total), s.Total)
}

// Planned is D(t): how much of sold should have been delivered everywhere by
// now. It is what delivery is steered by and measured against.
func (s *Schedule) Planned(sold, now int64) int64 {
	before, due := s.planned(sold, now)
	return before + int64(due)
}

// planned is what should have been delivered before the interval of now, and
// in it by now.
func (s *Schedule) planned(sold, now int64) (before int64, due float64) {
	if sold <= 0 || now <= s.Start {
		return 0, 0
	}
	if s.Pacing == catalog.ASAP || now >= s.End {
		return sold, 0
	}
	begin, _ := s.span(now)
	if begin > s.Start {
		before = s.Allowed(sold, begin-1)
	}
	return before, float64(s.Allowed(sold, now)-before) * s.done(now)
}

// between is how much of sold is to be delivered between two times.
func (s *Schedule) between(sold, from, to int64) float64 {
	a, dueA := s.planned(sold, from)
	b, dueB := s.planned(sold, to)
	return max(0, float64(b-a)+dueB-dueA)
}

// Pace is the units per second that a flight needs on average for the time
// ahead, in milliseconds: those of its plan, or what is missing over the time
// that is left where that is more. Of an overdue flight, which should be
// through, it is what is missing over an interval, or the average of its days.
func (s *Schedule) Pace(sold int64, delivered float64, now, ahead int64) float64 {
	missing := float64(sold) - delivered
	if missing <= 0 || !s.Due(now) {
		return 0
	}
	left := s.End - now
	if left <= 0 {
		return max(missing/float64(s.Interval), float64(sold)/float64(max(s.End-s.Start, s.Interval))) * 1000
	}
	ahead = max(ahead, 1000)
	return max(s.between(sold, now, now+ahead)/float64(ahead), missing/float64(max(left, 1000))) * 1000
}

// done is the part of the current interval's amount that is due by now, from
// 0 to 1.
func (s *Schedule) done(now int64) float64 {
	begin, end := s.span(now)
	if end == s.End {
		end -= min(max((end-begin)/earlyPart, earlyLeast), (end-begin)/2, earlyMost)
	}
	if now >= end {
		return 1
	}
	if s.Pacing == catalog.Traffic && len(s.Demand) == catalog.HoursPerWeek {
		if all := s.demandBetween(begin, end); all > 0 {
			return min(1, s.demandBetween(begin, now)/all)
		}
	}
	return float64(now-begin) / float64(end-begin)
}

// demandBetween is the demand of the hours from a to b, in weight × hours.
func (s *Schedule) demandBetween(a, b int64) float64 {
	sum := 0.0
	if weeks := (b - a) / millisPerWeek; weeks > 0 {
		week := 0.0
		for _, w := range s.Demand {
			week += float64(w)
		}
		sum = week * float64(weeks)
		a += weeks * millisPerWeek
	}
	for a < b {
		inWeek := modulo(a+mondayOffset, millisPerWeek)
		next := min(b, a+millisPerHour-inWeek%millisPerHour)
		sum += float64(s.Demand[inWeek/millisPerHour]) * float64(next-a) / millisPerHour
		a = next
	}
	return sum
}

func modulo(a, n int64) int64 {
	if a %= n; a < 0 {
		a += n
	}
	return a
}

const (
	// Horizon is how far ahead delivery aims to be on plan, in milliseconds.
	Horizon = 60_000
	// SteerEvery is how often the rate is set, in milliseconds.
	SteerEvery = 5_000
	// Haste is how many times its pace a flight that is behind may go.
	Haste = 4

	gain    = 0.3   // of the way to where the rate should be, each time
	reserve = 5     // seconds of its rate that a holder may save up
	least   = 2     // units that it may save up in any case, so that two can be out at once
	longest = 5_000 // milliseconds that count as passed at once
)

// Aim is the units per second that all holders together should deliver so that
// the plan is met a Horizon from now (sooner where the end is near), but never
// faster than Haste times the pace that the flight needs from here.
//
//	(D(now + 60 s) − delivered) / 60 s
//
// An asap flight has no aim: it is +Inf until all is delivered.
func (s *Schedule) Aim(sold int64, delivered float64, now int64) float64 {
	switch {
	case !s.Due(now) || float64(sold) <= delivered:
		return 0
	case s.Pacing == catalog.ASAP:
		return math.Inf(1)
	}
	ahead := int64(Horizon)
	if now < s.End { // so that nothing is left in the end
		ahead = min(ahead, max((s.End-now)/Haste, 1000))
	}
	before, due := s.planned(sold, now+ahead)
	behind := float64(before) + due - delivered
	if behind <= 0 {
		return 0
	}
	return min(behind*1000/float64(ahead), Haste*s.Pace(sold, delivered, now, Horizon))
}

// Release lets one holder's lease of one flight go bit by bit. It holds a
// credit in units, which grows with the rate that Steer sets and is paid for by
// what the holder spends. The zero value has one unit to begin with, so that
// the first offer anywhere need not wait.
//
// What was released in all, credit and what was spent of it, never falls,
// whatever the clock does: a clock that goes back counts as no time, one that
// jumps ahead as five seconds.
type Release struct {
	rate    float64 // units per second
	credit  float64
	at      int64 // when it last grew
	steered int64 // when the rate was last set
	spent   int64 // of the lease, as far as it is paid for
	begun   bool
}

// Stale reports whether the rate wants to be set again.
func (r *Release) Stale(now int64) bool {
	return !r.begun || now-r.steered >= SteerEvery || now < r.steered
}

// Steer moves the rate towards what this holder should deliver per second, its
// share of Aim. spent is the total of its lease, of which the first time all
// counts as paid for.
func (r *Release) Steer(perSecond float64, spent, now int64) {
	if r.begun {
		r.rate += gain * (perSecond - r.rate)
	} else {
		*r = Release{rate: perSecond, credit: 1, at: now, spent: spent, begun: true}
	}
	r.steered = now
}

// Grow lets time pass until now and takes what has been spent since the last
// time. waiting is what offers that are out are expected to bring. It returns
// what may be delivered now, with those.
func (r *Release) Grow(waiting float64, spent, now int64) float64 {
	passed := min(max(now-r.at, 0), longest)
	r.at = now
	r.credit -= float64(max(spent-r.spent, 0))
	r.spent = spent
	saved := max(least, reserve*r.rate)
	if most := waiting + saved; r.credit < most {
		r.credit = min(r.credit+r.rate*float64(passed)/1000, most)
	}
	// What others sent here beyond the plan is no debt for ever: the aim knows.
	r.credit = max(r.credit, -saved)
	return r.credit
}

// Rate is the units per second that the holder may deliver now.
func (r *Release) Rate() float64 { return r.rate }
