package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync"
	"syscall"
	"testing"
	"time"

	"nearside/dev/load"
	"nearside/dev/world"
)

const sigterm = syscall.SIGTERM

// traffic starts page views in every region that only f can fill.
func (f flight) traffic(t *testing.T, rate float64) []*load.Traffic {
	t.Helper()
	var streams []*load.Traffic
	for i, e := range edges {
		s := load.Start(t.Context(), load.Config{
			Edges: []string{e.Public}, Region: e.Region, Rate: rate, Seed: uint64(i),
			Query:  func(*rand.Rand) url.Values { return f.query() },
			ViewIn: 150 * time.Millisecond, ClickOf: 0.05,
			Log: func(err error) { t.Log(err) },
		}, readers)
		t.Cleanup(s.Stop)
		streams = append(streams, s)
	}
	return streams
}

// sums over the streams.
func sums(streams []*load.Traffic) (decisions, offers, views, clicks, failed int64) {
	for _, s := range streams {
		decisions += s.Decisions.Load()
		offers += s.Offers.Load()
		views += s.Views.Load()
		clicks += s.Clicks.Load()
		failed += s.Failed.Load() + s.Skipped.Load()
	}
	return decisions, offers, views, clicks, failed
}

// finish ends the streams so that no page view is cut off in its middle, and
// wants that nothing failed and the core has counted to the event what the
// readers were answered.
func (f flight) finish(t *testing.T, l line, streams []*load.Traffic) {
	t.Helper()
	for _, s := range streams {
		s.Drain()
	}
	decisions, offers, views, clicks, failed := sums(streams)
	t.Logf("%d decisions, %d offers, %d views, %d clicks", decisions, offers, views, clicks)
	if failed != 0 {
		t.Errorf("%d requests failed", failed)
	}
	if views < 100 {
		t.Errorf("only %d views: this shows nothing", views)
	}
	f.wantTotals(t, 20*time.Second, fmt.Sprintf("views %d+0 clicks %d+0 micros %d", views, clicks, views*l.cpm/1000+clicks*l.cpc))
}

// The core is killed for 30 s under traffic: no decision fails, edges go on
// offering from their leases, and afterwards the totals agree to the event.
func TestTheCoreIsAwayFor30Seconds(t *testing.T) {
	l := line{views: 50_000_000, cpm: 2_000_000, clicks: 1_000_000, cpc: 1_500_000}
	f := newFlight(t, l)
	streams := f.traffic(t, 40)
	eventually(t, 20*time.Second, "every region has offers", func() bool {
		for _, s := range streams {
			if s.Offers.Load() < 50 {
				return false
			}
		}
		return true
	})
	here.Core.Kill()
	_, before, _, _, _ := sums(streams)
	away := time.NewTimer(30 * time.Second)
	select {
	case <-away.C:
	case <-t.Context().Done():
	}
	_, after, _, _, _ := sums(streams)
	if after-before < 500 {
		t.Errorf("without the core there were %d offers in 30 s at 120 page views a second", after-before)
	}
	startCore(t)
	exchanged(t)
	f.finish(t, l, streams)
}

// The exchange's requests and replies are dropped, repeated, replaced by
// older ones and delayed, at random: totals are unchanged.
func TestExchangesAreSpoilt(t *testing.T) {
	l := line{views: 50_000_000, cpm: 2_000_000, clicks: 1_000_000, cpc: 1_500_000}
	f := newFlight(t, l)
	streams := f.traffic(t, 40)
	menu := []world.Fault{world.DropRequest, world.DropReply, world.Repeat, world.Stale, world.Delay}
	const seed = 20260314
	t.Logf("seed %d", seed)
	before := map[world.Fault]int64{}
	for i, p := range proxies {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		for _, fault := range menu {
			before[fault] += p.Done(fault)
		}
		var mu sync.Mutex // an edge's exchanges follow each other, but one that is cut off may overlap the next
		p.Choose(func() world.Fault {
			mu.Lock()
			defer mu.Unlock()
			if random.IntN(2) == 0 {
				return world.Pass
			}
			return menu[random.IntN(len(menu))]
		})
	}
	defer func() {
		for _, p := range proxies {
			p.Choose(nil)
		}
	}()
	done := func(fault world.Fault) (n int64) {
		for _, p := range proxies {
			n += p.Done(fault)
		}
		return n - before[fault]
	}
	eventually(t, 90*time.Second, "every fault was done 5 times", func() bool {
		for _, fault := range menu {
			if done(fault) < 5 {
				return false
			}
		}
		return true
	})
	for _, p := range proxies {
		p.Choose(nil)
	}
	for _, fault := range menu {
		t.Logf("%s: %d times", fault, done(fault))
	}
	exchanged(t)
	f.finish(t, l, streams)
}

// The region is cut off from the core and comes back: nothing is lost.
func TestARegionIsCutOff(t *testing.T) {
	l := line{views: 50_000_000, cpm: 2_000_000, clicks: 1_000_000, cpc: 1_500_000}
	f := newFlight(t, l)
	streams := f.traffic(t, 40)
	eventually(t, 20*time.Second, "every region has offers", func() bool {
		for _, s := range streams {
			if s.Offers.Load() < 50 {
				return false
			}
		}
		return true
	})
	proxies[1].Cut(true)
	defer proxies[1].Cut(false)
	from := streams[1].Views.Load()
	eventually(t, 30*time.Second, "the region that is cut off counts views", func() bool { return streams[1].Views.Load() >= from+150 })
	proxies[1].Cut(false)
	exchanged(t)
	f.finish(t, l, streams)
}
