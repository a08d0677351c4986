package e2e

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
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

// The disk of an edge, a small tmpfs, is full under load, and has room again:
// what was answered is counted, what could not be kept was refused.
func TestTortureAFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a tmpfs needs root")
	}
	const i = 1
	here.Edges[i].Stop(sigterm, 30*time.Second)
	if code := here.Edges[i].ExitCode(); code != 0 {
		t.Fatalf("a drain ended with %d", code)
	}
	dir := edges[i].Dir
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=192m"); err != nil {
		restart(t, i)
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	defer func() {
		here.Edges[i].Stop(sigterm, 30*time.Second)
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
		restart(t, i)
	}()
	restart(t, i)
	l := line{views: 50_000_000, cpm: 2_000_000}
	f := newFlight(t, l)
	var offers []load.Offer
	offers = append(offers, f.offers(t, edges[i], 400)...)
	fill := filepath.Join(dir, "filler")
	full := func() {
		t.Helper()
		file, err := os.Create(fill)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		block := make([]byte, 64<<10)
		for {
			if _, err := file.Write(block); err != nil {
				return // no space left on the device
			}
		}
	}
	var answered, refused atomic.Int64
	send := func(from, to int) {
		each(t, to-from, 32, func(n int) error {
			if err := seen(t.Context(), offers[from+n]); err != nil {
				refused.Add(1)
			} else {
				answered.Add(1)
			}
			return nil
		})
	}
	send(0, 100)
	full()
	send(100, 300)
	if here.Edges[i].PID() == 0 { // it may end where a file had to be written; then it recovers
		t.Log("the edge ended with its disk full")
	}
	if err := os.Remove(fill); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if here.Edges[i].PID() == 0 {
		restart(t, i)
	}
	send(300, 400)
	t.Logf("%d views answered, %d refused", answered.Load(), refused.Load())
	if answered.Load() < 200 {
		t.Error("fewer views were answered than were sent while there was room")
	}
	f.wantAtLeast(t, answered.Load(), 0, refused.Load())
	each(t, len(offers), 32, func(n int) error { return seen(t.Context(), offers[n]) }) // again: each counts once
	f.wantTotals(t, 30*time.Second, fmt.Sprintf("views %d+0 clicks 0+0 micros %d", len(offers), len(offers)*2000))
	agrees(t)
}
