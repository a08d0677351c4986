package decision

import "fmt"

// Reason is why a flight, or a whole request, got no ad. The order of the
// constants is the order in which a flight is looked at: the first one that
// applies is its reason.
type Reason uint8

const (
	// None: not refused.
	None Reason = iota

	// About the request.
	MultiplePlacements // placement_index > 0 on a publisher without allow_multiple_placements
	MobileIgnored      // a mobile client on a publisher with ignore_mobile_traffic
	UnknownForced      // no such ad or campaign, or the ad is not of the campaign
	ForcedAdType       // what is forced has no ad of a requested type
	NoCandidates       // no flight matches what stays the same between requests of this shape
	NoneEligible       // flights match, but none may be offered now

	// About a flight: is it a candidate?
	CampaignType      // not asked for, or not allowed by the publisher
	PublisherDailyCap // the publisher has earned its daily_cap: no paid campaigns
	Group             // shares no publisher group with the publisher
	CampaignExcludes
	NotLive
	Paused
	Killed
	NotStarted
	AdType

	// About a flight: filters.
	IncludeCountries
	IncludeStateProvinces
	IncludeMetroCodes
	ExcludeCountries
	IncludeRegions
	ExcludeRegions
	CountryCap
	RegionCap
	IncludeKeywords
	ExcludeKeywords
	IncludeTopics
	MobileTraffic
	IncludePublishers
	ExcludePublishers
	PublisherCap
	IncludeDomains
	ExcludeDomains
	Exhausted // nothing remains of what was sold
	Ended     // hard_stop, and the end date is past
	OnPace    // this interval needs nothing more, or what its plan lets go by now is delivered
	Days
	Niche
	DailyCap
	Broker       // leased at another node of the region: the flight's broker
	Lease        // nothing left to spend here
	FrequencyCap // this client has seen it often enough
	Competing    // its advertiser is on the page already
	LowerTier    // eligible, but a higher tier decided

	reasons // their number
)

var reasonNames = [reasons]string{
	None:                  "none",
	MultiplePlacements:    "multiple_placements",
	MobileIgnored:         "mobile_ignored",
	UnknownForced:         "unknown_forced",
	ForcedAdType:          "forced_ad_type",
	NoCandidates:          "no_candidates",
	NoneEligible:          "none_eligible",
	CampaignType:          "campaign_type",
	Group:                 "publisher_group",
	CampaignExcludes:      "campaign_excludes_publisher",
	NotLive:               "not_live",
	Paused:                "paused",
	Killed:                "killed",
	NotStarted:            "not_started",
	AdType:                "ad_type",
	IncludeCountries:      "include_countries",
	IncludeStateProvinces: "include_state_provinces",
	IncludeMetroCodes:     "include_metro_codes",
	ExcludeCountries:      "exclude_countries",
	IncludeRegions:        "include_regions",
	ExcludeRegions:        "exclude_regions",
	CountryCap:            "country_traffic_cap",
	RegionCap:             "region_traffic_cap",
	IncludeKeywords:       "include_keywords",
	ExcludeKeywords:       "exclude_keywords",
	IncludeTopics:         "include_topics",
	MobileTraffic:         "mobile_traffic",
	IncludePublishers:     "include_publishers",
	ExcludePublishers:     "exclude_publishers",
	PublisherCap:          "publisher_traffic_cap",
	IncludeDomains:        "include_domains",
	ExcludeDomains:        "exclude_domains",
	Exhausted:             "exhausted",
	Ended:                 "ended",
	OnPace:                "on_pace",
	Days:                  "days",
	Niche:                 "niche_targeting",
	DailyCap:              "daily_cap",
	PublisherDailyCap:     "publisher_daily_cap",
	Broker:                "broker",
	Lease:                 "lease",
	FrequencyCap:          "frequency_cap",
	Competing:             "competing",
	LowerTier:             "lower_tier",
}

// Reasons is how many reasons there are; every Reason is below it.
const Reasons = int(reasons)

// String is the reason's name in metrics, reports and explanations, such as
// "include_countries".
func (r Reason) String() string {
	if r < reasons {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// ParseReason is the inverse of String.
func ParseReason(s string) (Reason, error) {
	for r, name := range reasonNames {
		if name == s {
			return Reason(r), nil
		}
	}
	return None, fmt.Errorf("%.40q is not a reason", s)
}
