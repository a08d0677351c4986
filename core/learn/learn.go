// Package learn turns what was counted into what decisions are weighed by: the
// sampled CTR of publishers, flights and ads, how a flight's views are shared
// out (traffic fill), and how much each flight is asked for in each hour of a
// week (demand). It is three nightly jobs over the rollups; docs/ad-ops.md
// explains the numbers to those who live by them.
//
// # Promises
//
// The same rollups give the same numbers, so it does no harm if two cores learn
// at once. Nothing is published that edges could not tell from what they have:
// if no number moved by more than the bounds below, the night makes no catalog
// version. Where one did, all that were learnt are written together, in one
// transaction with the version that carries them and an entry in the audit log.
//
//   - a CTR matters if it is new, or differs by more than a hundredth of the old
//   - a share matters if it went over or under its cap, or moved by more than
//     half a hundredth where a cap is
//   - a curve matters if it would deliver more than a fiftieth of a week in other
//     hours
//
// # Failure
//
// A night that fails is tried again (core/jobs); until then edges go on with
// what they have. What was counted late counts the next night.
//
// # What it leaves out
//
// A sample too small to say anything changes nothing: the last one stays, as in
// the reference server. Nothing is learnt of flights that are not live.
package learn

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"nearside/core/jobs"
	"nearside/core/postgres"
	"nearside/core/postgres/query"
)

// actor is who the audit log names.
const actor = "the core"

// Learner learns from one database.
type Learner struct {
	db   *postgres.DB
	wake func()
}

// New makes a learner; wake, if it is not nil, is called when there is a new
// catalog version to build.
func New(db *postgres.DB, wake func()) *Learner {
	if wake == nil {
		wake = func() {}
	}
	return &Learner{db, wake}
}

// Jobs are the nights' work, in the order of the reference server's: first the
// shares of what is over, then the samples.
func (l *Learner) Jobs() []jobs.Job {
	const night = 24 * time.Hour
	return []jobs.Job{
		{
			Name: "traffic-fill", About: "Computes which share of each flight's views its countries, geo regions and publishers had.",
			Every: night, After: 2*time.Hour + 30*time.Minute, Limit: 2 * time.Hour, Run: l.Fill,
		},
		{
			Name: "sampled-ctr", About: "Samples the click-through rates of publishers, flights and ads of the last seven days.",
			Every: night, After: 3*time.Hour + 30*time.Minute, Limit: 2 * time.Hour, Run: l.CTRs,
		},
		{
			// Shortly after midnight, when a traffic-paced flight's day has just
			// begun: its plan hardly jumps.
			Name: "demand", About: "Learns how much traffic-paced flights are asked for in each hour of a week.",
			Every: night, After: 5 * time.Minute, Limit: 2 * time.Hour, Run: l.Demand,
		},
	}
}

// publish runs f in one transaction that makes a catalog version.
func (l *Learner) publish(ctx context.Context, what string, changed int, f func(q *query.Queries) error) error {
	once := func(tx pgx.Tx) error {
		q := query.New(tx)
		if _, err := q.LockCounters(ctx); err != nil {
			return err
		}
		if err := f(q); err != nil {
			return err
		}
		version, err := q.RaiseCatalogVersion(ctx)
		if err != nil {
			return err
		}
		detail, err := json.Marshal(map[string]any{"changed": changed, "catalog_version": version})
		if err != nil {
			return err
		}
		if err := q.InsertAudit(ctx, query.InsertAuditParams{Actor: actor, Action: "learn", Resource: what, Detail: detail}); err != nil {
			return err
		}
		return q.NotifyCatalog(ctx)
	}
	var err error
	for range 3 {
		if err = l.db.InTx(ctx, once); !postgres.Retryable(err) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("publish %s: %w", what, err)
	}
	l.wake()
	return nil
}
