package admin_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// kinds are all resources: the least that makes one, what it is then, and a
// change with what it makes.
var kinds = []struct {
	path, least, whole, patch, patched string
}{
	{
		"advertisers", `{"slug":"x","name":"X"}`, `{"slug":"x","name":"X"}`,
		`{"name":"Y"}`, `{"slug":"x","name":"Y"}`,
	},
	{
		"publisher-groups", `{"slug":"x","name":"X"}`, `{"slug":"x","name":"X"}`,
		`{"name":"Y"}`, `{"slug":"x","name":"Y"}`,
	},
	{
		"publishers", `{"slug":"x","name":"X"}`,
		`{"slug":"x","name":"X","groups":[],"unauthed_ad_decisions":true,"disabled":false,"allow_paid_campaigns":false,"allow_affiliate_campaigns":false,
		"allow_community_campaigns":true,"allow_house_campaigns":true,"allow_api_keywords":true,"default_keywords":[],"ignore_mobile_traffic":false,
		"allow_multiple_placements":false,"cache_ads":true,"cache_ads_duration_seconds":5,"send_bid_rate":false,"render_pixel":false,
		"revenue_share_percentage":70,"allowed_domains":[],"daily_cap_micros":0}`,
		`{"groups":["docs"],"cache_ads":false,"daily_cap_micros":5000000,"default_keywords":["Go"," python "]}`,
		`{"slug":"x","name":"X","groups":["docs"],"unauthed_ad_decisions":true,"disabled":false,"allow_paid_campaigns":false,"allow_affiliate_campaigns":false,
		"allow_community_campaigns":true,"allow_house_campaigns":true,"allow_api_keywords":true,"default_keywords":["go","python"],"ignore_mobile_traffic":false,
		"allow_multiple_placements":false,"cache_ads":false,"cache_ads_duration_seconds":5,"send_bid_rate":false,"render_pixel":false,
		"revenue_share_percentage":70,"allowed_domains":[],"daily_cap_micros":5000000}`,
	},
	{
		"ad-types", `{"slug":"x","name":"X"}`,
		`{"slug":"x","name":"X","has_image":true,"has_text":true,"max_text_length":0,"template":""}`,
		`{"has_image":false,"max_text_length":80}`,
		`{"slug":"x","name":"X","has_image":false,"has_text":true,"max_text_length":80,"template":""}`,
	},
	{
		"topics", `{"slug":"x","name":"X"}`, `{"slug":"x","name":"X","keywords":[]}`,
		`{"keywords":["SQL","go","sql"]}`, `{"slug":"x","name":"X","keywords":["go","sql"]}`,
	},
	{
		"geo-regions", `{"slug":"x","name":"X"}`, `{"slug":"x","name":"X","countries":[]}`,
		`{"countries":["SE","NO","SE"]}`, `{"slug":"x","name":"X","countries":["NO","SE"]}`,
	},
	{
		"campaigns", `{"slug":"x","name":"X","advertiser":"acme"}`,
		`{"slug":"x","name":"X","advertiser":"acme","campaign_type":"paid","publisher_groups":[],"exclude_publishers":[]}`,
		`{"campaign_type":"publisher-house","publisher_groups":["docs"],"exclude_publishers":["site"]}`,
		`{"slug":"x","name":"X","advertiser":"acme","campaign_type":"publisher-house","publisher_groups":["docs"],"exclude_publishers":["site"]}`,
	},
	{
		"flights", `{"slug":"x","name":"X","campaign":"paid","start_date":"2025-09-01","end_date":"2025-09-01"}`,
		`{"slug":"x","name":"X","campaign":"paid","live":false,"start_date":"2025-09-01","end_date":"2025-09-01","hard_stop":false,"cpm_micros":0,
		"sold_views":0,"cpc_micros":0,"sold_clicks":0,"daily_cap_micros":0,"pacing":"even","pacing_interval_seconds":3600,"priority_multiplier":1,
		"prioritize_ads_ctr":false,"frequency_cap":0,"frequency_window_seconds":86400,"roadblock":false,"traffic_cap":{},"targeting":{}}`,
		`{"live":true,"frequency_cap":3,"frequency_window_seconds":3600,"roadblock":true,"cpc_micros":1500000,"sold_clicks":100,"pacing":"asap","traffic_cap":{"countries":{"NL":0.5},"regions":{"benelux":1},"publishers":{"site":0}},
		"targeting":{"include_countries":["NL","BE"],"include_keywords":["Go"],"mobile_traffic":"exclude","days":["sunday"],"niche_targeting":0.25,
		"include_topics":["python"],"exclude_regions":["benelux"],"include_metro_codes":[501],"include_state_provinces":["CA"],"include_publishers":["site"]}}`,
		`{"slug":"x","name":"X","campaign":"paid","live":true,"start_date":"2025-09-01","end_date":"2025-09-01","hard_stop":false,"cpm_micros":0,
		"sold_views":0,"cpc_micros":1500000,"sold_clicks":100,"daily_cap_micros":0,"pacing":"asap","pacing_interval_seconds":3600,"priority_multiplier":1,
		"prioritize_ads_ctr":false,"frequency_cap":3,"frequency_window_seconds":3600,"roadblock":true,"traffic_cap":{"countries":{"NL":0.5},"regions":{"benelux":1},"publishers":{"site":0}},
		"targeting":{"include_countries":["BE","NL"],"include_keywords":["go"],"mobile_traffic":"exclude","days":["sunday"],"niche_targeting":0.25,
		"include_topics":["python"],"exclude_regions":["benelux"],"include_metro_codes":[501],"include_state_provinces":["CA"],"include_publishers":["site"]}}`,
	},
	{
		"ads", `{"slug":"x","name":"X","flight":"autumn","ad_types":["image-v1"],"link":"https://example.com"}`,
		`{"slug":"x","name":"X","flight":"autumn","ad_types":["image-v1"],"headline":"","content":"","cta":"","link":"https://example.com","image_url":"","live":true}`,
		`{"live":false,"content":"é <b>","image_url":"http://example.com/i.png"}`,
		`{"slug":"x","name":"X","flight":"autumn","ad_types":["image-v1"],"headline":"","content":"é <b>","cta":"","link":"https://example.com","image_url":"http://example.com/i.png","live":false}`,
	},
}

// coreSays are the fields that only the core says.
var coreSays = []string{"catalog_version", "state", "delivery", "budgets", "control_version"}

// sent is what of a resource a client could have sent.
func sent(body map[string]any) map[string]any {
	rest := maps.Clone(body)
	maps.DeleteFunc(rest, func(key string, _ any) bool { return slices.Contains(coreSays, key) })
	return rest
}

// TestResources creates, reads, lists, changes and replaces one of each kind.
func TestResources(t *testing.T) {
	w := open(t)
	w.sample()
	for _, k := range kinds {
		t.Run(k.path, func(t *testing.T) {
			w.t = t
			list, item := "/v1/"+k.path, "/v1/"+k.path+"/x"
			w.must(404, "GET", item, nil)
			w.must(404, "PATCH", item, k.patch)
			w.must(404, "PUT", item, k.least)

			before := w.version()
			made := w.must(201, "POST", list, k.least)
			same(t, "created", sent(made.body), parsed(t, k.whole))
			if got := made.header.Get("Location"); got != item {
				t.Errorf("Location %s, want %s", got, item)
			}
			w.wrote(made, before+1)
			w.must(409, "POST", list, k.least)

			read := w.must(200, "GET", item, nil)
			same(t, "read", sent(read.body), parsed(t, k.whole))
			if made.header.Get("ETag") != read.header.Get("ETag") || read.header.Get("ETag") == "" {
				t.Errorf("ETag %s when created, %s when read", made.header.Get("ETag"), read.header.Get("ETag"))
			}
			if read.body["catalog_version"] != nil {
				t.Errorf("reading says catalog_version %v", read.body["catalog_version"])
			}

			patched := w.must(200, "PATCH", item, k.patch)
			same(t, "patched", sent(patched.body), parsed(t, k.patched))
			w.wrote(patched, before+2)
			if patched.header.Get("ETag") == made.header.Get("ETag") {
				t.Error("the ETag did not change")
			}
			same(t, "read after the patch", sent(w.must(200, "GET", item, nil).body), parsed(t, k.patched))

			w.wrote(w.must(200, "PATCH", item, k.patch), before+2)
			w.wrote(w.must(200, "PUT", item, w.must(200, "GET", item, nil).body), before+2) // what was read can be sent back
			w.wrote(w.must(200, "PATCH", item, `{}`), before+2)

			replaced := w.must(200, "PUT", item, k.least)
			same(t, "replaced", sent(replaced.body), parsed(t, k.whole))
			w.wrote(replaced, before+3)

			found := false
			for _, one := range w.must(200, "GET", list, nil).body["items"].([]any) {
				if one := one.(map[string]any); one["slug"] == "x" {
					found = true
					same(t, "listed", sent(one), parsed(t, k.whole))
				}
			}
			if !found {
				t.Error("it is not listed")
			}
		})
	}
}

// version is the catalog version in force, learnt from a write that changes
// nothing.
func (w *world) version() int {
	w.t.Helper()
	return int(w.must(200, "PATCH", "/v1/advertisers/acme", `{}`).body["catalog_version"].(float64))
}

// wrote checks which version an answer says it made.
func (w *world) wrote(a answer, version int) {
	w.t.Helper()
	if got := a.header.Get("Nearside-Catalog-Version"); got != fmt.Sprint(version) || a.body["catalog_version"] != float64(version) {
		w.t.Errorf("the answer says catalog version %s and %v, want %d", got, a.body["catalog_version"], version)
	}
}

// TestPages walks lists of every length around the limit.
func TestPages(t *testing.T) {
	w := open(t)
	for n := range 6 {
		var slugs []string
		cursor := ""
		for {
			a := w.must(200, "GET", "/v1/topics?limit=2&cursor="+cursor, nil)
			items := a.body["items"].([]any)
			if len(items) > 2 {
				t.Fatalf("%d items on a page of 2", len(items))
			}
			for _, one := range items {
				slugs = append(slugs, one.(map[string]any)["slug"].(string))
			}
			if cursor = a.body["next"].(string); cursor == "" {
				break
			}
		}
		var want []string
		for i := range n {
			want = append(want, fmt.Sprintf("t%d", i))
		}
		if !slices.Equal(slugs, want) {
			t.Errorf("%d topics listed as %v", n, slugs)
		}
		w.must(201, "POST", "/v1/topics", fmt.Sprintf(`{"slug":"t%d","name":"T"}`, n))
	}
}

// TestFilters lists what belongs to something.
func TestFilters(t *testing.T) {
	w := open(t)
	w.sample()
	w.must(201, "POST", "/v1/advertisers", `{"slug":"other","name":"Other"}`)
	w.must(201, "POST", "/v1/campaigns", `{"slug":"c2","name":"C","advertiser":"other"}`)
	w.must(201, "POST", "/v1/flights", `{"slug":"f2","name":"F","campaign":"c2","start_date":"2025-09-01","end_date":"2025-09-02"}`)
	w.must(201, "POST", "/v1/ads", `{"slug":"a2","name":"A","flight":"f2","ad_types":["image-v1"],"link":"https://example.com"}`)
	for _, c := range []struct{ query, want string }{
		{"campaigns", "paid c2"}, {"campaigns?advertiser=other", "c2"}, {"campaigns?advertiser=acme", "paid"}, {"campaigns?advertiser=none", ""},
		{"flights", "autumn f2"}, {"flights?campaign=c2", "f2"}, {"flights?campaign='%20OR%201=1--", ""},
		{"ads", "ad a2"}, {"ads?flight=autumn", "ad"}, {"ads?flight=f2&limit=1", "a2"},
	} {
		var slugs []string
		for _, one := range w.must(200, "GET", "/v1/"+c.query, nil).body["items"].([]any) {
			slugs = append(slugs, one.(map[string]any)["slug"].(string))
		}
		if got := strings.Join(slugs, " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.query, got, c.want)
		}
	}
}

// TestIfMatch changes only what is as it was read.
func TestIfMatch(t *testing.T) {
	w := open(t)
	w.sample()
	for _, c := range []struct {
		method, path, body, header string
		want                       int
	}{
		{"PATCH", "advertisers/acme", `{"name":"A"}`, `"7"`, 412},
		{"PATCH", "advertisers/acme", `{"name":"A"}`, `W/"1"`, 412},
		{"PATCH", "advertisers/acme", `{"name":"A"}`, `1`, 412},
		{"PATCH", "advertisers/acme", `{"name":"A"}`, `"1"`, 200},
		{"PATCH", "advertisers/acme", `{"name":"A"}`, `"2"`, 200}, // changes nothing: it is still at 2
		{"PATCH", "advertisers/acme", `{"name":"B"}`, `"1"`, 412},
		{"PUT", "advertisers/acme", `{"slug":"acme","name":"B"}`, `"1"`, 412},
		{"PUT", "advertisers/acme", `{"slug":"acme","name":"B"}`, `"1", "2"`, 200},
		{"PATCH", "advertisers/acme", `{"name":"C"}`, `*`, 200},
		{"DELETE", "flights/autumn", ``, `"2"`, 412},
		{"DELETE", "flights/autumn", ``, `"1"`, 204},
	} {
		var body any
		if c.body != "" {
			body = c.body
		}
		if a := w.call(c.method, "/v1/"+c.path, body, "If-Match: "+c.header); a.status != c.want {
			t.Errorf("%s %s If-Match %s: %d %s, want %d", c.method, c.path, c.header, a.status, a.text, c.want)
		}
	}
}

// TestIfMatchRace lets many change one resource at once from what they all
// have read: one may. Each asks for a number that the flight does not have: a
// change to what is there already is none, and leaves the ETag as it was.
func TestIfMatchRace(t *testing.T) {
	w := open(t)
	w.sample()
	for round := 1; round <= 3; round++ {
		statuses := together(16, func(i int) int {
			return w.call("PATCH", "/v1/flights/autumn", fmt.Sprintf(`{"sold_views":%d}`, round*1000+1+i), fmt.Sprintf(`If-Match: "%d"`, round)).status
		})
		if statuses[200] != 1 || statuses[412] != 15 {
			t.Errorf("round %d: answers by status %v, want one 200 and fifteen 412", round, statuses)
		}
	}
}

// together runs f many times at once and counts what it returned.
func together(n int, f func(i int) int) map[int]int {
	var mu sync.Mutex
	counts := map[int]int{}
	var running sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		running.Go(func() {
			<-start
			status := f(i)
			mu.Lock()
			defer mu.Unlock()
			counts[status]++
		})
	}
	close(start)
	running.Wait()
	return counts
}

// TestIdempotency sends creations again.
func TestIdempotency(t *testing.T) {
	w := open(t)
	w.sample()
	const body = `{"slug":"x","name":"X","campaign":"paid","start_date":"2025-09-01","end_date":"2025-09-02","sold_views":10}`
	first := w.must(201, "POST", "/v1/flights", body, "Idempotency-Key: one")
	w.must(200, "PATCH", "/v1/flights/x", `{"name":"Y"}`)
	again := w.must(201, "POST", "/v1/flights", body, "Idempotency-Key: one")
	same(t, "the answer again", sent(again.body), sent(first.body))
	for _, header := range []string{"ETag", "Location", "Nearside-Catalog-Version"} {
		if first.header.Get(header) != again.header.Get(header) {
			t.Errorf("%s %s, then %s", header, first.header.Get(header), again.header.Get(header))
		}
	}
	w.must(422, "POST", "/v1/flights", strings.Replace(body, "10", "11", 1), "Idempotency-Key: one")
	w.must(422, "POST", "/v1/topics", `{"slug":"one","name":"One"}`, "Idempotency-Key: one")
	w.must(409, "POST", "/v1/flights", body, "Idempotency-Key: two")
	w.must(409, "POST", "/v1/flights", body)
	w.must(422, "POST", "/v1/flights", body, "Idempotency-Key: "+strings.Repeat("k", 201))
	w.must(422, "POST", "/v1/flights", body, "Idempotency-Key: a b")

	// A refusal is not kept: the same key may go right later.
	w.must(422, "POST", "/v1/topics", `{"slug":"later","name":""}`, "Idempotency-Key: three")
	w.must(201, "POST", "/v1/topics", `{"slug":"later","name":"Later"}`, "Idempotency-Key: three")

	// Another token's keys are another's.
	other := w.must(201, "POST", "/v1/tokens", `{"name":"other","role":"admin"}`).body["token"].(string)
	mine := w.token
	w.token = other
	w.must(409, "POST", "/v1/flights", body, "Idempotency-Key: one")
	w.token = mine

	w.now = w.now.Add(25 * time.Hour)
	w.must(409, "POST", "/v1/flights", body, "Idempotency-Key: one")
}

// TestIdempotencyRace sends one creation many times at once.
func TestIdempotencyRace(t *testing.T) {
	w := open(t)
	w.sample()
	before := w.version()
	statuses := together(16, func(int) int {
		return w.call("POST", "/v1/topics", `{"slug":"race","name":"Race"}`, "Idempotency-Key: race").status
	})
	if statuses[201] != 16 {
		t.Errorf("answers by status %v, want sixteen 201", statuses)
	}
	if after := w.version(); after != before+1 {
		t.Errorf("catalog version %d after, %d before; want one more", after, before)
	}
	if entries := w.must(200, "GET", "/v1/audit?resource=topics/race", nil).body["items"].([]any); len(entries) != 1 {
		t.Errorf("the audit log has %d entries, want 1", len(entries))
	}
}

// TestWritesAtOnce lets many write different things: every answer has its own
// version, in the order of the commits.
func TestWritesAtOnce(t *testing.T) {
	w := open(t)
	w.sample()
	before := w.version()
	versions := together(24, func(i int) int {
		a := w.call("POST", "/v1/topics", fmt.Sprintf(`{"slug":"t%d","name":"T"}`, i))
		if a.status != http.StatusCreated {
			return -a.status
		}
		return int(a.body["catalog_version"].(float64))
	})
	for i := range 24 {
		if versions[before+1+i] != 1 {
			t.Fatalf("versions %v, want each of %d to %d once", versions, before+1, before+24)
		}
	}
}

// TestControl pauses, resumes, kills and deletes.
func TestControl(t *testing.T) {
	w := open(t)
	w.sample()
	control := 0
	for _, c := range []struct {
		verb, state string
		changes     bool
	}{
		{"resume", "run", false}, {"pause", "pause", true}, {"pause", "pause", false}, {"resume", "run", true},
		{"kill", "kill", true}, {"kill", "kill", false}, {"pause", "pause", true}, {"resume", "run", true},
	} {
		before := w.version()
		a := w.must(200, "POST", "/v1/flights/autumn/"+c.verb, nil)
		if c.changes {
			control++
			before++
		}
		w.wrote(a, before)
		said, _ := a.body["control_version"].(float64)
		if a.body["state"] != c.state || int(said) != control {
			t.Errorf("%s: state %v at control version %v, want %s at %d", c.verb, a.body["state"], said, c.state, control)
		}
		if read := w.must(200, "GET", "/v1/flights/autumn", nil); read.body["state"] != c.state {
			t.Errorf("%s: read as %v", c.verb, read.body["state"])
		}
	}
	w.must(404, "POST", "/v1/flights/none/pause", nil)
	w.must(405, "GET", "/v1/flights/autumn/pause", nil)

	before := w.version()
	gone := w.must(204, "DELETE", "/v1/flights/autumn", nil)
	if got := gone.header.Get("Nearside-Catalog-Version"); got != fmt.Sprint(before+1) {
		t.Errorf("deleting made version %s, want %d", got, before+1)
	}
	w.must(404, "GET", "/v1/flights/autumn", nil)
	w.must(404, "DELETE", "/v1/flights/autumn", nil)
	w.must(404, "POST", "/v1/flights/autumn/resume", nil)
	w.must(404, "GET", "/v1/ads/ad", nil)
	w.must(409, "POST", "/v1/flights", `{"slug":"autumn","name":"A","campaign":"paid","start_date":"2025-09-01","end_date":"2025-09-02"}`)
	if left := w.must(200, "GET", "/v1/flights", nil).body["items"].([]any); len(left) != 0 {
		t.Errorf("a deleted flight is listed: %v", left)
	}
}

// TestAudit finds in the log who did what.
func TestAudit(t *testing.T) {
	w := open(t)
	w.sample()
	w.must(200, "PATCH", "/v1/flights/autumn", `{"sold_views":2000,"name":"Autumn"}`)
	w.must(200, "POST", "/v1/flights/autumn/pause", nil)
	a := w.must(200, "GET", "/v1/audit?resource=flights/autumn", nil)
	var actions []string
	for _, one := range a.body["items"].([]any) {
		entry := one.(map[string]any)
		actions = append(actions, entry["action"].(string))
		if entry["actor"] != "token 1 tests" {
			t.Errorf("actor %v", entry["actor"])
		}
	}
	if !slices.Equal(actions, []string{"pause", "change", "create"}) {
		t.Errorf("actions %v, newest first", actions)
	}
	if !strings.Contains(a.text, `"changed":{"sold_views":{"to":2000,"from":1000}}`) && !strings.Contains(a.text, `"changed": {"sold_views": {"to": 2000, "from": 1000}}`) {
		t.Errorf("the log does not say what changed: %s", a.text)
	}
	if all := w.must(200, "GET", "/v1/audit?limit=3", nil); len(all.body["items"].([]any)) != 3 || all.body["next"] == "" {
		t.Errorf("a page of three: %s", all.text)
	}
}
