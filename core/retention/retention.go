// Package retention decides how long the core keeps what was counted, and makes
// the partitions that it is kept in.
//
// Rollups, decision counts and both by topic lie in partitions of a month, the series of plan
// against delivery in partitions of a day. The job partitions makes them ahead,
// while they are empty; whatever has no partition lies in the table's default
// one, and is neither moved nor lost (core/postgres, Partitions).
//
// The series is kept for series.Keep. What reports are made of, and refusals, is
// kept for ever, unless the operator says otherwise: then months go once all of
// their hours are too old, and what lies in a default partition goes by the
// hour. Sums of the rollups that went stay by flight, so that nearside-core
// reconcile can still prove a flight's totals. Traffic fill and reports know
// only what is kept.
package retention

import (
	"context"
	"fmt"
	"strings"
	"time"

	"nearside/core/jobs"
	"nearside/core/postgres"
	"nearside/core/series"
)

// Least is the shortest time for which reports may be kept: what is learnt
// looks back four weeks.
const Least = 35 * 24 * time.Hour

var (
	rollups   = postgres.Partitions{Table: "rollups", Column: "hour", Ahead: 2}
	decisions = postgres.Partitions{Table: "decision_counts", Column: "hour", Ahead: 2}
	topics    = postgres.Partitions{Table: "topic_counts", Column: "hour", Ahead: 2}
	points    = postgres.Partitions{Table: "flight_series", Column: "at", Daily: true, Ahead: 7}
)

// Job makes partitions and drops what is too old; reports is how long reports
// are kept, 0 for ever.
func Job(db *postgres.DB, reports time.Duration) jobs.Job {
	return jobs.Job{
		Name: "partitions", About: "Makes room for what will be counted, and drops what is kept no longer.",
		// Not at midnight, when all else begins.
		Every: 24 * time.Hour, After: time.Hour + 10*time.Minute, Limit: 2 * time.Hour,
		Run: func(ctx context.Context, now time.Time) (string, error) { return Run(ctx, db, reports, now) },
	}
}

// Run is the job's work at now.
func Run(ctx context.Context, db *postgres.DB, reports time.Duration, now time.Time) (string, error) {
	var made, left, dropped []string
	for _, p := range []postgres.Partitions{rollups, decisions, topics, points} {
		m, l, err := db.MakePartitions(ctx, p, now)
		made, left = append(made, m...), append(left, l...)
		if err != nil {
			return "", err
		}
	}
	gone := int64(0)
	drop := func(p postgres.Partitions, keep time.Duration, first postgres.BeforeDrop) error {
		d, n, err := db.DropPartitions(ctx, p, now.Add(-keep), first)
		dropped, gone = append(dropped, d...), gone+n
		return err
	}
	if err := drop(points, series.Keep, nil); err != nil {
		return "", err
	}
	if reports > 0 {
		if err := drop(rollups, reports, postgres.FoldDropped); err != nil {
			return "", err
		}
		for _, p := range []postgres.Partitions{decisions, topics} {
			if err := drop(p, reports, nil); err != nil {
				return "", err
			}
		}
		n, err := db.ForgetRefusals(ctx, now.Add(-reports))
		gone += n
		if err != nil {
			return "", err
		}
	}
	said := fmt.Sprintf("made %d partitions, dropped %d and %d rows", len(made), len(dropped), gone)
	if len(left) > 0 {
		said += "; has rows already, stays in default: " + strings.Join(left, ", ")
	}
	return said, nil
}
