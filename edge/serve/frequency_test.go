package serve

import (
	"testing"

	"nearside/edge/decision"
	"nearside/sync/catalog"
)

// A flight with a cap of two a day is offered to one client twice a day.
func TestFrequencyCap(t *testing.T) {
	w := newWorld(t)
	s := sample()
	s.Flights[0].FrequencyCap, s.Flights[0].FrequencyWindow = 2, 24*3600
	w.apply(s)
	paid := func(headers ...string) bool {
		t.Helper()
		return w.offer(ask1, headers...)["id"] == "ad-views"
	}
	for _, step := range []struct {
		name    string
		hours   int64 // that pass before
		headers []string
		paid    bool // else the house ad
	}{
		{"first offer", 0, nil, true},
		{"second", 1, nil, true},
		{"third", 1, nil, false},
		{"another address", 0, []string{"X-Forwarded-For", "8.8.4.4"}, true},
		{"another agent", 0, []string{"User-Agent", firefox}, true},
		{"asked not to be tracked", 0, []string{"DNT", "1"}, true},
		{"asked not to be tracked, again", 0, []string{"Sec-GPC", "1"}, true},
		{"asked not to be tracked, thrice", 0, []string{"DNT", "1"}, true},
		{"still capped", 0, nil, false},
		{"the next day", 22, nil, true},
	} {
		w.clock.Add(step.hours * 3600 * 1000)
		if got := paid(step.headers...); got != step.paid {
			t.Errorf("%s: paid %v, want %v", step.name, got, step.paid)
		}
	}
	for range 3 {
		if o := w.offer(ask1 + "&force_ad=ad-views"); o["id"] != "ad-views" {
			t.Errorf("a forced ad is capped: %v", o["id"])
		}
	}
}

func TestFrequenciesAreBounded(t *testing.T) {
	s := sample()
	for i := range s.Flights {
		s.Flights[i].FrequencyCap, s.Flights[i].FrequencyWindow = 1, 60
	}
	c, err := decision.Compile(s, newBooks(), catalog.DayOf(noon))
	if err != nil {
		t.Fatal(err)
	}
	var f frequencies
	for client := uint64(1); client < 200_000; client++ {
		for flight := range c.Flights() {
			f.count(client, flight, int64(client))
		}
	}
	held := 0
	for i := range f.sets {
		for _, set := range f.sets[i] {
			for _, c := range set {
				if c.client != 0 {
					held++
				}
			}
		}
	}
	if most := frequencyShards * frequencySets * frequencyWays; held > most || held < most/2 {
		t.Errorf("%d clients held, of at most %d", held, most)
	}
	to := make([]uint32, 0, frequencyFlights)
	if to = f.capped(to, 199_999, c, 199_999); len(to) != len(s.Flights) {
		t.Errorf("%d flights are capped, want %d", len(to), len(s.Flights))
	}
	if n := testing.AllocsPerRun(100, func() { f.capped(to[:0], 199_999, c, 199_999) }); n != 0 {
		t.Errorf("allocates %v times", n)
	}
}
