package admin

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"nearside/core/postgres/query"
)

// Job is something that the core does now and then.
type Job struct {
	Name         string     `json:"name" example:"sampled-ctr"`
	About        string     `json:"about" doc:"What it does."`
	EverySeconds int64      `json:"every_seconds"`
	StartedAt    *time.Time `json:"started_at" doc:"When it was last run; null: never."`
	FinishedAt   *time.Time `json:"finished_at" doc:"When that ended; null: it runs now, or its core is gone."`
	SucceededAt  *time.Time `json:"succeeded_at" doc:"When it last went well."`
	Core         string     `json:"core,omitempty" doc:"Which core ran it last."`
	Result       string     `json:"result" doc:"What came of the last run that went well."`
	Error        string     `json:"error" doc:"Of the last run; empty: it went well."`
	Failures     int32      `json:"failures" doc:"How often it has failed in a row; one is counted while it runs."`
}

// jobRooms registers what the core does now and then.
func (a *API) jobRooms() {
	register(a, huma.Operation{
		OperationID: "list-jobs", Method: http.MethodGet, Path: "/v1/jobs", Tags: []string{"Jobs"},
		Summary: "What the core does now and then", Description: "When each job was last run and what came of it. nearside-core jobs run NAME runs one now.",
	}, func(ctx context.Context, _ *struct{}) (*listed[Job], error) {
		rows, err := a.db.Queries().ListJobs(ctx)
		if err != nil {
			return nil, fmt.Errorf("list jobs: %w", err)
		}
		kept := make(map[string]query.Job, len(rows))
		for _, r := range rows {
			kept[r.Name] = r
		}
		out := &listed[Job]{Body: list[Job]{Items: make([]Job, len(a.jobs))}}
		for i, j := range a.jobs {
			job := Job{Name: j.Name, About: j.About, EverySeconds: int64(j.Every / time.Second)}
			if r, ran := kept[j.Name]; ran {
				job.StartedAt, job.FinishedAt, job.SucceededAt = &r.StartedAt, r.FinishedAt, r.SucceededAt
				job.Core, job.Result, job.Error, job.Failures = r.Core, r.Result, r.Error, r.Failures
			}
			out.Body.Items[i] = job
		}
		return out, nil
	})
}
