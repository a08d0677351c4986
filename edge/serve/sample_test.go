package serve

import (
	"fmt"
	"testing"
	"time"

	"nearside/edge/decision"
)

// A sample stands for all decisions since the one before.
func TestSampledRefusals(t *testing.T) {
	w := newWorld(t)
	refusals := func() string {
		w.tally.mu.Lock()
		defer w.tally.mu.Unlock()
		return fmt.Sprint(w.tally.refusals)
	}
	w.offer(ask1)
	if got, want := refusals(), "map[2/ad_type:1 3/ad_type:1 4/ad_type:1 6/not_live:1]"; got != want {
		t.Errorf("the first decision: %s, want %s", got, want)
	}
	for range 9 {
		w.offer(ask1)
	}
	w.clock.Add(samplePause) // however long this machine took for the sample before
	w.get(decisionPath + "?publisher=open&div_ids=a&ad_types=text-v1")
	if got, want := refusals(), "map[1/ad_type:10 2/ad_type:1 2/include_keywords:10 3/ad_type:1 3/include_countries:10 4/ad_type:1 4/include_domains:10 5/ad_type:10 6/not_live:11]"; got != want {
		t.Errorf("after ten more: %s, want %s", got, want)
	}
	w.offer(ask1 + "&force_ad=ad-views")
	w.clock.Add(samplePause)
	before := refusals()
	w.get(decisionPath + "?" + ask1 + "&placement_index=1")
	w.get(decisionPath+"?publisher=desktop&div_ids=a&ad_types=image-v1", "User-Agent", phone)
	if got := refusals(); got != before {
		t.Errorf("what the gate refuses was taken for a sample: %s", got)
	}
	w.clock.Add(-time.Hour.Milliseconds())
	before = refusals()
	w.offer(ask1)
	if refusals() == before {
		t.Error("no sample after the clock went back")
	}
}

// noted counts what is told of each flight.
type noted struct {
	silentTally
	told int
	n    map[uint32]int64
}

func (t *noted) Refusals(flight uint32, _ uint8, n int64) {
	t.told++
	t.n[flight] += n
}

func TestManyRefusalsAreCountedByAFew(t *testing.T) {
	for _, row := range []struct{ refused, most int }{{0, 0}, {1, 1}, {15, 15}, {16, 16}, {17, 16}, {100, 16}, {1000, 16}} {
		tally := &noted{n: map[uint32]int64{}}
		refused := make([]decision.Refusal, row.refused)
		for i := range refused {
			refused[i] = decision.Refusal{Flight: &decision.Flight{ID: uint32(i)}, Reason: decision.Lease}
		}
		const times = 2000
		for range times {
			before := tally.told
			noteSome(tally, refused)
			if told := tally.told - before; told > row.most+1 {
				t.Fatalf("of %d refusals %d were counted one by one, want at most %d", row.refused, told, row.most)
			}
		}
		total := int64(0)
		for _, n := range tally.n {
			total += n
		}
		want := float64(times * row.refused)
		if float64(total) < 0.97*want || float64(total) > 1.03*want || len(tally.n) != row.refused {
			t.Errorf("%d refusals %d times: %d counted, of %d flights", row.refused, times, total, len(tally.n))
		}
	}
}
