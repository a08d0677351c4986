package e2e

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Pause at the admin API: no region offers the flight 1 s later. Views in
// flight are honoured. Resume brings it back. After kill they are not billed.
func TestPauseResumeKill(t *testing.T) {
	f := newFlight(t, line{views: 1_000_000, cpm: 1_000_000})
	before := f.offer(t, edges[0])
	for _, e := range edges {
		f.offer(t, e)
	}

	ctx, cancel := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	last := make([]atomic.Int64, len(edges))  // when each edge was last asked an offer that it gave
	asked := make([]atomic.Int64, len(edges)) // when it was last asked
	for i, e := range edges {
		asking.Go(func() {
			for ctx.Err() == nil {
				at := time.Now().UnixNano()
				offer, err := browser.Decide(ctx, e.Public, f.query(), reader())
				if err != nil && ctx.Err() == nil {
					t.Error(err)
				}
				if offer.Filled() {
					last[i].Store(at)
				}
				asked[i].Store(at)
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	defer asking.Wait()
	defer cancel()
	offering := func(since time.Time) (n int) {
		for i := range last {
			if last[i].Load() > since.UnixNano() {
				n++
			}
		}
		return n
	}
	eventually(t, 10*time.Second, "every edge offers it", func() bool { return offering(time.Time{}) == len(edges) })

	call(t, http.MethodPost, "/v1/flights/"+f.slug+"/pause", nil, nil)
	late := time.Now().Add(time.Second)
	for i, e := range edges { // long enough for an offer that must not be
		eventually(t, 30*time.Second, e.Node+" is asked for a while", func() bool { return time.Unix(0, asked[i].Load()).After(late.Add(2 * time.Second)) })
	}
	for i, e := range edges {
		if at := time.Unix(0, last[i].Load()); at.After(late) {
			t.Errorf("%s offers it %s after pause was answered", e.Node, at.Sub(late)+time.Second)
		}
	}
	if s := f.state(t); s.State != "pause" {
		t.Errorf("it is in the state %s", s.State)
	}
	if reason := beacon(t, before.ViewURL, http.StatusOK); reason != "Billed view" {
		t.Errorf("a view in flight while paused: %s", reason)
	}

	call(t, http.MethodPost, "/v1/flights/"+f.slug+"/resume", nil, nil)
	resumed := time.Now()
	eventually(t, 5*time.Second, "every edge offers it again", func() bool { return offering(resumed) == len(edges) })
	cancel()
	asking.Wait()

	inFlight := f.offer(t, edges[1])
	call(t, http.MethodPost, "/v1/flights/"+f.slug+"/kill", nil, nil)
	eventually(t, 10*time.Second, edges[1].Node+" has heard of the kill", func() bool {
		offer, err := browser.Decide(t.Context(), edges[1].Public, f.query(), reader())
		return err == nil && !offer.Filled()
	})
	if reason := beacon(t, inFlight.ViewURL, http.StatusOK); reason == "Billed view" {
		t.Error("a view in flight is billed after kill")
	}
	f.wantTotals(t, 5*time.Second, "views 1+1 clicks 0+0 micros 1000")
}
