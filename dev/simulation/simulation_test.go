package simulation

import (
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
)

var (
	seed  = flag.Uint64("seed", 0, "the seed that TestSeed replays with its event log; 0: seed 1 without")
	seeds = flag.Int("seeds", 200, "how many seeds TestSeeds runs")
	from  = flag.Uint64("from", 1, "the first of them")
)

func report(t *testing.T, r Result) {
	t.Helper()
	t.Errorf("%v\nreplay: go test ./dev/simulation -run 'TestSeed$' -seed=%d\n%s", r, r.Seed, r.Failed.Stack)
}

// TestSeeds is the proof: every invariant, over many seeds. It also sees to it
// that the seeds meet what they are there to meet.
func TestSeeds(t *testing.T) {
	met := map[string]int{}
	for s := *from; s < *from+uint64(*seeds); s++ {
		r := Run(s, nil)
		if r.Failed != nil {
			report(t, r)
			return
		}
		for what, n := range r.Count {
			met[what] += n
		}
	}
	t.Log(summary(met))
	if *seeds < 200 {
		return
	}
	for _, what := range []string{
		"answer Billed", "answer Counted", "answer Budget exhausted", "answer Flight killed", "answer Duplicate", "answer Foreign", "answer Not viewed", "peer",
		"billed", "unbilled", "home lost", "judged", "answered and lost with a disk",
		"lost message", "repeated message", "slow message", "cut",
		"died", "tail-lost", "checkpoint", "disk-lost", "disk-full", "flip", "rolled-back", "drained", "fenced", "handin", "expired", "closed",
		"core-died", "transaction refused", "commit unknown", "transaction repeated", "control", "ask",
	} {
		if met[what] < 10 {
			t.Errorf("%q happened %d times in %d seeds: the seeds prove little about it", what, met[what], *seeds)
		}
	}
}

func summary(met map[string]int) string {
	var lines []string
	for what, n := range met {
		lines = append(lines, fmt.Sprintf("%9d %s", n, what))
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[10:], b[10:]) })
	return "met:\n" + strings.Join(lines, "\n")
}

// TestSeed replays one seed, as a failure of TestSeeds says.
func TestSeed(t *testing.T) {
	s, out := uint64(1), io.Discard
	if *seed != 0 {
		s, out = *seed, os.Stdout
	}
	if r := Run(s, out); r.Failed != nil {
		report(t, r)
	}
}

// TestSeedsRepeat: a failing seed is worth nothing unless it fails again.
func TestSeedsRepeat(t *testing.T) {
	logs := map[uint64]uint64{}
	for s := uint64(1); s <= 12; s++ {
		a, b := Run(s, nil), Run(s, nil)
		if a.Hash != b.Hash || a.Events != b.Events {
			t.Errorf("seed %d: two runs differ: %v, %v", s, a, b)
		}
		if other, twice := logs[a.Hash]; twice {
			t.Errorf("seeds %d and %d have the same log", other, s)
		}
		logs[a.Hash] = s
	}
}
