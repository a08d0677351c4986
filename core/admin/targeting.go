package admin

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"nearside/sync/catalog"
)

// Targeting says where a flight may show. It has the fields of
// catalog.Targeting.
type Targeting struct {
	IncludeCountries      []string `json:"include_countries,omitempty" maxItems:"300" doc:"Shows only in these: ISO 3166-1 alpha-2 codes in upper case."`
	ExcludeCountries      []string `json:"exclude_countries,omitempty" maxItems:"300" doc:"Does not show in these."`
	IncludeStateProvinces []string `json:"include_state_provinces,omitempty" maxItems:"1000" doc:"Shows only in these states or provinces: the part of ISO 3166-2 after the hyphen, in upper case."`
	IncludeMetroCodes     []int32  `json:"include_metro_codes,omitempty" maxItems:"1000" doc:"Shows only in these metro areas."`
	IncludeRegions        []string `json:"include_regions,omitempty" maxItems:"300" doc:"Shows only in the countries of these geo regions."`
	ExcludeRegions        []string `json:"exclude_regions,omitempty" maxItems:"300" doc:"Does not show in the countries of these geo regions."`
	IncludeKeywords       []string `json:"include_keywords,omitempty" maxItems:"10000" doc:"Shows where a page has any of these; kept in lower case."`
	ExcludeKeywords       []string `json:"exclude_keywords,omitempty" maxItems:"10000" doc:"Does not show where a page has any of these."`
	IncludeTopics         []string `json:"include_topics,omitempty" maxItems:"1000" doc:"Shows where a page has a keyword of any of these topics."`
	MobileTraffic         string   `json:"mobile_traffic,omitempty" enum:"only,exclude" doc:"Shows only, or never, to mobile clients."`
	IncludePublishers     []string `json:"include_publishers,omitempty" maxItems:"10000" doc:"Shows only at these publishers."`
	ExcludePublishers     []string `json:"exclude_publishers,omitempty" maxItems:"10000" doc:"Does not show at these publishers; only where include_publishers is empty."`
	IncludeDomains        []string `json:"include_domains,omitempty" maxItems:"10000" doc:"Shows only on pages of these hosts; kept in lower case."`
	ExcludeDomains        []string `json:"exclude_domains,omitempty" maxItems:"10000" doc:"Does not show on pages of these hosts; only where include_domains is empty."`
	Days                  []string `json:"days,omitempty" maxItems:"7" doc:"Shows only on these days (UTC): lower-case English names."`
	NicheTargeting        float64  `json:"niche_targeting,omitempty" minimum:"0" exclusiveMaximum:"1" doc:"Shows only on pages nearer to the advertiser than this."`
}

// Shares bound what one country, geo region or publisher may have of a
// flight's traffic. It has the fields of catalog.Shares.
type Shares struct {
	Countries  map[string]float64 `json:"countries,omitempty" maxProperties:"300" doc:"By country code."`
	GeoRegions map[string]float64 `json:"regions,omitempty" maxProperties:"300" doc:"By slug of a geo region."`
	Publishers map[string]float64 `json:"publishers,omitempty" maxProperties:"10000" doc:"By slug of a publisher."`
}

// check says what is wrong with t and puts it in order.
func (t *Targeting) check(w *write, f *faults) error {
	at := func(field string) string { return "targeting." + field }
	countries(f, at("include_countries"), t.IncludeCountries)
	countries(f, at("exclude_countries"), t.ExcludeCountries)
	for i, code := range t.IncludeStateProvinces {
		if len(code) < 1 || len(code) > 3 || strings.ContainsFunc(code, func(r rune) bool { return (r < 'A' || r > 'Z') && (r < '0' || r > '9') }) {
			f.add(fmt.Sprintf("targeting.include_state_provinces[%d]", i), code, "expected one to three upper-case letters or digits")
		}
	}
	for i, code := range t.IncludeMetroCodes {
		if code < 1 || code > 65535 {
			f.add(fmt.Sprintf("targeting.include_metro_codes[%d]", i), code, "expected a number from 1 to 65535")
		}
	}
	for i, day := range t.Days {
		if _, err := catalog.ParseWeekday(day); err != nil {
			f.add(fmt.Sprintf("targeting.days[%d]", i), day, "expected a lower-case English name of a day")
		}
	}
	t.IncludeKeywords = words(f, at("include_keywords"), t.IncludeKeywords)
	t.ExcludeKeywords = words(f, at("exclude_keywords"), t.ExcludeKeywords)
	t.IncludeDomains = words(f, at("include_domains"), t.IncludeDomains)
	t.ExcludeDomains = words(f, at("exclude_domains"), t.ExcludeDomains)

	if _, err := references(w.ctx, f, at("include_regions"), "a geo region", w.q.GeoRegionsBySlug, t.IncludeRegions); err != nil {
		return err
	}
	if _, err := references(w.ctx, f, at("exclude_regions"), "a geo region", w.q.GeoRegionsBySlug, t.ExcludeRegions); err != nil {
		return err
	}
	if _, err := references(w.ctx, f, at("include_topics"), "a topic", w.q.TopicsBySlug, t.IncludeTopics); err != nil {
		return err
	}
	if _, err := references(w.ctx, f, at("include_publishers"), "a publisher", w.q.PublishersBySlug, t.IncludePublishers); err != nil {
		return err
	}
	if _, err := references(w.ctx, f, at("exclude_publishers"), "a publisher", w.q.PublishersBySlug, t.ExcludePublishers); err != nil {
		return err
	}
	for _, set := range []*[]string{
		&t.IncludeCountries, &t.ExcludeCountries, &t.IncludeStateProvinces, &t.IncludeRegions, &t.ExcludeRegions,
		&t.IncludeKeywords, &t.ExcludeKeywords, &t.IncludeTopics, &t.IncludePublishers, &t.ExcludePublishers,
		&t.IncludeDomains, &t.ExcludeDomains, &t.Days,
	} {
		*set = tidy(*set)
	}
	slices.Sort(t.IncludeMetroCodes)
	t.IncludeMetroCodes = slices.Compact(t.IncludeMetroCodes)
	return nil
}

// check says what is wrong with the shares.
func (s *Shares) check(w *write, f *faults) error {
	for _, code := range slices.Sorted(maps.Keys(s.Countries)) {
		country(f, "traffic_cap.countries", code)
		fraction(f, "traffic_cap.countries."+code, s.Countries[code])
	}
	if err := portions(w.ctx, f, "traffic_cap.regions", "a geo region", w.q.GeoRegionsBySlug, s.GeoRegions); err != nil {
		return err
	}
	return portions(w.ctx, f, "traffic_cap.publishers", "a publisher", w.q.PublishersBySlug, s.Publishers)
}

// portions says which slugs do not exist and which shares are none.
func portions[R slugRow](ctx context.Context, f *faults, path, what string, find func(context.Context, []string) ([]R, error), shares map[string]float64) error {
	slugs := slices.Sorted(maps.Keys(shares))
	ids, err := known(ctx, find, slugs)
	if err != nil {
		return err
	}
	for _, slug := range slugs {
		if _, ok := ids[slug]; !ok {
			f.add(path, slug, "expected the slug of %s that exists", what)
		}
		fraction(f, path+"."+slug, shares[slug])
	}
	return nil
}

func fraction(f *faults, path string, share float64) {
	if !(share >= 0 && share <= 1) {
		f.add(path, share, "expected a share from 0 to 1")
	}
}
