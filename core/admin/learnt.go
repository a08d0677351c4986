package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"nearside/core/postgres/query"
)

// CTR is a sampled click-through rate.
type CTR struct {
	Percent float64   `json:"percent" doc:"Clicks of 100 views."`
	Views   int64     `json:"views" doc:"The views of the sample."`
	Clicks  int64     `json:"clicks" doc:"The clicks of the sample."`
	AsOf    time.Time `json:"as_of"`
}

// Fill is which share of a flight's views each of its countries, geo regions
// and publishers had.
type Fill struct {
	Shares
	AsOf time.Time `json:"as_of"`
}

// Demand is how much a flight is asked for in each hour of a week.
type Demand struct {
	Weights  []int32   `json:"weights" doc:"168 weights, from Monday 00:00 UTC; 1000 is an hour as the mean."`
	Requests int64     `json:"requests" doc:"How many requests it was learnt from."`
	AsOf     time.Time `json:"as_of"`
}

// showLearnt adds what was learnt of flights.
func showLearnt(ctx context.Context, a *API, rows []row[Flight]) error {
	learnt, err := a.db.Queries().LearntOfFlights(ctx, rowIDs(rows))
	if err != nil {
		return fmt.Errorf("read what was learnt of flights: %w", err)
	}
	of := make(map[int32]*query.LearntOfFlightsRow, len(learnt))
	for i := range learnt {
		of[learnt[i].ID] = &learnt[i]
	}
	for i := range rows {
		f, l := &rows[i].value, of[rows[i].id]
		if l == nil {
			continue
		}
		if l.Ctr != nil {
			f.SampledCTR = &CTR{Percent: *l.Ctr, Views: *l.SampleViews, Clicks: *l.SampleClicks, AsOf: *l.SampledAt}
		}
		if l.Fill != nil {
			f.TrafficFill = &Fill{AsOf: *l.FilledAt}
			if err := json.Unmarshal(l.Fill, &f.TrafficFill.Shares); err != nil {
				return fmt.Errorf("traffic fill of flight %s: %w", f.Slug, err)
			}
		}
		if l.Weights != nil {
			f.Demand = &Demand{Weights: l.Weights, Requests: *l.Events, AsOf: *l.LearntAt}
		}
	}
	return nil
}

// showCTRs adds the sampled CTRs of a kind, "publisher" or "ad", to its rows.
func showCTRs[T any](kind string, field func(*T) **CTR) func(context.Context, *API, []row[T]) error {
	return func(ctx context.Context, a *API, rows []row[T]) error {
		sampled, err := a.db.Queries().CTRsOf(ctx, kind, rowIDs(rows))
		if err != nil {
			return fmt.Errorf("read sampled CTRs: %w", err)
		}
		of := make(map[int32]*CTR, len(sampled))
		for _, s := range sampled {
			of[s.ID] = &CTR{Percent: s.Ctr, Views: s.Views, Clicks: s.Clicks, AsOf: s.SampledAt}
		}
		for i := range rows {
			*field(&rows[i].value) = of[rows[i].id]
		}
		return nil
	}
}

func rowIDs[T any](rows []row[T]) []int32 {
	ids := make([]int32, len(rows))
	for i := range rows {
		ids[i] = rows[i].id
	}
	return ids
}
