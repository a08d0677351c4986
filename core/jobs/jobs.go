// Package jobs runs what the core does now and then: named jobs, each on a
// schedule of its own, one core at a time.
//
// # Turns
//
// A job's time is cut into turns of Every, which begin After past the multiples
// of Every in UTC: every day at 03:30, every minute. In each turn the job is
// run until it has gone well once. Turns that passed while no core was there,
// or while the job failed, are not made up for one by one: the next run stands
// for all of them. Which turn was done last is a row in Postgres, so it does
// not matter which core runs a job, or that all of them start anew.
//
// # One at a time
//
// Every core looks at the same moments. Whoever finds a turn undone takes the
// job's advisory lock, looks again, and runs it; the others find the lock taken
// and go on. The lock lives on a connection of its own and ends with the
// process, so a core that is killed in the middle leaves the job to the others.
//
// Where that one connection breaks while the core lives on, a second run may
// begin before the first has ended. Jobs must bear that: what they write is the
// same whoever writes it, or is written in one transaction.
//
// # Failure
//
// A run that fails, or whose core dies of it, is repeated in the same turn
// after 30 seconds, and then twice as long each time, at most an hour and at
// most Every. A run may take Limit; then its context ends. What went wrong is
// logged, counted and kept in the row, where nearside-core jobs list and
// GET /v1/jobs show it.
//
// # What it leaves out
//
// There is no queue and there are no arguments: a job finds in the database
// what there is to do.
package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"nearside/core/postgres"
	"nearside/core/postgres/query"
)

const (
	// lookEvery is how often a core looks whether somebody left a job undone.
	lookEvery = 15 * time.Second

	firstPause   = 30 * time.Second
	longestPause = time.Hour
)

// Job is something that is done now and then.
type Job struct {
	Name  string // letters, digits and hyphens: it is a label of metrics
	About string // one sentence for operators
	Every time.Duration
	After time.Duration // less than Every
	Limit time.Duration // how long a run may take; 0: Every

	// Run does it, as at now, and says in a few words what came of it.
	Run func(ctx context.Context, now time.Time) (result string, err error)
}

// Turn is when the turn began that now is in.
func (j *Job) Turn(now time.Time) time.Time {
	return now.UTC().Add(-j.After).Truncate(j.Every).Add(j.After)
}

// next is when to look again.
func (j *Job) next(now time.Time) time.Time {
	turn, look := j.Turn(now).Add(j.Every), now.Add(lookEvery)
	if look.Before(turn) {
		return look
	}
	return turn
}

// Stats count what this core ran of one job.
type Stats struct {
	Job       string
	Done      atomic.Int64 // runs that went well
	Failed    atomic.Int64
	Nanos     atomic.Int64 // spent in runs
	Running   atomic.Int64 // 0 or 1
	Succeeded atomic.Int64 // unix seconds of the last run that went well, wherever it ran; 0: none known
}

// Runner runs jobs. It is safe for concurrent use.
type Runner struct {
	db    *postgres.DB
	log   *slog.Logger
	now   func() time.Time
	core  string
	jobs  []Job
	stats []*Stats
}

// Options are what a Runner may be told.
type Options struct {
	Log *slog.Logger
	Now func() time.Time // nil: the clock
}

// New makes a runner of jobs over db.
func New(db *postgres.DB, o Options, jobs ...Job) *Runner {
	r := &Runner{db: db, log: o.Log, now: o.Now, jobs: jobs}
	if r.now == nil {
		r.now = time.Now
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	r.core = fmt.Sprintf("%s, process %d", host, os.Getpid())
	for i := range jobs {
		r.stats = append(r.stats, &Stats{Job: jobs[i].Name})
	}
	return r
}

// Stats are the counters of each job, in the order of New.
func (r *Runner) Stats() []*Stats { return r.stats }

// Jobs are the jobs, in the order of New.
func (r *Runner) Jobs() []Job { return r.jobs }

// Run looks after all jobs until ctx ends, and waits for what is under way.
func (r *Runner) Run(ctx context.Context) {
	var parts sync.WaitGroup
	for i := range r.jobs {
		parts.Go(func() {
			for ctx.Err() == nil {
				now := r.now()
				if _, err := r.look(ctx, i, now); err != nil && ctx.Err() == nil {
					r.log.Error("job", "job", r.jobs[i].Name, "error", err)
				}
				wait := time.NewTimer(r.jobs[i].next(now).Sub(r.now()))
				select {
				case <-ctx.Done():
				case <-wait.C:
				}
				wait.Stop()
			}
		})
	}
	parts.Wait()
}

// Look runs the named job if its turn at now is undone and nobody else runs
// it, and reports whether it did.
func (r *Runner) Look(ctx context.Context, name string, now time.Time) (bool, error) {
	i, err := r.find(name)
	if err != nil {
		return false, err
	}
	return r.look(ctx, i, now)
}

// ErrBusy is that another core runs the job just now.
var ErrBusy = errors.New("it is running already")

// Do runs the named job now, due or not, and says what came of it.
func (r *Runner) Do(ctx context.Context, name string) (string, error) {
	i, err := r.find(name)
	if err != nil {
		return "", err
	}
	var result string
	mine, err := r.db.Alone(ctx, "job "+name, func(ctx context.Context) (err error) {
		result, err = r.run(ctx, i, r.now())
		return err
	})
	if err == nil && !mine {
		err = ErrBusy
	}
	if err != nil {
		return "", fmt.Errorf("job %s: %w", name, err)
	}
	return result, nil
}

func (r *Runner) find(name string) (int, error) {
	i := slices.IndexFunc(r.jobs, func(j Job) bool { return j.Name == name })
	if i < 0 {
		names := make([]string, len(r.jobs))
		for i := range r.jobs {
			names[i] = r.jobs[i].Name
		}
		return 0, fmt.Errorf("there is no job %q, expected one of %q", name, names)
	}
	return i, nil
}

func (r *Runner) look(ctx context.Context, i int, now time.Time) (ran bool, err error) {
	due, err := r.due(ctx, i, now)
	if err != nil || !due {
		return false, err
	}
	_, err = r.db.Alone(ctx, "job "+r.jobs[i].Name, func(ctx context.Context) error {
		// Another core may have been done in between.
		due, err := r.due(ctx, i, now)
		if err != nil || !due {
			return err
		}
		ran = true
		_, err = r.run(ctx, i, now)
		return err
	})
	return ran, err
}

// due reports whether the job's turn at now is undone, and no pause after a
// failure is in the way.
func (r *Runner) due(ctx context.Context, i int, now time.Time) (bool, error) {
	j := &r.jobs[i]
	row, err := r.db.Queries().ReadJob(ctx, j.Name)
	if postgres.IsMissing(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up job %s: %w", j.Name, err)
	}
	if row.SucceededAt != nil {
		r.stats[i].Succeeded.Store(row.SucceededAt.Unix())
	}
	if !row.Turn.Before(j.Turn(now)) {
		return false, nil
	}
	return !now.Before(row.StartedAt.Add(j.pause(row.Failures))), nil
}

// pause is how long after its start a run that failed is repeated.
func (j *Job) pause(failures int32) time.Duration {
	if failures == 0 {
		return 0
	}
	pause := firstPause << min(failures-1, 16)
	return min(pause, longestPause, j.Every)
}

// run runs the job; its lock is held.
func (r *Runner) run(ctx context.Context, i int, now time.Time) (string, error) {
	j, stats := &r.jobs[i], r.stats[i]
	q := r.db.Queries()
	if err := q.StartJob(ctx, j.Name, now, r.core); err != nil {
		return "", fmt.Errorf("start job %s: %w", j.Name, err)
	}
	limit := j.Limit
	if limit == 0 {
		limit = j.Every
	}
	stats.Running.Store(1)
	start := time.Now()
	running, cancel := context.WithTimeout(ctx, limit)
	result, err := j.Run(running, now)
	cancel()
	took := time.Since(start)
	stats.Running.Store(0)
	stats.Nanos.Add(int64(took))

	// What came of it is written down even where the core is stopping.
	writing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err != nil {
		stats.Failed.Add(1)
		err = fmt.Errorf("job %s: %w", j.Name, err)
		return "", errors.Join(err, q.EndJobBadly(writing, at(now.Add(took)), err.Error(), j.Name))
	}
	err = q.EndJobWell(writing, query.EndJobWellParams{Name: j.Name, Turn: j.Turn(now), FinishedAt: at(now.Add(took)), Result: result})
	if err != nil {
		stats.Failed.Add(1)
		return "", fmt.Errorf("end job %s: %w", j.Name, err)
	}
	stats.Done.Add(1)
	stats.Succeeded.Store(now.Add(took).Unix())
	level := slog.LevelInfo
	if j.Every < time.Hour {
		level = slog.LevelDebug
	}
	r.log.Log(ctx, level, "job done", "job", j.Name, "result", result, "took", took)
	return result, nil
}

func at(t time.Time) *time.Time { return &t }
