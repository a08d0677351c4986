package conformance

import (
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"nearside/edge/decision"
	"nearside/sync/catalog"
	"nearside/sync/lease"
)

//go:embed rules.md
var rules string

// Cases are the rows of rules.md in order.
func Cases() ([]*Case, error) {
	var cases []*Case
	rule := ""
	for i, line := range strings.Split(rules, "\n") {
		if title, found := strings.CutPrefix(line, "## "); found {
			rule = title
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|--") || strings.TrimSpace(cells[0]) == "rule" {
			continue
		}
		c, err := parseRow(rule, i+1, cells)
		if err != nil {
			return nil, fmt.Errorf("rules.md:%d: %w", i+1, err)
		}
		cases = append(cases, c)
	}
	return cases, nil
}

func parseRow(rule string, line int, cells []string) (*Case, error) {
	if len(cells) != 5 {
		return nil, fmt.Errorf("%d columns, not 5", len(cells))
	}
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	c, err := Row(cells[1], cells[2], cells[3], cells[4])
	if err != nil {
		return nil, err
	}
	c.Rule, c.Name, c.Line = rule, cells[0], line
	return c, nil
}

// Row is the case of one row that is not in rules.md, in its language.
func Row(flights, publisher, request, answer string) (*Case, error) {
	w := newWorld()
	c := new(Case)
	c.Request = Request{
		Publisher:  "pub",
		Placements: []decision.Placement{{DivID: "div", AdType: "image", Priority: 1}},
		Country:    "US",
		Now:        noon,
	}
	if err := each(request, func(key, value string) error { return c.Request.set(key, value) }); err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	w.today = catalog.DayOf(c.Request.Now)
	if err := each(publisher, w.setPublisher); err != nil {
		return nil, fmt.Errorf("publisher: %w", err)
	}
	for _, text := range strings.Split(flights, " + ") {
		if err := w.addFlight(text); err != nil {
			return nil, fmt.Errorf("flight %q: %w", text, err)
		}
	}
	var err error
	if c.Want, err = parseAnswer(answer); err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	c.Snapshot, c.Accounts, c.Controls = w.finish(), w.accounts, w.controls
	if err := c.Snapshot.Validate(); err != nil {
		return nil, err
	}
	return c, nil
}

// each calls set for every key=value of a cell.
func each(cell string, set func(key, value string) error) error {
	for _, pair := range strings.Fields(cell) {
		key, value, found := strings.Cut(pair, "=")
		if !found {
			return fmt.Errorf("%q is not key=value", pair)
		}
		if err := set(key, value); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	return nil
}

func unknown(key string) error { return fmt.Errorf("%q is not a field", key) }

// noon is the moment of a request that does not name one: a Wednesday.
var noon = time.Date(2026, time.March, 4, 12, 30, 0, 0, time.UTC)

func (r *Request) set(key, value string) (err error) {
	switch key {
	case "publisher":
		r.Publisher = value
	case "country":
		r.Country = dash(value)
	case "state":
		r.State = value
	case "metro":
		r.Metro, err = parseInt[int32](value)
	case "keywords":
		r.Keywords = strings.Split(value, ",")
	case "types":
		for _, name := range strings.Split(value, ",") {
			t, err := catalog.ParseCampaignType(name)
			if err != nil {
				return err
			}
			r.CampaignTypes = append(r.CampaignTypes, t)
		}
	case "url":
		r.URL = value
	case "mobile":
		r.Mobile, err = parseBool(value)
	case "placement_index":
		r.PlacementIndex, err = parseInt[int](value)
	case "placements":
		r.Placements = nil
		for _, text := range strings.Split(value, ",") {
			parts := strings.Split(text, ":")
			if len(parts) != 3 {
				return fmt.Errorf("%q is not div:type:priority", text)
			}
			priority, err := parseInt[int](parts[2])
			if err != nil {
				return err
			}
			r.Placements = append(r.Placements, decision.Placement{DivID: parts[0], AdType: parts[1], Priority: priority})
		}
	case "force_ad":
		r.ForceAd = value
	case "force_campaign":
		r.ForceCampaign = value
	case "at":
		r.Now, err = time.Parse("2006-01-02T15:04:05.999", value)
	default:
		return unknown(key)
	}
	return err
}

// world is a catalog in the making, with what its accounts hold.
type world struct {
	today    catalog.Day
	snapshot catalog.Snapshot
	page     catalog.Page
	accounts map[lease.Budget]State
	controls map[uint32]Control
	earned   *State
}

func newWorld() *world {
	return &world{
		accounts: make(map[lease.Budget]State),
		controls: make(map[uint32]Control),
		snapshot: catalog.Snapshot{
			Version:     1,
			Advertisers: []catalog.Advertiser{{ID: 1, Slug: "acme", Name: "Acme"}, {ID: 2, Slug: "bolt", Name: "Bolt"}},
			Groups:      []catalog.Group{{ID: 1, Slug: "main", Name: "Main"}, {ID: 2, Slug: "side", Name: "Side"}},
			Publishers: []catalog.Publisher{
				{
					ID: 1, Slug: "pub", Name: "Pub", Groups: []uint32{1}, UnauthedAdDecisions: true,
					AllowPaid: true, AllowAffiliate: true, AllowCommunity: true, AllowHouse: true,
					AllowAPIKeywords: true, AllowMultiplePlacements: true,
				},
				{ID: 2, Slug: "other", Name: "Other", Groups: []uint32{1}, UnauthedAdDecisions: true, AllowPaid: true, AllowAPIKeywords: true},
			},
			AdTypes: []catalog.AdType{
				{ID: 1, Slug: "image", Name: "Image", HasImage: true, HasText: true},
				{ID: 2, Slug: "text", Name: "Text", HasText: true},
				{ID: 3, Slug: "banner", Name: "Banner", HasImage: true},
			},
			Topics: []catalog.Topic{
				{ID: 1, Slug: "web", Name: "Web", Keywords: []string{"css", "html"}},
				{ID: 2, Slug: "data", Name: "Data", Keywords: []string{"html", "sql"}},
				{ID: 3, Slug: "hollow", Name: "Hollow", Keywords: []string{}},
			},
			GeoRegions: []catalog.GeoRegion{
				{ID: 1, Slug: "us-ca", Name: "US and Canada", Countries: []string{"CA", "US"}},
				{ID: 2, Slug: "eu", Name: "Europe", Countries: []string{"DE", "FR"}},
				{ID: 3, Slug: "nato", Name: "Nato", Countries: []string{"CA", "DE", "FR", "US"}},
			},
		},
	}
}

func (w *world) setPublisher(key, value string) (err error) {
	p := &w.snapshot.Publishers[0]
	switch key {
	case "groups":
		p.Groups, err = w.groups(value)
	case "allow_paid_campaigns":
		p.AllowPaid, err = parseBool(value)
	case "allow_affiliate_campaigns":
		p.AllowAffiliate, err = parseBool(value)
	case "allow_community_campaigns":
		p.AllowCommunity, err = parseBool(value)
	case "allow_house_campaigns":
		p.AllowHouse, err = parseBool(value)
	case "allow_api_keywords":
		p.AllowAPIKeywords, err = parseBool(value)
	case "default_keywords":
		p.DefaultKeywords = strings.Split(value, ",")
	case "ignore_mobile_traffic":
		p.IgnoreMobileTraffic, err = parseBool(value)
	case "allow_multiple_placements":
		p.AllowMultiplePlacements, err = parseBool(value)
	case "sampled_ctr":
		p.SampledCTR, err = strconv.ParseFloat(value, 64)
	case "daily_cap":
		p.DailyCap, err = parseMoney(value)
		if w.earned == nil {
			w.earned = &State{}
		}
		w.earned.Left = int64(p.DailyCap)
	case "daily_cap_from":
		p.DailyCapFrom, err = w.day(value)
	case "earned_today":
		if w.earned == nil {
			return fmt.Errorf("comes after daily_cap")
		}
		var m catalog.Micros
		m, err = parseMoney(value)
		w.earned.Settled, w.earned.Left = int64(m), max(0, int64(p.DailyCap-m))
	case "left_today":
		if w.earned == nil {
			return fmt.Errorf("comes after daily_cap")
		}
		var m catalog.Micros
		m, err = parseMoney(value)
		w.earned.Left = int64(m)
	case "page":
		w.page.URL = value
	case "page_keywords":
		w.page.Keywords = strings.Split(value, ",")
	case "page_distances":
		w.page.Distances, err = parseShares(value)
	case "page_similarities":
		w.page.Similarities, err = parseShares(value)
	default:
		return unknown(key)
	}
	return err
}

func (w *world) groups(value string) ([]uint32, error) {
	ids := []uint32{}
	for _, slug := range split(value) {
		i := slices.IndexFunc(w.snapshot.Groups, func(g catalog.Group) bool { return g.Slug == slug })
		if i < 0 {
			return nil, fmt.Errorf("no group %q", slug)
		}
		ids = append(ids, w.snapshot.Groups[i].ID)
	}
	slices.Sort(ids)
	return ids, nil
}

// addFlight adds a flight with ads of its own, and with a campaign of its own
// unless it names one that is there.
func (w *world) addFlight(text string) error {
	name, fields, _ := strings.Cut(text, " ")
	id := uint32(len(w.snapshot.Flights)) + 1
	f := catalog.Flight{
		ID: id, Slug: name, Name: name, Campaign: id, Live: true,
		StartDate: w.today - 3, EndDate: w.today + 27,
		CPC: 2_000_000, SoldClicks: 1000, SampledCTR: 0.05,
		PacingInterval: 3600, PriorityMultiplier: 1,
	}
	c := catalog.Campaign{ID: id, Slug: name + "-campaign", Name: name, Advertiser: 1, PublisherGroups: []uint32{1}}
	b := flight{world: w, f: &f, c: &c, ads: "ad:image"}
	if err := each(fields, b.set); err != nil {
		return err
	}
	if err := b.addAds(); err != nil {
		return err
	}
	b.addAccounts()
	if i := slices.IndexFunc(w.snapshot.Campaigns, func(o catalog.Campaign) bool { return o.Slug == c.Slug }); i >= 0 {
		f.Campaign = w.snapshot.Campaigns[i].ID
	} else {
		w.snapshot.Campaigns = append(w.snapshot.Campaigns, c)
	}
	w.snapshot.Flights = append(w.snapshot.Flights, f)
	return nil
}

// flight is one flight in the making.
type flight struct {
	world              *world
	f                  *catalog.Flight
	c                  *catalog.Campaign
	ads                string
	views, clicks, day account
}

// account is what a row says of an account; what it leaves out follows from
// the limit.
type account struct {
	State
	leftSaid bool
}

func (a *account) of(limit int64) State {
	if !a.leftSaid {
		a.Left = max(0, limit-a.Settled)
	}
	return a.State
}

func (b *flight) addAccounts() {
	if b.f.SoldViews > 0 {
		b.world.accounts[lease.Of(lease.FlightViews, b.f.ID, 0)] = b.views.of(b.f.SoldViews)
	}
	if b.f.SoldClicks > 0 {
		b.world.accounts[lease.Of(lease.FlightClicks, b.f.ID, 0)] = b.clicks.of(b.f.SoldClicks)
	}
	if b.f.DailyCap > 0 {
		b.world.accounts[lease.Of(lease.FlightDay, b.f.ID, int32(b.world.today))] = b.day.of(int64(b.f.DailyCap))
	}
}

func (b *flight) set(key, value string) error {
	for _, set := range []func(key, value string) (bool, error){b.setTerms, b.setAccounts, b.setCampaign, b.setTargeting} {
		if known, err := set(key, value); known {
			return err
		}
	}
	return unknown(key)
}

func (b *flight) setTerms(key, value string) (known bool, err error) {
	f := b.f
	switch key {
	case "live":
		f.Live, err = parseBool(value)
	case "start_date":
		f.StartDate, err = b.world.day(value)
	case "end_date":
		f.EndDate, err = b.world.day(value)
	case "hard_stop":
		f.HardStop, err = parseBool(value)
	case "cpc":
		f.CPC, err = parseMoney(value)
	case "cpm":
		f.CPM, err = parseMoney(value)
		f.CPC = 0
	case "sold_clicks":
		f.SoldClicks, err = parseInt[int64](value)
	case "sold_views":
		f.SoldViews, err = parseInt[int64](value)
	case "daily_cap":
		f.DailyCap, err = parseMoney(value)
	case "daily_cap_from":
		f.DailyCapFrom, err = b.world.day(value)
	case "pacing":
		f.Pacing, err = catalog.ParsePacing(value)
	case "interval":
		f.PacingInterval, err = parseInt[int32](value)
	case "priority_multiplier":
		f.PriorityMultiplier, err = parseInt[int32](value)
	case "prioritize_ads_ctr":
		f.PrioritizeAdsCTR, err = parseBool(value)
	case "sampled_ctr":
		f.SampledCTR, err = strconv.ParseFloat(value, 64)
	case "ads":
		b.ads = value
	case "state":
		f.Control = 1
		f.State, err = catalog.ParseState(value)
	case "control": // state@version, said since
		name, version, _ := strings.Cut(value, "@")
		state, err := catalog.ParseState(name)
		if err != nil {
			return true, err
		}
		n, err := parseInt[uint64](version)
		b.world.controls[f.ID] = Control{state, n}
		return true, err
	default:
		return false, nil
	}
	return true, err
}

func (b *flight) setAccounts(key, value string) (known bool, err error) {
	word, name, _ := strings.Cut(key, "_")
	var a *account
	money := false
	switch name {
	case "views":
		a = &b.views
	case "clicks":
		a = &b.clicks
	case "today":
		a, money = &b.day, true
	default:
		return false, nil
	}
	var n int64
	if money {
		var m catalog.Micros
		m, err = parseMoney(value)
		n = int64(m)
	} else if word != "rate" {
		n, err = parseInt[int64](value)
	}
	switch word {
	case "delivered", "spent":
		a.Settled = n
	case "left":
		a.Left, a.leftSaid = n, true
	case "elsewhere":
		a.Left, a.leftSaid, a.Elsewhere = 0, true, n > 0
	case "held":
		a.Left, a.leftSaid, a.Held = 0, true, n > 0
	case "awaited":
		if a.Awaited = n > 0; !a.leftSaid {
			a.Left, a.leftSaid = 0, true
		}
	case "flying":
		a.InFlight = n
	case "rate":
		a.Rho, err = parseInt[uint32](value)
	default:
		return false, nil
	}
	return true, err
}

func (b *flight) setCampaign(key, value string) (known bool, err error) {
	c := b.c
	switch key {
	case "type":
		c.Type, err = catalog.ParseCampaignType(value)
	case "campaign":
		c.Slug = value
	case "advertiser":
		c.Advertiser = uint32(slices.IndexFunc(b.world.snapshot.Advertisers, func(a catalog.Advertiser) bool { return a.Slug == value })) + 1
	case "groups":
		c.PublisherGroups, err = b.world.groups(dash(value))
	case "campaign_excludes":
		for _, slug := range split(value) {
			c.ExcludePublishers = append(c.ExcludePublishers, map[string]uint32{"pub": 1, "other": 2}[slug])
		}
	default:
		return false, nil
	}
	return true, err
}

func (b *flight) setTargeting(key, value string) (known bool, err error) {
	t := &b.f.Targeting
	lists := map[string]*[]string{
		"include_countries":       &t.IncludeCountries,
		"exclude_countries":       &t.ExcludeCountries,
		"include_state_provinces": &t.IncludeStateProvinces,
		"include_regions":         &t.IncludeRegions,
		"exclude_regions":         &t.ExcludeRegions,
		"include_keywords":        &t.IncludeKeywords,
		"exclude_keywords":        &t.ExcludeKeywords,
		"include_topics":          &t.IncludeTopics,
		"include_publishers":      &t.IncludePublishers,
		"exclude_publishers":      &t.ExcludePublishers,
		"include_domains":         &t.IncludeDomains,
		"exclude_domains":         &t.ExcludeDomains,
		"days":                    &t.Days,
	}
	if list := lists[key]; list != nil {
		*list = split(value)
		return true, nil
	}
	shares := map[string]*map[string]float64{
		"country_cap":    &b.f.TrafficCap.Countries,
		"region_cap":     &b.f.TrafficCap.GeoRegions,
		"publisher_cap":  &b.f.TrafficCap.Publishers,
		"country_fill":   &b.f.TrafficFill.Countries,
		"region_fill":    &b.f.TrafficFill.GeoRegions,
		"publisher_fill": &b.f.TrafficFill.Publishers,
	}
	if m := shares[key]; m != nil {
		*m, err = parseShares(value)
		return true, err
	}
	switch key {
	case "include_metro_codes":
		for _, text := range split(value) {
			code, err := parseInt[int32](text)
			if err != nil {
				return true, err
			}
			t.IncludeMetroCodes = append(t.IncludeMetroCodes, code)
		}
	case "mobile_traffic":
		t.MobileTraffic = value
	case "niche_targeting":
		t.NicheTargeting, err = strconv.ParseFloat(value, 64)
	default:
		return false, nil
	}
	return true, err
}

// addAds reads name:type[&type][:off][:ctrN], joined with commas.
func (b *flight) addAds() error {
	for _, text := range split(dash(b.ads)) {
		parts := strings.Split(text, ":")
		if len(parts) < 2 {
			return fmt.Errorf("ads: %q is not name:type", text)
		}
		id := uint32(len(b.world.snapshot.Ads)) + 1
		slug := b.f.Slug + "-" + parts[0]
		ad := catalog.Ad{
			ID: id, Slug: slug, Name: slug, Flight: b.f.ID, Live: true,
			Headline: "Headline", Content: "Content", CTA: "Go", Link: "https://example.com/" + slug,
		}
		for _, name := range strings.Split(parts[1], "&") {
			i := slices.IndexFunc(b.world.snapshot.AdTypes, func(t catalog.AdType) bool { return t.Slug == name })
			if i < 0 {
				return fmt.Errorf("ads: no ad type %q", name)
			}
			ad.AdTypes = append(ad.AdTypes, b.world.snapshot.AdTypes[i].ID)
		}
		slices.Sort(ad.AdTypes)
		for _, option := range parts[2:] {
			if ctr, found := strings.CutPrefix(option, "ctr"); found {
				x, err := strconv.ParseFloat(ctr, 64)
				if err != nil {
					return err
				}
				ad.SampledCTR = x
			} else if option == "off" {
				ad.Live = false
			} else {
				return fmt.Errorf("ads: %q is neither off nor ctrN", option)
			}
		}
		b.world.snapshot.Ads = append(b.world.snapshot.Ads, ad)
	}
	return nil
}

func (w *world) finish() *catalog.Snapshot {
	if w.page.URL != "" {
		w.page.Publisher = 1
		w.snapshot.Pages = []catalog.Page{w.page}
	}
	if w.earned != nil {
		w.accounts[lease.Of(lease.PublisherDay, 1, int32(w.today))] = *w.earned
	}
	return &w.snapshot
}

// day reads a date, or today with days added or taken.
func (w *world) day(s string) (catalog.Day, error) {
	if rest, found := strings.CutPrefix(s, "today"); found {
		n := 0
		if rest != "" {
			var err error
			if n, err = strconv.Atoi(rest); err != nil {
				return 0, err
			}
		}
		return w.today + catalog.Day(n), nil
	}
	return catalog.ParseDay(s)
}

// parseAnswer reads "f 33 + g 10; not h days", "f-a@left 3" and "no ad reason".
func parseAnswer(text string) (Answer, error) {
	a := Answer{Refused: make(map[string]decision.Reason)}
	for _, part := range strings.Split(text, ";") {
		part = strings.TrimSpace(part)
		if list, found := strings.CutPrefix(part, "not "); found {
			for _, item := range strings.Split(list, ",") {
				words := strings.Fields(item)
				if len(words) != 2 {
					return a, fmt.Errorf("%q is not flight reason", item)
				}
				reason, err := decision.ParseReason(words[1])
				if err != nil {
					return a, err
				}
				a.Refused[words[0]] = reason
			}
			continue
		}
		if name, found := strings.CutPrefix(part, "no ad "); found {
			var err error
			if a.Reason, err = decision.ParseReason(name); err != nil {
				return a, err
			}
			continue
		}
		if part == "" {
			continue
		}
		for _, item := range strings.Split(part, " + ") {
			words := strings.Fields(item)
			if len(words) == 0 || len(words) > 2 {
				return a, fmt.Errorf("%q is not name weight", item)
			}
			o := Option{Weight: -1}
			name, div, _ := strings.Cut(words[0], "@")
			o.Flight, o.Ad, _ = strings.Cut(name, "-")
			if o.Div = div; o.Ad != "" {
				o.Ad = o.Flight + "-" + o.Ad
			}
			if len(words) == 2 {
				var err error
				if o.Weight, err = parseInt[int64](words[1]); err != nil {
					return a, err
				}
			}
			a.Options = append(a.Options, o)
		}
	}
	return a, nil
}

func split(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// dash is s, or nothing where s is written "-".
func dash(s string) string {
	if s == "-" {
		return ""
	}
	return s
}

func parseBool(s string) (bool, error) {
	switch s {
	case "yes":
		return true, nil
	case "no":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither yes nor no", s)
}

func parseInt[T int | int32 | int64 | uint32 | uint64](s string) (T, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err == nil && int64(T(n)) != n {
		err = fmt.Errorf("%s is out of range", s)
	}
	return T(n), err
}

// parseMoney reads currency units with up to six decimals.
func parseMoney(s string) (catalog.Micros, error) {
	whole, decimals, _ := strings.Cut(s, ".")
	if len(decimals) > 6 {
		return 0, fmt.Errorf("%q has more than six decimals", s)
	}
	n, err := strconv.ParseInt(whole+decimals+strings.Repeat("0", 6-len(decimals)), 10, 64)
	return catalog.Micros(n), err
}

func parseShares(s string) (map[string]float64, error) {
	m := make(map[string]float64)
	for _, pair := range split(s) {
		key, value, _ := strings.Cut(pair, ":")
		x, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return nil, err
		}
		m[key] = x
	}
	return m, nil
}
