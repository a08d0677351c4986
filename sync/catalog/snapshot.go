package catalog

// Micros is an amount of money in millionths of the account's one currency.
// Money is never a float anywhere in nearside.
type Micros int64

// Day is a calendar day in UTC, counted from 1970-01-01. It is written as
// "2006-01-02" in JSON.
type Day int32

// CampaignType is the kind of a campaign; the order of the constants is the
// order of the tiers in which flights are considered.
type CampaignType uint8

const (
	Paid CampaignType = iota
	Affiliate
	Community
	PublisherHouse
	House
	campaignTypes // their number
)

// Pacing says along which curve a flight's lease is released.
type Pacing uint8

const (
	Even    Pacing = iota // evenly inside the pacing interval
	Traffic               // along the flight's own hour-of-week demand
	ASAP                  // as fast as requests come
)

// State is what an operator said about a flight, beside its own live flag.
type State uint8

const (
	Run   State = iota
	Pause       // no offers; views in flight still bill
	Kill        // no offers, and views in flight do not bill either
)

// Snapshot is one version of everything an edge needs to decide. Every slice
// is sorted by ID, and every reference is an ID that exists in the snapshot.
type Snapshot struct {
	Version     uint64       `json:"version"`
	PublishedAt int64        `json:"published_at"` // unix milliseconds
	Advertisers []Advertiser `json:"advertisers"`
	Groups      []Group      `json:"groups"`
	Publishers  []Publisher  `json:"publishers"`
	Campaigns   []Campaign   `json:"campaigns"`
	Flights     []Flight     `json:"flights"`
	Ads         []Ad         `json:"ads"`
	AdTypes     []AdType     `json:"ad_types"`
	Topics      []Topic      `json:"topics"`
	GeoRegions  []GeoRegion  `json:"geo_regions"`
	Pages       []Page       `json:"pages,omitempty"`
}

// Advertiser pays for campaigns.
type Advertiser struct {
	ID   uint32 `json:"id"`
	Slug string `json:"slug"`
	Name string `json:"name"`
}

// Group is a publisher group; a campaign reaches the publishers of its groups.
type Group struct {
	ID   uint32 `json:"id"`
	Slug string `json:"slug"`
	Name string `json:"name"`
}

// Publisher is a site, or a family of sites, that shows ads.
type Publisher struct {
	ID                      uint32   `json:"id"`
	Slug                    string   `json:"slug"`
	Name                    string   `json:"name"`
	Groups                  []uint32 `json:"groups"` // sorted
	Disabled                bool     `json:"disabled,omitempty"`
	UnauthedAdDecisions     bool     `json:"unauthed_ad_decisions,omitempty"`
	AllowPaid               bool     `json:"allow_paid_campaigns,omitempty"`
	AllowAffiliate          bool     `json:"allow_affiliate_campaigns,omitempty"`
	AllowCommunity          bool     `json:"allow_community_campaigns,omitempty"`
	AllowHouse              bool     `json:"allow_house_campaigns,omitempty"`
	AllowAPIKeywords        bool     `json:"allow_api_keywords,omitempty"`
	DefaultKeywords         []string `json:"default_keywords,omitempty"` // lower case
	IgnoreMobileTraffic     bool     `json:"ignore_mobile_traffic,omitempty"`
	AllowMultiplePlacements bool     `json:"allow_multiple_placements,omitempty"`
	DailyCap                Micros   `json:"daily_cap_micros,omitempty"` // 0: none
	DailyCapFrom            Day      `json:"daily_cap_from,omitempty"`   // first day on which the cap is in force
	CacheAds                bool     `json:"cache_ads,omitempty"`
	CacheAdsDurationSeconds int32    `json:"cache_ads_duration_seconds,omitempty"`
	SendBidRate             bool     `json:"send_bid_rate,omitempty"`
	RenderPixel             bool     `json:"render_pixel,omitempty"`
	AllowedDomains          []string `json:"allowed_domains,omitempty"` // recorded, not enforced
	SampledCTR              float64  `json:"sampled_ctr,omitempty"`     // per cent
	TokenHashes             [][]byte `json:"token_hashes,omitempty"`    // SHA-256 of each API token that may ask for this publisher
	RevenueSharePercentage  float64  `json:"revenue_share_percentage,omitempty"`
}

// Campaign groups flights of one advertiser.
type Campaign struct {
	ID                uint32       `json:"id"`
	Slug              string       `json:"slug"`
	Name              string       `json:"name"`
	Advertiser        uint32       `json:"advertiser"`
	Type              CampaignType `json:"campaign_type"`
	PublisherGroups   []uint32     `json:"publisher_groups"`             // sorted
	ExcludePublishers []uint32     `json:"exclude_publishers,omitempty"` // sorted
}

// Flight is a dated, budgeted, targeted line of a campaign.
type Flight struct {
	ID                 uint32    `json:"id"`
	Slug               string    `json:"slug"`
	Name               string    `json:"name"`
	Campaign           uint32    `json:"campaign"`
	Live               bool      `json:"live"`
	StartDate          Day       `json:"start_date"`
	EndDate            Day       `json:"end_date"`
	HardStop           bool      `json:"hard_stop,omitempty"`
	CPM                Micros    `json:"cpm_micros,omitempty"` // per 1000 views, a multiple of 1000
	CPC                Micros    `json:"cpc_micros,omitempty"` // per click
	SoldViews          int64     `json:"sold_views,omitempty"`
	SoldClicks         int64     `json:"sold_clicks,omitempty"`
	DailyCap           Micros    `json:"daily_cap_micros,omitempty"` // 0: none
	DailyCapFrom       Day       `json:"daily_cap_from,omitempty"`   // first day on which the cap is in force
	Pacing             Pacing    `json:"pacing"`
	PacingInterval     int32     `json:"pacing_interval_seconds"` // default 3600
	PriorityMultiplier int32     `json:"priority_multiplier"`     // default 1
	PrioritizeAdsCTR   bool      `json:"prioritize_ads_ctr,omitempty"`
	SampledCTR         float64   `json:"sampled_ctr,omitempty"` // per cent
	Targeting          Targeting `json:"targeting"`
	TrafficCap         Shares    `json:"traffic_cap"`             // the most that one country, geo region or publisher may have
	TrafficFill        Shares    `json:"traffic_fill"`            // what each has, computed nightly at the core
	FrequencyCap       int32     `json:"frequency_cap,omitempty"` // offers per client and window; 0: none
	FrequencyWindow    int32     `json:"frequency_window_seconds,omitempty"`
	Roadblock          bool      `json:"roadblock,omitempty"` // asks for all placements of a page
	Demand             []uint32  `json:"demand,omitempty"`    // weights of the hours of a week from Monday 00:00 UTC, for traffic pacing; empty: not known
	State              State     `json:"state,omitempty"`     // the control in force when the snapshot was made
	Control            uint64    `json:"control,omitempty"`   // its version
}

// Shares maps a country code, a geo region's slug or a publisher's slug to a
// share between 0 and 1.
type Shares struct {
	Countries  map[string]float64 `json:"countries,omitempty"`
	GeoRegions map[string]float64 `json:"regions,omitempty"`
	Publishers map[string]float64 `json:"publishers,omitempty"`
}

// Targeting says where a flight may show. Empty means no restriction. Names
// are the reference server's.
type Targeting struct {
	IncludeCountries      []string `json:"include_countries,omitempty"` // ISO 3166-1 alpha-2, upper case
	ExcludeCountries      []string `json:"exclude_countries,omitempty"`
	IncludeStateProvinces []string `json:"include_state_provinces,omitempty"`
	IncludeMetroCodes     []int32  `json:"include_metro_codes,omitempty"`
	IncludeRegions        []string `json:"include_regions,omitempty"` // geo region slugs
	ExcludeRegions        []string `json:"exclude_regions,omitempty"`
	IncludeKeywords       []string `json:"include_keywords,omitempty"` // lower case
	ExcludeKeywords       []string `json:"exclude_keywords,omitempty"`
	IncludeTopics         []string `json:"include_topics,omitempty"`     // topic slugs
	MobileTraffic         string   `json:"mobile_traffic,omitempty"`     // "", "only" or "exclude"
	IncludePublishers     []string `json:"include_publishers,omitempty"` // publisher slugs
	ExcludePublishers     []string `json:"exclude_publishers,omitempty"`
	IncludeDomains        []string `json:"include_domains,omitempty"`
	ExcludeDomains        []string `json:"exclude_domains,omitempty"`
	Days                  []string `json:"days,omitempty"` // lower-case English names
	NicheTargeting        float64  `json:"niche_targeting,omitempty"`
}

// Ad is one creative of a flight.
type Ad struct {
	ID         uint32   `json:"id"`
	Slug       string   `json:"slug"`
	Name       string   `json:"name"`
	Flight     uint32   `json:"flight"`
	AdTypes    []uint32 `json:"ad_types"` // sorted
	Headline   string   `json:"headline,omitempty"`
	Content    string   `json:"content,omitempty"`
	CTA        string   `json:"cta,omitempty"`
	Link       string   `json:"link"`
	ImageURL   string   `json:"image_url,omitempty"`
	Live       bool     `json:"live"`
	SampledCTR float64  `json:"sampled_ctr,omitempty"` // per cent
}

// AdType is a shape an ad can be shown in.
type AdType struct {
	ID       uint32 `json:"id"`
	Slug     string `json:"slug"`
	Name     string `json:"name"`
	HasImage bool   `json:"has_image,omitempty"`
	HasText  bool   `json:"has_text,omitempty"`
	MaxText  int32  `json:"max_text_length,omitempty"`
	Template string `json:"template,omitempty"` // html/template over the ad; empty: the built-in one
}

// Topic is a named set of keywords.
type Topic struct {
	ID       uint32   `json:"id"`
	Slug     string   `json:"slug"`
	Name     string   `json:"name"`
	Keywords []string `json:"keywords"` // lower case
}

// GeoRegion is a named set of countries. Edges run in regions, which are
// never called geo regions.
type GeoRegion struct {
	ID        uint32   `json:"id"`
	Slug      string   `json:"slug"`
	Name      string   `json:"name"`
	Countries []string `json:"countries"` // ISO 3166-1 alpha-2, upper case
}

// HoursPerWeek is the length of Flight.Demand where it is known.
const HoursPerWeek = 7 * 24

// Page holds what is known of one page of a publisher: keywords found on it,
// its distance to advertisers by advertiser slug, and its similarity to ads by
// ad slug (0 nothing in common, 1 the same).
type Page struct {
	Publisher uint32             `json:"publisher"`
	URL       string             `json:"url"`
	Keywords  []string           `json:"keywords,omitempty"`
	Distances map[string]float64 `json:"distances,omitempty"`

	Similarities map[string]float64 `json:"similarities,omitempty"`
}
