package learn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"nearside/core/postgres/query"
	"nearside/sync/catalog"
)

const (
	// MostShares is how many publishers, countries and geo regions of a flight
	// are kept, the largest first. The least share that is kept, a hundredth, is
	// in the query; what has a cap is kept whatever it has.
	MostShares = 20

	shareMatters = 0.005
)

// Fill computes which share of each live paid flight's views, of all its life,
// its countries, geo regions and publishers had.
func (l *Learner) Fill(ctx context.Context, now time.Time) (string, error) {
	var shares []query.TrafficSharesRow
	err := l.db.InLargeSnapshot(ctx, func(q *query.Queries) (err error) {
		shares, err = q.TrafficShares(ctx, MostShares)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("share out views: %w", err)
	}
	caps, err := l.db.Queries().TrafficCaps(ctx)
	if err != nil {
		return "", fmt.Errorf("read the traffic caps: %w", err)
	}
	limits, old := make(map[int32]catalog.Shares, len(caps)), make(map[int32]catalog.Shares, len(caps))
	for _, c := range caps {
		var limit, fill catalog.Shares
		if err := errors.Join(json.Unmarshal(c.TrafficCap, &limit), json.Unmarshal(c.Fill, &fill)); err != nil {
			return "", fmt.Errorf("traffic cap and fill of flight %d: %w", c.ID, err)
		}
		limits[c.ID], old[c.ID] = limit, fill
	}
	// What has a cap is in the catalog and changes with it; what has none is for
	// people to see.
	published, shown := query.PutTrafficFillsParams{FilledAt: now}, query.PutTrafficFillsParams{FilledAt: now}
	matter, flights := 0, 0
	for len(shares) > 0 {
		flight, n := shares[0].Flight, 1
		for n < len(shares) && shares[n].Flight == flight {
			n++
		}
		fill := fillOf(shares[:n])
		text, err := json.Marshal(fill)
		if err != nil {
			return "", fmt.Errorf("traffic fill of flight %d: %w", flight, err)
		}
		put := &shown
		if limit, capped := limits[flight]; capped {
			put = &published
			if fillMatters(old[flight], fill, limit) {
				matter++
			}
		}
		put.Flights = append(put.Flights, flight)
		put.Fills = append(put.Fills, text)
		put.Views = append(put.Views, shares[0].OfViews)
		shares = shares[n:]
		flights++
	}
	if err := l.db.Queries().PutTrafficFills(ctx, shown); err != nil {
		return "", fmt.Errorf("keep the traffic fill: %w", err)
	}
	if matter > 0 {
		err = l.publish(ctx, "traffic_fills", matter, func(q *query.Queries) error { return q.PutTrafficFills(ctx, published) })
	}
	return fmt.Sprintf("%d flights, %d have changed at a cap", flights, matter), err
}

// fillOf is the fill of one flight from its shares.
func fillOf(shares []query.TrafficSharesRow) catalog.Shares {
	fill := catalog.Shares{Countries: map[string]float64{}, GeoRegions: map[string]float64{}, Publishers: map[string]float64{}}
	for _, s := range shares {
		share := float64(s.Views) / float64(s.OfViews)
		switch s.Kind {
		case "countries":
			fill.Countries[s.Name] = share
		case "regions":
			fill.GeoRegions[s.Name] = share
		case "publishers":
			fill.Publishers[s.Name] = share
		}
	}
	return fill
}

// fillMatters reports whether an edge would decide otherwise by is than by was,
// or may soon.
func fillMatters(was, is, limit catalog.Shares) bool {
	matters := func(was, is, limit map[string]float64) bool {
		for name, most := range limit {
			if (was[name] > most) != (is[name] > most) || math.Abs(is[name]-was[name]) > shareMatters {
				return true
			}
		}
		return false
	}
	return matters(was.Countries, is.Countries, limit.Countries) ||
		matters(was.GeoRegions, is.GeoRegions, limit.GeoRegions) ||
		matters(was.Publishers, is.Publishers, limit.Publishers)
}
