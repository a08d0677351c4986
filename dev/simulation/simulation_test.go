package simulation

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var (
	seed     = flag.Uint64("seed", 0, "the seed that TestSeed replays with its event log; 0: seed 1 without")
	seeds    = flag.Int("seeds", 200, "how many seeds TestSeeds runs")
	from     = flag.Uint64("from", 1, "the first of them")
	progress = flag.String("progress", "", "a file that says how far TestSeeds has got: a run that was stopped goes on there")
)

// TestMain lets memory grow between collections: a seed makes much that is
// soon forgotten, and keeps little.
func TestMain(m *testing.M) {
	flag.Parse()
	debug.SetGCPercent(400)
	goleak.VerifyTestMain(m)
}

// report says what failed, and plays it again for its event log: the whole of
// it in a file, its end here.
func report(t *testing.T, r Result) {
	t.Helper()
	t.Errorf("%v\nreplay: go test ./dev/simulation -run 'TestSeed$' -seed=%d\n%s", r, r.Seed, r.Failed.Stack)
	var log bytes.Buffer
	again := Run(r.Seed, &log)
	if again.Hash != r.Hash {
		t.Errorf("seed %d does not repeat: its sum was %016x and is %016x", r.Seed, r.Hash, again.Hash)
	}
	name := filepath.Join(os.TempDir(), fmt.Sprintf("nearside-seed-%d.log", r.Seed)) //nolint:usetesting // it is to outlive the test
	if err := os.WriteFile(name, log.Bytes(), 0o600); err != nil {
		t.Error(err)
	}
	lines := strings.Split(log.String(), "\n")
	t.Logf("the end of its event log, which is in %s:\n%s", name, strings.Join(lines[max(0, len(lines)-40):], "\n"))
}

// run plays seeds on every core, and returns what they met and the first that
// failed, if any did. No seed above that one counts.
func run(t *testing.T, from, end uint64) (met map[string]int, failed *Result) {
	var (
		mu      sync.Mutex
		workers sync.WaitGroup
		next    = from
		began   = time.Now()
		said    = began
		running = map[uint64]bool{}
	)
	met = map[string]int{}
	take := func() (s uint64, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		if next >= end || failed != nil {
			return 0, false
		}
		s, next = next, next+1
		running[s] = true
		return s, true
	}
	give := func(r *Result) {
		mu.Lock()
		defer mu.Unlock()
		delete(running, r.Seed)
		if r.Failed != nil && (failed == nil || r.Seed < failed.Seed) {
			failed = r
		}
		for what, n := range r.Count {
			met[what] += n
		}
		if *progress == "" || failed != nil || time.Since(said) < 10*time.Second {
			return
		}
		said = time.Now()
		done := next // all below it
		for s := range running {
			done = min(done, s)
		}
		if err := os.WriteFile(*progress, fmt.Append(nil, done), 0o600); err != nil {
			t.Error(err)
		}
		rate := float64(done-from) / time.Since(began).Seconds()
		fmt.Fprintf(os.Stderr, "seed %d of %d, %.1f a second, %v to go\n", done, end-1, rate,
			time.Duration(float64(end-done)/max(rate, 0.01)*float64(time.Second)).Round(time.Second))
	}
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for s, ok := take(); ok; s, ok = take() {
				r := Run(s, nil)
				give(&r)
			}
		})
	}
	workers.Wait()
	return met, failed
}

// resume is the first seed that is still to be played.
func resume(t *testing.T) uint64 {
	t.Helper()
	if *progress == "" {
		return *from
	}
	b, err := os.ReadFile(*progress)
	if errors.Is(err, fs.ErrNotExist) {
		return *from
	}
	var next uint64
	if err == nil {
		next, err = strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	}
	if err != nil {
		t.Fatalf("-progress: %v", err)
	}
	return max(next, *from)
}

// TestSeeds is the proof: every invariant, over many seeds. It also sees to it
// that the seeds meet what they are there to meet.
func TestSeeds(t *testing.T) {
	first, end := resume(t), *from+uint64(*seeds)
	met, failed := run(t, first, end)
	if failed != nil {
		report(t, *failed)
		return
	}
	if *progress != "" {
		if err := os.WriteFile(*progress, fmt.Append(nil, end), 0o600); err != nil {
			t.Error(err)
		}
	}
	t.Log(summary(met))
	if end < first+200 {
		return
	}
	for _, what := range []string{
		"answer Billed", "answer Counted", "answer Budget exhausted", "answer Flight killed", "answer Duplicate", "answer Foreign", "answer Waits for its view", "held for its view", "held, and judged after its view", "peer",
		"billed", "unbilled", "home lost", "judged", "answered and lost with a disk",
		"lost message", "repeated message", "slow message", "cut",
		"died", "tail-lost", "checkpoint", "disk-lost", "disk-full", "flip", "rolled-back", "drained", "fenced", "handin", "expired", "closed",
		"restored", "recovered", "recovered-stated", "budget exact after a recovery",
		"core-died", "transaction refused", "commit unknown", "transaction repeated", "control", "ask",
		"members", "brokered", "direct again", "offered by its broker", "left to its broker",
	} {
		if met[what] < 10 {
			t.Errorf("%q happened %d times in %d seeds: the seeds prove little about it", what, met[what], end-first)
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
	for s := uint64(1); s <= 8; s++ {
		var first, second bytes.Buffer
		a, b := Run(s, &first), Run(s, &second)
		if a.Hash != b.Hash || a.Events != b.Events || !bytes.Equal(first.Bytes(), second.Bytes()) {
			t.Errorf("seed %d: two runs differ: %v, %v", s, a, b)
		}
		if silent := Run(s, nil); silent.Hash != a.Hash {
			t.Errorf("seed %d: without a log it is another: %v, %v", s, a, silent)
		}
		if other, twice := logs[a.Hash]; twice {
			t.Errorf("seeds %d and %d have the same log", other, s)
		}
		logs[a.Hash] = s
	}
}
