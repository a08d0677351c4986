package regions

import (
	"math/rand/v2"
	"net/http"
	"net/url"
	"syscall"
	"testing"
	"time"

	"nearside/dev/load"
	"nearside/dev/world"
)

// traffic is page views in every region that only one flight can fill.
type traffic []*load.Traffic

// traffic starts it and waits until the leases are measured by it.

func (f flight) traffic(t *testing.T, rate float64) traffic {
	t.Helper()
	for _, e := range edges {
		f.offer(t, e)
	}
	var streams traffic
	for i := 0; i < len(edges); i += nodes {
		c := load.Config{
			Region: edges[i].Region, Rate: rate, Seed: uint64(i), Query: func(*rand.Rand) url.Values { return f.query() },
			ViewIn: 150 * time.Millisecond, ClickOf: 0.05, Log: func(err error) { t.Log(err) },
		}
		for _, e := range edges[i : i+nodes] {
			c.Edges = append(c.Edges, e.Public)
		}
		s := load.Start(t.Context(), c, readers)
		t.Cleanup(s.Stop)
		streams = append(streams, s)
	}
	streams.more(t, 100)
	allExchange(t)
	return streams
}

// views are how many have been answered so far.
func (s traffic) views() (n int64) {
	for _, stream := range s {
		n += stream.Views.Load()
	}
	return n
}

// more waits for n views from now on.
func (s traffic) more(t *testing.T, n int64) {
	t.Helper()
	from := s.views()
	eventually(t, 30*time.Second, "traffic goes on", func() bool { return s.views() >= from+n })
}

// finish ends the streams so that no page view is cut off in its middle, and
// wants that no request failed, that all found an ad, and that the core has
// counted to the event what readers were answered.
func (f flight) finish(t *testing.T, s traffic) {
	t.Helper()
	f.finishWith(t, s, 0)
}

// finishWith is finish where a test has sent further views.
func (f flight) finishWith(t *testing.T, s traffic, further int64) {
	t.Helper()
	var decisions, offers, views, clicks, failed int64
	for _, stream := range s {
		stream.Drain()
		decisions += stream.Decisions.Load()
		offers += stream.Offers.Load()
		views += stream.Views.Load()
		clicks += stream.Clicks.Load()
		failed += stream.Failed.Load() + stream.Skipped.Load()
	}
	t.Logf("%d decisions, %d offers, %d views, %d clicks", decisions, offers, views, clicks)
	if failed != 0 {
		t.Errorf("%d requests failed", failed)
	}
	if offers != decisions {
		t.Errorf("%d decisions found no ad", decisions-offers)
	}
	f.settlesAt(t, 20*time.Second, views+further, clicks)
}

// Postgres is stopped under traffic, and started; then it crashes. No decision
// fails, the admin API says that it cannot answer instead of hanging, and
// afterwards the totals agree to the event.
func TestPostgresIsAway(t *testing.T) {
	f := newFlight(t, line{views: 50_000_000, cpm: 2_000_000, clicks: 1_000_000, cpc: 1_500_000})
	s := f.traffic(t, 50)
	for _, how := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT} { // a fast shutdown; no shutdown at all
		here.Postgres.Stop(how, 20*time.Second)
		for core := range cores {
			asked := time.Now()
			status, body, err := here.AdminOf(t.Context(), core, http.MethodGet, "/v1/flights/"+f.slug, nil)
			if err != nil || status/100 != 5 {
				t.Errorf("without Postgres core %d answers %d (%v): %.200s", core+1, status, err, body)
			}
			if took := time.Since(asked); took > 5*time.Second {
				t.Errorf("without Postgres core %d takes %s to say that it cannot answer", core+1, took)
			}
		}
		s.more(t, 250)
		if err := here.Postgres.Start(); err != nil {
			t.Fatal(err)
		}
		if err := here.WaitCore(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Logf("with Postgres back, %s until every edge exchanges", eventually(t, 0, "", func() bool { allExchange(t); return true }))
	}
	f.finish(t, s)
}

// One node is cut off from the core: it hears of a pause, of a resumption and
// of a new catalog from its peer, within seconds. Where the peer is cut off too
// the region goes on with what it knows; one node that comes back is enough for
// both. Nothing that was seen meanwhile is lost.
func TestNewsComesThroughAPeer(t *testing.T) {
	f := newFlight(t, line{views: 1_000_000, cpm: 1_000_000})
	alone, peer := edges[0], edges[1]
	var views int64
	see := func(e world.Edge) {
		t.Helper()
		if reason := view(t, f.offer(t, e).ViewURL); reason != "Billed view" {
			t.Errorf("a view at %s: %s", e.Node, reason)
		}
		views++
	}
	heard := func(core int) int64 { return exchanges(alone, core) }
	tell := func(verb string) { call(t, 0, http.MethodPost, "/v1/flights/"+f.slug+"/"+verb, nil, nil) }
	see(alone)

	defer cut(alone, false)
	defer cut(peer, false)
	cut(alone, true)
	before := heard(0) + heard(1)
	eventually(t, 10*time.Second, "its stream breaks", func() bool { return metric(t, alone.Ops, "nearside_edge_stream_open") == 0 })
	tell("pause")
	t.Logf("a pause takes %s", eventually(t, 3*time.Second, "the node that is cut off stops", func() bool { return !f.offered(t, alone) }))
	eventually(t, 3*time.Second, "its peer stops", func() bool { return !f.offered(t, peer) })
	tell("resume")
	t.Logf("a resumption takes %s", eventually(t, 3*time.Second, "the node that is cut off goes on", func() bool { return f.offered(t, alone) }))
	see(alone)
	f.newAd(t, 0, f.slug+"-second")
	t.Logf("a catalog takes %s", eventually(t, 6*time.Second, "the node that is cut off knows a new ad", func() bool { return f.knows(t, alone, f.slug+"-second") }))
	see(alone)
	if after := heard(0) + heard(1); after != before {
		t.Fatalf("the node was not cut off: it exchanged %d times", after-before)
	}

	cut(peer, true)
	eventually(t, 10*time.Second, "the peer's stream breaks", func() bool { return metric(t, peer.Ops, "nearside_edge_stream_open") == 0 })
	tell("pause")
	eventually(t, 3*time.Second, "another region stops", func() bool { return !f.offered(t, edges[nodes]) })
	see(alone)
	see(peer)
	cut(peer, false)
	eventually(t, 15*time.Second, "its peer stops once it is back", func() bool { return !f.offered(t, peer) })
	eventually(t, 3*time.Second, "the node that is still cut off stops", func() bool { return !f.offered(t, alone) })
	if after := heard(0) + heard(1); after != before {
		t.Fatalf("the node was not cut off: it exchanged %d times", after-before)
	}
	cut(alone, false)
	f.settlesAt(t, 15*time.Second, views, 0)
}

// Two cores serve one Postgres: what is changed at one is pushed by the other
// at once. Each in turn is killed with kill -9 under traffic: the edges move
// over, no decision fails, nothing is lost.
func TestOneOfTwoCoresIsKilled(t *testing.T) {
	f := newFlight(t, line{views: 50_000_000, cpm: 2_000_000, clicks: 1_000_000, cpc: 1_500_000})
	paused := newFlight(t, line{views: 1000, cpm: 1_000_000})
	s := f.traffic(t, 30)
	all := []*world.Process{here.Core, here.Others[0]}
	// change pauses and resumes a flight at one of the cores.
	change := func(told int) {
		t.Helper()
		for _, e := range edges {
			paused.offer(t, e)
		}
		call(t, told, http.MethodPost, "/v1/flights/"+paused.slug+"/pause", nil, nil)
		answered := time.Now()
		for _, e := range edges {
			eventually(t, 2*time.Second, e.Node+" hears of the pause", func() bool { return !paused.offered(t, e) })
		}
		t.Logf("a pause at core %d is obeyed everywhere %s later", told+1, time.Since(answered))
		call(t, told, http.MethodPost, "/v1/flights/"+paused.slug+"/resume", nil, nil)
	}
	change(0)
	change(1)
	for serving := range all {
		from := make([]int64, len(edges))
		other := 1 - serving
		for i, e := range edges {
			from[i] = exchanges(e, other)
		}
		all[serving].Kill()
		for i, e := range edges {
			eventually(t, 20*time.Second, e.Node+" moves over", func() bool { return exchanges(e, other) >= from[i]+2 })
		}
		change(other)
		s.more(t, 150)
		if err := all[serving].Start(); err != nil {
			t.Fatal(err)
		}
		if err := here.WaitCore(t.Context()); err != nil {
			t.Fatal(err)
		}
		change(serving) // to which no edge talks now
	}
	f.finish(t, s)
}
