package learn

import (
	"context"
	"fmt"
	"math"
	"time"

	"nearside/core/postgres/query"
)

const (
	// SampleDays are the days of a sample: the present one and these before it,
	// from midnight UTC.
	SampleDays = 7
	// LeastViews is the least of views in a sample of a flight or an ad. Of a
	// publisher one view is enough.
	LeastViews = 1000

	ctrMatters = 0.01 // of the old
)

// CTR is clicks of a hundred views. More clicks than views, which the edge of
// a sample can make, are all of them; no views are no clicks.
func CTR(clicks, views int64) float64 {
	if views <= 0 || clicks <= 0 {
		return 0
	}
	return min(100, float64(clicks)*100/float64(views))
}

// CTRs samples the click-through rates of publishers, flights and ads.
func (l *Learner) CTRs(ctx context.Context, now time.Time) (string, error) {
	since := now.UTC().Truncate(24*time.Hour).AddDate(0, 0, -SampleDays)
	samples, err := l.db.Queries().ClickSamples(ctx, since, LeastViews)
	if err != nil {
		return "", fmt.Errorf("sample clicks: %w", err)
	}
	known, err := l.db.Queries().SampledCTRs(ctx)
	if err != nil {
		return "", fmt.Errorf("read the last samples: %w", err)
	}
	type key struct {
		kind string
		id   int32
	}
	old := make(map[key]float64, len(known))
	for _, k := range known {
		old[key{k.Kind, k.ID}] = k.Ctr
	}
	matter := 0
	put := query.PutSampledCTRsParams{SampledAt: now}
	for _, s := range samples {
		ctr := CTR(s.Clicks, s.Views)
		was, sampled := old[key{s.Kind, s.ID}]
		if !sampled && ctr > 0 || math.Abs(ctr-was) > ctrMatters*was {
			matter++
		}
		put.Kinds = append(put.Kinds, s.Kind)
		put.Ids = append(put.Ids, s.ID)
		put.Ctrs = append(put.Ctrs, ctr)
		put.Views = append(put.Views, s.Views)
		put.Clicks = append(put.Clicks, s.Clicks)
	}
	if matter == 0 {
		return fmt.Sprintf("%d samples, none has changed", len(samples)), nil
	}
	err = l.publish(ctx, "sampled_ctrs", matter, func(q *query.Queries) error { return q.PutSampledCTRs(ctx, put) })
	return fmt.Sprintf("%d samples, %d have changed", len(samples), matter), err
}
