package publish

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"nearside/core/postgres/query"
	"nearside/sync/catalog"
)

// hiddenFor is how long a deleted flight stays in the catalog: longer than any
// token lives, so that a reader's click still finds its way.
const hiddenFor = 24 * time.Hour

// Read reads the present version of everything an edge needs to decide. The
// queries must see one state of the database.
func Read(ctx context.Context, q *query.Queries, now time.Time) (*catalog.Snapshot, error) {
	version, err := q.CatalogVersion(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the catalog version: %w", err)
	}
	s := &catalog.Snapshot{
		Version:     uint64(version),
		PublishedAt: now.UnixMilli(),
	}
	for _, part := range []struct {
		name string
		read func(context.Context, *query.Queries, *catalog.Snapshot) error
	}{
		{"advertisers", readAdvertisers},
		{"publisher groups", readGroups},
		{"publishers", readPublishers},
		{"campaigns", readCampaigns},
		{"flights", func(ctx context.Context, q *query.Queries, s *catalog.Snapshot) error {
			return readFlights(ctx, q, s, now.Add(-hiddenFor))
		}},
		{"ads", func(ctx context.Context, q *query.Queries, s *catalog.Snapshot) error {
			return readAds(ctx, q, s, now.Add(-hiddenFor))
		}},
		{"ad types, topics and geo regions", readNamed},
	} {
		if err := part.read(ctx, q, s); err != nil {
			return nil, fmt.Errorf("read the %s of catalog version %d: %w", part.name, s.Version, err)
		}
	}
	return s, nil
}

func readAdvertisers(ctx context.Context, q *query.Queries, s *catalog.Snapshot) error {
	rows, err := q.SnapshotAdvertisers(ctx)
	for _, row := range rows {
		s.Advertisers = append(s.Advertisers, catalog.Advertiser{ID: uint32(row.ID), Slug: row.Slug, Name: row.Name})
	}
	return err
}

func readGroups(ctx context.Context, q *query.Queries, s *catalog.Snapshot) error {
	rows, err := q.SnapshotGroups(ctx)
	for _, row := range rows {
		s.Groups = append(s.Groups, catalog.Group{ID: uint32(row.ID), Slug: row.Slug, Name: row.Name})
	}
	return err
}

func readPublishers(ctx context.Context, q *query.Queries, s *catalog.Snapshot) error {
	groups := map[int32][]uint32{}
	members, err := q.SnapshotPublisherGroups(ctx)
	if err != nil {
		return err
	}
	for _, m := range members {
		groups[m.Publisher] = append(groups[m.Publisher], uint32(m.Grp))
	}
	hashes := map[int32][][]byte{}
	tokens, err := q.SnapshotTokenHashes(ctx)
	if err != nil {
		return err
	}
	for _, t := range tokens {
		hashes[*t.Publisher] = append(hashes[*t.Publisher], t.Hash)
	}
	rows, err := q.SnapshotPublishers(ctx)
	if err != nil {
		return err
	}
	for _, row := range rows {
		var p catalog.Publisher
		// The settings have the field names of the snapshot.
		if err := json.Unmarshal(row.Settings, &p); err != nil {
			return fmt.Errorf("settings of publisher %s: %w", row.Slug, err)
		}
		p.ID, p.Slug, p.Name = uint32(row.ID), row.Slug, row.Name
		p.Groups, p.TokenHashes = groups[row.ID], hashes[row.ID]
		p.SampledCTR = row.SampledCtr
		p.DailyCap, p.DailyCapFrom = catalog.Micros(row.DailyCapMicros), Day(row.DailyCapFrom)
		s.Publishers = append(s.Publishers, p)
	}
	return nil
}

func readCampaigns(ctx context.Context, q *query.Queries, s *catalog.Snapshot) error {
	groups, excluded := map[int32][]uint32{}, map[int32][]uint32{}
	members, err := q.SnapshotCampaignGroups(ctx)
	if err != nil {
		return err
	}
	for _, m := range members {
		groups[m.Campaign] = append(groups[m.Campaign], uint32(m.Grp))
	}
	exclusions, err := q.SnapshotCampaignExclusions(ctx)
	if err != nil {
		return err
	}
	for _, m := range exclusions {
		excluded[m.Campaign] = append(excluded[m.Campaign], uint32(m.Publisher))
	}
	rows, err := q.SnapshotCampaigns(ctx)
	if err != nil {
		return err
	}
	for _, row := range rows {
		c := catalog.Campaign{
			ID: uint32(row.ID), Slug: row.Slug, Name: row.Name, Advertiser: uint32(row.Advertiser),
			PublisherGroups: groups[row.ID], ExcludePublishers: excluded[row.ID],
		}
		if err := c.Type.UnmarshalText([]byte(row.CampaignType)); err != nil {
			return fmt.Errorf("campaign %s: %w", row.Slug, err)
		}
		s.Campaigns = append(s.Campaigns, c)
	}
	return nil
}

func readFlights(ctx context.Context, q *query.Queries, s *catalog.Snapshot, hiddenAfter time.Time) error {
	rows, err := q.SnapshotFlights(ctx, &hiddenAfter)
	if err != nil {
		return err
	}
	for _, row := range rows {
		var settings catalog.Flight // by the field names of the snapshot
		if err := json.Unmarshal(row.Settings, &settings); err != nil {
			return fmt.Errorf("settings of flight %s: %w", row.Slug, err)
		}
		f := catalog.Flight{
			FrequencyCap: settings.FrequencyCap, FrequencyWindow: settings.FrequencyWindow, Roadblock: settings.Roadblock,
			ID: uint32(row.ID), Slug: row.Slug, Name: row.Name, Campaign: uint32(row.Campaign), Live: row.Live,
			StartDate: Day(row.StartDate), EndDate: Day(row.EndDate), HardStop: row.HardStop,
			CPM: catalog.Micros(row.CpmMicros), CPC: catalog.Micros(row.CpcMicros),
			SoldViews: row.SoldViews, SoldClicks: row.SoldClicks,
			DailyCap: catalog.Micros(row.DailyCapMicros), DailyCapFrom: Day(row.DailyCapFrom),
			PacingInterval: row.PacingIntervalSeconds, PriorityMultiplier: row.PriorityMultiplier,
			PrioritizeAdsCTR: row.PrioritizeAdsCtr, SampledCTR: row.SampledCtr, Control: uint64(row.Control),
		}
		for _, weight := range row.Demand {
			f.Demand = append(f.Demand, uint32(weight))
		}
		for _, err := range []error{
			f.Pacing.UnmarshalText([]byte(row.Pacing)),
			f.State.UnmarshalText([]byte(row.State)),
			json.Unmarshal(row.Targeting, &f.Targeting),
			json.Unmarshal(row.TrafficCap, &f.TrafficCap),
		} {
			if err != nil {
				return fmt.Errorf("flight %s: %w", row.Slug, err)
			}
		}
		if row.Fill != nil {
			var fill catalog.Shares
			if err := json.Unmarshal(row.Fill, &fill); err != nil {
				return fmt.Errorf("traffic fill of flight %s: %w", row.Slug, err)
			}
			f.TrafficFill = catalog.Shares{
				Countries:  capped(fill.Countries, f.TrafficCap.Countries),
				GeoRegions: capped(fill.GeoRegions, f.TrafficCap.GeoRegions),
				Publishers: capped(fill.Publishers, f.TrafficCap.Publishers),
			}
		}
		s.Flights = append(s.Flights, f)
	}
	return nil
}

// capped is what of fill has a limit: edges look at nothing else.
func capped(fill, limits map[string]float64) map[string]float64 {
	var kept map[string]float64
	for name := range limits {
		if share, known := fill[name]; known {
			if kept == nil {
				kept = make(map[string]float64, len(limits))
			}
			kept[name] = share
		}
	}
	return kept
}

func readAds(ctx context.Context, q *query.Queries, s *catalog.Snapshot, hiddenAfter time.Time) error {
	types := map[int32][]uint32{}
	members, err := q.SnapshotAdAdTypes(ctx)
	if err != nil {
		return err
	}
	for _, m := range members {
		types[m.Ad] = append(types[m.Ad], uint32(m.AdType))
	}
	rows, err := q.SnapshotAds(ctx, &hiddenAfter)
	for _, row := range rows {
		s.Ads = append(s.Ads, catalog.Ad{
			ID: uint32(row.ID), Slug: row.Slug, Name: row.Name, Flight: uint32(row.Flight), AdTypes: types[row.ID],
			Headline: row.Headline, Content: row.Content, CTA: row.Cta, Link: row.Link, ImageURL: row.ImageUrl, Live: row.Live,
			SampledCTR: row.SampledCtr,
		})
	}
	return err
}

func readNamed(ctx context.Context, q *query.Queries, s *catalog.Snapshot) error {
	types, err := q.SnapshotAdTypes(ctx)
	if err != nil {
		return err
	}
	for _, row := range types {
		var t catalog.AdType
		if err := json.Unmarshal(row.Settings, &t); err != nil {
			return fmt.Errorf("settings of ad type %s: %w", row.Slug, err)
		}
		t.ID, t.Slug, t.Name = uint32(row.ID), row.Slug, row.Name
		s.AdTypes = append(s.AdTypes, t)
	}
	topics, err := q.SnapshotTopics(ctx)
	if err != nil {
		return err
	}
	for _, row := range topics {
		s.Topics = append(s.Topics, catalog.Topic{ID: uint32(row.ID), Slug: row.Slug, Name: row.Name, Keywords: row.Keywords})
	}
	regions, err := q.SnapshotGeoRegions(ctx)
	for _, row := range regions {
		s.GeoRegions = append(s.GeoRegions, catalog.GeoRegion{ID: uint32(row.ID), Slug: row.Slug, Name: row.Name, Countries: row.Countries})
	}
	return err
}

// Day is a date of the database as days since 1970-01-01; 0 where it is null.
func Day(d pgtype.Date) catalog.Day {
	if !d.Valid {
		return 0
	}
	return catalog.Day(d.Time.Unix() / 86400)
}
