package pacing

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"nearside/sync/catalog"
)

const hour = 3600_000

// at is a moment some days and a time of day from 1 March 2026, a Sunday.
func at(day int, clock string) int64 {
	t, err := time.Parse("15:04:05.999", clock)
	if err != nil {
		panic(err)
	}
	return time.Date(2026, time.March, 1+day, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC).UnixMilli()
}

func flight(first, last, interval int, pacing catalog.Pacing) Schedule {
	start := catalog.DayOfMillis(at(first, "00:00:00"))
	return ScheduleOf(&catalog.Flight{
		StartDate: start, EndDate: start + catalog.Day(last-first), PacingInterval: int32(interval), Pacing: pacing,
	})
}

// The check values of the design: a flight of 31 days in intervals of a day.
func TestNeed(t *testing.T) {
	for _, row := range []struct {
		name            string
		first, last     int
		interval        int
		sold, delivered int64
		now             int64
		want            int64
	}{
		{"1000 clicks, first day", 0, 30, 86400, 1000, 0, at(0, "12:00:00"), 33},
		{"ten are done", 0, 30, 86400, 1000, 10, at(0, "12:00:00"), 23},
		{"10 000 views", 0, 30, 86400, 10_000, 0, at(0, "12:00:00"), 323},
		{"started 14 days ago", -14, 16, 86400, 1000, 0, at(0, "12:00:00"), 484},
		{"the first moment", 0, 30, 86400, 1000, 0, at(0, "00:00:00"), 33},
		{"the last moment of the first day", 0, 30, 86400, 1000, 0, at(0, "23:59:59.999"), 33},
		{"the first moment of the second day", 0, 30, 86400, 1000, 0, at(1, "00:00:00"), 65},
		{"the last day", 0, 30, 86400, 1000, 0, at(30, "00:00:00"), 1000},
		{"after the last day", 0, 30, 86400, 1000, 0, at(40, "00:00:00"), 1000},
		{"after the last day, half done", 0, 30, 86400, 1000, 500, at(40, "00:00:00"), 500},
		{"before the first day", 0, 30, 86400, 1000, 0, at(-1, "23:59:59.999"), 0},
		{"ahead of plan", 0, 30, 86400, 1000, 34, at(0, "12:00:00"), 0},
		{"all done", 0, 30, 86400, 1000, 1000, at(30, "12:00:00"), 0},
		{"more than all done", 0, 30, 86400, 1000, 1200, at(30, "12:00:00"), 0},
		{"hours: the first of 744", 0, 30, 3600, 1000, 0, at(0, "00:30:00"), 2},
		{"one day, one interval", 0, 0, 86400, 1000, 0, at(0, "00:00:00"), 1000},
		{"an interval longer than the flight", 0, 0, 604800, 1000, 0, at(0, "00:00:00"), 1000},
		{"an interval that does not divide the flight", 0, 0, 50000, 100, 0, at(0, "00:00:00"), 50},
		{"its first, short interval ends early", 0, 0, 50000, 100, 0, at(0, "10:06:39.999"), 50},
		{"and the second is the last", 0, 0, 50000, 100, 0, at(0, "10:06:40"), 100},
		{"an end before the start", 5, 1, 86400, 1000, 0, at(6, "00:00:00"), 1000},
		{"an end before the start, between them", 5, 1, 86400, 1000, 0, at(3, "00:00:00"), 0},
		{"beyond 32 bits", 0, 30, 86400, 1 << 61, 0, at(0, "12:00:00"), 74382032555280451},
		{"delivered below zero", 0, 30, 86400, 1000, -5, at(0, "12:00:00"), 33},
		{"sold nothing", 0, 30, 86400, 0, 0, at(0, "12:00:00"), 0},
	} {
		s := flight(row.first, row.last, row.interval, catalog.Even)
		if got := s.Need(row.sold, row.delivered, row.now); got != row.want {
			t.Errorf("%s: needs %d, want %d", row.name, got, row.want)
		}
	}
}

func TestNeedOfASAP(t *testing.T) {
	s := flight(0, 30, 86400, catalog.ASAP)
	if got := s.Need(1000, 10, at(0, "12:00:00")); got != 990 {
		t.Errorf("asap needs %d, want all that remains", got)
	}
	s.HardStop = true
	if got := s.Need(1000, 10, at(30, "23:59:59.999")); got != 990 {
		t.Errorf("needs %d on the last day, want 990", got)
	}
	if got := s.Need(1000, 10, at(31, "00:00:00")); got != 0 {
		t.Errorf("needs %d after a hard stop", got)
	}
}

func TestWeight(t *testing.T) {
	const unit = 1_000_000 // factor of one unit of base
	for _, row := range []struct {
		name                                     string
		views, clicks, factor, overdue, priority int64
		want                                     int64
	}{
		{"clicks", 0, 33, unit, 1, 1, 33},
		{"views by the thousand, rounded up", 323, 0, unit, 1, 1, 1},
		{"a thousand views are one", 1000, 0, unit, 1, 1, 1},
		{"1001 are two", 1001, 0, unit, 1, 1, 2},
		{"both", 1001, 33, unit, 1, 1, 35},
		{"nothing", 0, 0, unit, 1, 1, 0},
		{"rounded down after the price", 0, 3, 2_500_000, 1, 1, 7},
		{"rounded before days overdue", 0, 3, 2_500_000, 8, 1, 56},
		{"priority last", 0, 3, 2_500_000, 8, 3, 168},
		{"no floating point: 100 × 1.15", 0, 100, 1_150_000, 1, 1, 115},
		{"a multiplier of zero", 0, 100, 0, 1, 1, 0},
		{"negative needs", -5, -7, unit, 1, 1, 0},
		{"saturates in the factor", 0, math.MaxInt64, math.MaxInt64, 1, 1, MaxWeight},
		{"saturates in views", math.MaxInt64, 0, unit, 1, 1, MaxWeight},
		{"saturates in days overdue", 0, MaxWeight, unit, MaxWeight, 1, MaxWeight},
		{"saturates in priority", 0, MaxWeight, unit, 1, 10, MaxWeight},
		{"saturates in both", math.MaxInt64, math.MaxInt64, unit, 1, 10, MaxWeight},
	} {
		if got := Weight(row.views, row.clicks, row.factor, row.overdue, row.priority); got != row.want {
			t.Errorf("%s: weighs %d, want %d", row.name, got, row.want)
		}
	}
	if catalog.MaxFlights > math.MaxInt64/MaxWeight {
		t.Error("the sum of all weights may overflow")
	}
}

func TestOverdue(t *testing.T) {
	s := flight(0, 30, 3600, catalog.Even)
	for _, row := range []struct {
		now    int64
		days   int64
		factor int64
	}{
		{at(0, "12:00:00"), 0, 1},
		{at(30, "23:59:59.999"), 0, 1},
		{at(31, "00:00:00"), 1, 1},
		{at(32, "00:00:00"), 2, 2},
		{at(33, "12:00:00"), 3, 5},
		{at(34, "00:00:00"), 4, 8},
		{at(39, "00:00:00"), 9, 27},
		{at(30+100, "00:00:00"), 100, 1000},
	} {
		if days := s.Overdue(row.now); days != row.days {
			t.Errorf("%d days overdue, want %d", days, row.days)
		}
		if factor := OverdueFactor(s.Overdue(row.now)); factor != row.factor {
			t.Errorf("%d days overdue count %d, want %d", row.days, factor, row.factor)
		}
	}
	if got := OverdueFactor(s.Overdue(math.MaxInt64)); got != MaxWeight {
		t.Errorf("the end of time counts %d, want %d", got, int64(MaxWeight))
	}
}

func TestECPMAndFactor(t *testing.T) {
	for _, row := range []struct {
		name                string
		cpm, cpc            catalog.Micros
		publisher, flight   float64
		multiplier          int32
		wantECPM, wantTotal int64
	}{
		{"CPM", 5_000_000, 0, 0.2, 0.1, 1, 5_000_000, 5_000_000},
		{"CPM below one", 500_000, 0, 0, 0, 1, 500_000, 1_000_000},
		{"CPM above ten", 80_000_000, 0, 0, 0, 1, 80_000_000, 10_000_000},
		{"CPC by the flight's CTR", 0, 2_000_000, 0, 0.1, 1, 2_000_000, 2_000_000},
		{"CPC by the publisher's", 0, 2_000_000, 0.3, 0.1, 1, 6_000_000, 6_000_000},
		{"a CTR of 0.01 says nothing", 0, 2_000_000, 0.01, 0.1, 1, 2_000_000, 2_000_000},
		{"CPC before CPM", 9_000_000, 2_000_000, 0, 0.1, 1, 2_000_000, 2_000_000},
		{"no CTR", 0, 2_000_000, 0, 0, 1, 0, 1_000_000},
		{"multiplied", 2_500_000, 0, 0, 0, 4, 2_500_000, 10_000_000},
		{"not multiplied", 2_500_000, 0, 0, 0, 0, 2_500_000, 0},
		{"negative multiplier", 2_500_000, 0, 0, 0, -3, 2_500_000, 0},
		{"the dearest click", 0, math.MaxInt64, 100, 100, 1, 10_000_000, 10_000_000},
	} {
		e := ECPM(row.cpm, row.cpc, row.publisher, row.flight)
		if int64(e) != row.wantECPM {
			t.Errorf("%s: eCPM %d, want %d", row.name, e, row.wantECPM)
		}
		if got := Factor(row.multiplier, e); got != row.wantTotal {
			t.Errorf("%s: factor %d, want %d", row.name, got, row.wantTotal)
		}
	}
}

func schedules(t *rapid.T) Schedule {
	start := catalog.Day(rapid.IntRange(20000, 20010).Draw(t, "start"))
	f := catalog.Flight{
		StartDate:      start,
		EndDate:        start + catalog.Day(rapid.IntRange(-1, 40).Draw(t, "days")),
		PacingInterval: int32(rapid.SampledFrom([]int{1, 60, 3600, 7000, 86400, 100_000, 604_800, 10_000_000}).Draw(t, "interval")),
		Pacing:         rapid.SampledFrom([]catalog.Pacing{catalog.Even, catalog.Traffic, catalog.ASAP}).Draw(t, "pacing"),
		HardStop:       rapid.Bool().Draw(t, "hard stop"),
	}
	if rapid.Bool().Draw(t, "demand known") {
		f.Demand = rapid.SliceOfN(rapid.Uint32Range(0, 50), catalog.HoursPerWeek, catalog.HoursPerWeek).Draw(t, "demand")
	}
	return ScheduleOf(&f)
}

// Need is what the interval allows and has not had, and what should have been
// delivered by now is never more than that.
func TestAllowedBoundsPlanned(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := schedules(t)
		sold := rapid.SampledFrom([]int64{0, 1, 7, 1000, 1_000_003, 1 << 40}).Draw(t, "sold")
		now := s.Start + rapid.Int64Range(-3*24*hour, 50*24*hour).Draw(t, "now")
		delivered := rapid.Int64Range(0, sold+5).Draw(t, "delivered")
		allowed := s.Allowed(sold, now)
		if s.Due(now) && s.Need(sold, delivered, now) != max(0, allowed-delivered) {
			t.Fatalf("need %d, but %d allowed and %d delivered", s.Need(sold, delivered, now), allowed, delivered)
		}
		if planned := s.Planned(sold, now); planned > allowed {
			t.Fatalf("%d planned of %d allowed", planned, allowed)
		}
	})
}

// Planned goes from nothing to everything and never falls.
func TestPlannedRises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := schedules(t)
		sold := rapid.Int64Range(0, 1<<40).Draw(t, "sold")
		a := s.Start + rapid.Int64Range(-24*hour, 45*24*hour).Draw(t, "a")
		b := a + rapid.Int64Range(0, 5*24*hour).Draw(t, "later")
		if s.Planned(sold, a) > s.Planned(sold, b) {
			t.Fatalf("planned falls from %d to %d", s.Planned(sold, a), s.Planned(sold, b))
		}
		if got := s.Planned(sold, s.Start-1); got != 0 {
			t.Fatalf("%d planned before the start", got)
		}
		if got := s.Planned(sold, max(s.End, s.Start+1)); got != sold {
			t.Fatalf("%d planned by the end of %d", got, sold)
		}
	})
}
