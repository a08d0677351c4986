package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"nearside/core/admin"
	"nearside/core/ingest"
	"nearside/core/jobs"
	"nearside/core/ops"
	"nearside/core/postgres"
	"nearside/core/publish"
)

// strandedAfter is the silence from which on what a holder holds counts as
// stranded: restarts and short cuts are over by then.
const strandedAfter = 5 * time.Minute

// measure exposes the counters of the core's parts.
func measure(o *ops.Ops, db *postgres.DB, publisher *publish.Publisher, api *admin.API, exchange *ingest.Stats, runner *jobs.Runner) {
	o.Gauge("nearside_core_catalog_version", "Newest catalog version that this core offers to edges.", nil, func() float64 {
		version := publisher.Version()
		return float64(version)
	})
	o.Gauge("nearside_core_catalog_published_timestamp_seconds", "When it was published.", nil, func() float64 {
		return float64(publisher.PublishedAt().UnixMilli()) / 1000
	})
	o.Gauge("nearside_core_catalog_bytes", "Published size of it.", nil, func() float64 { return float64(publisher.Stats().Bytes.Load()) })
	o.Gauge("nearside_core_catalog_delta_bytes", "Size of what changed since the version before; 0 where the whole is sent.", nil, func() float64 { return float64(publisher.Stats().DeltaBytes.Load()) })
	o.Gauge("nearside_core_control_version", "Newest control version that this core offers to edges.", nil, func() float64 { return float64(publisher.ControlVersion()) })
	o.Counter("nearside_core_catalog_builds_total", "Catalog versions that this core built.", nil, func() float64 { return float64(publisher.Stats().Built.Load()) })
	o.Counter("nearside_core_catalog_failures_total", "Builds and look-ups of the catalog that failed.", nil, func() float64 { return float64(publisher.Stats().Failed.Load()) })
	o.Gauge("nearside_core_catalog_build_seconds", "What the last build took.", nil, func() float64 {
		return time.Duration(publisher.Stats().BuildNanos.Load()).Seconds()
	})
	for class := 1; class <= 5; class++ {
		o.Counter("nearside_core_admin_requests_total", "Requests to the admin API by class of status.",
			map[string]string{"status": fmt.Sprintf("%dxx", class)},
			func() float64 { return float64(api.Stats().Answered[class].Load()) })
	}
	o.Counter("nearside_core_admin_request_seconds_total", "Time spent in requests to the admin API.", nil, func() float64 {
		return time.Duration(api.Stats().Nanos.Load()).Seconds()
	})
	for i, state := range []string{"used", "idle"} {
		o.Gauge("nearside_core_database_connections", "Open connections to the database.",
			map[string]string{"state": state}, func() float64 {
				used, idle, _ := db.Connections()
				return float64([]int{used, idle}[i])
			})
	}
	o.Gauge("nearside_core_database_connections_max", "How many connections to the database there may be.", nil, func() float64 {
		_, _, most := db.Connections()
		return float64(most)
	})
	stranded := func(of func(*postgres.SetAside) int64) func(context.Context) (map[string]float64, error) {
		return func(ctx context.Context) (map[string]float64, error) {
			now := time.Now()
			list, err := db.SetAside(ctx, now.Add(time.Hour)) // all: a region without any says 0
			regions := map[string]float64{}
			for i := range list {
				n := 0.0
				if now.Sub(list[i].SeenAt) > strandedAfter {
					n = float64(of(&list[i]))
				}
				regions[list[i].Region] += n
			}
			return regions, err
		}
	}
	o.Gauges("nearside_core_stranded_events", "Events that holders which were not heard for five minutes may still spend, and nobody else meanwhile.", "region",
		stranded(func(s *postgres.SetAside) int64 { return s.Events }))
	o.Gauges("nearside_core_stranded_micros", "What those events are worth, in micros.", "region",
		stranded(func(s *postgres.SetAside) int64 { return s.Micros }))
	o.Gauges("nearside_core_history_lost", "1 while this database is known to have forgotten history, and everything waits for nearside-core recover.", "of",
		func(ctx context.Context) (map[string]float64, error) {
			forgotten, err := db.Forgotten(ctx)
			return map[string]float64{"database": map[bool]float64{true: 1}[forgotten]}, err
		})
	seconds := func(nanos *atomic.Int64) func() float64 {
		return func() float64 { return time.Duration(nanos.Load()).Seconds() }
	}
	o.Counter("nearside_core_exchange_transaction_seconds_total", "Time spent in transactions of exchanges.", nil, seconds(&exchange.GroupNanos))
	for _, c := range []struct {
		name, help string
		count      *atomic.Int64
	}{
		{"exchanges_total", "Exchanges answered.", &exchange.Exchanges},
		{"exchange_transactions_total", "Transactions that exchanges were answered by.", &exchange.Groups},
		{"exchange_lease_rows_total", "Leases written.", &exchange.Rows},
		{"exchange_groups_failed_total", "Groups of exchanges that had to be repeated holder by holder, or failed.", &exchange.Failed},
		{"exchange_refused_total", "Requests refused: malformed, or failing alone.", &exchange.Refused},
		{"exchange_full_total", "Requests refused because the queue was full.", &exchange.Full},
		{"exchange_denied_total", "Requests with wrong credentials.", &exchange.Denied},
		{"holders_fenced_total", "Holders fenced by what they said.", &exchange.Fenced},
		{"holders_expired_total", "Holders closed for their silence.", &exchange.Expired},
		{"doubted_claims_total", "Claims of one holder alone that the database has forgotten what it granted.", &exchange.Doubted},
		{"history_lost_total", "Proofs that this database has forgotten what it granted.", &exchange.Forgotten},
		{"foreign_judged_total", "Events away from home that the core judged.", &exchange.Judged},
		{"foreign_home_lost_total", "Events away from home that were refused because their home is gone.", &exchange.HomeLost},
	} {
		o.Counter("nearside_core_"+c.name, c.help, nil, func() float64 { return float64(c.count.Load()) })
	}
	o.Gauge("nearside_core_watching", "Open streams to edges.", nil, func() float64 { return float64(exchange.Watching.Load()) })
	o.Gauge("nearside_core_exchange_waiting", "Requests that wait for their transaction.", nil, func() float64 { return float64(exchange.Waiting.Load()) })
	for _, job := range runner.Stats() {
		of := func(more ...string) map[string]string {
			labels := map[string]string{"job": job.Job}
			for i := 0; i < len(more); i += 2 {
				labels[more[i]] = more[i+1]
			}
			return labels
		}
		o.Counter("nearside_core_job_runs_total", "Runs of a job on this core.", of("result", "done"), func() float64 { return float64(job.Done.Load()) })
		o.Counter("nearside_core_job_runs_total", "Runs of a job on this core.", of("result", "failed"), func() float64 { return float64(job.Failed.Load()) })
		o.Counter("nearside_core_job_seconds_total", "Time spent in runs of a job on this core.", of(), seconds(&job.Nanos))
		o.Gauge("nearside_core_job_running", "1 while this core runs the job.", of(), func() float64 { return float64(job.Running.Load()) })
		o.Gauge("nearside_core_job_succeeded_timestamp_seconds", "When the job last went well, on whichever core; 0: never, as far as is known.", of(),
			func() float64 { return float64(job.Succeeded.Load()) })
	}
}
