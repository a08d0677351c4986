package regions

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nearside/dev/load"
	"nearside/dev/world"
)

// latest bounds how many offers of the small flight are seen only at the end.
const latest = 900

// tries bounds how often a reader repeats what was not answered.
const tries = 1000

// persist sends a request to nodes at random, the first time to the one that
// is named, until it is answered with that status. What is not answered, or
// with 503, may or may not have been done. It returns the reason of the answer
// and whether it was the first try.
func persist(ctx context.Context, random *rand.Rand, first world.Edge, beacon string, status int) (reason string, once bool, err error) {
	to := first
	for try := range tries {
		answer, err := browser.Get(ctx, at(to, beacon), reader())
		switch {
		case ctx.Err() != nil:
			return "", false, ctx.Err()
		case err == nil && answer.Status == status:
			return answer.Reason(), try == 0, nil
		case err == nil && answer.Status != http.StatusServiceUnavailable:
			return "", false, fmt.Errorf("%s answers %s with %d: %.200s", to.Node, beacon, answer.Status, answer.Body)
		}
		to = edges[random.IntN(len(edges))]
		time.Sleep(5 * time.Millisecond)
	}
	return "", false, fmt.Errorf("nobody answers %s", beacon)
}

// tally is what the readers of a flight have been answered.
type tally struct {
	mu      sync.Mutex
	views   int64
	twice   int64            // views sent again
	reasons map[string]int64 // of views that were answered at the first try

	// A click that comes to the home before its view, which went elsewhere, waits
	// for it. Where an earlier try may have been taken, a refusal says nothing.
	clicks, early, unclear int64
}

// see sends the view of an offer to some node, in one of ten cases twice, one
// after the other or both at once, and now and then a click to some other.
func (n *tally) see(ctx context.Context, random *rand.Rand, home world.Edge, o load.Offer) error {
	anywhere := func() world.Edge { return edges[random.IntN(len(edges))] }
	to := home // a browser's beacon goes home more often than not
	if random.IntN(2) == 0 {
		to = anywhere()
	}
	var again func() error
	if random.IntN(10) == 0 {
		second, seed := anywhere(), random.Uint64()
		again = func() error {
			_, _, err := persist(ctx, rand.New(rand.NewPCG(seed, 1)), second, o.ViewURL, http.StatusOK)
			return err
		}
	}
	var atOnce chan error
	if again != nil && random.IntN(2) == 0 {
		atOnce = make(chan error, 1)
		go func() { atOnce <- again() }()
	}
	reason, once, err := persist(ctx, random, to, o.ViewURL, http.StatusOK)
	if atOnce != nil {
		err = firstOf(err, <-atOnce)
	} else if again != nil && err == nil {
		err = again()
	}
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.views++
	if again != nil {
		n.twice++
	}
	if once && atOnce == nil {
		n.reasons[reason]++
	}
	n.mu.Unlock()
	if random.IntN(8) > 0 {
		return nil
	}
	if reason, once, err = persist(ctx, random, anywhere(), o.Link, http.StatusFound); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case reason == "Waits for its view":
		n.early++
		n.clicks++
	case reason == "Billed click" || reason == "Passed to its home":
		n.clicks++
	case reason != "Old/Invalid nonce" || once:
		return fmt.Errorf("a click is answered with %q", reason)
	default:
		n.unclear++
	}
	return nil
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// chaos kills nodes at random with kill -9, never letting a moment pass in
// which nobody is left, and starts them again, until ctx ends. It counts how
// many it killed; everything runs when it returns.
func chaos(ctx context.Context, t *testing.T, random *rand.Rand, killed *atomic.Int64) {
	for ctx.Err() == nil {
		victims := []int{random.IntN(len(edges))}
		if random.IntN(3) == 0 { // its peer too: the region is gone
			victims = append(victims, victims[0]^1)
		}
		for _, i := range victims {
			here.Edges[i].Kill()
			killed.Add(1)
		}
		pause(ctx, time.Duration(random.IntN(1200))*time.Millisecond)
		for _, i := range victims {
			if err := here.Edges[i].Start(); err != nil {
				t.Error(err)
				return
			}
		}
		pause(ctx, time.Duration(300+random.IntN(700))*time.Millisecond)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// Views go to random nodes of random regions, one in ten of them twice, and
// clicks after them, while nodes and whole regions are killed at random: every
// view that was answered and every click that was taken is counted once, and a flight that
// sold fewer views than are seen is billed for no more than it sold.
func TestEveryAnsweredViewIsCountedOnceWhileNodesAreKilled(t *testing.T) {
	large := newFlight(t, line{views: 10_000_000, cpm: 2_000_000, clicks: 1_000_000, cpc: 1_500_000})
	small := newFlight(t, line{views: 900, cpm: 1_000_000})
	for _, e := range edges {
		large.offer(t, e)
	}
	// In its first second a flight is leased by the unit, and a node that is killed
	// then forgets which of them it has promised.
	eventually(t, 30*time.Second, "every node has a lease of some size", func() bool {
		var leases struct {
			Items []struct {
				Kind      string
				Available int64
			}
		}
		call(t, 0, http.MethodGet, "/v1/flights/"+large.slug+"/leases", nil, &leases)
		sized := 0
		for _, l := range leases.Items {
			if l.Kind == "views" && l.Available >= 1000 {
				sized++
			}
		}
		return sized == len(edges)
	})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)

	// It goes on until enough was seen, however long a slow machine takes.
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	counts := map[string]*tally{large.slug: {reasons: map[string]int64{}}, small.slug: {reasons: map[string]int64{}}}
	type kept struct {
		home  world.Edge
		offer load.Offer
	}
	var mu sync.Mutex
	var late []kept // offers of the small flight that are seen only at the end
	var asking sync.WaitGroup
	for i := range 12 {
		asking.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(i)))
			for ctx.Err() == nil {
				f, home := large, edges[random.IntN(len(edges))]
				if random.IntN(3) == 0 {
					f = small
				}
				offer, err := browser.Decide(t.Context(), home.Public, f.query(), reader())
				if err != nil || !offer.Filled() {
					time.Sleep(2 * time.Millisecond) // the node is dead, or it has no lease yet
					continue
				}
				if f == small && random.IntN(4) > 0 {
					mu.Lock()
					late = append(late, kept{home, offer})
					mu.Unlock()
					continue
				}
				// what was begun goes on to its end, whatever ctx says
				if err := counts[f.slug].see(t.Context(), random, home, offer); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var killed atomic.Int64
	l, s := counts[large.slug], counts[small.slug]
	enough := func() bool {
		l.mu.Lock()
		large := l.views >= 500 && l.twice >= 20 && l.clicks >= 20
		l.mu.Unlock()
		s.mu.Lock()
		seen := s.views
		s.mu.Unlock()
		mu.Lock()
		seen += int64(min(len(late), latest))
		mu.Unlock()
		return large && seen > small.views && killed.Load() >= 5
	}
	var watching sync.WaitGroup
	watching.Go(func() {
		for ctx.Err() == nil && !enough() {
			pause(ctx, 50*time.Millisecond)
		}
		stop()
	})
	chaos(ctx, t, rand.New(rand.NewPCG(seed, 1000)), &killed)
	asking.Wait()
	watching.Wait()
	random := rand.New(rand.NewPCG(seed, 1001))
	random.Shuffle(len(late), func(i, j int) { late[i], late[j] = late[j], late[i] })
	late = late[:min(len(late), latest)]
	var seeing sync.WaitGroup
	for chunk := range slices.Chunk(late, max(1, len(late)/8)) {
		own := rand.New(rand.NewPCG(random.Uint64(), 2))
		seeing.Go(func() {
			for _, k := range chunk {
				if err := counts[small.slug].see(t.Context(), own, k.home, k.offer); err != nil {
					t.Error(err)
				}
			}
		})
	}
	seeing.Wait()
	late = nil // they are counted among the views now
	if t.Failed() {
		return
	}
	for i := range here.Edges {
		if err := here.WaitReady(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}

	t.Logf("%d nodes killed; %d views, %d of them twice, at the first try %v", killed.Load(), l.views, l.twice, l.reasons)
	t.Logf("%d clicks counted, %d of them before their view, %d unclear", l.clicks, l.early, l.unclear)
	t.Logf("the small flight sold %d and was seen %d times, at the first try %v", small.views, s.views, s.reasons)
	if !enough() {
		t.Errorf("in two minutes this shows too little")
	}
	for reason, n := range l.reasons {
		if reason != "Billed view" && reason != "Passed to its home" {
			t.Errorf("%d views that were sent for the first time are answered with %q", n, reason)
		}
	}
	want := fmt.Sprintf("%d views, %d to %d clicks, nothing unbilled", l.views, l.clicks, l.clicks+l.unclear)
	large.settles(t, 15*time.Second, func(d delivery) bool {
		return d.Views == l.views && d.UnbilledViews == 0 && d.UnbilledClicks == 0 &&
			d.Clicks >= l.clicks && d.Clicks <= l.clicks+l.unclear && d.SpentMicros == d.Views*large.cpm/1000+d.Clicks*large.cpc
	}, want)
	small.settles(t, 15*time.Second, func(d delivery) bool {
		return d.Views+d.UnbilledViews == s.views && d.Views <= small.views && d.SpentMicros == d.Views*small.cpm/1000
	}, fmt.Sprintf("%d views in all, at most %d of them billed", s.views, small.views))
	t.Logf("the small flight in the end: %s", small.delivery(t, 0))
}
