package e2e

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"nearside/dev/load"
	"nearside/dev/world"
)

// An edge that is killed with -9 in the middle of 2 000 views has counted
// every view that it answered exactly once; the others are counted once they
// are sent again, with those that were already.
func TestKilledInTheMiddleOfViews(t *testing.T) {
	const n = 2000
	f := newFlight(t, line{views: 1_000_000, cpm: 3_000_000})
	offers := f.offers(t, edges[0], n)
	answered := make([]bool, n)
	var done atomic.Int64
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		for done.Load() < n/2 && t.Context().Err() == nil {
			time.Sleep(time.Millisecond)
		}
		here.Edges[0].Kill()
	}()
	client := load.NewClient(64)
	defer client.Close()
	each(t, n, 64, func(i int) error {
		answer, err := client.Get(t.Context(), offers[i].ViewURL, reader())
		if err == nil && answer.Status == http.StatusOK {
			answered[i] = true
			done.Add(1)
		}
		return nil // after the kill nothing is answered
	})
	<-killed
	if done.Load() < n/2 || done.Load() == n {
		t.Fatalf("%d of %d views were answered: the kill did not come in the middle", done.Load(), n)
	}
	restart(t, 0)

	// Counted are those that were answered, and perhaps some whose answer the
	// kill cut off.
	eventually(t, 10*time.Second, "every answered view is counted", func() bool { return f.state(t).Delivery.Views >= done.Load() })
	exchanged(t)
	if views := f.state(t).Delivery.Views; views > done.Load()+64 {
		t.Errorf("%d views are counted, %d were answered, and at most 64 more under way", views, done.Load())
	}
	each(t, n, 64, func(i int) error {
		err := seen(t.Context(), offers[i])
		if err != nil && answered[i] {
			err = fmt.Errorf("a view that was answered before: %w", err)
		}
		return err
	})
	f.wantTotals(t, 10*time.Second, fmt.Sprintf("views %d+0 clicks 0+0 micros %d", n, n*3000))
}

// An edge that is killed with -9 after the core has taken its batch, and before
// it hears so, counts everything exactly once.
func TestKilledBetweenABatchAndItsReply(t *testing.T) {
	f := newFlight(t, line{views: 1_000_000, cpm: 1_000_000})
	total, shown := 0, 0
	for round := 0; shown < 3; round++ {
		if round == 12 {
			t.Fatalf("of %d kills %d came after a batch with views in it, 3 are wanted", round, shown)
		}
		offers := f.offers(t, edges[1], 100)
		var killed atomic.Bool
		dead := make(chan struct{})
		proxies[1].After(func() {
			if killed.CompareAndSwap(false, true) {
				here.Edges[1].Kill()
				close(dead)
			}
		})
		answered := 0
		for _, o := range offers {
			if err := seen(t.Context(), o); err != nil {
				break
			}
			answered++
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		select {
		case <-dead:
		case <-ctx.Done():
			t.Fatal("there was no exchange to kill the edge in")
		}
		cancel()
		proxies[1].After(nil)
		// The first exchange since these offers is the one whose reply was lost: what
		// the core has taken of them came with it. Of a batch without views a kill
		// shows nothing.
		taken := f.state(t).Delivery.Views - int64(total)
		if taken < 0 || taken > int64(len(offers)) {
			t.Errorf("round %d: the core has taken %d of %d views", round, taken, len(offers))
		}
		if taken > 0 {
			shown++
		}
		restart(t, 1)
		each(t, len(offers), 16, func(i int) error { return seen(t.Context(), offers[i]) })
		total += len(offers)
		t.Logf("round %d: %d of %d views were answered before the kill, the core had taken %d", round, answered, len(offers), taken)
		f.wantTotals(t, 10*time.Second, fmt.Sprintf("views %d+0 clicks 0+0 micros %d", total, total*1000))
	}
}

// An edge that starts while the core is away serves from its disk.
func TestAnEdgeStartsWithoutTheCore(t *testing.T) {
	f := newFlight(t, line{views: 1_000_000, cpm: 1_000_000})
	if err := seen(t.Context(), f.offer(t, edges[2])); err != nil {
		t.Fatal(err)
	}
	exchanged(t)
	here.Core.Kill()
	here.Edges[2].Kill()
	restart(t, 2) // waits for its /readyz
	for range 20 {
		if err := seen(t.Context(), f.offer(t, edges[2])); err != nil {
			t.Error(err)
		}
	}
	startCore(t)
	f.wantTotals(t, 15*time.Second, "views 21+0 clicks 0+0 micros 21000")
}

func startCore(t *testing.T) {
	t.Helper()
	if err := here.Core.Start(); err != nil {
		t.Fatal(err)
	}
	if err := here.WaitCore(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// An edge that is asked to end drains: it says that it is not ready, hands
// everything in and closes its holder; nothing is left outstanding, and the
// next start begins anew.
func TestDrain(t *testing.T) {
	f := newFlight(t, line{views: 5000, cpm: 1_000_000})
	f.offer(t, edges[1])
	for _, o := range f.offers(t, edges[0], 50) {
		if err := seen(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	here.Edges[0].Stop(sigterm, 30*time.Second)
	if code := here.Edges[0].ExitCode(); code != 0 {
		t.Errorf("it ended with status %d", code)
	}
	f.wantDrained(t, edges[0], "views 50+0 clicks 0+0 micros 50000")
	restart(t, 0)
	if err := seen(t.Context(), f.offer(t, edges[0])); err != nil {
		t.Error(err)
	}
	f.wantTotals(t, 10*time.Second, "views 51+0 clicks 0+0 micros 51000")
}

// wantDrained wants the totals, and nothing held by the edge that is gone,
// without waiting for anything more.
func (f flight) wantDrained(t *testing.T, edge world.Edge, want string) {
	t.Helper()
	if got := f.state(t).totals(); got != want {
		t.Errorf("as soon as it has ended %s has\n  %s, want\n  %s", f.slug, got, want)
	}
	var leases struct {
		Items []struct {
			Node      string `json:"node"`
			State     string `json:"state"`
			Available int64  `json:"available"`
		} `json:"items"`
	}
	call(t, http.MethodGet, "/v1/flights/"+f.slug+"/leases", nil, &leases)
	others := 0
	for _, l := range leases.Items {
		switch {
		case l.Node != edge.Node:
			others++
		case l.State != "closed" || l.Available != 0:
			t.Errorf("%s is %s, and holds %d", l.Node, l.State, l.Available)
		}
	}
	if others == 0 {
		t.Error("nobody else holds a lease either: this shows nothing")
	}
}
