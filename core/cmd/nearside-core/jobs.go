package main

import (
	"cmp"
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"nearside/core/jobs"
	"nearside/core/learn"
	"nearside/core/postgres"
	"nearside/core/postgres/query"
	"nearside/core/retention"
	"nearside/core/series"
)

// coreJobs are all that a core does now and then.
func coreJobs(db *postgres.DB, wake func(), reports time.Duration) []jobs.Job {
	all := append(learn.New(db, wake).Jobs(), series.Job(db), retention.Job(db, reports))
	slices.SortFunc(all, func(a, b jobs.Job) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

type jobsCommand struct {
	List jobsListCommand `cmd:"" help:"List the jobs, and what came of their last runs."`
	Run  jobsRunCommand  `cmd:"" help:"Run a job now, whether it is due or not."`
}

type jobsListCommand struct{}

func (jobsListCommand) Run(e *env) error {
	return e.database(func(db *postgres.DB) error {
		rows, err := db.Queries().ListJobs(e.ctx)
		if err != nil {
			return fmt.Errorf("list jobs: %w", err)
		}
		out := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintln(out, "JOB\tEVERY\tSTARTED\tLAST DONE\tFAILURES\tRESULT")
		for _, j := range coreJobs(db, nil, e.settings.KeepReports) {
			var row query.Job
			if i := slices.IndexFunc(rows, func(r query.Job) bool { return r.Name == j.Name }); i >= 0 {
				row = rows[i]
			}
			started := "-"
			if !row.StartedAt.IsZero() {
				started = when(&row.StartedAt)
			}
			_, _ = fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%d\t%s\n", j.Name, j.Every, started, when(row.SucceededAt), row.Failures, cmp.Or(row.Error, row.Result, "-"))
		}
		return out.Flush()
	})
}

type jobsRunCommand struct {
	Name string `arg:"" help:"Its name in the list."`
}

func (c jobsRunCommand) Run(e *env) error {
	return e.database(func(db *postgres.DB) error {
		result, err := jobs.New(db, jobs.Options{Log: e.log}, coreJobs(db, nil, e.settings.KeepReports)...).Do(e.ctx, c.Name)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(e.stdout, result)
		return err
	})
}
