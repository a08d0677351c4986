package jobs_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"nearside/core/jobs"
	"nearside/core/postgres"
	"nearside/dev/testpg"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		testpg.Stop()
		os.Exit(code)
	}))
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func open(t *testing.T, url string) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

func clock(text string) time.Time {
	at, err := time.Parse("2006-01-02 15:04:05", text)
	if err != nil {
		panic(err)
	}
	return at
}

// TestTurns looks at a nightly job through a week of a made-up clock: when is
// it run, and when is it left alone?
func TestTurns(t *testing.T) {
	db := open(t, testpg.New(t))
	var fail error
	runs := 0
	r := jobs.New(db, jobs.Options{Log: quiet}, jobs.Job{
		Name: "nightly", Every: 24 * time.Hour, After: 3*time.Hour + 30*time.Minute,
		Run: func(context.Context, time.Time) (string, error) { runs++; return "something", fail },
	})
	down := errors.New("the disk is full")
	for _, look := range []struct {
		at    string
		fail  error
		runs  bool
		about string
	}{
		{"2026-03-02 10:00:00", nil, true, "never run before"},
		{"2026-03-02 10:00:15", nil, false, "done in this turn"},
		{"2026-03-03 03:29:59", nil, false, "still the turn of yesterday"},
		{"2026-03-03 03:30:00", nil, true, "the next turn"},
		{"2026-03-03 03:30:15", nil, false, "done"},
		{"2026-03-06 12:00:00", down, true, "two turns were missed: one run stands for all"},
		{"2026-03-06 12:00:29", nil, false, "half a minute after a failure"},
		{"2026-03-06 12:00:30", down, true, "and again"},
		{"2026-03-06 12:01:15", nil, false, "a minute after the second failure"},
		{"2026-03-06 12:01:30", down, true, "and again"},
		{"2026-03-06 12:03:29", nil, false, "two minutes after the third"},
		{"2026-03-06 12:03:30", nil, true, "now it goes well"},
		{"2026-03-06 12:04:00", nil, false, "done"},
		{"2026-03-05 12:00:00", nil, false, "a clock that goes back runs nothing"},
		{"2026-03-07 03:30:00", nil, true, "the next turn"},
	} {
		fail = look.fail
		before := runs
		ran, err := r.Look(t.Context(), "nightly", clock(look.at))
		if ran != look.runs || runs-before != map[bool]int{true: 1}[look.runs] {
			t.Errorf("%s, %s: ran is %v (%d times), want %v", look.at, look.about, ran, runs-before, look.runs)
		}
		if look.runs && !errors.Is(err, look.fail) || !look.runs && err != nil {
			t.Errorf("%s, %s: %v, want %v", look.at, look.about, err, look.fail)
		}
	}
	s := r.Stats()[0]
	if s.Done.Load() != 4 || s.Failed.Load() != 3 || s.Running.Load() != 0 {
		t.Errorf("counted %d done and %d failed", s.Done.Load(), s.Failed.Load())
	}
	rows, err := db.Queries().ListJobs(t.Context())
	if err != nil || len(rows) != 1 {
		t.Fatal(rows, err)
	}
	if row := rows[0]; row.Result != "something" || row.Error != "" || row.Failures != 0 || !row.Turn.Equal(clock("2026-03-07 03:30:00")) || row.Core == "" {
		t.Errorf("kept %+v", row)
	}
}

// TestFailureIsKept says in the row what went wrong, and who died of a run.
func TestFailureIsKept(t *testing.T) {
	db := open(t, testpg.New(t))
	r := jobs.New(db, jobs.Options{Log: quiet}, jobs.Job{
		Name: "bad", Every: time.Minute, Run: func(ctx context.Context, _ time.Time) (string, error) {
			during, err := db.Queries().ReadJob(ctx, "bad")
			if err != nil || during.FinishedAt != nil || during.Failures != 1 {
				t.Errorf("while it runs: %+v, %v; want it to count as failed, should its core die", during, err)
			}
			return "", errors.New("no such table")
		},
	})
	if _, err := r.Look(t.Context(), "bad", clock("2026-03-02 10:00:00")); err == nil || !strings.Contains(err.Error(), "job bad: no such table") {
		t.Errorf("%v", err)
	}
	row, err := db.Queries().ReadJob(t.Context(), "bad")
	if err != nil || row.Error != "job bad: no such table" || row.Failures != 1 || row.FinishedAt == nil || row.SucceededAt != nil {
		t.Errorf("kept %+v, %v", row, err)
	}
}

// TestOneCoreRuns lets four cores look at once, again and again: each turn is
// run by one of them.
func TestOneCoreRuns(t *testing.T) {
	url := testpg.New(t)
	var mu sync.Mutex
	runs, running := map[time.Time]int{}, 0
	job := jobs.Job{Name: "minutely", Every: time.Minute, Run: func(_ context.Context, now time.Time) (string, error) {
		mu.Lock()
		running++
		if running > 1 {
			t.Error("two cores run the job at once")
		}
		runs[now]++
		mu.Unlock()
		mu.Lock()
		running--
		mu.Unlock()
		return "", nil
	}}
	var cores []*jobs.Runner
	for range 4 {
		cores = append(cores, jobs.New(open(t, url), jobs.Options{Log: quiet}, job))
	}
	const turns = 8
	for turn := range turns {
		now := clock("2026-03-02 10:00:00").Add(time.Duration(turn) * time.Minute)
		var looks sync.WaitGroup
		for _, c := range cores {
			looks.Go(func() {
				if _, err := c.Look(t.Context(), "minutely", now); err != nil {
					t.Error(err)
				}
			})
		}
		looks.Wait()
		if runs[now] != 1 {
			t.Errorf("turn %d was run %d times", turn, runs[now])
		}
	}
}

// TestBusy: what one core runs, another neither runs nor waits for; and a job
// that was left by a core that is gone is taken up.
func TestBusy(t *testing.T) {
	url := testpg.New(t)
	started, release := make(chan struct{}), make(chan struct{})
	slow := jobs.New(open(t, url), jobs.Options{Log: quiet}, jobs.Job{Name: "job", Every: time.Hour, Run: func(context.Context, time.Time) (string, error) {
		close(started)
		<-release
		return "", errors.New("stopped")
	}})
	quick := jobs.New(open(t, url), jobs.Options{Log: quiet}, jobs.Job{Name: "job", Every: time.Hour, Run: func(context.Context, time.Time) (string, error) {
		return "done", nil
	}})
	now := clock("2026-03-02 10:00:00")
	var first sync.WaitGroup
	first.Go(func() { _, _ = slow.Look(t.Context(), "job", now) })
	<-started
	if ran, err := quick.Look(t.Context(), "job", now.Add(time.Minute)); ran || err != nil {
		t.Errorf("beside a run: ran is %v, %v", ran, err)
	}
	if _, err := quick.Do(t.Context(), "job"); !errors.Is(err, jobs.ErrBusy) {
		t.Errorf("beside a run: %v, want that it is running", err)
	}
	close(release)
	first.Wait()
	if ran, err := quick.Look(t.Context(), "job", now.Add(time.Minute)); !ran || err != nil {
		t.Errorf("after it: ran is %v, %v", ran, err)
	}
	if result, err := quick.Do(t.Context(), "job"); result != "done" || err != nil {
		t.Errorf("asked for: %q, %v", result, err)
	}
	if _, err := quick.Do(t.Context(), "jab"); err == nil || !strings.Contains(err.Error(), `no job "jab", expected one of ["job"]`) {
		t.Errorf("an unknown job: %v", err)
	}
}

// TestLimit ends the context of a run that takes too long.
func TestLimit(t *testing.T) {
	r := jobs.New(open(t, testpg.New(t)), jobs.Options{Log: quiet}, jobs.Job{
		Name: "long", Every: time.Hour, Limit: time.Millisecond,
		Run: func(ctx context.Context, _ time.Time) (string, error) { <-ctx.Done(); return "", ctx.Err() },
	})
	if _, err := r.Do(t.Context(), "long"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want a deadline", err)
	}
}

// TestRun runs jobs by the clock until it is told to stop, and leaves nothing
// running.
func TestRun(t *testing.T) {
	db := open(t, testpg.New(t))
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan string, 100)
	job := func(name string) jobs.Job {
		return jobs.Job{Name: name, Every: 20 * time.Millisecond, Limit: time.Minute, Run: func(context.Context, time.Time) (string, error) {
			ran <- name
			return "", nil
		}}
	}
	var log bytes.Buffer
	r := jobs.New(db, jobs.Options{Log: slog.New(slog.NewTextHandler(&log, nil))}, job("a"), job("b"))
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	for seen := map[string]int{}; seen["a"] < 2 || seen["b"] < 2; {
		seen[<-ran]++
	}
	stop()
	running.Wait()
	if strings.Contains(log.String(), "ERROR") {
		t.Error(log.String())
	}
}
