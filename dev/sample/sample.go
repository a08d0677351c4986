// Package sample makes the catalog that a new world starts with, as a
// document for nearside-core import.
//
// Its slugs are stable, because other programs refer to them: publisher
// sample-docs in group sample; advertiser sample-advertiser; campaigns
// sample-paid, sample-affiliate, sample-community, sample-publisher-house and
// sample-house in group sample; ad types image-v1 and text-v1. Around these
// stand other publishers, groups and advertisers, and about sixty flights over
// all campaign types and every kind of targeting, with the topics and the geo
// regions that publishers of developers' documentation know.
//
// Advertisers, links and images are invented and lie under example.com.
package sample

import "time"

// Document is what nearside-core import reads: the resources of the admin API
// under their plural names.
type Document struct {
	AdTypes         []AdType    `json:"ad_types"`
	Topics          []Topic     `json:"topics"`
	GeoRegions      []GeoRegion `json:"geo_regions"`
	PublisherGroups []Named     `json:"publisher_groups"`
	Publishers      []Publisher `json:"publishers"`
	Advertisers     []Named     `json:"advertisers"`
	Campaigns       []Campaign  `json:"campaigns"`
	Flights         []Flight    `json:"flights"`
	Ads             []Ad        `json:"ads"`
}

// Named is a resource that is only a name: an advertiser, a publisher group.
type Named struct {
	Slug string `json:"slug"`
	Name string `json:"name"`
}

// AdType is a shape an ad can be shown in.
type AdType struct {
	Slug     string `json:"slug"`
	Name     string `json:"name"`
	HasImage bool   `json:"has_image"`
	HasText  bool   `json:"has_text"`
}

// Topic is a named set of keywords.
type Topic struct {
	Slug     string   `json:"slug"`
	Name     string   `json:"name"`
	Keywords []string `json:"keywords"`
}

// GeoRegion is a named set of countries.
type GeoRegion struct {
	Slug      string   `json:"slug"`
	Name      string   `json:"name"`
	Countries []string `json:"countries"`
}

// Publisher is a site that shows ads.
type Publisher struct {
	Slug                    string   `json:"slug"`
	Name                    string   `json:"name"`
	Groups                  []string `json:"groups"`
	UnauthedAdDecisions     bool     `json:"unauthed_ad_decisions"`
	Disabled                bool     `json:"disabled"`
	AllowPaidCampaigns      bool     `json:"allow_paid_campaigns"`
	AllowAffiliateCampaigns bool     `json:"allow_affiliate_campaigns"`
	AllowCommunityCampaigns bool     `json:"allow_community_campaigns"`
	AllowHouseCampaigns     bool     `json:"allow_house_campaigns"`
	AllowAPIKeywords        bool     `json:"allow_api_keywords"`
	DefaultKeywords         []string `json:"default_keywords,omitempty"`
	IgnoreMobileTraffic     bool     `json:"ignore_mobile_traffic"`
	AllowMultiplePlacements bool     `json:"allow_multiple_placements"`
	DailyCapMicros          int64    `json:"daily_cap_micros,omitempty"`
	CacheAds                bool     `json:"cache_ads"`
	CacheAdsDurationSeconds int      `json:"cache_ads_duration_seconds,omitempty"`
	SendBidRate             bool     `json:"send_bid_rate"`
	RevenueSharePercentage  float64  `json:"revenue_share_percentage"`
}

// Campaign groups flights of one advertiser.
type Campaign struct {
	Slug              string   `json:"slug"`
	Name              string   `json:"name"`
	Advertiser        string   `json:"advertiser"`
	CampaignType      string   `json:"campaign_type"`
	PublisherGroups   []string `json:"publisher_groups"`
	ExcludePublishers []string `json:"exclude_publishers,omitempty"`
}

// Flight is a dated, budgeted, targeted line of a campaign.
type Flight struct {
	Slug                  string    `json:"slug"`
	Name                  string    `json:"name"`
	Campaign              string    `json:"campaign"`
	Live                  bool      `json:"live"`
	StartDate             string    `json:"start_date"`
	EndDate               string    `json:"end_date"`
	HardStop              bool      `json:"hard_stop,omitempty"`
	CPMMicros             int64     `json:"cpm_micros,omitempty"`
	SoldViews             int64     `json:"sold_views,omitempty"`
	CPCMicros             int64     `json:"cpc_micros,omitempty"`
	SoldClicks            int64     `json:"sold_clicks,omitempty"`
	DailyCapMicros        int64     `json:"daily_cap_micros,omitempty"`
	Pacing                string    `json:"pacing"`
	PacingIntervalSeconds int       `json:"pacing_interval_seconds,omitempty"`
	PriorityMultiplier    int       `json:"priority_multiplier,omitempty"`
	PrioritizeAdsCTR      bool      `json:"prioritize_ads_ctr,omitempty"`
	TrafficCap            *Shares   `json:"traffic_cap,omitempty"`
	Targeting             Targeting `json:"targeting"`
}

// Shares are the most that one country, geo region or publisher may have.
type Shares struct {
	Countries  map[string]float64 `json:"countries,omitempty"`
	GeoRegions map[string]float64 `json:"regions,omitempty"`
	Publishers map[string]float64 `json:"publishers,omitempty"`
}

// Targeting says where a flight may show.
type Targeting struct {
	IncludeCountries      []string `json:"include_countries,omitempty"`
	ExcludeCountries      []string `json:"exclude_countries,omitempty"`
	IncludeStateProvinces []string `json:"include_state_provinces,omitempty"`
	IncludeMetroCodes     []int    `json:"include_metro_codes,omitempty"`
	IncludeRegions        []string `json:"include_regions,omitempty"`
	ExcludeRegions        []string `json:"exclude_regions,omitempty"`
	IncludeKeywords       []string `json:"include_keywords,omitempty"`
	ExcludeKeywords       []string `json:"exclude_keywords,omitempty"`
	IncludeTopics         []string `json:"include_topics,omitempty"`
	MobileTraffic         string   `json:"mobile_traffic,omitempty"`
	IncludePublishers     []string `json:"include_publishers,omitempty"`
	ExcludePublishers     []string `json:"exclude_publishers,omitempty"`
	IncludeDomains        []string `json:"include_domains,omitempty"`
	ExcludeDomains        []string `json:"exclude_domains,omitempty"`
	Days                  []string `json:"days,omitempty"`
	NicheTargeting        float64  `json:"niche_targeting,omitempty"`
}

// Ad is one creative of a flight.
type Ad struct {
	Slug     string   `json:"slug"`
	Name     string   `json:"name"`
	Flight   string   `json:"flight"`
	AdTypes  []string `json:"ad_types"`
	Headline string   `json:"headline"`
	Content  string   `json:"content"`
	CTA      string   `json:"cta"`
	Link     string   `json:"link"`
	ImageURL string   `json:"image_url,omitempty"`
	Live     bool     `json:"live"`
}

const (
	currency = 1_000_000 // micros

	// Flights run from yesterday, so that the whole of today is theirs.
	paidDays   = 90
	unpaidDays = 365
)

// Catalog is the sample catalog of a world that begins today.
func Catalog(today time.Time) Document {
	d := Document{
		AdTypes: []AdType{
			{Slug: "image-v1", Name: "Image with text", HasImage: true, HasText: true},
			{Slug: "text-v1", Name: "Text", HasText: true},
		},
		Topics:          topics,
		GeoRegions:      geoRegions,
		PublisherGroups: groups,
		Publishers:      publishers,
		Advertisers:     advertisers,
		Campaigns:       campaigns,
	}
	first := today.UTC().AddDate(0, 0, -1)
	for _, line := range lines {
		f := line.flight()
		days := unpaidDays
		if f.CPMMicros > 0 || f.CPCMicros > 0 {
			days = paidDays
		}
		f.StartDate = first.Format(time.DateOnly)
		f.EndDate = first.AddDate(0, 0, days).Format(time.DateOnly)
		d.Flights = append(d.Flights, f)
		d.Ads = append(d.Ads, line.ads(f)...)
	}
	return d
}
