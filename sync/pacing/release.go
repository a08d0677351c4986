package pacing

import "nearside/sync/catalog"

const (
	millisPerHour = 60 * 60 * 1000
	millisPerWeek = catalog.HoursPerWeek * millisPerHour

	// mondayOffset is how far 1970-01-01, a Thursday, is into its week.
	mondayOffset = 3 * catalog.MillisPerDay

	// earlyPart of the last interval is kept free, but never more than earlyMost.
	earlyPart = 20
	earlyMost = millisPerHour
)

// IntervalStart is when the interval that now is in began. A holder that
// remembers how much had been delivered at that moment gives it to Released.
func (s *Schedule) IntervalStart(now int64) int64 {
	begin, _ := s.span(now)
	return begin
}

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

// Planned is how much of sold should have been delivered by now if every
// interval had gone to plan. It is the D(t) that delivery is steered by, and
// what Released takes as before where nobody remembers better:
//
//	before := s.Planned(sold, s.IntervalStart(now))
func (s *Schedule) Planned(sold, now int64) int64 {
	if sold <= 0 || now <= s.Start {
		return 0
	}
	if s.Pacing == catalog.ASAP || now >= s.End {
		return sold
	}
	begin, _ := s.span(now)
	before := int64(0)
	if begin > s.Start {
		before = s.Allowed(sold, begin-1)
	}
	allowed := s.Allowed(sold, now)
	return before + int64(float64(allowed-before)*s.done(now))
}

// Released is how much of sold may have been delivered everywhere by now,
// where before had been delivered when the interval began. It is at least
// before and, within an interval, never falls. A unit is released at the
// beginning of its slice of the interval, so that an interval that needs one
// unit can deliver it at once.
//
// A holder lets its lease go so that what has been delivered everywhere, as
// far as it knows, stays within Released; of the difference it takes its own
// share.
func (s *Schedule) Released(sold, before, now int64) int64 {
	before = max(0, before)
	if sold <= before || !s.Due(now) {
		return before
	}
	amount := s.Allowed(sold, now) - before
	if s.Pacing == catalog.ASAP {
		return before + max(0, amount)
	}
	if amount <= 0 {
		return before
	}
	return before + min(amount, int64(float64(amount)*s.done(now))+1)
}

// done is the part of the current interval's amount that is due by now, from
// 0 to 1.
func (s *Schedule) done(now int64) float64 {
	begin, end := s.span(now)
	if end == s.End {
		end -= min((end-begin)/earlyPart, earlyMost)
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
