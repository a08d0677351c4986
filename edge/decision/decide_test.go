package decision_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"nearside/edge/decision"
	"nearside/edge/decision/conformance"
	"nearside/sync/catalog"
	"nearside/sync/lease"
	"nearside/sync/token"
)

// sink keeps the compiler from leaving a call out.
var sink token.Topics

// TestDecideAllocatesNothing, whether candidates come from the index or from a
// cache, and whatever the answer.
func TestDecideAllocatesNothing(t *testing.T) {
	c := compileBazaar(t, 1000)
	requests := visits(c, 64)
	requests[0].ForceAd = "ad3-0"
	requests[1].ForceCampaign = "campaign3"
	requests[2].PlacementIndex = 1
	requests[3].Country = [2]byte{}
	requests[4].Keywords = []string{"GRÖßE", "\xff", ""}
	requests[5].Placements[0].AdType = "hologram"
	requests[6].Placements = append(requests[6].Placements, decision.Placement{AdType: "image", Priority: 4})
	requests[7].Capped, requests[7].Taken = []uint32{1, 2, 3}, []uint32{4}
	now := noon.UnixMilli()
	var s decision.Scratch
	var out decision.Outcome
	cached := make(map[decision.Shape]*decision.Candidates)
	for i := range requests { // the scratch grows to its size
		c.Decide(&requests[i], &s, now, 0, &out)
		cached[c.Shape(&requests[i], &s, now)] = c.Candidates(&s)
	}
	for i := range requests {
		r := &requests[i]
		seed := uint64(0)
		if n := testing.AllocsPerRun(20, func() {
			seed++
			c.Decide(r, &s, now, seed, &out)
		}); n != 0 {
			t.Errorf("request %d: Decide allocates %v times", i, n)
		}
		if n := testing.AllocsPerRun(20, func() {
			seed++
			c.DecideAmong(cached[c.Shape(r, &s, now)], r, &s, now, seed, &out)
			sink = c.Topics(&s)
		}); n != 0 {
			t.Errorf("request %d: DecideAmong allocates %v times", i, n)
		}
		if n := testing.AllocsPerRun(5, func() {
			c.Refusals(r, &s, now, func(*decision.Flight, decision.Reason) {})
		}); n != 0 {
			t.Errorf("request %d: Refusals allocates %v times", i, n)
		}
	}
}

// chiSquare is the statistic of counts against weights, and a bound that a
// fair draw stays under in 9999 of 10 000 runs (Wilson and Hilferty).
func chiSquare(counts, weights []float64) (statistic, bound float64) {
	total, weight := 0.0, 0.0
	for i := range counts {
		total += counts[i]
		weight += weights[i]
	}
	for i := range counts {
		expected := total * weights[i] / weight
		statistic += (counts[i] - expected) * (counts[i] - expected) / expected
	}
	k := float64(len(counts) - 1)
	x := 1 - 2/(9*k) + 3.719*math.Sqrt(2/(9*k))
	return statistic, k * x * x * x
}

// TestDistribution draws 100 000 times with seeds 0, 1, 2 … and compares what
// came with the weights of rules.md's language, by chi-square.
func TestDistribution(t *testing.T) {
	const draws = 100_000
	for _, row := range []struct {
		name, flights, request string
		want                   map[string]float64 // ad → weight
	}{
		{
			"flights by their weights", "f pacing=asap sold_clicks=1 + g pacing=asap sold_clicks=2 + h pacing=asap sold_clicks=97", "",
			map[string]float64{"f-ad": 1, "g-ad": 2, "h-ad": 97},
		},
		{
			"many flights", manyFlights(70), "",
			manyWeights(70),
		},
		{
			"weights near the bound", "f type=house cpc=0 pacing=asap sold_clicks=4398046511104 + g type=house cpc=0 pacing=asap sold_clicks=1099511627776", "",
			map[string]float64{"f-ad": 4, "g-ad": 1},
		},
		{
			"placement priorities between flights", "f pacing=asap sold_clicks=100 + g pacing=asap sold_clicks=100 ads=ad:text", "placements=left:image:1,right:text:9",
			map[string]float64{"f-ad": 1, "g-ad": 9},
		},
		{
			"ads by priority and CTR", "f prioritize_ads_ctr=yes ads=a:image,b:text:ctr0.15,c:image:ctr0.08", "placements=left:image:1,right:text:3",
			map[string]float64{"f-a": 1, "f-b": 7, "f-c": 2},
		},
		{
			"flight and ad are drawn apart", "f pacing=asap sold_clicks=100 ads=a:image,b:image + g pacing=asap sold_clicks=100 ads=a:image,b:image", "",
			map[string]float64{"f-a": 1, "f-b": 1, "g-a": 1, "g-b": 1},
		},
		{
			"lower tiers never", "f pacing=asap sold_clicks=1 + g pacing=asap sold_clicks=3 + h type=house pacing=asap sold_clicks=1000000", "",
			map[string]float64{"f-ad": 1, "g-ad": 3},
		},
		{
			"flights of a forced campaign are equal", "f campaign=c pacing=asap sold_clicks=1 + g campaign=c pacing=asap sold_clicks=500 + h campaign=c ads=ad:text", "force_campaign=c",
			map[string]float64{"f-ad": 1, "g-ad": 1},
		},
	} {
		c, r, now := world(t, row.flights, row.request)
		var s decision.Scratch
		came := make(map[string]float64)
		for seed := range uint64(draws) {
			var out decision.Outcome
			c.Decide(r, &s, now, seed, &out)
			came[out.Ad.Slug]++
		}
		var counts, weights []float64
		for slug, weight := range row.want {
			counts, weights = append(counts, came[slug]), append(weights, weight)
			delete(came, slug)
		}
		if len(came) > 0 {
			t.Errorf("%s: also came %v", row.name, came)
		}
		if statistic, bound := chiSquare(counts, weights); statistic > bound {
			t.Errorf("%s: chi-square %.1f, above %.1f: %v for weights %v", row.name, statistic, bound, counts, weights)
		}
	}
	if statistic, bound := chiSquare([]float64{50_700, 49_300}, []float64{1, 1}); statistic <= bound {
		t.Errorf("chi-square %.1f, below %.1f, would not notice a skewed draw", statistic, bound)
	}
}

func manyFlights(n int) string {
	var flights []string
	for i := range n {
		flights = append(flights, fmt.Sprintf("f%d pacing=asap sold_clicks=%d", i, 10+i))
	}
	return strings.Join(flights, " + ")
}

func manyWeights(n int) map[string]float64 {
	weights := make(map[string]float64)
	for i := range n {
		weights[fmt.Sprintf("f%d-ad", i)] = float64(10 + i)
	}
	return weights
}

// world compiles a row of the rules' language.
func world(t *testing.T, flights, request string) (*decision.Catalog, *decision.Request, int64) {
	t.Helper()
	c, err := conformance.Row(flights, "", request, "")
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := decision.Compile(c.Snapshot, c.Books(), catalog.DayOf(c.Request.Now))
	if err != nil {
		t.Fatal(err)
	}
	return compiled, c.Request.Decision(compiled), c.Request.Now.UnixMilli()
}

func TestClientHasHadEnough(t *testing.T) {
	c, r, now := world(t, "f advertiser=acme + g advertiser=bolt", "")
	decided := func() string {
		var s decision.Scratch
		var out decision.Outcome
		came := make(map[string]bool)
		for seed := range uint64(100) {
			c.Decide(r, &s, now, seed, &out)
			if out.Filled {
				came[out.Flight.Slug] = true
			}
		}
		text := fmt.Sprint(came)
		for _, refusal := range s.Refused() {
			text += fmt.Sprintf(" %s:%v", refusal.Flight.Slug, refusal.Reason)
		}
		return text
	}
	for _, row := range []struct {
		name          string
		capped, taken []uint32
		want          string
	}{
		{"nothing", nil, nil, "map[f:true g:true]"},
		{"flight 1 is capped", []uint32{1}, nil, "map[g:true] f:frequency_cap"},
		{"advertiser 2 is on the page", nil, []uint32{2}, "map[f:true] g:competing"},
		{"both", []uint32{1}, []uint32{2}, "map[] f:frequency_cap g:competing"},
		{"others", []uint32{9}, []uint32{9}, "map[f:true g:true]"},
	} {
		r.Capped, r.Taken = row.capped, row.taken
		if got := decided(); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
}

// A roadblock has a page for itself or is not on it.
func TestRoadblock(t *testing.T) {
	row, err := conformance.Row("f advertiser=acme + g advertiser=bolt", "", "", "")
	if err != nil {
		t.Fatal(err)
	}
	row.Snapshot.Flights[0].Roadblock = true
	c, err := decision.Compile(row.Snapshot, row.Books(), catalog.DayOf(noon))
	if err != nil {
		t.Fatal(err)
	}
	var s decision.Scratch
	var out decision.Outcome
	r := row.Request.Decision(c)
	for _, page := range []struct {
		name  string
		taken []uint32
		alone uint32
		want  string
	}{
		{"nothing is on the page", nil, 0, "f g"},
		{"the roadblock is", []uint32{1}, 1, "f"},
		{"another advertiser is", []uint32{9}, 0, "g"},
		{"a roadblock that is not in this catalog is", nil, 9, ""},
	} {
		r.Taken, r.Alone = page.taken, page.alone
		seen := map[string]bool{}
		for seed := range uint64(100) {
			if c.Decide(r, &s, noon.UnixMilli(), seed, &out); out.Filled {
				seen[out.Flight.Slug] = true
			}
		}
		if got := strings.Join(slices.Sorted(maps.Keys(seen)), " "); got != page.want {
			t.Errorf("%s: %q, want %q", page.name, got, page.want)
		}
	}
}

// TestDailyCapNeedsItsDay: a cap refuses on a day that Roll has not prepared,
// and holds again after Roll.
func TestDailyCapNeedsItsDay(t *testing.T) {
	row, err := conformance.Row("f daily_cap=10", "daily_cap=100", "", "")
	if err != nil {
		t.Fatal(err)
	}
	today := catalog.DayOf(noon)
	for d := today; d <= today+9; d++ {
		row.Accounts[lease.Of(lease.FlightDay, 1, int32(d))] = conformance.State{Left: 10_000_000}
		row.Accounts[lease.Of(lease.PublisherDay, 1, int32(d))] = conformance.State{Left: 100_000_000}
	}
	books := row.Books()
	c, err := decision.Compile(row.Snapshot, books, today)
	if err != nil {
		t.Fatal(err)
	}
	var s decision.Scratch
	var out decision.Outcome
	r := row.Request.Decision(c)
	decide := func(day catalog.Day) string {
		c.Decide(r, &s, day.StartMillis(), 1, &out)
		if out.Filled {
			return "ad"
		}
		return s.Refused()[0].Reason.String()
	}
	want := func(day catalog.Day, want string) {
		t.Helper()
		if got := decide(day); got != want {
			t.Errorf("day %d: %s, want %s", day-today, got, want)
		}
	}
	want(today, "ad")
	want(today+1, "ad")
	want(today+2, "publisher_daily_cap")
	c.Roll(books, today+2)
	want(today+1, "ad") // a request that was under way at midnight
	want(today+2, "ad")
	want(today+3, "ad")
	c.Roll(books, today+3)
	c.Roll(books, today+4)
	c.Roll(books, today+5)
	want(today+1, "publisher_daily_cap")
	want(today+5, "ad")
	if f := c.FlightByID(1); f.DayAccount(today+5) != books.Account(lease.Of(lease.FlightDay, 1, int32(today+5))) || f.DayAccount(today+8) != nil {
		t.Error("DayAccount is not the budget's account")
	}
}

func TestPublisherOfAnotherCatalog(t *testing.T) {
	old, r, now := world(t, "f", "")
	var s decision.Scratch
	var out decision.Outcome
	next, _, _ := world(t, manyFlights(200)+" + g", "")
	if next.Decide(r, &s, now, 1, &out); !out.Filled || next.FlightByID(out.Flight.ID) != out.Flight {
		t.Errorf("%+v", out)
	}
	old.Shape(r, &s, now)
	set := old.Candidates(&s)
	next.Shape(r, &s, now)
	if next.DecideAmong(set, r, &s, now, 1, &out); !out.Filled || next.FlightByID(out.Flight.ID) != out.Flight {
		t.Errorf("candidates of another catalog were used: %+v", out)
	}
	gone := *old.Publisher("pub").Publisher
	gone.Slug = "gone"
	r.Publisher.Publisher = &gone
	if next.Decide(r, &s, now, 1, &out); out.Filled || out.Reason != decision.NoCandidates {
		t.Errorf("a publisher that is gone: %+v", out)
	}
	r.Publisher = nil
	next.Shape(r, &s, now)
	if next.DecideAmong(next.Candidates(&s), r, &s, now, 1, &out); out.Filled || out.Reason != decision.NoCandidates {
		t.Errorf("no publisher: %+v", out)
	}
	if e := next.Explain(r, now); e.Reason != "no_candidates" {
		t.Errorf("no publisher explained as %s", e.Reason)
	}
}

// TestShape: what decides which flights could match is part of the shape, and
// nothing else.
func TestShape(t *testing.T) {
	c, _, now := world(t, "f include_keywords=go include_countries=US + g mobile_traffic=only days=monday include_domains=a.example + h include_metro_codes=5 include_state_provinces=NY", "")
	base := func() *decision.Request {
		return &decision.Request{Publisher: c.Publisher("pub"), Placements: []decision.Placement{{AdType: "image", Priority: 1}}, Country: [2]byte{'D', 'E'}}
	}
	var s decision.Scratch
	plain := c.Shape(base(), &s, now)
	for _, row := range []struct {
		name   string
		same   bool
		change func(r *decision.Request)
	}{
		{"nothing", true, func(*decision.Request) {}},
		{"a keyword that no flight asks for", true, func(r *decision.Request) { r.Keywords = []string{"java"} }},
		{"a keyword that a flight asks for", false, func(r *decision.Request) { r.Keywords = []string{"GO"} }},
		{"a country that no flight names", true, func(r *decision.Request) { r.Country = [2]byte{'F', 'R'} }},
		{"no country", true, func(r *decision.Request) { r.Country = [2]byte{} }},
		{"a country that a flight names", false, func(r *decision.Request) { r.Country = [2]byte{'U', 'S'} }},
		{"another host", true, func(r *decision.Request) { r.Host = "b.example" }},
		{"a host that a flight names", false, func(r *decision.Request) { r.Host = "A.example" }},
		{"a metro", true, func(r *decision.Request) { r.Metro = 6 }},
		{"a metro that a flight names", false, func(r *decision.Request) { r.Metro = 5 }},
		{"a state", true, func(r *decision.Request) { r.State = [3]byte{'T', 'X'} }},
		{"a state that a flight names", false, func(r *decision.Request) { r.State = [3]byte{'N', 'Y'} }},
		{"mobile", false, func(r *decision.Request) { r.Mobile = true }},
		{"a priority", false, func(r *decision.Request) { r.Placements[0].Priority = 2 }},
		{"priorities below one are one", true, func(r *decision.Request) { r.Placements[0].Priority = -4 }},
		{"another ad type", false, func(r *decision.Request) { r.Placements[0].AdType = "text" }},
		{"a second placement", false, func(r *decision.Request) { r.Placements = append(r.Placements, r.Placements[0]) }},
		{"a div id", true, func(r *decision.Request) { r.Placements[0].DivID = "other" }},
		{"campaign types", false, func(r *decision.Request) { r.CampaignTypes = decision.TypesOf(catalog.House) }},
		{"all campaign types", true, func(r *decision.Request) { r.CampaignTypes = decision.AllTypes }},
		{"another publisher", false, func(r *decision.Request) { r.Publisher = c.Publisher("other") }},
	} {
		r := base()
		row.change(r)
		if same := c.Shape(r, &s, now) == plain; same != row.same {
			t.Errorf("%s: same shape is %v", row.name, same)
		}
	}
	if c.Shape(base(), &s, now+catalog.MillisPerDay) == plain {
		t.Error("another day has the same shape, though a flight asks for days")
	}
	r := base()
	r.Keywords, r.Country = []string{"go"}, [2]byte{'U', 'S'}
	keyed := c.Shape(r, &s, now)
	set := c.Candidates(&s)
	r.Keywords = nil
	var out decision.Outcome
	c.Shape(r, &s, now)
	if c.DecideAmong(set, r, &s, now, 1, &out); out.Filled || keyed == plain || set.Len() != 1 {
		t.Errorf("%d candidates of another shape were used: %+v", set.Len(), out)
	}
	if empty := new(decision.Candidates); set.Cost() <= empty.Cost() || empty.Cost() <= 0 {
		t.Errorf("one candidate costs %d, none %d", set.Cost(), empty.Cost())
	}
}

// TestEmptyCatalogs: nothing to decide with is no ad, never a panic.
func TestEmptyCatalogs(t *testing.T) {
	publisher := catalog.Publisher{ID: 1, Slug: "p"}
	for name, s := range map[string]*catalog.Snapshot{
		"nothing":                {},
		"a publisher":            {Publishers: []catalog.Publisher{publisher}},
		"a topic without flight": {Publishers: []catalog.Publisher{publisher}, Topics: []catalog.Topic{{ID: 1, Slug: "t", Keywords: []string{"a"}}}},
		"a page":                 {Publishers: []catalog.Publisher{publisher}, Pages: []catalog.Page{{Publisher: 1, URL: "u", Keywords: []string{"a"}, Distances: map[string]float64{"x": 1}, Similarities: map[string]float64{"x": 1}}}},
		"an ad type":             {Publishers: []catalog.Publisher{publisher}, AdTypes: []catalog.AdType{{ID: 1, Slug: "image"}}},
		"a campaign of nothing": {
			Publishers: []catalog.Publisher{publisher}, Advertisers: []catalog.Advertiser{{ID: 1, Slug: "a"}},
			Campaigns: []catalog.Campaign{{ID: 1, Slug: "c", Advertiser: 1}},
		},
	} {
		c, err := decision.Compile(s, endless{}, 20516)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, r := range []decision.Request{
			{},
			{Publisher: c.Publisher("p")},
			{Publisher: c.Publisher("p"), Placements: []decision.Placement{{AdType: "image"}}, Keywords: []string{"a", "", strings.Repeat("x", 1<<16)}, URL: "u", Host: "h"},
			{Publisher: c.Publisher("p"), ForceAd: "x"},
			{Publisher: c.Publisher("p"), ForceCampaign: "c"},
			{Publisher: c.Publisher("p"), Country: [2]byte{'u', 's'}, Metro: -1, PlacementIndex: -1},
		} {
			var set decision.Scratch
			var out decision.Outcome
			for _, now := range []int64{0, 1 << 40, -1, math.MinInt64 / 2, math.MaxInt64 / 2} {
				c.Decide(&r, &set, now, 1, &out)
				if out.Filled || out.Reason == decision.None {
					t.Errorf("%s: %+v", name, out)
				}
				c.Shape(&r, &set, now)
				c.DecideAmong(c.Candidates(&set), &r, &set, now, 1, &out)
				c.Refusals(&r, &set, now, func(f *decision.Flight, _ decision.Reason) { t.Errorf("%s: refused %s", name, f.Slug) })
				c.Explain(&r, now)
			}
		}
	}
}

func TestCompileRefuses(t *testing.T) {
	_, err := decision.Compile(&catalog.Snapshot{Version: 3, Advertisers: []catalog.Advertiser{{}}}, endless{}, 0)
	if err == nil || err.Error() != "compile catalog 3: advertisers[0].id: 0 is not an id" {
		t.Error(err)
	}
}

// TestRoom: Left − InFlight × ρ ≥ unit × ρ.
func TestRoom(t *testing.T) {
	for _, row := range []struct {
		left, flying, unit int64
		rho                uint32
		want               bool
	}{
		{0, 0, 1, 0, false},
		{1, 0, 1, 0, true},
		{1, 1, 1, 0, false},
		{-1, 0, 0, 0, false},
		{0, 0, 0, 0, true},
		{1, 999, 1, 1000, true},
		{1, 1000, 1, 1000, false},
		{5, -3, 5, decision.Rate, true},
		{math.MaxInt64, math.MaxInt64 - 1, 1, decision.Rate, true},
		{math.MaxInt64 - 1, math.MaxInt64 - 1, 1, decision.Rate, false},
		{1 << 41, 0, 1 << 41, decision.Rate, true},
		{1 << 41, 0, 1<<41 + 1, decision.Rate, false},
		{1 << 41, 0, 1<<41 + 1, decision.Rate - 1, true},
		{2_000_000, 0, 2_000_000, 0, true},
		{1_999_999, 0, 2_000_000, 0, false},
		{1_999_999, 0, 2_000_000, 999_999, true},
	} {
		var a decision.Account
		a.Left.Store(row.left)
		a.InFlight.Store(row.flying)
		a.Rho.Store(row.rho)
		if got := a.Room(row.unit); got != row.want {
			t.Errorf("%+v: %v", row, got)
		}
	}
}

func TestReasons(t *testing.T) {
	var names []string
	for r := decision.Reason(0); int(r) < decision.Reasons; r++ {
		name := r.String()
		back, err := decision.ParseReason(name)
		if err != nil || back != r || name == "" || slices.Contains(names, name) {
			t.Errorf("%d is %q and back %v, %v", r, name, back, err)
		}
		names = append(names, name)
	}
	if decision.Reason(200).String() != "reason 200" {
		t.Error(decision.Reason(200))
	}
	if _, err := decision.ParseReason(""); err == nil {
		t.Error("an empty name is a reason")
	}
}

// TestEveryReasonHasARow: the rules say of each reason when it applies.
func TestEveryReasonHasARow(t *testing.T) {
	cases, err := conformance.Cases()
	if err != nil {
		t.Fatal(err)
	}
	shown := map[decision.Reason]bool{decision.None: true, decision.NoCandidates: true, decision.NoneEligible: true, decision.FrequencyCap: true, decision.Competing: true}
	for _, c := range cases {
		shown[c.Want.Reason] = true
		for _, reason := range c.Want.Refused {
			shown[reason] = true
		}
	}
	for r := decision.Reason(0); int(r) < decision.Reasons; r++ {
		if !shown[r] {
			t.Errorf("no row shows %v", r)
		}
	}
}

// TestExplanation reads as people and programs see it.
func TestExplanation(t *testing.T) {
	row, err := conformance.Row(
		"f include_countries=CA,MX + g ads=a:image,b:image:off pacing=asap delivered_clicks=10 left_clicks=7 flying_clicks=2 rate_clicks=1000 + h type=house", "default_keywords=Go", "keywords=html", "")
	if err != nil {
		t.Fatal(err)
	}
	c, err := decision.Compile(row.Snapshot, row.Books(), catalog.DayOf(noon))
	if err != nil {
		t.Fatal(err)
	}
	e := c.Explain(row.Request.Decision(c), noon.UnixMilli())
	text, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/explanation.json", string(text)+"\n")
	if e := c.Explain(row.Request.Decision(c), noon.UnixMilli(), "h"); len(e.Flights) != 1 || e.Flights[0].Flight != "h" {
		t.Errorf("asked for h alone: %+v", e.Flights)
	}
}
