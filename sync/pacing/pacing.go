package pacing

import (
	"math"
	"math/bits"

	"nearside/sync/catalog"
)

const (
	// MaxWeight is where weights saturate. A catalog has at most
	// catalog.MaxFlights flights, so that the sum of all weights fits an int64.
	MaxWeight = 1 << 42

	// CTRFloor is the sampled CTR, in per cent, at and below which a
	// publisher's sample says nothing.
	CTRFloor = 0.01

	// MicrosPerUnit is how many micros one unit of currency has: what a factor
	// is divided by.
	MicrosPerUnit = 1_000_000

	minECPM = 1 * MicrosPerUnit
	maxECPM = 10 * MicrosPerUnit
)

// Schedule is when a flight delivers. All times are unix milliseconds.
type Schedule struct {
	Start    int64 // 00:00 of the start date
	End      int64 // 00:00 after the end date
	Interval int64 // milliseconds
	Total    int64 // intervals, at least 1
	Pacing   catalog.Pacing
	HardStop bool
	Demand   []uint32 // weights of the hours of a week from Monday 00:00; empty: all the same
}

// ScheduleOf is the schedule of a flight.
func ScheduleOf(f *catalog.Flight) Schedule {
	s := Schedule{
		Start:    f.StartDate.StartMillis(),
		End:      f.EndDate.StartMillis() + catalog.MillisPerDay,
		Interval: max(1, int64(f.PacingInterval)) * 1000,
		Pacing:   f.Pacing,
		HardStop: f.HardStop,
		Demand:   f.Demand,
	}
	if s.Pacing == catalog.Traffic {
		s.Interval = max(s.Interval, catalog.MillisPerDay)
	}
	s.Total = max(0, (s.End-s.Start-1)/s.Interval) + 1
	return s
}

// Left is the number of whole intervals from now to the end.
func (s *Schedule) Left(now int64) int64 {
	// The end is a microsecond before End and now has no microseconds.
	return max(0, (s.End-now-1)/s.Interval)
}

// Due reports whether the flight may need anything at all at now: it has
// started, and is not past the end of one that stops hard.
func (s *Schedule) Due(now int64) bool {
	return now >= s.Start && (now < s.End || !s.HardStop)
}

// Need is how many units the flight needs now of sold, where delivered have
// been delivered everywhere.
func (s *Schedule) Need(sold, delivered, now int64) int64 {
	remaining := sold - max(0, delivered)
	if remaining <= 0 || !s.Due(now) {
		return 0
	}
	if s.Pacing == catalog.ASAP {
		return remaining
	}
	left := s.Left(now)
	if left == 0 {
		return remaining
	}
	return max(0, remaining-portion(sold, left, s.Total))
}

// Overdue is the number of days that now is past the end date.
func (s *Schedule) Overdue(now int64) int64 {
	if now < s.End {
		return 0
	}
	return (now-s.End)/catalog.MillisPerDay + 1
}

// OverdueFactor is floor(max(1, days)^1.5).
func OverdueFactor(days int64) int64 {
	if days <= 1 {
		return 1
	}
	d := float64(days)
	return int64(min(d*math.Sqrt(d), MaxWeight))
}

// ECPM is what a thousand views are expected to earn: the CPM, or for a flight
// that is paid by the click what its clicks bring at the CTR, which is the
// publisher's (in per cent) where it is known and else the flight's.
func ECPM(cpm, cpc catalog.Micros, publisherCTR, flightCTR float64) catalog.Micros {
	if cpc <= 0 {
		return cpm
	}
	ctr := flightCTR
	if publisherCTR > CTRFloor {
		ctr = publisherCTR
	}
	return catalog.Micros(math.Round(min(float64(cpc)*ctr*10, maxECPM)))
}

// Factor is what one unit of base counts, in millionths: the priority
// multiplier times the eCPM held between 1 and 10.
func Factor(multiplier int32, ecpm catalog.Micros) int64 {
	return max(0, int64(multiplier)) * min(max(int64(ecpm), minECPM), maxECPM)
}

// Weight is how much a flight counts in the choice between flights; factor is
// from Factor and overdue from OverdueFactor. It is 0 where nothing is needed.
func Weight(viewsNeed, clicksNeed, factor, overdue, priority int64) int64 {
	return WeightOf(Base(viewsNeed, clicksNeed), factor, overdue, priority)
}

// Base is ceil(viewsNeed / 1000) + clicksNeed.
func Base(viewsNeed, clicksNeed int64) uint64 {
	views := (max(0, viewsNeed) + 999) / 1000
	if viewsNeed > math.MaxInt64-999 {
		views = math.MaxInt64 / 1000
	}
	return uint64(views) + uint64(max(0, clicksNeed))
}

// WeightOf is Weight of a need whose Base is known.
func WeightOf(base uint64, factor, overdue, priority int64) int64 {
	high, low := bits.Mul64(base, uint64(max(0, factor)))
	if high != 0 {
		return MaxWeight
	}
	w := saturate(low / MicrosPerUnit)
	if overdue != 1 {
		w = times(w, overdue)
	}
	if priority != 1 {
		w = times(w, priority)
	}
	return w
}

func saturate(w uint64) int64 { return int64(min(w, MaxWeight)) }

func times(w, by int64) int64 {
	high, low := bits.Mul64(uint64(w), uint64(max(0, by)))
	if high != 0 {
		return MaxWeight
	}
	return saturate(low)
}

// portion is floor(n × part / whole) for 0 ≤ part ≤ whole, without overflow.
func portion(n, part, whole int64) int64 {
	if n <= math.MaxInt32 && part <= math.MaxInt32 {
		return n * part / whole
	}
	high, low := bits.Mul64(uint64(n), uint64(part))
	quotient, _ := bits.Div64(high, low, uint64(whole))
	return int64(quotient)
}
