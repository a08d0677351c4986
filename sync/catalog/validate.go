package catalog

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Limits of one snapshot. They bound what a compiled catalog can cost and keep
// the sum of all weights inside 63 bits.
const (
	MaxFlights = 1 << 20
	MaxItems   = 1 << 22 // of any other kind
	maxList    = 1 << 16 // of any list inside an item
	maxString  = 1 << 16 // bytes of any string; templates are the longest
)

// Validate reports the first thing in s that breaks its promises: slices
// sorted by ID without repeats, slugs unique within their kind, references
// that exist, enumerations and numbers in range. The error names the path,
// such as "flights[3].targeting.days[0]".
func (s *Snapshot) Validate() error {
	if s.PublishedAt < 0 {
		return fmt.Errorf("published_at: %d is before 1970", s.PublishedAt)
	}
	if len(s.Flights) > MaxFlights {
		return fmt.Errorf("flights: %d is more than %d", len(s.Flights), MaxFlights)
	}
	advertisers, err := index("advertisers", s.Advertisers, func(a *Advertiser) (uint32, string) { return a.ID, a.Slug })
	if err != nil {
		return err
	}
	groups, err := index("groups", s.Groups, func(g *Group) (uint32, string) { return g.ID, g.Slug })
	if err != nil {
		return err
	}
	publishers, err := index("publishers", s.Publishers, func(p *Publisher) (uint32, string) { return p.ID, p.Slug })
	if err != nil {
		return err
	}
	campaigns, err := index("campaigns", s.Campaigns, func(c *Campaign) (uint32, string) { return c.ID, c.Slug })
	if err != nil {
		return err
	}
	flights, err := index("flights", s.Flights, func(f *Flight) (uint32, string) { return f.ID, f.Slug })
	if err != nil {
		return err
	}
	adTypes, err := index("ad_types", s.AdTypes, func(t *AdType) (uint32, string) { return t.ID, t.Slug })
	if err != nil {
		return err
	}
	if _, err := index("ads", s.Ads, func(a *Ad) (uint32, string) { return a.ID, a.Slug }); err != nil {
		return err
	}
	if _, err := index("topics", s.Topics, func(t *Topic) (uint32, string) { return t.ID, t.Slug }); err != nil {
		return err
	}
	if _, err := index("geo_regions", s.GeoRegions, func(g *GeoRegion) (uint32, string) { return g.ID, g.Slug }); err != nil {
		return err
	}

	for i := range s.Publishers {
		p := &s.Publishers[i]
		if err := errors.Join(
			references("groups", p.Groups, groups),
			words("default_keywords", p.DefaultKeywords),
			words("allowed_domains", p.AllowedDomains),
			notNegative("daily_cap_micros", int64(p.DailyCap)),
			notNegative("cache_ads_duration_seconds", int64(p.CacheAdsDurationSeconds)),
			share("sampled_ctr", p.SampledCTR, 100),
			share("revenue_share_percentage", p.RevenueSharePercentage, 100),
			day("daily_cap_from", p.DailyCapFrom),
			hashes("token_hashes", p.TokenHashes),
		); err != nil {
			return at(fmt.Sprintf("publishers[%d]", i), p.Slug, err)
		}
	}
	for i := range s.Campaigns {
		c := &s.Campaigns[i]
		if err := errors.Join(
			exists("advertiser", c.Advertiser, advertisers),
			enumeration("campaign_type", uint8(c.Type), len(campaignTypeNames)),
			references("publisher_groups", c.PublisherGroups, groups),
			references("exclude_publishers", c.ExcludePublishers, publishers),
		); err != nil {
			return at(fmt.Sprintf("campaigns[%d]", i), c.Slug, err)
		}
	}
	for i := range s.Flights {
		f := &s.Flights[i]
		if err := errors.Join(exists("campaign", f.Campaign, campaigns), f.Validate()); err != nil {
			return at(fmt.Sprintf("flights[%d]", i), f.Slug, err)
		}
	}
	for i := range s.Ads {
		a := &s.Ads[i]
		if err := errors.Join(
			exists("flight", a.Flight, flights),
			references("ad_types", a.AdTypes, adTypes),
			share("sampled_ctr", a.SampledCTR, 100),
		); err != nil {
			return at(fmt.Sprintf("ads[%d]", i), a.Slug, err)
		}
	}
	for i := range s.Topics {
		if err := words("keywords", s.Topics[i].Keywords); err != nil {
			return at(fmt.Sprintf("topics[%d]", i), s.Topics[i].Slug, err)
		}
	}
	for i := range s.GeoRegions {
		if err := countries("countries", s.GeoRegions[i].Countries); err != nil {
			return at(fmt.Sprintf("geo_regions[%d]", i), s.GeoRegions[i].Slug, err)
		}
	}
	for i := range s.Pages {
		p := &s.Pages[i]
		if err := errors.Join(
			exists("publisher", p.Publisher, publishers),
			words("keywords", p.Keywords),
			shares("distances", p.Distances),
			shares("similarities", p.Similarities),
		); err != nil {
			return at(fmt.Sprintf("pages[%d]", i), p.URL, err)
		}
	}
	return nil
}

// Validate reports what is out of range in f alone; it does not look at the
// campaign that f names. Forms of input use it before they save a flight, so
// that no saved flight can keep a snapshot from being published.
func (f *Flight) Validate() error {
	return errors.Join(
		notNegative("cpm_micros", int64(f.CPM)),
		multiple("cpm_micros", int64(f.CPM), 1000),
		notNegative("cpc_micros", int64(f.CPC)),
		notNegative("sold_views", f.SoldViews),
		notNegative("sold_clicks", f.SoldClicks),
		notNegative("daily_cap_micros", int64(f.DailyCap)),
		day("start_date", f.StartDate),
		day("end_date", f.EndDate),
		day("daily_cap_from", f.DailyCapFrom),
		enumeration("pacing", uint8(f.Pacing), len(pacingNames)),
		enumeration("state", uint8(f.State), len(stateNames)),
		positive("pacing_interval_seconds", int64(f.PacingInterval)),
		notNegative("priority_multiplier", int64(f.PriorityMultiplier)),
		share("sampled_ctr", f.SampledCTR, 100),
		notNegative("frequency_cap", int64(f.FrequencyCap)),
		notNegative("frequency_window_seconds", int64(f.FrequencyWindow)),
		demand("demand", f.Demand),
		prefix("targeting", f.Targeting.Validate()),
		prefix("traffic_cap", f.TrafficCap.validate()),
		prefix("traffic_fill", f.TrafficFill.validate()),
	)
}

// Validate reports the first field of t that is not written as decisions need
// it. Slugs of publishers, topics and geo regions are not looked up: an
// unknown one matches nothing.
func (t *Targeting) Validate() error {
	return errors.Join(
		countries("include_countries", t.IncludeCountries),
		countries("exclude_countries", t.ExcludeCountries),
		words("include_state_provinces", t.IncludeStateProvinces),
		length("include_metro_codes", len(t.IncludeMetroCodes)),
		words("include_regions", t.IncludeRegions),
		words("exclude_regions", t.ExcludeRegions),
		words("include_keywords", t.IncludeKeywords),
		words("exclude_keywords", t.ExcludeKeywords),
		words("include_topics", t.IncludeTopics),
		mobile("mobile_traffic", t.MobileTraffic),
		words("include_publishers", t.IncludePublishers),
		words("exclude_publishers", t.ExcludePublishers),
		words("include_domains", t.IncludeDomains),
		words("exclude_domains", t.ExcludeDomains),
		weekdays("days", t.Days),
		niche("niche_targeting", t.NicheTargeting),
	)
}

// Normalize writes t as decisions need it where only letter case, surrounding
// space, order or repeats stand in the way.
func (t *Targeting) Normalize() {
	for _, list := range []*[]string{&t.IncludeCountries, &t.ExcludeCountries, &t.IncludeStateProvinces} {
		*list = tidy(*list, strings.ToUpper)
	}
	for _, list := range []*[]string{
		&t.IncludeKeywords, &t.ExcludeKeywords, &t.IncludeDomains, &t.ExcludeDomains, &t.Days,
		&t.IncludeRegions, &t.ExcludeRegions, &t.IncludeTopics, &t.IncludePublishers, &t.ExcludePublishers,
	} {
		*list = tidy(*list, strings.ToLower)
	}
	slices.Sort(t.IncludeMetroCodes)
	t.IncludeMetroCodes = slices.Compact(t.IncludeMetroCodes)
	t.MobileTraffic = strings.ToLower(strings.TrimSpace(t.MobileTraffic))
}

func tidy(list []string, fold func(string) string) []string {
	kept := list[:0]
	for _, s := range list {
		if s = fold(strings.TrimSpace(s)); s != "" {
			kept = append(kept, s)
		}
	}
	slices.Sort(kept)
	return slices.Compact(kept)
}

func (s *Shares) validate() error {
	for code := range s.Countries {
		if !isCountry(code) {
			return fmt.Errorf("countries: %.40q is not two upper-case letters", code)
		}
	}
	return errors.Join(
		shares("countries", s.Countries),
		shares("regions", s.GeoRegions),
		shares("publishers", s.Publishers),
	)
}

func at(path, slug string, err error) error {
	return fmt.Errorf("%s (%.80q): %w", path, slug, first(err))
}

func prefix(path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s.%w", path, first(err))
}

// first is the first of joined errors, which reads better than all of them.
func first(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()[0]
	}
	return err
}

// index checks ids and slugs of one kind and returns its sorted ids.
func index[T any](path string, items []T, key func(*T) (uint32, string)) ([]uint32, error) {
	if len(items) > MaxItems {
		return nil, fmt.Errorf("%s: %d is more than %d", path, len(items), MaxItems)
	}
	ids := make([]uint32, len(items))
	slugs := make(map[string]struct{}, len(items))
	for i := range items {
		id, slug := key(&items[i])
		switch {
		case id == 0:
			return nil, fmt.Errorf("%s[%d].id: 0 is not an id", path, i)
		case i > 0 && id <= ids[i-1]:
			return nil, fmt.Errorf("%s[%d].id: %d after %d: not sorted or repeated", path, i, id, ids[i-1])
		case slug == "":
			return nil, fmt.Errorf("%s[%d].slug: empty", path, i)
		case len(slug) > maxString:
			return nil, fmt.Errorf("%s[%d].slug: longer than %d bytes", path, i, maxString)
		}
		if _, repeated := slugs[slug]; repeated {
			return nil, fmt.Errorf("%s[%d].slug: %.80q is repeated", path, i, slug)
		}
		ids[i] = id
		slugs[slug] = struct{}{}
	}
	return ids, nil
}

func exists(path string, id uint32, ids []uint32) error {
	if _, ok := slices.BinarySearch(ids, id); !ok {
		return fmt.Errorf("%s: %d does not exist", path, id)
	}
	return nil
}

func references(path string, list, ids []uint32) error {
	for i, id := range list {
		if err := exists(fmt.Sprintf("%s[%d]", path, i), id, ids); err != nil {
			return err
		}
		if i > 0 && id <= list[i-1] {
			return fmt.Errorf("%s[%d]: %d after %d: not sorted or repeated", path, i, id, list[i-1])
		}
	}
	return nil
}

func length(path string, n int) error {
	if n > maxList {
		return fmt.Errorf("%s: %d entries, more than %d", path, n, maxList)
	}
	return nil
}

func words(path string, list []string) error {
	for i, s := range list {
		if s == "" {
			return fmt.Errorf("%s[%d]: empty", path, i)
		}
		if len(s) > maxString {
			return fmt.Errorf("%s[%d]: longer than %d bytes", path, i, maxString)
		}
	}
	return length(path, len(list))
}

func isCountry(s string) bool {
	return len(s) == 2 && 'A' <= s[0] && s[0] <= 'Z' && 'A' <= s[1] && s[1] <= 'Z'
}

func countries(path string, list []string) error {
	for i, s := range list {
		if !isCountry(s) {
			return fmt.Errorf("%s[%d]: %.40q is not two upper-case letters", path, i, s)
		}
	}
	return length(path, len(list))
}

func weekdays(path string, list []string) error {
	for i, s := range list {
		if _, err := ParseWeekday(s); err != nil {
			return fmt.Errorf("%s[%d]: %w", path, i, err)
		}
	}
	return length(path, len(list))
}

func mobile(path, s string) error {
	if s != "" && s != "only" && s != "exclude" {
		return fmt.Errorf("%s: %.40q is neither only nor exclude", path, s)
	}
	return nil
}

// niche is a share below 1; 0 is none.
func niche(path string, x float64) error {
	if !(x >= 0 && x < 1) {
		return fmt.Errorf("%s: %v is not from 0 to below 1", path, x)
	}
	return nil
}

func share(path string, x, limit float64) error {
	if !(x >= 0 && x <= limit) {
		return fmt.Errorf("%s: %v is not from 0 to %v", path, x, limit)
	}
	return nil
}

func shares(path string, m map[string]float64) error {
	for key, x := range m {
		if err := share(fmt.Sprintf("%s[%.80q]", path, key), x, math.MaxFloat64); err != nil {
			return err
		}
	}
	return length(path, len(m))
}

func demand(path string, hours []uint32) error {
	if n := len(hours); n != 0 && n != HoursPerWeek {
		return fmt.Errorf("%s: %d hours, not %d", path, n, HoursPerWeek)
	}
	return nil
}

func hashes(path string, list [][]byte) error {
	for i, h := range list {
		if len(h) != 32 {
			return fmt.Errorf("%s[%d]: %d bytes, not 32", path, i, len(h))
		}
	}
	return length(path, len(list))
}

func day(path string, d Day) error {
	if d < firstDay || d > lastDay {
		return fmt.Errorf("%s: day %d is outside the years 1 to 9999", path, int32(d))
	}
	return nil
}

func enumeration(path string, i uint8, n int) error {
	if int(i) >= n {
		return fmt.Errorf("%s: %d is none of %d values", path, i, n)
	}
	return nil
}

func notNegative(path string, n int64) error {
	if n < 0 {
		return fmt.Errorf("%s: %d is negative", path, n)
	}
	return nil
}

func positive(path string, n int64) error {
	if n <= 0 {
		return fmt.Errorf("%s: %d is not positive", path, n)
	}
	return nil
}

func multiple(path string, n, of int64) error {
	if n%of != 0 {
		return fmt.Errorf("%s: %d is not a multiple of %d", path, n, of)
	}
	return nil
}
