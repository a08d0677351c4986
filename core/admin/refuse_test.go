package admin_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestRefuses sends what is wrong and finds the field named. Each body is
// merged into one that is right.
func TestRefuses(t *testing.T) {
	w := open(t)
	w.sample()
	right := map[string]string{}
	for _, k := range kinds {
		right[k.path] = k.least
	}
	long := strings.Repeat("x", 201)
	for _, c := range []struct{ kind, wrong, names string }{
		// every kind: slug and name
		{"advertisers", `{"slug":null}`, "slug"},
		{"advertisers", `{"slug":""}`, "slug"},
		{"advertisers", `{"slug":"a b"}`, "slug"},
		{"advertisers", `{"slug":"a/b"}`, "slug"},
		{"advertisers", `{"slug":"é"}`, "slug"},
		{"advertisers", `{"slug":"` + long + `"}`, "slug"},
		{"advertisers", `{"slug":7}`, "slug"},
		{"advertisers", `{"name":null}`, "name"},
		{"advertisers", `{"name":""}`, "name"},
		{"advertisers", `{"name":"` + long + `"}`, "name"},
		{"advertisers", `{"name":["x"]}`, "name"},
		{"advertisers", `{"name":"a\u0000b"}`, "name"},
		{"advertisers", `{"name":"a\u001bb"}`, "name"},
		{"advertisers", `{"colour":"blue"}`, "colour"},
		{"advertisers", `{"Name":"X"}`, "Name"},
		{"advertisers", `{"id":1}`, "id"},
		// publishers
		{"publishers", `{"groups":["none"]}`, "groups[0]"},
		{"publishers", `{"groups":["docs","none"]}`, "groups[1]"},
		{"publishers", `{"groups":"docs"}`, "groups"},
		{"publishers", `{"disabled":"yes"}`, "disabled"},
		{"publishers", `{"disabled":1}`, "disabled"},
		{"publishers", `{"daily_cap_micros":-1}`, "daily_cap_micros"},
		{"publishers", `{"daily_cap_micros":1.5}`, "daily_cap_micros"},
		{"publishers", `{"daily_cap_micros":1e16}`, "daily_cap_micros"},
		{"publishers", `{"daily_cap_micros":"5"}`, "daily_cap_micros"},
		{"publishers", `{"cache_ads_duration_seconds":-1}`, "cache_ads_duration_seconds"},
		{"publishers", `{"revenue_share_percentage":100.5}`, "revenue_share_percentage"},
		{"publishers", `{"default_keywords":["go",""]}`, "default_keywords[1]"},
		{"publishers", `{"default_keywords":["go",3]}`, "default_keywords[1]"},
		// ad types
		{"ad-types", `{"has_image":false,"has_text":false}`, "has_text"},
		{"ad-types", `{"template":"{{.Headline"}`, "template"},
		{"ad-types", `{"max_text_length":-1}`, "max_text_length"},
		// topics, geo regions
		{"topics", `{"keywords":[" "]}`, "keywords[0]"},
		{"topics", `{"keywords":["` + long + `"]}`, "keywords[0]"},
		{"geo-regions", `{"countries":["NL","nl"]}`, "countries[1]"},
		{"geo-regions", `{"countries":["XX"]}`, "countries[0]"},
		{"geo-regions", `{"countries":["NLD"]}`, "countries[0]"},
		// campaigns
		{"campaigns", `{"advertiser":"none"}`, "advertiser"},
		{"campaigns", `{"advertiser":null}`, "advertiser"},
		{"campaigns", `{"campaign_type":"PAID"}`, "campaign_type"},
		{"campaigns", `{"campaign_type":"publisher_house"}`, "campaign_type"},
		{"campaigns", `{"publisher_groups":["docs","none"]}`, "publisher_groups[1]"},
		{"campaigns", `{"exclude_publishers":["none"]}`, "exclude_publishers[0]"},
		// flights: money and amounts
		{"flights", `{"campaign":"none"}`, "campaign"},
		{"flights", `{"cpm_micros":1500}`, "cpm_micros"},
		{"flights", `{"cpm_micros":-1000}`, "cpm_micros"},
		{"flights", `{"cpm_micros":2000.5}`, "cpm_micros"},
		{"flights", `{"cpm_micros":1000000001000}`, "cpm_micros"},
		{"flights", `{"cpc_micros":-1}`, "cpc_micros"},
		{"flights", `{"sold_views":-1}`, "sold_views"},
		{"flights", `{"sold_views":1e300}`, "sold_views"},
		{"flights", `{"sold_clicks":true}`, "sold_clicks"},
		{"flights", `{"daily_cap_micros":-1}`, "daily_cap_micros"},
		{"flights", `{"cpc":2}`, "cpc"},
		// flights: dates
		{"flights", `{"start_date":null}`, "start_date"},
		{"flights", `{"start_date":"2025-02-30"}`, "start_date"},
		{"flights", `{"start_date":"01.09.2025"}`, "start_date"},
		{"flights", `{"start_date":"1999-12-31"}`, "start_date"},
		{"flights", `{"end_date":"2200-01-01"}`, "end_date"},
		{"flights", `{"end_date":"2025-08-31"}`, "end_date"},
		{"flights", `{"end_date":"2025-09-01T00:00:00Z"}`, "end_date"},
		// flights: how
		{"flights", `{"pacing":"fast"}`, "pacing"},
		{"flights", `{"pacing_interval_seconds":0}`, "pacing_interval_seconds"},
		{"flights", `{"priority_multiplier":0}`, "priority_multiplier"},
		{"flights", `{"priority_multiplier":1000001}`, "priority_multiplier"},
		{"flights", `{"frequency_cap":-1}`, "frequency_cap"},
		{"flights", `{"frequency_cap":1001}`, "frequency_cap"},
		{"flights", `{"frequency_window_seconds":59}`, "frequency_window_seconds"},
		{"flights", `{"roadblock":1}`, "roadblock"},
		{"flights", `{"state":5}`, "state"},
		// flights: targeting
		{"flights", `{"targeting":[]}`, "targeting"},
		{"flights", `{"targeting":{"countries":["NL"]}}`, "targeting.countries"},
		{"flights", `{"targeting":{"Include_Countries":["NL"]}}`, "targeting.Include_Countries"},
		{"flights", `{"targeting":{"include_countries":"NL"}}`, "targeting.include_countries"},
		{"flights", `{"targeting":{"include_countries":["NL","de"]}}`, "targeting.include_countries[1]"},
		{"flights", `{"targeting":{"exclude_countries":["UK"]}}`, "targeting.exclude_countries[0]"},
		{"flights", `{"targeting":{"include_state_provinces":["California"]}}`, "targeting.include_state_provinces[0]"},
		{"flights", `{"targeting":{"include_metro_codes":[0]}}`, "targeting.include_metro_codes[0]"},
		{"flights", `{"targeting":{"include_metro_codes":["501"]}}`, "targeting.include_metro_codes[0]"},
		{"flights", `{"targeting":{"include_regions":["mars"]}}`, "targeting.include_regions[0]"},
		{"flights", `{"targeting":{"exclude_regions":["benelux","mars"]}}`, "targeting.exclude_regions[1]"},
		{"flights", `{"targeting":{"include_topics":["knitting"]}}`, "targeting.include_topics[0]"},
		{"flights", `{"targeting":{"include_keywords":[""]}}`, "targeting.include_keywords[0]"},
		{"flights", `{"targeting":{"include_publishers":["none"]}}`, "targeting.include_publishers[0]"},
		{"flights", `{"targeting":{"exclude_publishers":["none"]}}`, "targeting.exclude_publishers[0]"},
		{"flights", `{"targeting":{"mobile_traffic":"include"}}`, "targeting.mobile_traffic"},
		{"flights", `{"targeting":{"days":["Monday"]}}`, "targeting.days[0]"},
		{"flights", `{"targeting":{"days":["monday","montag"]}}`, "targeting.days[1]"},
		{"flights", `{"targeting":{"niche_targeting":1}}`, "targeting.niche_targeting"},
		{"flights", `{"targeting":{"niche_targeting":-0.1}}`, "targeting.niche_targeting"},
		// flights: traffic caps
		{"flights", `{"traffic_cap":{"countries":{"nl":0.5}}}`, "traffic_cap.countries"},
		{"flights", `{"traffic_cap":{"countries":{"NL":1.5}}}`, "traffic_cap.countries.NL"},
		{"flights", `{"traffic_cap":{"countries":{"NL":"half"}}}`, "traffic_cap.countries.NL"},
		{"flights", `{"traffic_cap":{"regions":{"mars":0.5}}}`, "traffic_cap.regions"},
		{"flights", `{"traffic_cap":{"publishers":{"none":0.5}}}`, "traffic_cap.publishers"},
		{"flights", `{"traffic_cap":{"publishers":{"site":-0.5}}}`, "traffic_cap.publishers.site"},
		{"flights", `{"traffic_cap":{"planets":{"mars":0.5}}}`, "traffic_cap.planets"},
		// ads
		{"ads", `{"flight":"none"}`, "flight"},
		{"ads", `{"ad_types":[]}`, "ad_types"},
		{"ads", `{"ad_types":null}`, "ad_types"},
		{"ads", `{"ad_types":["image-v1","none"]}`, "ad_types[1]"},
		{"ads", `{"link":""}`, "link"},
		{"ads", `{"link":"example.com"}`, "link"},
		{"ads", `{"link":"//example.com/"}`, "link"},
		{"ads", `{"link":"javascript:alert(1)"}`, "link"},
		{"ads", `{"link":"ftp://example.com/"}`, "link"},
		{"ads", `{"link":"https:///path"}`, "link"},
		{"ads", `{"link":"https://u:p@example.com/"}`, "link"},
		{"ads", `{"link":"https://example.com/` + strings.Repeat("x", 1024) + `"}`, "link"},
		{"ads", `{"image_url":"data:image/png;base64,AAAA"}`, "image_url"},
		{"ads", `{"headline":"` + long + `"}`, "headline"},
		// tokens
		{"tokens", `{"role":"owner"}`, "role"},
		{"tokens", `{"name":""}`, "name"},
		{"tokens", `{"publisher":"site"}`, "publisher"},
		{"tokens", `{"role":"publisher"}`, "publisher"},
		{"tokens", `{"role":"publisher","publisher":"none"}`, "publisher"},
		{"tokens", `{"token":"mine"}`, "token"},
	} {
		body := parsed(t, `{"name":"n","role":"viewer"}`)
		if least, ok := right[c.kind]; ok {
			body = parsed(t, least)
		}
		for key, value := range parsed(t, c.wrong) {
			body[key] = value
			if value == nil {
				delete(body, key)
			}
		}
		a := w.call("POST", "/v1/"+c.kind, body)
		var places []string
		var problem struct {
			Errors []struct{ Location, Message string }
		}
		_ = json.Unmarshal([]byte(a.text), &problem)
		for _, e := range problem.Errors {
			places = append(places, e.Location)
			if e.Message == "" {
				t.Errorf("%s %s: no message at %s", c.kind, c.wrong, e.Location)
			}
		}
		if a.status != 422 || !slices.Contains(places, "body."+c.names) {
			t.Errorf("POST %s %s: %d %s\nwant 422 that names body.%s", c.kind, c.wrong, a.status, a.text, c.names)
		}
		if kind := a.header.Get("Content-Type"); kind != "application/problem+json" {
			t.Errorf("POST %s %s: Content-Type %s", c.kind, c.wrong, kind)
		}
	}
	if log := w.log.String(); log != "" {
		t.Errorf("refusals were logged: %s", log)
	}
}

// TestRefusesChanges patches what is there with what is wrong.
func TestRefusesChanges(t *testing.T) {
	w := open(t)
	w.sample()
	w.must(200, "PATCH", "/v1/ad-types/image-v1", `{"max_text_length":10}`)
	for _, c := range []struct{ path, body, names string }{
		{"flights/autumn", `{"slug":"winter"}`, "slug"},
		{"flights/autumn", `{"slug":null}`, ""}, // what a slug is cannot be taken away: it stays
		{"flights/autumn", `{"name":null}`, "name"},
		{"flights/autumn", `{"campaign":null}`, "campaign"},
		{"flights/autumn", `{"end_date":"2025-08-31"}`, "end_date"},
		{"flights/autumn", `{"nothing":null}`, "nothing"},
		{"flights/autumn", `{"targeting":{"nothing":null}}`, "targeting.nothing"},
		{"flights/autumn", `{"targeting":{"days":["never"]}}`, "targeting.days[0]"},
		{"flights/autumn", `{"targeting":{"days":{"monday":true}}}`, "targeting.days"},
		{"ads/ad", `{"content":"longer than that"}`, "content"},
		{"publishers/site", `{"groups":["none"]}`, "groups[0]"},
	} {
		a := w.call("PATCH", "/v1/"+c.path, c.body)
		if c.names == "" {
			if a.status != 200 {
				t.Errorf("PATCH %s %s: %d %s, want 200", c.path, c.body, a.status, a.text)
			}
			continue
		}
		if a.status != 422 || !strings.Contains(a.text, fmt.Sprintf(`"location":"body.%s"`, c.names)) {
			t.Errorf("PATCH %s %s: %d %s\nwant 422 that names body.%s", c.path, c.body, a.status, a.text, c.names)
		}
	}
}

// TestRefusesBodies sends what is no body at all.
func TestRefusesBodies(t *testing.T) {
	w := open(t)
	w.sample()
	for _, c := range []struct {
		about, body string
		want        int
		headers     []string
	}{
		{"nothing", "", 400, nil},
		{"half an object", `{"slug":`, 400, nil},
		{"two objects", `{"slug":"x","name":"X"}{}`, 400, nil},
		{"a list", `[]`, 400, nil},
		{"a text", `"x"`, 400, nil},
		{"null", `null`, 400, nil},
		{"not UTF-8", "{\"slug\":\"x\",\"name\":\"\xff\"}", 400, nil},
		{"a form", `slug=x&name=X`, 415, []string{"Content-Type: application/x-www-form-urlencoded"}},
		{"a patch that creates", `{"slug":"x","name":"X"}`, 415, []string{"Content-Type: application/merge-patch+json"}},
		{"a type that is none", `{"slug":"x","name":"X"}`, 415, []string{"Content-Type: ;"}},
		{"deep", `{"slug":"x","name":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`, 422, nil},
		{"deeper", `{"slug":"x","name":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`, 400, nil},
		{"many fields", `{"slug":"x","name":"X"` + fields(20000) + `}`, 422, nil},
		{"huge", `{"slug":"x","name":"` + strings.Repeat("x", 1<<20) + `"}`, 413, nil},
		{"with a charset", `{"slug":"x","name":"X"}`, 201, []string{"Content-Type: application/json; charset=utf-8"}},
	} {
		a := w.call("POST", "/v1/advertisers", c.body, c.headers...)
		if a.status != c.want {
			t.Errorf("%s: %d %.300s, want %d", c.about, a.status, a.text, c.want)
		}
		if len(a.text) > 8<<10 {
			t.Errorf("%s: an answer of %d bytes", c.about, len(a.text))
		}
		if kind := a.header.Get("Content-Type"); a.status != 201 && kind != "application/problem+json" {
			t.Errorf("%s: Content-Type %s", c.about, kind)
		}
	}
	// What two readers of JSON could understand differently is read once: the
	// last of two values counts, and was checked.
	w.must(201, "POST", "/v1/flights", `{"slug":"twice","name":"T","campaign":"paid","start_date":"2025-09-01","end_date":"2025-09-02",
		"targeting":{"include_countries":["nowhere"]},"targeting":{"days":["monday"]}}`)
	if a := w.must(200, "GET", "/v1/flights/twice", nil); strings.Contains(a.text, "nowhere") {
		t.Errorf("what was not checked was saved: %s", a.text)
	}
}

func fields(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"f%d":1`, i)
	}
	return b.String()
}

// TestRefusesPaths asks for what is not there, in every way.
func TestRefusesPaths(t *testing.T) {
	w := open(t)
	w.sample()
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/", 404}, {"GET", "/v1", 404}, {"GET", "/v1/flights/", 404}, {"GET", "/v1/fligths", 404}, {"GET", "/v2/flights", 404},
		{"GET", "/v1/flights/none", 404}, {"GET", "/v1/flights/AUTUMN", 404},
		{"GET", "/v1/flights/autumn'--", 404}, {"GET", "/v1/flights/'%20OR%20'1'='1", 404}, {"GET", "/v1/flights/autumn%3BDROP%20TABLE%20flights", 404},
		{"GET", "/v1/flights/..%2Fads", 404}, {"GET", "/v1/flights/%00", 400}, {"GET", "/v1/flights/%ff", 400}, {"GET", "/v1/flights/a%0Ab", 400},
		{"GET", "/v1/flights/" + strings.Repeat("x", 300), 422},
		{"GET", "/v1/flights?campaign=%00", 400}, {"GET", "/v1/flights?campaign=%ff", 400}, {"GET", "/v1/flights?%zz", 400},
		{"GET", "/v1/flights?limit=0", 422}, {"GET", "/v1/flights?limit=501", 422}, {"GET", "/v1/flights?limit=ten", 422}, {"GET", "/v1/flights?limit=-1", 422}, {"GET", "/v1/flights?limit=4294967301", 422},
		{"GET", "/v1/flights?cursor=zzzz", 422}, {"GET", "/v1/flights?cursor=LTE", 422}, {"GET", "/v1/flights?page=2", 422},
		{"GET", "/v1/flights?cursor=OTIyMzM3MjAzNjg1NDc3NTgwNw", 200}, // a cursor far beyond the end
		{"GET", "/v1/tokens/abc", 422}, {"GET", "/v1/tokens/99", 404}, {"DELETE", "/v1/tokens/99", 404}, {"GET", "/v1/tokens/99999999999", 422},
		{"GET", "/v1/catalog/versions/99/bytes", 404}, {"GET", "/v1/catalog/versions/x/bytes", 422},
		{"GET", "/v1/catalog/versions/99/receipts", 404}, {"GET", "/v1/catalog/versions/0/receipts", 422}, {"GET", "/v1/controls/5/receipts", 404},
		{"PUT", "/v1/flights", 405}, {"DELETE", "/v1/ads/ad", 405}, {"TRACE", "/v1/flights", 405}, {"BREW", "/v1/flights", 405},
	} {
		var body any
		a := w.call(c.method, c.path, body)
		if a.status != c.want {
			t.Errorf("%s %s: %d %.200s, want %d", c.method, c.path, a.status, a.text, c.want)
		}
		if kind := a.header.Get("Content-Type"); a.status >= 400 && kind != "application/problem+json" {
			t.Errorf("%s %s: Content-Type %s", c.method, c.path, kind)
		}
		if a.status == 405 && a.header.Get("Allow") == "" {
			t.Errorf("%s %s: 405 without Allow", c.method, c.path)
		}
	}
	if log := w.log.String(); log != "" {
		t.Errorf("refusals were logged: %s", log)
	}
}
