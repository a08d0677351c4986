package decision_test

import (
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"nearside/edge/decision"
	"nearside/edge/decision/conformance"
	"nearside/sync/catalog"
	"nearside/sync/lease"
)

// naive is the engine without an engine: every rule as it is written, on the
// snapshot as it is published, one flight after another. It returns the weights
// of the flights in the tier that decides.
func naive(s *catalog.Snapshot, accounts map[lease.Budget]conformance.State, controls map[uint32]conformance.Control, r *conformance.Request) map[string]int64 {
	p := s.Publishers[slices.IndexFunc(s.Publishers, func(p catalog.Publisher) bool { return p.Slug == r.Publisher })]
	if r.PlacementIndex > 0 && !p.AllowMultiplePlacements || r.Mobile && p.IgnoreMobileTraffic {
		return nil
	}
	keywords := map[string]bool{}
	add := func(list []string) {
		for _, k := range list {
			keywords[strings.ToLower(k)] = true
		}
	}
	if p.AllowAPIKeywords {
		add(r.Keywords)
	}
	add(p.DefaultKeywords)
	var distances map[string]float64
	for _, page := range s.Pages {
		if page.Publisher == p.ID && page.URL == r.URL {
			add(page.Keywords)
			distances = page.Distances
		}
	}
	allowed := map[catalog.CampaignType]bool{catalog.Paid: p.AllowPaid, catalog.Affiliate: p.AllowAffiliate, catalog.Community: p.AllowCommunity, catalog.PublisherHouse: true, catalog.House: p.AllowHouse}
	today := catalog.DayOf(r.Now)
	earned, capped := accounts[lease.Of(lease.PublisherDay, p.ID, int32(today))], p.DailyCap > 0 && p.DailyCapFrom <= today
	tiers := map[catalog.CampaignType]map[string]int64{}
	for _, f := range s.Flights {
		c := s.Campaigns[slices.IndexFunc(s.Campaigns, func(c catalog.Campaign) bool { return c.ID == f.Campaign })]
		advertiser := s.Advertisers[slices.IndexFunc(s.Advertisers, func(a catalog.Advertiser) bool { return a.ID == c.Advertiser })].Slug
		t := f.Targeting
		inRegions := func(slugs []string) bool {
			return slices.ContainsFunc(slugs, func(slug string) bool {
				return slices.ContainsFunc(s.GeoRegions, func(g catalog.GeoRegion) bool { return g.Slug == slug && slices.Contains(g.Countries, r.Country) })
			})
		}
		overRegion := false
		for slug, limit := range f.TrafficCap.GeoRegions {
			overRegion = overRegion || f.TrafficFill.GeoRegions[slug] > limit && inRegions([]string{slug})
		}
		over := func(limits, fill map[string]float64, key string) bool {
			limit, limited := limits[key]
			return limited && fill[key] > limit
		}
		state := f.State
		if said, ok := controls[f.ID]; ok && said.Version > f.Control {
			state = said.State
		}
		priority := int64(0)
		for _, a := range s.Ads {
			for _, asked := range r.Placements {
				i := slices.IndexFunc(s.AdTypes, func(t catalog.AdType) bool { return t.Slug == asked.AdType })
				if a.Flight == f.ID && a.Live && i >= 0 && slices.Contains(a.AdTypes, s.AdTypes[i].ID) {
					priority = max(priority, int64(min(max(asked.Priority, 1), 10)))
				}
			}
		}
		host, _, _ := strings.Cut(strings.ToLower(strings.TrimPrefix(r.URL, "https://")), "/")
		distance, near := distances[advertiser]
		is := func(x string) func(string) bool { return func(y string) bool { return x == y } }
		topic := func(slug string) bool {
			return slices.ContainsFunc(s.Topics, func(t catalog.Topic) bool {
				return t.Slug == slug && slices.ContainsFunc(t.Keywords, func(k string) bool { return keywords[k] })
			})
		}
		price := max(f.CPM/1000, f.CPC)
		day := accounts[lease.Of(lease.FlightDay, f.ID, int32(today))]
		views, clicks := accounts[lease.Of(lease.FlightViews, f.ID, 0)], accounts[lease.Of(lease.FlightClicks, f.ID, 0)]
		viewsNeed, clicksNeed := naiveNeed(f, f.SoldViews, views.Settled, r.Now), naiveNeed(f, f.SoldClicks, clicks.Settled, r.Now)
		weight := naiveWeight(f, p, viewsNeed, clicksNeed, today) * priority
		if !allowed[c.Type] || len(r.CampaignTypes) > 0 && !slices.Contains(r.CampaignTypes, c.Type) ||
			!slices.ContainsFunc(c.PublisherGroups, func(g uint32) bool { return slices.Contains(p.Groups, g) }) ||
			slices.Contains(c.ExcludePublishers, p.ID) || !f.Live || state != catalog.Run || f.StartDate > today || priority == 0 ||
			len(t.IncludeCountries) > 0 && !slices.Contains(t.IncludeCountries, r.Country) ||
			len(t.IncludeStateProvinces) > 0 && !slices.Contains(t.IncludeStateProvinces, r.State) ||
			len(t.IncludeMetroCodes) > 0 && !slices.Contains(t.IncludeMetroCodes, r.Metro) ||
			slices.Contains(t.ExcludeCountries, r.Country) ||
			len(t.IncludeRegions) > 0 && !inRegions(t.IncludeRegions) || inRegions(t.ExcludeRegions) ||
			over(f.TrafficCap.Countries, f.TrafficFill.Countries, r.Country) || overRegion ||
			len(t.IncludeKeywords) > 0 && !slices.ContainsFunc(t.IncludeKeywords, func(k string) bool { return keywords[k] }) ||
			slices.ContainsFunc(t.ExcludeKeywords, func(k string) bool { return keywords[k] }) ||
			len(t.IncludeTopics) > 0 && !slices.ContainsFunc(t.IncludeTopics, topic) ||
			t.MobileTraffic == "only" && !r.Mobile || t.MobileTraffic == "exclude" && r.Mobile ||
			len(t.IncludePublishers) > 0 && !slices.ContainsFunc(t.IncludePublishers, is(p.Slug)) ||
			len(t.IncludePublishers) == 0 && slices.ContainsFunc(t.ExcludePublishers, is(p.Slug)) ||
			len(t.IncludePublishers)+len(t.ExcludePublishers) == 0 && over(f.TrafficCap.Publishers, f.TrafficFill.Publishers, p.Slug) ||
			len(t.IncludeDomains) > 0 && !slices.ContainsFunc(t.IncludeDomains, is(host)) ||
			len(t.IncludeDomains) == 0 && slices.ContainsFunc(t.ExcludeDomains, is(host)) ||
			weight == 0 ||
			len(t.Days) > 0 && !slices.ContainsFunc(t.Days, is(strings.ToLower(r.Now.Weekday().String()))) ||
			t.NicheTargeting > 0 && (!near || distance >= t.NicheTargeting) ||
			f.DailyCap > 0 && f.DailyCapFrom <= today && price > 0 && (int64(f.DailyCap)-day.Settled < int64(price) || !naiveRoom(day, int64(price))) ||
			!(viewsNeed > 0 && naiveRoom(views, 1) || clicksNeed > 0 && naiveRoom(clicks, 1)) ||
			viewsNeed > 0 && views.Awaited && !naiveRoom(views, 1) || clicksNeed > 0 && clicks.Awaited && !naiveRoom(clicks, 1) ||
			capped && c.Type == catalog.Paid && (earned.Settled >= int64(p.DailyCap) || earned.Left <= 0 || !naiveRoom(earned, int64(price))) {
			continue
		}
		if tiers[c.Type] == nil {
			tiers[c.Type] = map[string]int64{}
		}
		tiers[c.Type][f.Slug] = weight
	}
	for _, t := range catalog.CampaignTypes() {
		if tiers[t] != nil {
			return tiers[t]
		}
	}
	return nil
}

func naiveRoom(a conformance.State, unit int64) bool {
	rho := 1.0
	if a.Rho > 0 {
		rho = float64(a.Rho) / 1e6
	}
	return float64(a.Left)-float64(a.InFlight)*rho >= rho*float64(unit)-1e-9
}

func naiveNeed(f catalog.Flight, sold, delivered int64, now time.Time) int64 {
	today := catalog.DayOf(now)
	if sold-delivered <= 0 || f.StartDate > today || f.HardStop && f.EndDate < today {
		return 0
	}
	interval := time.Duration(f.PacingInterval) * time.Second
	if f.Pacing == catalog.Traffic {
		interval = max(interval, 24*time.Hour)
	}
	left := int64(f.EndDate.End().Sub(now) / interval)
	total := max(0, int64(f.EndDate.End().Sub(f.StartDate.Start())/interval)) + 1
	if left <= 0 || f.Pacing == catalog.ASAP {
		return sold - delivered
	}
	pace := new(big.Int).Mul(big.NewInt(sold), big.NewInt(left))
	return max(0, sold-delivered-pace.Quo(pace, big.NewInt(total)).Int64())
}

func naiveWeight(f catalog.Flight, p catalog.Publisher, views, clicks int64, today catalog.Day) int64 {
	ecpm := float64(f.CPM) / 1e6
	if f.CPC > 0 {
		ctr := f.SampledCTR
		if p.SampledCTR > 0.01 {
			ctr = p.SampledCTR
		}
		ecpm = float64(f.CPC) / 1e6 * ctr * 10
	}
	base := math.Ceil(float64(views)/1000) + float64(clicks)
	// A thousandth of a micro: floors of products that are whole must not fall
	// below them for want of digits.
	weight := math.Floor(base*float64(f.PriorityMultiplier)*min(max(ecpm, 1), 10) + 1e-9)
	return int64(weight * math.Floor(math.Pow(float64(max(1, today-f.EndDate)), 1.5)+1e-9))
}

// some draws a list without repeats that is mostly empty.
func some[T any](t *rapid.T, name string, from ...T) []T {
	if rapid.IntRange(0, 3).Draw(t, name+"?") > 0 {
		return nil
	}
	list := []T{}
	for i, x := range from {
		if rapid.IntRange(0, 2).Draw(t, fmt.Sprint(name, i)) == 0 {
			list = append(list, x)
		}
	}
	return list
}

func ids(t *rapid.T, name string, n uint32) []uint32 {
	list := []uint32{}
	for id := uint32(1); id <= n; id++ {
		if rapid.IntRange(0, 3).Draw(t, fmt.Sprint(name, id)) > 0 {
			list = append(list, id)
		}
	}
	return list
}

func drawnShares(t *rapid.T, name string, keys ...string) (limits, fill map[string]float64) {
	limits, fill = map[string]float64{}, map[string]float64{}
	for _, key := range some(t, name, keys...) {
		limits[key] = rapid.SampledFrom([]float64{0, 0.2, 0.5}).Draw(t, name+" cap")
		fill[key] = rapid.SampledFrom([]float64{0, 0.2, 0.4, 0.9}).Draw(t, name+" fill")
	}
	return limits, fill
}

var keywordsDrawn = []string{"go", "rust", "html", "css", "sql", "größe", "py", "php"}

// drawCase draws a world and a request of it; today is the base fixture's.
func drawCase(t *rapid.T) (*conformance.Case, []conformance.Request) {
	const today = catalog.Day(20516)
	c := &conformance.Case{Snapshot: &catalog.Snapshot{Version: 1}, Accounts: map[lease.Budget]conformance.State{}, Controls: map[uint32]conformance.Control{}}
	s := c.Snapshot
	slugs := []string{"p1", "p2", "p3"}
	pages := []string{"https://a.example/1", "https://b.example/2", ""}
	s.Advertisers = []catalog.Advertiser{{ID: 1, Slug: "acme"}, {ID: 2, Slug: "bolt"}}
	s.Groups = []catalog.Group{{ID: 1, Slug: "g1"}, {ID: 2, Slug: "g2"}, {ID: 3, Slug: "g3"}}
	s.AdTypes = []catalog.AdType{{ID: 1, Slug: "image"}, {ID: 2, Slug: "text"}, {ID: 3, Slug: "banner"}}
	s.Topics = []catalog.Topic{{ID: 1, Slug: "web", Keywords: []string{"css", "html"}}, {ID: 2, Slug: "data", Keywords: []string{"html", "sql"}}, {ID: 3, Slug: "none"}}
	s.GeoRegions = []catalog.GeoRegion{{ID: 1, Slug: "am", Countries: []string{"US", "CA"}}, {ID: 2, Slug: "eu", Countries: []string{"DE", "FR"}}, {ID: 3, Slug: "all", Countries: []string{"US", "DE", "JP"}}}
	account := func(kind lease.Kind, owner uint32, day int32, limit int64) {
		c.Accounts[lease.Of(kind, owner, day)] = conformance.State{
			Left:     rapid.SampledFrom([]int64{0, 1, limit, limit, limit}).Draw(t, "left"),
			InFlight: rapid.SampledFrom([]int64{0, 0, 0, 1, limit}).Draw(t, "in flight"),
			Settled:  rapid.SampledFrom([]int64{0, 0, 1, limit / 2, limit}).Draw(t, "settled"),
			Rho:      rapid.SampledFrom([]uint32{0, 1_000_000, 500_000, 1000}).Draw(t, "rho"),
			Awaited:  rapid.Bool().Draw(t, "awaited"),
		}
	}
	for i, slug := range slugs {
		p := catalog.Publisher{
			ID: uint32(i) + 1, Slug: slug, Groups: ids(t, "publisher's groups", 3),
			AllowPaid: rapid.Bool().Draw(t, "paid"), AllowAffiliate: rapid.Bool().Draw(t, "affiliate"), AllowCommunity: rapid.Bool().Draw(t, "community"), AllowHouse: rapid.Bool().Draw(t, "house"),
			AllowAPIKeywords: rapid.Bool().Draw(t, "api keywords"), DefaultKeywords: some(t, "default keywords", keywordsDrawn...),
			IgnoreMobileTraffic: rapid.IntRange(0, 4).Draw(t, "ignore mobile") == 0, AllowMultiplePlacements: rapid.Bool().Draw(t, "multiple"),
			SampledCTR: rapid.SampledFrom([]float64{0, 0.01, 0.125, 0.5}).Draw(t, "publisher ctr"),
		}
		if rapid.IntRange(0, 4).Draw(t, "publisher capped") == 0 {
			p.DailyCap, p.DailyCapFrom = 10_000_000, today+catalog.Day(rapid.IntRange(-1, 1).Draw(t, "cap from"))
			account(lease.PublisherDay, p.ID, int32(today), int64(p.DailyCap))
		}
		s.Publishers = append(s.Publishers, p)
	}
	s.Pages = []catalog.Page{
		{Publisher: 1, URL: pages[0], Keywords: []string{"sql"}, Distances: map[string]float64{"acme": 0.3}},
		{Publisher: 2, URL: pages[1], Keywords: []string{"go"}, Distances: map[string]float64{"bolt": 0.7, "acme": 0.1}},
	}
	for id := uint32(1); id <= 5; id++ {
		s.Campaigns = append(s.Campaigns, catalog.Campaign{
			ID: id, Slug: fmt.Sprint("c", id), Advertiser: uint32(rapid.IntRange(1, 2).Draw(t, "advertiser")),
			Type: catalog.CampaignType(rapid.IntRange(0, 4).Draw(t, "type")), PublisherGroups: ids(t, "campaign's groups", 3),
		})
		if list := some(t, "campaign excludes", uint32(1), 2, 3); list != nil {
			s.Campaigns[id-1].ExcludePublishers = list
		}
	}
	flights := rapid.SampledFrom([]int{1, 2, 5, 10, 70}).Draw(t, "flights")
	for id := uint32(1); id <= uint32(flights); id++ {
		s.Flights = append(s.Flights, drawFlight(t, id, today, slugs))
		f := &s.Flights[id-1]
		if f.SoldViews > 0 {
			account(lease.FlightViews, id, 0, f.SoldViews)
		}
		if f.SoldClicks > 0 {
			account(lease.FlightClicks, id, 0, f.SoldClicks)
		}
		if f.DailyCap > 0 {
			account(lease.FlightDay, id, int32(today), int64(f.DailyCap))
		}
		if rapid.IntRange(0, 9).Draw(t, "controlled") == 0 {
			c.Controls[id] = conformance.Control{State: catalog.State(rapid.IntRange(0, 2).Draw(t, "said")), Version: uint64(rapid.IntRange(0, 3).Draw(t, "version"))}
		}
		for range rapid.IntRange(0, 2).Draw(t, "ads") {
			adID := uint32(len(s.Ads)) + 1
			s.Ads = append(s.Ads, catalog.Ad{ID: adID, Slug: fmt.Sprint("a", adID), Flight: id, AdTypes: ids(t, "ad's types", 3), Live: rapid.IntRange(0, 4).Draw(t, "ad live") > 0})
		}
	}
	var requests []conformance.Request
	for range 5 {
		r := conformance.Request{
			Publisher: rapid.SampledFrom(slugs).Draw(t, "publisher"), Keywords: some(t, "keywords", append(keywordsDrawn, "GO", "other")...),
			CampaignTypes: some(t, "asked types", catalog.CampaignTypes()...), URL: rapid.SampledFrom(pages).Draw(t, "url"),
			Country: rapid.SampledFrom([]string{"", "US", "CA", "DE", "FR", "JP", "BR"}).Draw(t, "country"),
			State:   rapid.SampledFrom([]string{"", "NY", "CA"}).Draw(t, "state"), Metro: rapid.SampledFrom([]int32{0, 501, 803}).Draw(t, "metro"),
			Mobile: rapid.Bool().Draw(t, "mobile"), PlacementIndex: rapid.SampledFrom([]int{0, 0, 1}).Draw(t, "placement index"),
			Now: today.Start().Add(time.Duration(rapid.Int64Range(0, 24*3600*1000-1).Draw(t, "time")) * time.Millisecond),
		}
		for range rapid.IntRange(1, 3).Draw(t, "placements") {
			r.Placements = append(r.Placements, decision.Placement{AdType: rapid.SampledFrom([]string{"image", "text", "banner", "hologram"}).Draw(t, "asked type"), Priority: rapid.IntRange(0, 11).Draw(t, "priority")})
		}
		requests = append(requests, r, variant(t, r))
	}
	return c, requests
}

// variant is r but for one thing: requests that are nearly alike must not be
// taken for one shape.
func variant(t *rapid.T, r conformance.Request) conformance.Request {
	switch rapid.IntRange(0, 9).Draw(t, "varied") {
	case 0:
		r.Publisher = rapid.SampledFrom([]string{"p1", "p2", "p3"}).Draw(t, "other publisher")
	case 1:
		r.Mobile = !r.Mobile
	case 2:
		r.Country = rapid.SampledFrom([]string{"", "US", "CA", "DE", "JP"}).Draw(t, "other country")
	case 3:
		r.URL = rapid.SampledFrom([]string{"", "https://a.example/1", "https://b.example/2", "https://a.example/3"}).Draw(t, "other url")
	case 4:
		r.Keywords = some(t, "other keywords", keywordsDrawn...)
	case 5:
		r.State, r.Metro = "NY", 501
	case 6:
		r.CampaignTypes = some(t, "other types", catalog.CampaignTypes()...)
	case 7:
		r.Placements = append(slices.Clone(r.Placements), decision.Placement{AdType: "text", Priority: 5})
	case 8:
		r.Placements = slices.Clone(r.Placements)
		r.Placements[0].Priority++
	case 9:
		r.Now = r.Now.Add(time.Minute)
	}
	return r
}

func drawFlight(t *rapid.T, id uint32, today catalog.Day, slugs []string) catalog.Flight {
	f := catalog.Flight{
		ID: id, Slug: fmt.Sprint("f", id), Campaign: uint32(rapid.IntRange(1, 5).Draw(t, "campaign")), Live: rapid.IntRange(0, 9).Draw(t, "live") > 0,
		StartDate: today + catalog.Day(rapid.IntRange(-30, 1).Draw(t, "start")), EndDate: today + catalog.Day(rapid.IntRange(-10, 30).Draw(t, "end")),
		HardStop: rapid.Bool().Draw(t, "hard stop"), CPM: rapid.SampledFrom([]catalog.Micros{0, 1_500_000, 20_000_000}).Draw(t, "cpm"),
		CPC: rapid.SampledFrom([]catalog.Micros{0, 0, 2_000_000}).Draw(t, "cpc"), SampledCTR: rapid.SampledFrom([]float64{0, 0.1, 0.25}).Draw(t, "ctr"),
		SoldViews: rapid.SampledFrom([]int64{0, 10, 10_000}).Draw(t, "sold views"), SoldClicks: rapid.SampledFrom([]int64{0, 1, 5000}).Draw(t, "sold clicks"),
		Pacing:         catalog.Pacing(rapid.IntRange(0, 2).Draw(t, "pacing")),
		PacingInterval: rapid.SampledFrom([]int32{60, 3600, 86400}).Draw(t, "interval"), PriorityMultiplier: rapid.Int32Range(0, 3).Draw(t, "multiplier"),
		State: catalog.State(max(0, rapid.IntRange(-9, 2).Draw(t, "state"))), Control: uint64(rapid.IntRange(0, 3).Draw(t, "control")),
		Targeting: catalog.Targeting{
			IncludeCountries: some(t, "include countries", "US", "CA", "DE"), ExcludeCountries: some(t, "exclude countries", "US", "JP"),
			IncludeStateProvinces: some(t, "states", "NY", "CA"), IncludeMetroCodes: some(t, "metros", int32(501), 803),
			IncludeRegions: some(t, "include regions", "am", "eu", "all", "nowhere"), ExcludeRegions: some(t, "exclude regions", "eu", "all", "nowhere"),
			IncludeKeywords: some(t, "include keywords", keywordsDrawn...), ExcludeKeywords: some(t, "exclude keywords", keywordsDrawn[:3]...),
			IncludeTopics: some(t, "topics", "web", "data", "none", "unknown"), MobileTraffic: rapid.SampledFrom([]string{"", "", "", "only", "exclude"}).Draw(t, "mobile"),
			IncludePublishers: some(t, "include publishers", append(slugs, "unknown")...), ExcludePublishers: some(t, "exclude publishers", append(slugs, "unknown")...),
			IncludeDomains: some(t, "include domains", "a.example", "b.example"), ExcludeDomains: some(t, "exclude domains", "a.example"),
			Days: some(t, "days", "wednesday", "sunday"), NicheTargeting: rapid.SampledFrom([]float64{0, 0, 0, 0.5}).Draw(t, "niche"),
		},
	}
	if rapid.Bool().Draw(t, "for everybody") { // or hardly a request would be filled
		f.Targeting = catalog.Targeting{}
		f.StartDate, f.EndDate, f.Live = today-1, today+catalog.Day(rapid.IntRange(0, 3).Draw(t, "last day")), true
		return f
	}
	f.TrafficCap.Countries, f.TrafficFill.Countries = drawnShares(t, "countries", "US", "DE", "JP")
	f.TrafficCap.GeoRegions, f.TrafficFill.GeoRegions = drawnShares(t, "regions", "am", "eu", "nowhere")
	f.TrafficCap.Publishers, f.TrafficFill.Publishers = drawnShares(t, "publishers", slugs...)
	if rapid.IntRange(0, 4).Draw(t, "capped") == 0 {
		f.DailyCap, f.DailyCapFrom = 10_000_000, today+catalog.Day(rapid.IntRange(-1, 1).Draw(t, "cap from"))
	}
	return f
}

// TestEnginesAgree: on random worlds the indexed engine, from the index and
// from cached candidates, and Explain choose among the flights that the naive
// engine names, with its weights.
func TestEnginesAgree(t *testing.T) {
	var s decision.Scratch // one for all worlds: nothing of one may show in another
	filled := 0
	rapid.Check(t, func(t *rapid.T) {
		c, requests := drawCase(t)
		compiled, err := decision.Compile(c.Snapshot, c.Books(), 20516)
		if err != nil {
			t.Fatal(err)
		}
		cached := make(map[decision.Shape]*decision.Candidates)
		for i := range requests {
			r := &requests[i]
			want := naive(c.Snapshot, c.Accounts, c.Controls, r)
			if len(want) > 0 {
				filled++
			}
			compareEngines(t, compiled, r.Decision(compiled), r.Now.UnixMilli(), &s, cached, want)
		}
	})
	if filled == 0 {
		t.Error("no request was filled: the test shows nothing")
	}
}

func compareEngines(t *rapid.T, c *decision.Catalog, r *decision.Request, now int64, s *decision.Scratch, cached map[decision.Shape]*decision.Candidates, want map[string]int64) {
	total := int64(0)
	for _, w := range want {
		total += w
	}
	reasons := make(map[string]string)
	for _, line := range c.Explain(r, now).Flights {
		reasons[line.Flight] = line.Reason
		if w := want[line.Flight]; w > 0 && (line.Weight != w || line.Probability != float64(w)/float64(total)) || w == 0 && line.Probability > 0 {
			t.Fatalf("explained %s as %s with weight %d and probability %v; naive weight %d of %d", line.Flight, line.Reason, line.Weight, line.Probability, w, total)
		}
	}
	for seed := range uint64(8) {
		var out, among decision.Outcome
		c.Decide(r, s, now, seed, &out)
		if out.Filled != (total > 0) || out.Filled && (out.Weight != want[out.Flight.Slug] || out.Total != total) {
			t.Fatalf("decided %+v, naive engine allows %v", out, want)
		}
		if !out.Filled && out.Reason == decision.None || out.Filled && out.Reason != decision.None {
			t.Fatalf("filled is %v with reason %v", out.Filled, out.Reason)
		}
		for _, refusal := range s.Refused() {
			if got := reasons[refusal.Flight.Slug]; got != refusal.Reason.String() {
				t.Fatalf("%s refused for %v, explained as %s", refusal.Flight.Slug, refusal.Reason, got)
			}
		}
		shape := c.Shape(r, s, now)
		if cached[shape] == nil {
			cached[shape] = c.Candidates(s)
		}
		c.DecideAmong(cached[shape], r, s, now, seed, &among)
		if !s.Clean() {
			t.Fatal("the scratch keeps what the request reached")
		}
		if among != out {
			t.Fatalf("%+v from the index, %+v from cached candidates", out, among)
		}
	}
	if len(reasons) == 0 { // the gate refused: there is nothing to explain about flights
		return
	}
	c.Refusals(r, s, now, func(f *decision.Flight, reason decision.Reason) {
		if reasons[f.Slug] != reason.String() {
			t.Fatalf("%s counted as %v, explained as %s", f.Slug, reason, reasons[f.Slug])
		}
		delete(reasons, f.Slug)
	})
	for slug, reason := range reasons {
		if reason != "none" && reason != "lower_tier" {
			t.Fatalf("%s explained as %s, but not counted", slug, reason)
		}
	}
}
