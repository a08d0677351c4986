package ingest

import (
	"testing"
	"time"

	"nearside/core/ledger"
	"nearside/sync/lease"
)

func budget(owner uint32, settled, changed int64) ledger.Budget {
	return ledger.Budget{ID: lease.Of(lease.FlightViews, owner, 0), Settled: settled, Changed: changed}
}

func TestFeedTellsWhatChanged(t *testing.T) {
	f := newFeed()
	settled := func(seen uint64) (map[uint32]int64, uint64) {
		said, version := f.since(seen)
		got := map[uint32]int64{}
		for _, d := range said {
			got[lease.Budget(d.GetBudget()).Owner()] = d.GetSettled()
		}
		return got, version
	}
	got, empty := settled(0)
	if len(got) != 0 {
		t.Fatalf("an empty feed says %v", got)
	}
	f.note([]ledger.Budget{budget(1, 10, 1), budget(2, 20, 1), budget(3, 30, 1)})
	got, first := settled(empty)
	if len(got) != 3 {
		t.Errorf("since the beginning: %v, want three", got)
	}
	f.note([]ledger.Budget{budget(2, 21, 2)})
	f.note([]ledger.Budget{budget(2, 19, 1), budget(1, 10, 1)}) // older news
	got, second := settled(first)
	if len(got) != 1 || got[2] != 21 {
		t.Errorf("after one change: %v, want 2 at 21", got)
	}
	if got, again := settled(second); len(got) != 0 || again != second {
		t.Errorf("after nothing: %v at %d", got, again)
	}
	for _, seen := range []uint64{0, 5, second + 1000, newFeed().epoch + 2} {
		if got, version := settled(seen); len(got) != 3 || version != second {
			t.Errorf("a version of another process: %v at %d, want all", got, version)
		}
	}
}

func TestFeedFollowsARestoredDatabase(t *testing.T) {
	f := newFeed()
	f.note([]ledger.Budget{budget(1, 10, 5), budget(2, 20, 5)})
	mark := f.mark()
	f.note([]ledger.Budget{budget(2, 21, 6)}) // committed while the store was being read
	_, seen := f.since(0)
	f.read([]ledger.Budget{budget(1, 8, 3), budget(2, 20, 5)}, mark)
	said, _ := f.since(seen)
	if len(said) != 1 || said[0].GetSettled() != 8 {
		t.Errorf("after a restore: %v, want budget 1 at 8", said)
	}
	f.read([]ledger.Budget{budget(1, 8, 3), budget(2, 21, 6)}, f.mark())
	if again, _ := f.since(seen); len(again) != 1 {
		t.Errorf("reading the same again: %v", again)
	}
}

func TestFeedTellsAllInParts(t *testing.T) {
	f := newFeed()
	const n = 2*maxDelivered + 10
	for i := range uint32(n) {
		f.note([]ledger.Budget{budget(i+1, 1, 1)})
	}
	told, seen := map[int64]bool{}, uint64(0)
	for range 3 {
		said, version := f.since(seen)
		if len(said) > maxDelivered {
			t.Fatalf("%d in one reply", len(said))
		}
		for _, d := range said {
			told[d.GetBudget()] = true
		}
		seen = version
	}
	if len(told) != n {
		t.Errorf("told of %d budgets, want %d", len(told), n)
	}
}

func TestFeedForgetsDays(t *testing.T) {
	f := newFeed()
	old, recent := lease.Of(lease.FlightDay, 1, 100), lease.Of(lease.FlightDay, 1, 101)
	f.note([]ledger.Budget{{ID: old}, {ID: recent}, budget(1, 1, 1)})
	f.forget(101)
	if said, _ := f.since(0); len(said) != 2 || f.has(old) || !f.has(recent) {
		t.Errorf("after forgetting: %v", said)
	}
}

func TestPaceStretches(t *testing.T) {
	for _, c := range []struct {
		name     string
		interval time.Duration
		took     time.Duration
		want     time.Duration
	}{
		{"quick", time.Second, 20 * time.Millisecond, 0},
		{"a quarter of the interval", time.Second, 250 * time.Millisecond, 0},
		{"half of it", time.Second, 500 * time.Millisecond, 2 * time.Second},
		{"very slow", time.Second, time.Minute, 30 * time.Second},
		{"a longer interval by configuration", 5 * time.Second, 20 * time.Millisecond, 5 * time.Second},
	} {
		var p pace
		for range 100 {
			p.took(c.took)
		}
		if got := p.next(c.interval).Round(100 * time.Millisecond); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
