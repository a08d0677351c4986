package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"nearside/dev/load"
	pg "nearside/dev/postgres"
	"nearside/dev/world"
)

// torture is how often each thing is killed: make torture says 100.
var torture = flag.Int("torture", 3, "how often TestTorture… kill what they kill")

// underLoad starts traffic in every region and waits until all of them offer.
func (f flight) underLoad(t *testing.T) []*load.Traffic {
	t.Helper()
	streams := f.traffic(t, 40)
	eventually(t, 30*time.Second, "every region has offers", func() bool {
		for _, s := range streams {
			if s.Offers.Load() < 30 {
				return false
			}
		}
		return true
	})
	return streams
}

// Postgres is killed with -9 around COMMIT, again and again under load: no
// reader notices, the totals agree to the event, and so do the books.
func TestTorturePostgresIsKilledAroundCommit(t *testing.T) {
	l := line{views: 50_000_000, cpm: 2_000_000, clicks: 1_000_000, cpc: 1_500_000}
	f := newFlight(t, l)
	streams := f.underLoad(t)
	const seed = 20261123
	random := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d, %d kills", seed, *torture)
	for range *torture {
		// An exchange has just arrived at the core: it commits within a group's
		// window and a few milliseconds.
		arrived := make(chan struct{})
		var once sync.Once
		proxies[random.IntN(len(proxies))].Choose(func() world.Fault {
			once.Do(func() { close(arrived) })
			return world.Pass
		})
		select {
		case <-arrived:
		case <-time.After(30 * time.Second):
			t.Fatal("no exchange came by")
		}
		for _, p := range proxies {
			p.Choose(nil)
		}
		pause := time.NewTimer(time.Duration(random.IntN(60)) * time.Millisecond)
		<-pause.C
		here.Postgres.Kill()
		startPostgres(t)
		exchanged(t)
	}
	f.finish(t, l, streams)
	agrees(t)
}

// startPostgres starts it again; what a killed one left behind may take a
// moment to go.
func startPostgres(t *testing.T) {
	t.Helper()
	eventually(t, time.Minute, "Postgres answers", func() bool {
		if here.Postgres.PID() == 0 {
			if err := here.Postgres.Start(); err != nil {
				return false
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		return pg.WaitReady(ctx, here.Ready().DatabaseURL, "") == nil
	})
}

// Edges are killed with -9 at random points under load: every view and click
// that was answered is counted once, of those whose answer the kill cut off at
// most one each, and the books agree.
func TestTortureEdgesAreKilled(t *testing.T) {
	l := line{views: 50_000_000, cpm: 2_000_000, clicks: 1_000_000, cpc: 1_500_000}
	f := newFlight(t, l)
	streams := f.underLoad(t)
	const seed = 20261124
	random := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d, %d kills", seed, *torture)
	for range *torture {
		i := random.IntN(len(edges))
		pause := time.NewTimer(time.Duration(random.IntN(1000)) * time.Millisecond)
		<-pause.C
		here.Edges[i].Kill()
		restart(t, i)
	}
	for _, s := range streams {
		s.Drain()
	}
	decisions, offers, views, clicks, failed := sums(streams)
	t.Logf("%d decisions, %d offers, %d views and %d clicks answered, %d requests failed", decisions, offers, views, clicks, failed)
	f.wantAtLeast(t, views, clicks, failed)
}

// wantAtLeast wants every answered event counted once, and at most as many more
// as were not answered; and books that agree.
func (f flight) wantAtLeast(t *testing.T, views, clicks, unanswered int64) {
	t.Helper()
	eventually(t, 30*time.Second, "every answered event is counted", func() bool {
		d := f.state(t).Delivery
		return d.Views >= views && d.Clicks >= clicks
	})
	exchanged(t)
	d := f.state(t).Delivery
	if more := d.Views - views + d.Clicks - clicks; more > unanswered {
		t.Errorf("%d more are counted than answered, and only %d requests failed", more, unanswered)
	}
	if d.UnbilledViews+d.UnbilledClicks > 0 {
		t.Errorf("%d views and %d clicks are unbilled", d.UnbilledViews, d.UnbilledClicks)
	}
	agrees(t)
}

// The disk of an edge is a small tmpfs, and something else fills it while the core
// is away: paid ads are offered no more, views land in the journal's spare segments
// and are then answered 503; nothing ends. Once the disk has room again, or the core
// is back and the journal may forget what it has told, views are taken again without
// a restart. What was answered is counted, and nothing twice.
func TestTortureAFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a tmpfs needs root")
	}
	const i = 1
	dir := edges[i].Dir
	stop := func() {
		t.Helper()
		here.Edges[i].Stop(sigterm, 30*time.Second)
		if code := here.Edges[i].ExitCode(); code != 0 {
			t.Errorf("a drain ended with %d", code)
		}
	}
	faulty := faultyEdge(t)
	stop()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=16m"); err != nil {
		restart(t, i)
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	here.Edges[i].Change(faulty, fmt.Sprintf("NEARSIDE_SEGMENT_SIZE=%d", 64<<10))
	defer func() {
		stop()
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
		here.Edges[i].Change(programs)
		restart(t, i)
	}()
	restart(t, i)
	l := line{views: 50_000_000, cpm: 2_000_000}
	f := newFlight(t, l)
	var v views
	filler := filepath.Join(dir, "filler")
	ways := []struct {
		name string
		back func() // what ends it
	}{
		{"the disk has room again", func() { empty(t, filler) }},
		{"the core is back", func() { proxies[i].Cut(false) }},
	}
	defer func() {
		proxies[i].Cut(false)
		empty(t, filler)
	}()
	for range max(1, *torture/10) {
		for _, way := range ways {
			pid := here.Edges[i].PID()
			v.offered(t, f, edges[i], 1000)
			if v.send(t, 100); len(v.refused) > 0 {
				t.Fatalf("%d views are refused while there is room", len(v.refused))
			}
			proxies[i].Cut(true)
			fill(t, filler)
			landed := -len(v.answered)
			for len(v.refused) < 40 && len(v.unsent) > 200 {
				v.send(t, 40)
			}
			if landed += len(v.answered); landed == 0 || len(v.refused) < 40 {
				t.Fatalf("%s: with the disk full %d views were answered and %d refused: they should land in the spare segments, then be refused", way.name, landed, len(v.refused))
			}
			eventually(t, 10*time.Second, "paid ads are offered no more", func() bool {
				offer, err := browser.Decide(t.Context(), edges[i].Public, f.query(), reader())
				if err == nil && offer.Filled() {
					v.unsent = append(v.unsent, offer)
				}
				return err == nil && !offer.Filled()
			})
			way.back()
			refused, more := len(v.refused), 100
			eventually(t, 30*time.Second, fmt.Sprintf("%s: the %d views that were refused are taken, and %d more", way.name, refused, more), func() bool {
				if n := len(v.refused); v.again(t, n) < n {
					return false
				}
				taken := -len(v.answered)
				v.send(t, more)
				taken += len(v.answered)
				more -= taken
				return more == 0
			})
			t.Logf("%s: %d views landed on the full disk; %d were refused; of all %d were answered", way.name, landed, refused, len(v.answered))
			if now := here.Edges[i].PID(); now != pid {
				t.Fatalf("%s: the edge was process %d and is %d", way.name, pid, now)
			}
			proxies[i].Cut(false)
			f.wantAtLeast(t, int64(len(v.answered)), 0, 0)
			empty(t, filler)
		}
	}
	v.send(t, len(v.unsent))
	eventually(t, 30*time.Second, "what is refused before there is a new segment is taken then", func() bool {
		n := len(v.refused)
		return v.again(t, n) == n
	})
	v.unsent, v.answered = v.answered, nil
	v.send(t, len(v.unsent)) // again: each counts once
	f.wantTotals(t, 30*time.Second, fmt.Sprintf("views %d+0 clicks 0+0 micros %d", len(v.answered), int64(len(v.answered))*l.cpm/1000))
	agrees(t)
}

// views are those of offers of one edge, by what became of them.
type views struct {
	unsent, answered, refused []load.Offer
}

// offered has an edge make n offers.
func (v *views) offered(t *testing.T, f flight, edge world.Edge, n int) {
	t.Helper()
	first := f.offer(t, edge) // from here on it has a lease
	more := make([]load.Offer, n)
	each(t, n, 32, func(i int) (err error) {
		more[i], err = f.ask(t.Context(), edge)
		return err
	})
	v.unsent = append(append(v.unsent, first), more...)
}

// send sends the next n of the unsent.
func (v *views) send(t *testing.T, n int) {
	t.Helper()
	n = min(n, len(v.unsent))
	some := v.unsent[:n]
	v.unsent = v.unsent[n:]
	v.try(t, some)
}

// again sends n that were refused before; it returns how many are answered now.
func (v *views) again(t *testing.T, n int) int {
	t.Helper()
	some, before := v.refused[:n], len(v.answered)
	v.refused = slices.Clone(v.refused[n:])
	v.try(t, some)
	return len(v.answered) - before
}

// try wants each answered with 200, or with 503.
func (v *views) try(t *testing.T, some []load.Offer) {
	t.Helper()
	ok := make([]bool, len(some))
	each(t, len(some), 4, func(n int) error {
		answer, err := browser.Get(t.Context(), some[n].ViewURL, reader())
		if ok[n] = answer.Status == http.StatusOK; err == nil && !ok[n] && answer.Status != http.StatusServiceUnavailable {
			err = fmt.Errorf("a view is answered with %d: %.200s", answer.Status, answer.Body)
		}
		return err
	})
	for n, o := range some {
		if ok[n] {
			v.answered = append(v.answered, o)
		} else {
			v.refused = append(v.refused, o)
		}
	}
}

// fill writes a file until the disk has no room for a byte more.
func fill(t *testing.T, name string) {
	t.Helper()
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	block := make([]byte, 64<<10)
	for {
		if _, err := file.Write(block); err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			return
		}
	}
}

func empty(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
}
