package pacing

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"nearside/sync/catalog"
)

const second = 1000

// What a flight of 2400 units over one day should have delivered.
func TestPlanned(t *testing.T) {
	demand := make([]uint32, catalog.HoursPerWeek)
	demand[6*24+1] = 3 // Sunday 01:00 to 02:00
	for i := range demand {
		demand[i]++
	}
	for _, row := range []struct {
		name     string
		pacing   catalog.Pacing
		interval int
		clock    string
		want     int64
	}{
		{"even: nothing at first", catalog.Even, 3600, "00:00:00", 0},
		{"even: half an interval", catalog.Even, 3600, "00:30:00", 50},
		{"even: no jump between intervals", catalog.Even, 3600, "00:59:59", 99},
		{"even: the next one", catalog.Even, 3600, "01:00:01", 100},
		{"even: intervals of a minute", catalog.Even, 60, "00:30:00", 50},
		{"even: one interval, through an hour early", catalog.Even, 86400, "11:30:00", 1200},
		{"even: not much before the end", catalog.Even, 3600, "23:50:00", 2387},
		{"even: through three minutes before it", catalog.Even, 3600, "23:57:00", 2400},
		{"asap: all at once", catalog.ASAP, 3600, "00:00:00.001", 2400},
		{"traffic: a quiet hour", catalog.Traffic, 3600, "01:00:00", 92},
		{"traffic: after the busy hour", catalog.Traffic, 3600, "02:00:00", 461},
		{"traffic: and on", catalog.Traffic, 3600, "03:00:00", 553},
	} {
		s := flight(0, 0, row.interval, row.pacing)
		s.Demand = demand
		if got := s.Planned(2400, at(0, row.clock)); got != row.want {
			t.Errorf("%s: %d planned, want %d", row.name, got, row.want)
		}
	}
}

// What all nodes together aim at, in units per minute, of a flight of 1440
// units over a day: one a minute.
func TestAim(t *testing.T) {
	for _, row := range []struct {
		name      string
		delivered float64
		day       int
		clock     string
		want      float64
	}{
		{"on plan: its pace", 600, 0, "10:00:00", 1},
		{"half a minute ahead: half of it", 600.5, 0, "10:00:00", 0.5},
		{"a minute ahead: nothing", 601, 0, "10:00:00", 0},
		{"far ahead: nothing", 900, 0, "10:00:00", 0},
		{"half a minute behind: half as much again", 599.5, 0, "10:00:00", 1.5},
		{"an hour behind: four times its pace from here", 540, 0, "10:00:00", 4 * 900. / 840},
		{"a day late: four times as much as is left", 0, 0, "12:00:00", 8},
		{"all is delivered", 1440, 0, "12:00:00", 0},
		{"more than all is delivered", 1500, 0, "12:00:00", 0},
		{"before the start", 0, -1, "23:59:30", 0},
		{"two minutes before its end: in a quarter of them", 1430, 0, "23:58:00", 20},
		{"overdue: as if over an interval, four times", 1380, 1, "05:00:00", 4},
		{"overdue by much: the interval's pace", 0, 1, "05:00:00", 4 * 24},
	} {
		s := flight(0, 0, 3600, catalog.Even)
		got := s.Aim(1440, row.delivered, at(row.day, row.clock)) * 60
		if math.Abs(got-row.want) > 0.06*max(1, row.want) { // the last interval is a twentieth faster
			t.Errorf("%s: aims at %.3f a minute, want %.3f", row.name, got, row.want)
		}
	}
	s := flight(0, 0, 3600, catalog.ASAP)
	if got := s.Aim(1440, 3, at(0, "10:00:00")); !math.IsInf(got, 1) {
		t.Errorf("asap aims at %v", got)
	}
	s = flight(0, 0, 3600, catalog.Even)
	s.HardStop = true
	if got := s.Aim(1440, 3, at(1, "00:00:00")); got != 0 {
		t.Errorf("after a hard stop: %v", got)
	}
}

// Whatever the clock does, whatever is spent and whichever rate is set: what
// was let go in all never falls, and never grows faster than the rate, but for
// the first unit.
func TestReleaseNeverFalls(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r Release
		now, spent := int64(1_800_000_000_000), int64(0)
		r.Steer(rapid.Float64Range(0, 100).Draw(t, "first rate"), 0, now)
		total := 1.0 // credit, and what was spent
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			step := rapid.SampledFrom([]int64{0, 1, 100, second, 4 * second, hour, -hour, -second, 24 * hour}).Draw(t, "clock")
			now += step
			if r.Stale(now) && rapid.Bool().Draw(t, "steer") {
				r.Steer(rapid.SampledFrom([]float64{0, 0.001, 1, 50, 1e6}).Draw(t, "rate"), spent, now)
			}
			if rapid.Bool().Draw(t, "spend") {
				spent += rapid.Int64Range(0, 20).Draw(t, "units")
			}
			debt := max(least, reserve*r.Rate())
			credit := r.Grow(rapid.Float64Range(0, 30).Draw(t, "waiting"), spent, now)
			let := float64(spent) + credit
			if let < total-1e-6 {
				t.Fatalf("let go in all fell from %v to %v", total, let)
			}
			grown := r.Rate() * float64(min(max(step, 0), longest)) / second
			if credit > 0 && let > total+grown+1e-6 && credit > -debt {
				t.Fatalf("%v more were let go in %d ms at %v a second", let-total, step, r.Rate())
			}
			total = let
		}
	})
}

// line is one flight with all the readers that it can use, on one holder.
type line struct {
	s         Schedule
	sold      int64
	delivered int64
	r         Release
}

// second lets one pass by a clock that shows now; it returns what was delivered.
func (l *line) second(now int64) (n int64) {
	if l.r.Stale(now) {
		l.r.Steer(l.s.Aim(l.sold, float64(l.delivered), now), l.delivered, now)
	}
	n = min(int64(max(0, l.r.Grow(0, l.delivered, now))), l.sold-l.delivered)
	l.delivered += n
	return n
}

// With readers enough, delivery stays close to the plan from the start to the
// end, whatever the interval, and is through by then.
func TestDeliveryFollowsThePlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := catalog.Flight{
			StartDate: 20000, EndDate: 20000 + catalog.Day(rapid.IntRange(0, 1).Draw(t, "days")),
			PacingInterval: rapid.SampledFrom([]int32{60, 900, 3600, 86_400, 604_800}).Draw(t, "interval"),
			Pacing:         rapid.SampledFrom([]catalog.Pacing{catalog.Even, catalog.Traffic}).Draw(t, "pacing"),
		}
		if rapid.Bool().Draw(t, "demand known") {
			f.Demand = rapid.SliceOfN(rapid.Uint32Range(1, 10), catalog.HoursPerWeek, catalog.HoursPerWeek).Draw(t, "demand")
		}
		l := line{s: ScheduleOf(&f), sold: rapid.SampledFrom([]int64{1, 24, 1000, 10_007, 1_000_000}).Draw(t, "sold")}
		slack := max(2, float64(l.sold)/200)
		for now := l.s.Start; now < l.s.End; now += second {
			l.second(now)
			if d := float64(l.delivered - l.s.Planned(l.sold, now)); math.Abs(d) > slack {
				t.Fatalf("%v units off the plan of %d after %d s", d, l.s.Planned(l.sold, now), (now-l.s.Start)/second)
			}
		}
		if l.delivered != l.sold {
			t.Fatalf("%d of %d delivered by the end", l.delivered, l.sold)
		}
	})
}

// A clock that is an hour off, forth or back, and then right again; a sale or an
// end that changes; an hour without readers: nothing is dumped, which is to say
// that no minute has more than Haste times the pace then needed, and in the end
// all is delivered.
func TestDeliveryIsNeverDumped(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := catalog.Day(20000)
		f := catalog.Flight{
			StartDate: start, EndDate: start + catalog.Day(rapid.IntRange(0, 2).Draw(t, "days")),
			PacingInterval: rapid.SampledFrom([]int32{60, 3600, 86_400}).Draw(t, "interval"),
		}
		l := line{s: ScheduleOf(&f), sold: 10_000}
		what := rapid.SampledFrom([]string{"clock ahead", "clock behind", "more sold", "less sold", "ends later", "ends sooner", "no readers"}).Draw(t, "trouble")
		from := l.s.Start + rapid.Int64Range(0, 20).Draw(t, "hour")*hour
		inMinute, limit := int64(0), 0.0
		for now := l.s.Start; now < l.s.End; now += second {
			clock := now
			trouble := now >= from && now < from+hour
			switch {
			case now == from && what == "more sold":
				l.sold = 15_000
			case now == from && what == "less sold":
				l.sold = 7_000
			case now == from && what == "ends later":
				f.EndDate++
				l.s = ScheduleOf(&f)
			case now == from && what == "ends sooner" && f.EndDate > start+1:
				f.EndDate--
				l.s = ScheduleOf(&f)
			case trouble && what == "clock ahead":
				clock += hour
			case trouble && what == "clock behind":
				clock -= hour
			}
			limit = max(limit, Haste*l.s.Pace(l.sold, float64(l.delivered), clock, Horizon))
			if now%(60*second) == 0 {
				if float64(inMinute) > 60*limit+reserve*limit+2 {
					t.Fatalf("%d delivered in a minute for which the most is %.1f, %d s after the trouble", inMinute, 60*limit, (now-from)/second)
				}
				inMinute, limit = 0, 0
			}
			if trouble && what == "no readers" {
				continue
			}
			inMinute += l.second(clock)
		}
		if l.delivered < l.sold {
			t.Fatalf("%s: %d of %d delivered by the end", what, l.delivered, l.sold)
		}
	})
}
