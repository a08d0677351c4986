package admin

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5/pgtype"

	"nearside/core/postgres/query"
	"nearside/sync/catalog"
	"nearside/sync/lease"
)

// PublisherSettings are the fields of a publisher that only edges read, by
// their names in the catalog.
type PublisherSettings struct {
	UnauthedAdDecisions     bool     `json:"unauthed_ad_decisions" required:"false" default:"true" doc:"Decisions may be asked for without a token."`
	Disabled                bool     `json:"disabled" required:"false" doc:"Every decision is refused."`
	AllowPaid               bool     `json:"allow_paid_campaigns" required:"false" default:"false" doc:"Paid campaigns may show here."`
	AllowAffiliate          bool     `json:"allow_affiliate_campaigns" required:"false" default:"false" doc:"Affiliate campaigns may show here."`
	AllowCommunity          bool     `json:"allow_community_campaigns" required:"false" default:"true" doc:"Community campaigns may show here."`
	AllowHouse              bool     `json:"allow_house_campaigns" required:"false" default:"true" doc:"House campaigns may show here."`
	AllowAPIKeywords        bool     `json:"allow_api_keywords" required:"false" default:"true" doc:"Keywords of a request count."`
	DefaultKeywords         []string `json:"default_keywords" required:"false" maxItems:"100" doc:"Keywords of every request; kept in lower case."`
	IgnoreMobileTraffic     bool     `json:"ignore_mobile_traffic" required:"false" doc:"Mobile clients get no ad."`
	AllowMultiplePlacements bool     `json:"allow_multiple_placements" required:"false" doc:"More than one ad a page: a placement_index above 0 gets ads."`
	CacheAds                bool     `json:"cache_ads" required:"false" default:"true" doc:"A client gets the same offer again for a while."`
	CacheAdsDurationSeconds int32    `json:"cache_ads_duration_seconds" required:"false" minimum:"0" maximum:"86400" default:"5" doc:"For how long; 0 for the default of 5."`
	SendBidRate             bool     `json:"send_bid_rate" required:"false" doc:"Decisions say the flight's price."`
	RenderPixel             bool     `json:"render_pixel" required:"false" doc:"The ad's HTML holds the view's pixel, for pages without the client."`
	RevenueSharePercentage  float64  `json:"revenue_share_percentage" required:"false" minimum:"0" maximum:"100" default:"70" doc:"The publisher's part of what its ads earn, in per cent."`
	AllowedDomains          []string `json:"allowed_domains" required:"false" maxItems:"1000" doc:"Where the publisher's pages are; recorded, not enforced."`
}

// Publisher is a site, or a family of sites, that shows ads.
type Publisher struct {
	Slug   string   `json:"slug" minLength:"1" maxLength:"200" pattern:"^[-a-zA-Z0-9_]+$" patternDescription:"letters, digits, hyphens and underscores" doc:"The name in paths and in publishers' pages; never changes." example:"sample-docs"`
	Name   string   `json:"name" minLength:"1" maxLength:"200" doc:"For people."`
	Groups []string `json:"groups" required:"false" maxItems:"1000" doc:"Slugs of publisher groups; kept sorted."`
	PublisherSettings
	DailyCapMicros int64 `json:"daily_cap_micros" required:"false" minimum:"0" maximum:"1000000000000000" doc:"The most that paid ads here may cost in one day (UTC), at full price; 0 for none. A cap that a publisher did not have starts tomorrow."`
	SampledCTR     *CTR  `json:"sampled_ctr,omitempty" readOnly:"true" doc:"Of paid campaigns here, of the last seven days; absent until there was a view."`
	Written

	groups   []int32
	capStart pgtype.Date
}

func (v *Publisher) slug() string { return v.Slug }
func (v *Publisher) readOnly()    { v.Written, v.SampledCTR = Written{}, nil }

func publisher(r query.ReadPublisherRow) (row[Publisher], error) {
	v := Publisher{Slug: r.Slug, Name: r.Name, Groups: tidy(r.Groups), DailyCapMicros: r.DailyCapMicros, capStart: r.DailyCapFrom}
	err := json.Unmarshal(r.Settings, &v.PublisherSettings)
	return row[Publisher]{r.ID, r.Version, v}, err
}

var publishers = kind[Publisher]{
	singular: "publisher", plural: "publishers", tag: "Publishers", about: "A publisher is a site, or a family of sites, that shows ads.",
	fresh: func() Publisher {
		return Publisher{Groups: []string{}, PublisherSettings: PublisherSettings{
			UnauthedAdDecisions: true, AllowCommunity: true, AllowHouse: true, AllowAPIKeywords: true,
			CacheAds: true, CacheAdsDurationSeconds: 5, RevenueSharePercentage: 70,
			DefaultKeywords: []string{}, AllowedDomains: []string{},
		}}
	},
	check: func(w *write, v *Publisher, f *faults) (err error) {
		v.DefaultKeywords = words(f, "default_keywords", v.DefaultKeywords)
		v.AllowedDomains = words(f, "allowed_domains", v.AllowedDomains)
		v.groups, err = references(w.ctx, f, "groups", "a publisher group", w.q.PublisherGroupsBySlug, v.Groups)
		v.Groups = tidy(v.Groups)
		return err
	},
	read: func(ctx context.Context, q *query.Queries, slug string) (row[Publisher], error) {
		r, err := q.ReadPublisher(ctx, slug)
		if err != nil {
			return row[Publisher]{}, err
		}
		return publisher(r)
	},
	list: func(ctx context.Context, q *query.Queries, _ string, after, n int32) ([]row[Publisher], error) {
		rows, err := q.ListPublishers(ctx, after, n)
		return each(rows, func(r query.ListPublishersRow) (row[Publisher], error) { return publisher(query.ReadPublisherRow(r)) }, err)
	},
	insert: func(w *write, v *Publisher) (row[Publisher], error) {
		settings, err := json.Marshal(v.PublisherSettings)
		if err != nil {
			return row[Publisher]{}, err
		}
		if v.DailyCapMicros > 0 {
			// Nothing was offered yet that the cap could have missed.
			v.capStart = date(catalog.DayOf(w.now))
		}
		r, err := w.q.InsertPublisher(w.ctx, query.InsertPublisherParams{
			Slug: v.Slug, Name: v.Name, Settings: settings, DailyCapMicros: v.DailyCapMicros, DailyCapFrom: v.capStart,
		})
		if err != nil {
			return row[Publisher]{}, err
		}
		return row[Publisher]{r.ID, r.Version, *v}, w.q.AddPublisherGroups(w.ctx, r.ID, v.groups)
	},
	update: func(w *write, old row[Publisher], v *Publisher) (row[Publisher], error) {
		settings, err := json.Marshal(v.PublisherSettings)
		if err != nil {
			return old, err
		}
		v.capStart = capStart(old.value.capStart, old.value.DailyCapMicros, v.DailyCapMicros, w.now)
		version, err := w.q.UpdatePublisher(w.ctx, query.UpdatePublisherParams{
			ID: old.id, Name: v.Name, Settings: settings, DailyCapMicros: v.DailyCapMicros, DailyCapFrom: v.capStart,
		})
		if err != nil {
			return old, err
		}
		if err := w.q.ClearPublisherGroups(w.ctx, old.id); err != nil {
			return old, fmt.Errorf("groups: %w", err)
		}
		if err := w.q.AddPublisherGroups(w.ctx, old.id, v.groups); err != nil {
			return old, fmt.Errorf("groups: %w", err)
		}
		if v.DailyCapMicros != old.value.DailyCapMicros {
			w.dayCaps[lease.Of(lease.PublisherDay, uint32(old.id), 0)] = v.DailyCapMicros
		}
		return row[Publisher]{old.id, version, *v}, nil
	},
	more: showCTRs("publisher", func(v *Publisher) **CTR { return &v.SampledCTR }),
}
