package serve

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"nearside/sync/catalog"
)

// market is the sample with more advertisers: "bolt" and "cord" sell what
// "acme" does; "bolt-2" is a second flight of bolt's.
func market() *catalog.Snapshot {
	s := sample()
	for i, advertiser := range []string{"bolt", "cord"} {
		id := uint32(i + 2)
		s.Advertisers = append(s.Advertisers, catalog.Advertiser{ID: id, Slug: advertiser, Name: advertiser})
		s.Campaigns = append(s.Campaigns, catalog.Campaign{ID: id + 1, Slug: advertiser + "-campaign", Advertiser: id, Type: catalog.Paid, PublisherGroups: []uint32{1}})
	}
	add := func(slug string, campaign uint32) {
		f := s.Flights[0]
		f.ID, f.Slug, f.Name, f.Campaign = uint32(len(s.Flights)+1), slug, slug, campaign
		s.Flights = append(s.Flights, f)
		a := s.Ads[0]
		a.ID, a.Slug, a.Name, a.Flight, a.AdTypes = f.ID+100, "ad-"+slug, slug, f.ID, []uint32{1, 2}
		s.Ads = append(s.Ads, a)
	}
	add("bolt", 3)
	add("bolt-2", 3)
	add("cord", 4)
	return s
}

// decisions are the flights offered, by div id: "a:bolt b:views" and the like.
func decisions(t testing.TB, r response) (page map[string][]string, flights []string) {
	t.Helper()
	if r.status != 200 || r.header.Get("Content-Type") != "application/json" || r.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Fatalf("%d %v %s", r.status, r.header, r.body)
	}
	var body struct {
		Decisions map[string][]struct {
			ID    string
			DivID string `json:"div_id"`
			View  string `json:"view_url"`
		}
	}
	if err := json.Unmarshal([]byte(r.body), &body); err != nil {
		t.Fatalf("%s: %v", r.body, err)
	}
	page = map[string][]string{}
	for div, offers := range body.Decisions {
		page[div] = []string{}
		for _, o := range offers {
			if o.DivID != div || o.View == "" {
				t.Errorf("%s in %s: %+v", o.ID, div, o)
			}
			page[div] = append(page[div], strings.TrimPrefix(o.ID, "ad-"))
			flights = append(flights, strings.TrimPrefix(o.ID, "ad-"))
		}
	}
	slices.Sort(flights)
	return page, flights
}

const slot = `{"div_id":"%s","ad_type":"%s"}`

func slots(divs ...string) string {
	var list []string
	for _, d := range divs {
		list = append(list, fmt.Sprintf(slot, d, "image-v1"))
	}
	return `"placements":[` + strings.Join(list, ",") + `]`
}

// Every slot of a page is answered; no advertiser is on it twice.
func TestNativePage(t *testing.T) {
	w := newWorld(t)
	w.apply(market())
	for _, tt := range []struct {
		name, body string
		filled     map[string]int // offers by div id
	}{
		{"one slot", `{"publisher":"open",` + slots("a") + `}`, map[string]int{"a": 1}},
		{"three slots, three advertisers", `{"publisher":"open",` + slots("a", "b", "c") + `}`, map[string]int{"a": 1, "b": 1, "c": 1}},
		{"five slots, three advertisers", `{"publisher":"open",` + slots("a", "b", "c", "d", "e") + `}`, map[string]int{"a": 1, "b": 1, "c": 1, "d": 0, "e": 0}},
		{"several offers for one slot", `{"publisher":"open","placements":[{"div_id":"a","ad_type":"image-v1","count":5},{"div_id":"b","ad_type":"image-v1"}]}`, map[string]int{"a": 3, "b": 0}},
		{"alternatives for one slot", `{"publisher":"open","placements":[{"div_id":"a","ad_type":"text-v1"},{"div_id":"b","ad_type":"image-v1"},{"div_id":"a","ad_type":"image-v1"}]}`, map[string]int{"a": 1, "b": 1}},
		{"unknown ad type", `{"publisher":"open","placements":[{"div_id":"a","ad_type":"hologram"}]}`, map[string]int{"a": 0}},
		{"a div id that needs escapes", `{"publisher":"open",` + slots(`\"<é`) + `}`, map[string]int{`"<é`: 1}},
		{"nothing of the type wanted", `{"publisher":"open","campaign_types":["community"],` + slots("a", "b") + `}`, map[string]int{"a": 0, "b": 0}},
		{"a later page of a publisher without many placements", `{"publisher":"open","placement_index":1,` + slots("a") + `}`, map[string]int{"a": 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for range 20 {
				page, flights := decisions(t, w.do("POST", nativePath, tt.body))
				for div, n := range tt.filled {
					if offers, ok := page[div]; !ok || len(offers) != n {
						t.Fatalf("%s: %v, want %d offers", div, page, n)
					}
				}
				if len(page) != len(tt.filled) {
					t.Fatalf("slots %v", page)
				}
				advertisers := map[string]bool{}
				for _, f := range flights {
					name, _, _ := strings.Cut(f, "-")
					if f == "house" {
						name = "views" // both acme's
					}
					if advertisers[name] {
						t.Fatalf("%s twice: %v", name, page)
					}
					advertisers[name] = true
				}
			}
		})
	}
}

// Every offer of a page can be viewed, clicked and billed by itself.
func TestNativeOffersCount(t *testing.T) {
	w := newWorld(t)
	w.apply(market())
	r := w.do("POST", nativePath, `{"publisher":"open",`+slots("a", "b", "c")+`}`)
	var body struct{ Decisions map[string][]map[string]any }
	if err := json.Unmarshal([]byte(r.body), &body); err != nil {
		t.Fatal(err)
	}
	for div, offers := range body.Decisions {
		if got := w.get(path(offers[0], "view_url")).reason(); got != "Billed view" {
			t.Errorf("%s: %s", div, got)
		}
		if got := w.get(path(offers[0], "link")).reason(); got != "Billed click" {
			t.Errorf("%s: %s", div, got)
		}
	}
	if got := fmt.Sprint(len(w.tally.decisions)); got != "3" {
		t.Errorf("decisions %v, want one for each slot", w.tally.decisions)
	}
}

// A roadblock takes all slots that it has ads for, or none.
func TestNativeRoadblock(t *testing.T) {
	w := newWorld(t)
	s := market()
	s.Flights[6].Roadblock = true // "bolt"
	w.apply(s)
	came := map[string]int{}
	for range 200 {
		page, flights := decisions(t, w.do("POST", nativePath, `{"publisher":"open",`+slots("a", "b", "c")+`}`))
		switch n := len(slices.DeleteFunc(slices.Clone(flights), func(f string) bool { return f != "bolt" })); n {
		case 0:
			came["others"]++
		case 3:
			came["roadblock"]++
		default:
			t.Fatalf("a roadblock of %d slots: %v", n, page)
		}
	}
	if came["others"] == 0 || came["roadblock"] == 0 {
		t.Errorf("came %v", came)
	}
	s.Ads[6].AdTypes = []uint32{2} // what it cannot fill, others may
	w.apply(s)
	for range 200 {
		page, _ := decisions(t, w.do("POST", nativePath, `{"publisher":"open","placements":[`+fmt.Sprintf(slot, "a", "text-v1")+`,`+fmt.Sprintf(slot, "b", "image-v1")+`]}`))
		if len(page["a"]) == 1 && page["a"][0] == "bolt" {
			if len(page["b"]) != 1 || page["b"][0] == "bolt-2" {
				t.Fatalf("beside the roadblock: %v", page)
			}
		}
	}
}

// A flight that a client has seen often enough leaves the page to others, also
// within one call.
func TestNativeFrequencyCap(t *testing.T) {
	w := newWorld(t)
	s := market()
	for i := range s.Flights {
		s.Flights[i].FrequencyCap, s.Flights[i].FrequencyWindow = 1, 3600
	}
	s.Flights[6].Roadblock = true // "bolt" may have several slots, but for its cap
	w.apply(s)
	seen := map[string]int{}
	for range 10 {
		_, flights := decisions(t, w.do("POST", nativePath, `{"publisher":"open",`+slots("a", "b", "c")+`}`))
		for _, f := range flights {
			if seen[f]++; seen[f] > 1 {
				t.Fatalf("%s comes again: %v", f, seen)
			}
		}
	}
	if len(seen) < 4 {
		t.Errorf("seen %v", seen)
	}
	if _, flights := decisions(t, w.do("POST", nativePath, `{"publisher":"open",`+slots("a", "b", "c")+`}`, "Sec-GPC", "1")); len(flights) == 0 {
		t.Error("who asks not to be tracked is counted")
	}
}

func TestNativeRefuses(t *testing.T) {
	w := newWorld(t)
	const good = `{"publisher":"open",` + `"placements":[{"div_id":"a","ad_type":"image-v1"}]}`
	with := func(more string) string {
		return `{"publisher":"open","placements":[{"div_id":"a","ad_type":"image-v1"}],` + more + `}`
	}
	token := func(t string) []string { return []string{"Authorization", t} }
	var many []string
	for i := range 21 {
		many = append(many, fmt.Sprint("d", i))
	}
	for _, tt := range []struct {
		name, body string
		headers    []string
		status     int
		places     string // of the errors, joined with spaces
	}{
		{"a good one", good, nil, 200, ""},
		{"no body", ``, nil, 422, "body.placements body.publisher"},
		{"no JSON", `{"publisher"`, nil, 400, ""},
		{"two values", good + good, nil, 400, ""},
		{"a list", `[1]`, nil, 422, "body"},
		{"not UTF-8", "{\"publisher\":\"\xff\"}", nil, 400, ""},
		{"another type", good, []string{"Content-Type", "text/plain"}, 415, ""},
		{"no publisher", `{` + slots("a") + `}`, nil, 422, "body.publisher"},
		{"unknown publisher", `{"publisher":"nobody",` + slots("a") + `}`, nil, 422, "body.publisher"},
		{"disabled publisher", `{"publisher":"gone",` + slots("a") + `}`, nil, 422, "body.publisher"},
		{"no placements", `{"publisher":"open"}`, nil, 422, "body.placements"},
		{"an empty list", `{"publisher":"open","placements":[]}`, nil, 422, "body.placements"},
		{"placements is no list", `{"publisher":"open","placements":"a"}`, nil, 422, "body.placements"},
		{"a placement without a type", `{"publisher":"open","placements":[{"div_id":"a","ad_type":"x"},{"div_id":"b"}]}`, nil, 422, "body.placements[1].ad_type"},
		{"a placement that is a number", `{"publisher":"open","placements":[7]}`, nil, 422, "body.placements[0]"},
		{"a priority out of bounds", `{"publisher":"open","placements":[{"div_id":"a","ad_type":"x","priority":11}]}`, nil, 422, "body.placements[0].priority"},
		{"a count out of bounds", `{"publisher":"open","placements":[{"div_id":"a","ad_type":"x","count":6}]}`, nil, 422, "body.placements[0].count"},
		{"a count that is a word", `{"publisher":"open","placements":[{"div_id":"a","ad_type":"x","count":true}]}`, nil, 422, "body.placements[0].count"},
		{"too many slots", `{"publisher":"open",` + slots(many...) + `}`, nil, 422, "body.placements"},
		{"too many placements", `{"publisher":"open",` + slots(slices.Repeat([]string{"a"}, 101)...) + `}`, nil, 422, "body.placements"},
		{"too many keywords", with(`"keywords":[` + strings.TrimSuffix(strings.Repeat(`"k",`, 101), ",") + `]`), nil, 422, "body.keywords"},
		{"a keyword that is a list", with(`"keywords":["a",[]]`), nil, 422, "body.keywords[1]"},
		{"a campaign type that is none", with(`"campaign_types":["charity"]`), nil, 422, "body.campaign_types"},
		{"an address that is none", with(`"user_ip":"999.1.1.1"`), nil, 422, "body.user_ip"},
		{"a URL that is none", with(`"url":"x"`), nil, 422, "body.url"},
		{"several", with(`"url":"x","rotations":0,"placement_index":1000`), nil, 422, "body.url body.placement_index body.rotations"},
		{"a token that is none", good, token("Bearer nonsense"), 401, ""},
		{"a token that is none, the other word", good, token("Token nonsense"), 401, ""},
		{"a header without a token", good, token("bearer "), 401, ""},
		{"a publisher that wants a token", strings.Replace(good, "open", "closed", 1), nil, 401, ""},
		{"its token", strings.Replace(good, "open", "closed", 1), token("Bearer closed-token"), 200, ""},
		{"its token, the other word", strings.Replace(good, "open", "closed", 1), token("Token closed-token"), 200, ""},
		{"another's token", strings.Replace(good, "open", "closed", 1), token("Bearer other-token"), 403, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := w.do("POST", nativePath, tt.body, tt.headers...)
			if r.status != tt.status {
				t.Fatalf("%d %s", r.status, r.body)
			}
			if r.header.Get("Access-Control-Allow-Origin") != "*" || r.header.Get("Cache-Control") != "no-store" {
				t.Errorf("headers %v", r.header)
			}
			if r.status == 200 {
				return
			}
			if got := places(t, r); got != tt.places {
				t.Errorf("%q, want %q: %s", got, tt.places, r.body)
			}
			if (r.status == 401) != (r.header.Get("WWW-Authenticate") == "Bearer") {
				t.Errorf("headers %v", r.header)
			}
		})
	}
}

// places are where a problem document says that something is wrong.
func places(t testing.TB, r response) string {
	t.Helper()
	var p struct {
		Title, Detail string
		Status        int
		Errors        []struct{ Message, Location string }
	}
	if err := json.Unmarshal([]byte(r.body), &p); err != nil || r.header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("%s %s: %v", r.header.Get("Content-Type"), r.body, err)
	}
	if p.Status != r.status || p.Title == "" || p.Detail == "" {
		t.Errorf("%s", r.body)
	}
	var list []string
	for _, e := range p.Errors {
		if e.Message == "" {
			t.Errorf("%s says nothing", e.Location)
		}
		list = append(list, e.Location)
	}
	return strings.Join(list, " ")
}

func TestNativeMethods(t *testing.T) {
	w := newWorld(t)
	for _, p := range []string{nativePath, explainPath} {
		r := w.do("OPTIONS", p, "", "Origin", "https://docs.example.com", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type")
		if r.status != 204 || r.header.Get("Access-Control-Allow-Origin") != "*" || r.header.Get("Access-Control-Allow-Methods") != allowNative ||
			r.header.Get("Access-Control-Allow-Headers") != "Authorization, Content-Type" || r.body != "" {
			t.Errorf("%s: %d %v %s", p, r.status, r.header, r.body)
		}
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			if r := w.do(method, p, ""); r.status != 405 || r.header.Get("Allow") != allowNative || places(t, r) != "" {
				t.Errorf("%s %s: %d %s", method, p, r.status, r.body)
			}
		}
	}
	w.server.loaded.Store(nil)
	if r := w.do("POST", nativePath, `{}`); r.status != 503 || r.header.Get("Retry-After") == "" || places(t, r) != "" {
		t.Errorf("without a catalog: %d %s", r.status, r.body)
	}
}

func explainer(c *Config) {
	c.OperatorTokens = [][32]byte{sha256.Sum256([]byte("operator-token"))}
}

type explained struct {
	CatalogVersion uint64 `json:"catalog_version"`
	Reason, Tier   string
	Country        string
	LeftOff        int `json:"left_off"`
	Flights        []struct {
		Flight, Reason, Wanted, Found string
		Probability                   float64
		Accounts                      []struct{ Budget, Unit string }
	}
}

func explanationOf(t testing.TB, r response) (e explained, reasons map[string]string) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.body), &e); err != nil || r.status != 200 {
		t.Fatalf("%d %s: %v", r.status, r.body, err)
	}
	reasons = map[string]string{}
	for _, f := range e.Flights {
		reasons[f.Flight] = f.Reason
	}
	return e, reasons
}

// An explanation says for every flight what became of it, and changes nothing.
func TestExplain(t *testing.T) {
	w := newWorld(t, explainer)
	before := fmt.Sprint(w.judge.seq.Load(), w.server.stats.Answers[Filled].Load(), w.tally.decisions, w.tally.refusals)
	body := `{"publisher":"open","keywords":["docker"],` + slots("a") + `}`
	e, reasons := explanationOf(t, w.do("POST", explainPath, body, "Authorization", "Bearer operator-token"))
	want := map[string]string{"views": "none", "docker": "ad_type", "dutch": "ad_type", "domain": "ad_type", "house": "lower_tier", "stopped": "not_live"}
	if fmt.Sprint(reasons) != fmt.Sprint(want) || e.CatalogVersion != 7 || e.Tier != "paid" || e.Country != "US" || e.Reason != "none" {
		t.Errorf("%+v", e)
	}
	if f := e.Flights[0]; f.Probability != 1 || len(f.Accounts) != 2 || f.Accounts[0].Budget != "views" || f.Accounts[0].Unit != "events" {
		t.Errorf("%+v", f)
	}
	if after := fmt.Sprint(w.judge.seq.Load(), w.server.stats.Answers[Filled].Load(), w.tally.decisions, w.tally.refusals); after != before {
		t.Errorf("something changed: %s, before %s", after, before)
	}
	_, reasons = explanationOf(t, w.do("POST", explainPath+"?flight=dutch&flight=views&flight=nothing", `{"publisher":"open","user_ip":"`+dutch+`","placements":[{"div_id":"a","ad_type":"text-v1"}]}`, "Authorization", "Token operator-token"))
	if fmt.Sprint(reasons) != "map[dutch:none views:ad_type]" {
		t.Errorf("%v", reasons)
	}
}

func TestExplainRefuses(t *testing.T) {
	w := newWorld(t, explainer)
	of := func(publisher string) string { return `{"publisher":"` + publisher + `",` + slots("a") + `}` }
	for _, tt := range []struct {
		name, body, token string
		status            int
		places            string
	}{
		{"no token", of("open"), "", 401, ""},
		{"a token that is none", of("open"), "Bearer nonsense", 401, ""},
		{"a publisher's of its own", of("closed"), "Bearer closed-token", 200, ""},
		{"a publisher's of another", of("open"), "Bearer closed-token", 403, ""},
		{"an operator's", of("closed"), "Bearer operator-token", 200, ""},
		{"something wrong", of("nobody"), "Bearer operator-token", 422, "body.publisher"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var headers []string
			if tt.token != "" {
				headers = []string{"Authorization", tt.token}
			}
			r := w.do("POST", explainPath, tt.body, headers...)
			if r.status != tt.status {
				t.Fatalf("%d %s", r.status, r.body)
			}
			if r.status != 200 && places(t, r) != tt.places {
				t.Errorf("%s", r.body)
			}
		})
	}
	query := explainPath + "?" + strings.Repeat("flight=a&", maxAsked+1)
	if r := w.do("POST", query, of("closed"), "Authorization", "Bearer operator-token"); r.status != 422 || places(t, r) != "query.flight" {
		t.Errorf("too many flights: %d %s", r.status, r.body)
	}
	// An operator's token is no way to ask for ads.
	if r := w.do("POST", nativePath, of("closed"), "Authorization", "Bearer operator-token"); r.status != 403 {
		t.Errorf("an ad for an operator: %d %s", r.status, r.body)
	}
}

// A publisher learns nothing of campaigns that are not meant for it.
func TestExplainToPublishers(t *testing.T) {
	w := newWorld(t, explainer)
	s := market()
	s.Groups = append(s.Groups, catalog.Group{ID: 2, Slug: "others", Name: "Others"})
	s.Campaigns[2].PublisherGroups = []uint32{2}   // bolt's
	s.Campaigns[3].ExcludePublishers = []uint32{2} // cord's excludes "closed"
	w.apply(s)
	body := `{"publisher":"closed",` + slots("a") + `}`
	_, all := explanationOf(t, w.do("POST", explainPath, body, "Authorization", "Bearer operator-token"))
	_, theirs := explanationOf(t, w.do("POST", explainPath, body, "Authorization", "Bearer closed-token"))
	if len(all) != 9 || all["bolt"] != "publisher_group" || all["cord"] != "campaign_excludes_publisher" {
		t.Errorf("an operator sees %v", all)
	}
	if len(theirs) != 6 || theirs["bolt"]+theirs["bolt-2"]+theirs["cord"] != "" {
		t.Errorf("a publisher sees %v", theirs)
	}
}

func TestExplainIsLimited(t *testing.T) {
	w := newWorld(t, explainer)
	ask := func(token string) int {
		return w.do("POST", explainPath, `{"publisher":"closed",`+slots("a")+`}`, "Authorization", token).status
	}
	for i := range 10 {
		if status := ask("Bearer closed-token"); status != 200 {
			t.Fatalf("%d at call %d", status, i+1)
		}
	}
	if status := ask("Bearer closed-token"); status != 429 {
		t.Errorf("%d, want 429", status)
	}
	if status := ask("Bearer operator-token"); status != 200 {
		t.Errorf("another token: %d", status)
	}
	w.clock.Add(10_000)
	if status := ask("Bearer closed-token"); status != 200 {
		t.Errorf("later: %d", status)
	}
	w.server.explaining.Lock()
	if status := ask("Bearer operator-token"); status != 429 {
		t.Errorf("two at a time: %d", status)
	}
	w.server.explaining.Unlock()
}

// A catalog with more flights than fit is cut, what may be offered kept.
func TestExplainIsBounded(t *testing.T) {
	w := newWorld(t, explainer)
	s := sample()
	for i := range maxLines {
		f := s.Flights[1]
		f.ID, f.Slug = uint32(1000+i), fmt.Sprint("more-", i)
		s.Flights = append(s.Flights, f)
	}
	last := s.Flights[0]
	last.ID, last.Slug = 5000, "last"
	s.Flights = append(s.Flights, last)
	ad := s.Ads[0]
	ad.ID, ad.Slug, ad.Flight = 5000, "ad-last", 5000
	s.Ads = append(s.Ads, ad)
	w.apply(s)
	e, reasons := explanationOf(t, w.do("POST", explainPath, `{"publisher":"open",`+slots("a")+`}`, "Authorization", "Bearer operator-token"))
	if len(e.Flights) != maxLines || e.LeftOff != 7 || reasons["last"] != "none" || reasons["views"] != "none" {
		t.Errorf("%d flights, %d left off, %q %q", len(e.Flights), e.LeftOff, reasons["last"], reasons["views"])
	}
}

func FuzzNative(f *testing.F) {
	for _, s := range []string{
		`{"publisher":"open","placements":[{"div_id":"a","ad_type":"image-v1","priority":1,"count":3},{"div_id":"b","ad_type":"text-v1"}],"keywords":["a"],"campaign_types":["paid"],"url":"https://e.com/","user_ip":"1.1.1.1","user_ua":"x"}`,
		`{"publisher":"open","placements":[{"div_id":"a\u0000","ad_type":"image-v1"}]}`, `{"placements":[[],{},1,null,{"div_id":[],"count":[]}],"publisher":{}}`,
		`[]`, `null`, `{`, `{"keywords":[null,1,true,"\ud800"]}`, "\xff", ``, `{"placements":{"a":1},"url":1e999}`,
		`{"publisher":"open","placements":[{"div_id":"</script>\"\\","ad_type":"image-v1","count":5}]}`,
	} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	w := newFuzzWorld(f)
	w.Operators([][32]byte{sha256.Sum256([]byte("operator-token"))})
	f.Fuzz(func(t *testing.T, body []byte, explain bool) {
		w.explains = newLimiter(nil)
		ctx := &fasthttp.RequestCtx{}
		ctx.Request.Header.SetMethod("POST")
		ctx.Request.SetRequestURI(nativePath)
		if explain {
			ctx.Request.SetRequestURI(explainPath)
			ctx.Request.Header.Set("Authorization", "Bearer operator-token")
		}
		ctx.Request.Header.SetHost("x.example")
		ctx.Request.Header.SetContentType("application/json")
		ctx.Request.SetBody(body)
		w.Handle(ctx)
		got := response{status: ctx.Response.StatusCode(), body: string(ctx.Response.Body()), header: http.Header{"Content-Type": {string(ctx.Response.Header.ContentType())}}}
		switch got.status {
		case 200:
			if !json.Valid([]byte(got.body)) {
				t.Errorf("%s", got.body)
			}
		case 400, 422:
			if places := places(t, got); got.status == 422 && places == "" {
				t.Errorf("no field is named: %s", got.body)
			}
		case 401:
			if explain {
				t.Errorf("%s", got.body)
			}
		default:
			t.Errorf("%d %s", got.status, got.body)
		}
		if w.stats.Panics.Load() > 0 {
			t.Fatal("panic")
		}
	})
}
