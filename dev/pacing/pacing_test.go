package pacing

import (
	"slices"
	"testing"

	"nearside/sync/catalog"
)

// short is two hours of a smaller day: 14 flights, three nodes.
func short() Options {
	return Options{Seed: 1, Start: noon, Lasts: 2 * hour, Flights: 14, Nodes: 1, Requests: 20, Workers: 2}
}

func run(t *testing.T, o Options) *Result {
	t.Helper()
	r, err := Run(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range r.Verdict() {
		t.Error(wrong)
	}
	judged := 0
	for _, m := range r.Meters {
		if m.Judged() && m.Units() > 0 {
			judged++
			t.Logf("%-24s %5d units, RMSE %s, behind %d, ahead %d", m.Flight.Slug, m.Units(), percent(m.RMSE()), m.Lag, m.Lead)
		}
	}
	if judged < 5 {
		t.Errorf("only %d flights were judged", judged)
	}
	return r
}

func TestDeliveryFollowsThePlan(t *testing.T) {
	r := run(t, short())
	late := r.Of("late")
	// It may go at four times the pace that it needs from there, and starts with a
	// unit on each node.
	needed := late.Flight.schedule.Pace(late.Flight.sold, 0, late.Flight.LiveAt, minute) * 60
	for i := 1; i < len(late.Points); i++ {
		if n := float64(late.Points[i].Delivered - late.Points[i-1].Delivered); n > 4*needed*1.3+5 {
			t.Errorf("%.0f units of the late flight in one minute; it needs %.1f", n, needed)
		}
	}
	minutes := float64(noon+2*hour-late.Flight.LiveAt) / float64(minute)
	if n := float64(late.Delivered); n < 3*needed*minutes {
		t.Errorf("%.0f units of the late flight in %.0f minutes; it needs %.1f in each and may have four times as many", n, minutes, needed)
	}
}

// Without the core every node goes on with its share: together they neither stop
// nor deliver more than the plan.
func TestTheCoreAway(t *testing.T) {
	o := short()
	o.Outages = []Outage{{From: noon + 30*minute, To: noon + 75*minute}}
	run(t, o)
}

// A region that is cut off keeps its share. The others make up for what they do
// not see, and wait once they do: nothing is overspent.
func TestARegionCutOff(t *testing.T) {
	o := short()
	o.Outages = []Outage{{Region: "eu-west", From: noon + 30*minute, To: noon + 60*minute}}
	r, err := Run(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range r.Broken {
		t.Error(wrong)
	}
	m := r.Of("even")
	if most := float64(m.Units()) * 0.5 * 0.5; float64(m.Lead) > most { // half of the region's share of half an hour would be much
		t.Errorf("%d units ahead of a plan of %d", m.Lead, m.Units())
	}
	if after, ok := m.CaughtUp(noon + 60*minute); !ok || after.Minutes() > 45 {
		t.Errorf("on plan %v after the region was back (%v)", after, ok)
	}
}

// The same options give the same day.
func TestADayRepeats(t *testing.T) {
	o := short()
	o.Lasts = 10 * minute
	a, err := Run(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	o.Workers = 1
	b, err := Run(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range a.Meters {
		if !slices.Equal(a.Meters[i].Points, b.Meters[i].Points) {
			t.Errorf("%s went another way", a.Meters[i].Flight.Slug)
		}
	}
}

// The day that is judged has what it is said to have.
func TestTheDayIsWhatItSays(t *testing.T) {
	p := newPlan(Day())
	count := map[Class]int{}
	pacings := map[catalog.Pacing]int{}
	large, clicks, starts, ends := 0, 0, 0, 0
	today := catalog.DayOfMillis(noon)
	for _, f := range p.flights {
		count[f.Class]++
		pacings[f.Pacing]++
		if f.SoldClicks > 0 {
			clicks++
		}
		if f.StartDate == today+1 {
			starts++
		}
		if f.EndDate == today {
			ends++
		}
		if f.Class != Served {
			continue
		}
		if f.sold >= Large {
			large++
		}
		if f.Supply > 0.1 {
			t.Errorf("%s takes %.2f of its readers", f.Slug, f.Supply)
		}
	}
	if len(p.flights) != 200 || large < 80 || clicks < 20 || starts < 10 || ends < 10 {
		t.Errorf("%d flights, %d large, %d sell clicks, %d begin and %d end at midnight", len(p.flights), large, clicks, starts, ends)
	}
	if count[Short] == 0 || count[Contested] == 0 || pacings[catalog.Traffic] < 30 || pacings[catalog.ASAP] < 10 {
		t.Errorf("classes %v, pacings %v", count, pacings)
	}
}
