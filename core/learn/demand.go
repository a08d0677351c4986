package learn

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"nearside/core/postgres/query"
	"nearside/sync/catalog"
)

const (
	// DemandWeeks are how far back demand is looked at.
	DemandWeeks = 4

	// PriorRequests is what stands for each hour of a week before anything was
	// seen of it: of all requests together so many as if the week were flat, of
	// a flight so many as if it were as all requests together. Among as many
	// again, chance alone moves an hour by a fifth.
	PriorRequests = 20

	curveMatters = 0.02 // of a week's delivery, put into other hours

	everybody = 0 // the flight of which all requests are
	mean      = 1000
)

// matched are the reasons for which a flight is refused although the request
// is one that it is for.
var matched = []string{"exhausted", "on_pace", "daily_cap", "broker", "lease", "frequency_cap", "competing", "lower_tier"}

// Week is a number for each hour of a week, from Monday 00:00 UTC.
type Week [catalog.HoursPerWeek]float64

// HourOfWeek is where in a Week an hour is.
func HourOfWeek(t time.Time) int {
	t = t.UTC()
	return (int(t.Weekday())+6)%7*24 + t.Hour()
}

// Curve is how much is asked for in an hour of each kind, with a mean of 1:
// seen requests in the hours that there were of the kind, on top of a prior
// that stands for strength requests in each. It is the mean of a gamma
// distribution after Poisson counts: where nothing was seen it is the prior,
// where much was seen it is what was seen. The prior has a mean of 1.
func Curve(seen, hours, prior *Week, strength float64) Week {
	all, expected := 0.0, 0.0
	for h := range seen {
		all += seen[h]
		expected += hours[h] * prior[h]
	}
	if all <= 0 || expected <= 0 {
		return *prior
	}
	level := all / expected // requests in an hour that is as the mean
	var curve Week
	for h := range seen {
		curve[h] = (seen[h] + strength*prior[h]) / (hours[h] + strength/level)
	}
	return curve.scaled()
}

// scaled has a mean of 1.
func (w *Week) scaled() Week {
	sum := 0.0
	for _, x := range w {
		sum += x
	}
	var out Week
	for h, x := range w {
		out[h] = x * catalog.HoursPerWeek / sum
	}
	return out
}

func flat() Week {
	var w Week
	for h := range w {
		w[h] = 1
	}
	return w
}

// weights are a curve as the catalog carries it. An hour in which the flight
// may show at all is never closed.
func (w *Week) weights() []int32 {
	out := make([]int32, len(w))
	for h, x := range w {
		if x > 0 {
			out[h] = int32(max(1, math.Round(x*mean)))
		}
	}
	return out
}

// on leaves only the hours of the days on which a flight shows; no days are all.
func (w *Week) on(days []string) Week {
	if len(days) == 0 {
		return *w
	}
	var out Week
	for _, name := range days {
		day, err := catalog.ParseWeekday(name)
		if err != nil {
			continue // the catalog leaves it out too
		}
		first := (int(day) + 6) % 7 * 24
		copy(out[first:first+24], w[first:first+24])
	}
	if out == (Week{}) {
		return *w
	}
	return out
}

// curveDiffers reports whether curves would deliver more than a fiftieth of a
// week in other hours.
func curveDiffers(was, is []int32) bool {
	before, after := 0.0, 0.0
	for h := range is {
		before += float64(was[h])
		after += float64(is[h])
	}
	moved := 0.0
	for h := range is {
		moved += math.Abs(float64(was[h])/before-float64(is[h])/after) / 2
	}
	return !(moved <= curveMatters)
}

// Demand learns the curve of all requests together, and of each live
// traffic-paced flight.
func (l *Learner) Demand(ctx context.Context, now time.Time) (string, error) {
	q := l.db.Queries()
	until := now.UTC().Truncate(time.Hour) // the present hour is not over
	since := until.AddDate(0, 0, -7*DemandWeeks)
	requests, err := q.RequestsByHour(ctx, since, until)
	if err != nil {
		return "", fmt.Errorf("count requests by hour: %w", err)
	}
	flights, err := q.DemandedFlights(ctx, since, until, matched)
	if err != nil {
		return "", fmt.Errorf("count what flights were asked for: %w", err)
	}
	known, err := q.Demands(ctx)
	if err != nil {
		return "", fmt.Errorf("read the last demand: %w", err)
	}
	old := make(map[int32][]int32, len(known))
	for _, k := range known {
		old[k.Flight] = k.Weights
	}

	var all, hours Week
	events := int64(0)
	for _, r := range requests {
		h := HourOfWeek(r.Hour)
		all[h] += float64(r.Decisions)
		hours[h]++
		events += r.Decisions
	}
	even := flat()
	network := Curve(&all, &hours, &even, PriorRequests)
	learnt := []query.PutDemandParams{{Flight: everybody, Weights: network.weights(), Events: events, LearntAt: now}}
	for _, f := range flights {
		var targeting catalog.Targeting
		if err := json.Unmarshal(f.Targeting, &targeting); err != nil {
			return "", fmt.Errorf("targeting of flight %d: %w", f.ID, err)
		}
		var seen, open Week
		events := int64(0)
		for i, h := range f.Hours {
			seen[h] += float64(f.Counts[i])
			events += f.Counts[i]
		}
		// Hours before it began say nothing of it, nor do those without any traffic.
		for _, r := range requests {
			if !r.Hour.Before(f.StartDate.Time) {
				open[HourOfWeek(r.Hour)]++
			}
		}
		for h := range open {
			if seen[h] > 0 {
				open[h] = max(open[h], 1) // where decisions were lost and refusals were not
			}
		}
		curve := Curve(&seen, &open, &network, PriorRequests)
		curve = curve.on(targeting.Days)
		learnt = append(learnt, query.PutDemandParams{Flight: f.ID, Weights: curve.weights(), Events: events, LearntAt: now})
	}
	matter := 0
	for _, d := range learnt {
		// What edges go by now.
		was := old[d.Flight]
		if was == nil {
			was = old[everybody]
		}
		if was == nil {
			was = even.weights()
		}
		if curveDiffers(was, d.Weights) {
			matter++
		}
	}
	said := fmt.Sprintf("%d flights by %d requests, %d curves have changed", len(flights), events, matter)
	switch {
	case matter == 0:
		return said, nil
	case len(flights) == 0:
		// No flight is paced by it yet: kept for the first that is.
		return said, q.PutDemand(ctx, learnt[0])
	}
	return said, l.publish(ctx, "demands", matter, func(q *query.Queries) error {
		for _, d := range learnt {
			if err := q.PutDemand(ctx, d); err != nil {
				return err
			}
		}
		return nil
	})
}
