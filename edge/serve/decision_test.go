package serve

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"nearside/sync/catalog"
	"nearside/sync/token"
)

func keywords(n int, separator string) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("k%d", i)
	}
	return strings.Join(list, separator)
}

// Every answer to a GET that http.md states.
func TestDecisionGET(t *testing.T) {
	w := newWorld(t)
	const slots = "&div_ids=a&ad_types=image-v1"
	tests := []struct {
		name, query string
		headers     []string
		status      int
		body        string // "ad" stands for an offer
	}{
		{"an ad", "publisher=open" + slots, nil, 200, "ad"},
		{"several types, one known", "publisher=open&div_ids=a|b&ad_types=nonesuch|image-v1&priorities=1|10", nil, 200, "ad"},
		{"of repeated parameters the last counts", "publisher=nonesuch&publisher=open" + slots, nil, 200, "ad"},
		{"what the API does not know is ignored", "publisher=open&client_version=1.8&x=%ff" + slots, nil, 200, "ad"},
		{"white space around values", "publisher=%20open%20&div_ids=%20a&ad_types=image-v1%20", nil, 200, "ad"},

		{"unknown ad type", "publisher=open&div_ids=a&ad_types=nonesuch", nil, 200, "{}"},
		{"second placement", "publisher=open&placement_index=1" + slots, nil, 200, "{}"},
		{"second placement where allowed", "publisher=many&placement_index=1" + slots, nil, 200, "ad"},
		{"mobile ignored", "publisher=desktop" + slots, []string{"User-Agent", phone}, 200, "{}"},
		{"desktop", "publisher=desktop" + slots, nil, 200, "ad"},
		{"campaign types without an ad", "publisher=open&campaign_types=community" + slots, nil, 200, "{}"},
		{"unknown forced ad", "publisher=open&force_ad=nonesuch" + slots, nil, 200, "{}"},
		{"unknown forced campaign", "publisher=open&force_campaign=nonesuch" + slots, nil, 200, "{}"},
		{"forced ad of another type", "publisher=open&force_ad=ad-docker" + slots, nil, 200, "{}"},
		{"forced ad that is not live", "publisher=open&force_ad=ad-stopped&campaign_types=house" + slots, nil, 200, "ad"},
		{"longest URL", "publisher=open&url=https://e.com/" + strings.Repeat("a", 256-14) + slots, nil, 200, "ad"},
		{"100 keywords", "publisher=open&keywords=" + keywords(100, "|") + slots, nil, 200, "ad"},
		{"blank keywords do not count", "publisher=open&keywords=" + strings.Repeat("|", 200) + slots, nil, 200, "ad"},

		{"nothing", "", nil, 400, `{"placements":[{"div_id":["This field may not be blank."],"ad_type":["This field may not be blank."]}],"publisher":["This field is required."]}`},
		{"no publisher", slots[1:], nil, 400, `{"publisher":["This field is required."]}`},
		{"blank publisher", "publisher=" + slots, nil, 400, `{"publisher":["This field may not be blank."]}`},
		{"unknown publisher", "publisher=nonesuch" + slots, nil, 400, `{"publisher":["Invalid publisher"]}`},
		{"publisher is no slug", "publisher=a%3Cb" + slots, nil, 400, `{"publisher":["Enter a valid \"slug\" consisting of letters, numbers, underscores or hyphens."]}`},
		{"disabled publisher", "publisher=gone" + slots, nil, 400, `{"publisher":["Disabled publisher"]}`},
		{"no placements", "publisher=open", nil, 400, `{"placements":[{"div_id":["This field may not be blank."],"ad_type":["This field may not be blank."]}]}`},
		{"blank ad type", "publisher=open&div_ids=a|b&ad_types=image-v1|", nil, 400, `{"placements":[{},{"ad_type":["This field may not be blank."]}]}`},
		{"too many placements", "publisher=open&div_ids=" + keywords(101, "|") + "&ad_types=" + keywords(101, "|"), nil, 400, `{"placements":["Ensure this field has no more than 100 elements."]}`},
		{"priority too high", "publisher=open&priorities=11" + slots, nil, 400, `{"placements":[{"priority":["Ensure this value is less than or equal to 10."]}]}`},
		{"priority too low", "publisher=open&priorities=0" + slots, nil, 400, `{"placements":[{"priority":["Ensure this value is greater than or equal to 1."]}]}`},
		{"priority is no number", "publisher=open&priorities=high" + slots, nil, 400, `{"placements":[{"priority":["A valid integer is required."]}]}`},
		{"101 keywords", "publisher=open&keywords=" + keywords(101, "|") + slots, nil, 400, `{"keywords":["Ensure this field has no more than 100 elements."]}`},
		{"URL without a scheme", "publisher=open&url=invalid-url" + slots, nil, 400, `{"url":["Invalid ad referring URL"]}`},
		{"URL of a script", "publisher=open&url=javascript:alert(1)" + slots, nil, 400, `{"url":["Invalid ad referring URL"]}`},
		{"URL too long", "publisher=open&url=https://e.com/" + strings.Repeat("a", 256-13) + slots, nil, 400, `{"url":["Ensure this field has no more than 256 characters."]}`},
		{"rotations too low", "publisher=open&rotations=0" + slots, nil, 400, `{"rotations":["Ensure this value is greater than or equal to 1."]}`},
		{"rotations too high", "publisher=open&rotations=10" + slots, nil, 400, `{"rotations":["Ensure this value is less than or equal to 9."]}`},
		{"rotations are no number", "publisher=open&rotations=x" + slots, nil, 400, `{"rotations":["A valid integer is required."]}`},
		{"placement index too low", "publisher=open&placement_index=-1" + slots, nil, 400, `{"placement_index":["Ensure this value is greater than or equal to 0."]}`},
		{"placement index too high", "publisher=open&placement_index=1000" + slots, nil, 400, `{"placement_index":["Ensure this value is less than or equal to 999."]}`},
		{"unknown campaign type", "publisher=open&campaign_types=paid|nonesuch" + slots, nil, 400, `{"campaign_types":["Invalid campaign type"]}`},
		{"too many campaign types", "publisher=open&campaign_types=" + strings.Repeat("paid|", 11) + slots, nil, 400, `{"campaign_types":["Ensure this field has no more than 10 elements."]}`},
		{"an IP that does not parse", "publisher=open&user_ip=255.255.256.255" + slots, nil, 400, `{"user_ip":["Invalid IPv4 or IPv6 address"]}`},
		{"all that is wrong at once", "publisher=nonesuch&rotations=0&url=x" + slots, nil, 400, `{"publisher":["Invalid publisher"],"url":["Invalid ad referring URL"],"rotations":["Ensure this value is greater than or equal to 1."]}`},

		{"a wrong token, even where none is needed", "publisher=open" + slots, []string{"Authorization", "Token nonesuch"}, 401, `{"detail":"Invalid token."}`},
		{"a wrong token comes before wrong fields", "", []string{"Authorization", "Token nonesuch"}, 401, `{"detail":"Invalid token."}`},
		{"no credentials", "publisher=open" + slots, []string{"Authorization", "Token"}, 401, `{"detail":"Invalid token header. No credentials provided."}`},
		{"two words", "publisher=open" + slots, []string{"Authorization", "Token a b"}, 401, `{"detail":"Invalid token header. Token string should not contain spaces."}`},
		{"wrong fields come before permission", "publisher=closed&rotations=0" + slots, nil, 400, `{"rotations":["Ensure this value is greater than or equal to 1."]}`},
		{"a token is needed", "publisher=closed" + slots, nil, 401, `{"detail":"Authentication credentials were not provided."}`},
		{"another scheme is no token", "publisher=closed" + slots, []string{"Authorization", "invalid"}, 401, `{"detail":"Authentication credentials were not provided."}`},
		{"somebody else's token", "publisher=closed" + slots, []string{"Authorization", "Token other-token"}, 403, `{"detail":"You do not have permission to perform this action."}`},
		{"the publisher's token", "publisher=closed" + slots, []string{"Authorization", "Token closed-token"}, 200, "ad"},
		{"the scheme in any case", "publisher=closed" + slots, []string{"Authorization", "tOKEN closed-token"}, 200, "ad"},
		{"somebody else's token where none is needed", "publisher=open" + slots, []string{"Authorization", "Token other-token"}, 200, "ad"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := w.get(decisionPath+"?"+tt.query, tt.headers...)
			got := r.body
			if r.status == 200 && strings.HasPrefix(got, `{"id":"ad-`) {
				got = "ad"
			}
			if r.status != tt.status || got != tt.body {
				t.Errorf("got  %d %s\nwant %d %s", r.status, got, tt.status, tt.body)
			}
			if r.header.Get("Content-Type") != "application/json" || r.header.Get("Cache-Control") != "no-store" || r.header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("headers %v", r.header)
			}
			if (r.status == 401) != (r.header.Get("WWW-Authenticate") == "Token") {
				t.Errorf("%d with WWW-Authenticate %q", r.status, r.header.Get("WWW-Authenticate"))
			}
		})
	}
}

// Every answer to a POST that http.md states.
func TestDecisionPOST(t *testing.T) {
	w := newWorld(t)
	const slots = `,"placements":[{"div_id":"a","ad_type":"image-v1"}]`
	tests := []struct {
		name, body string
		headers    []string
		status     int
		want       string
	}{
		{"an ad", `{"publisher":"open"` + slots + `}`, nil, 200, "ad"},
		{"everything", `{"publisher":"open","placements":[{"div_id":"a","ad_type":"image-v1","priority":10,"x":{}}],"keywords":["a",1,""],"campaign_types":["paid"],"url":"https://e.com/","user_ip":"1.1.1.1, 2.2.2.2","user_ua":"x","rotations":2,"placement_index":0}`, nil, 200, "ad"},
		{"numbers as text", `{"publisher":"open","rotations":"2","placement_index":"0"` + slots + `}`, nil, 200, "ad"},
		{"whole numbers with a point", `{"publisher":"open","rotations":2.0` + slots + `}`, nil, 200, "ad"},
		{"escapes", `{"publisher":"\u006fpen"` + slots + `}`, nil, 200, "ad"},
		{"repeated names: the last counts", `{"publisher":"nonesuch","publisher":"open","placements":[]` + slots + `}`, nil, 200, "ad"},
		{"no campaign types are all", `{"publisher":"open","campaign_types":[]` + slots + `}`, nil, 200, "ad"},
		{"content type with a charset", `{"publisher":"open"` + slots + `}`, []string{"Content-Type", "application/json; charset=utf-8"}, 200, "ad"},
		{"unknown ad type", `{"publisher":"open","placements":[{"div_id":"a","ad_type":"x"}]}`, nil, 200, "{}"},

		{"no body", ``, nil, 400, `{"placements":["This field is required."],"publisher":["This field is required."]}`},
		{"no placements", `{"publisher":"open"}`, nil, 400, `{"placements":["This field is required."]}`},
		{"empty placements", `{"publisher":"open","placements":[]}`, nil, 400, `{"placements":["At least one placement is required"]}`},
		{"placements are no list", `{"publisher":"open","placements":{}}`, nil, 400, `{"placements":{"non_field_errors":["Expected a list of items but got type \"dict\"."]}}`},
		{"a placement is no object", `{"publisher":"open","placements":["a"]}`, nil, 400, `{"placements":[{"non_field_errors":["Invalid data. Expected a dictionary, but got str."]}]}`},
		{"a placement lacks what it needs", `{"publisher":"open","placements":[{"div_id":"a","ad_type":"b"},{"priority":true}]}`, nil, 400, `{"placements":[{},{"div_id":["This field is required."],"ad_type":["This field is required."],"priority":["A valid integer is required."]}]}`},
		{"no publisher", `{"placements":[{"div_id":"a","ad_type":"b"}]}`, nil, 400, `{"publisher":["This field is required."]}`},
		{"publisher is null", `{"publisher":null` + slots + `}`, nil, 400, `{"publisher":["This field may not be null."]}`},
		{"publisher is a list", `{"publisher":["open"]` + slots + `}`, nil, 400, `{"publisher":["Not a valid string."]}`},
		{"publisher is true", `{"publisher":true` + slots + `}`, nil, 400, `{"publisher":["Not a valid string."]}`},
		{"unknown publisher", `{"publisher":"x"` + slots + `}`, nil, 400, `{"publisher":["Invalid publisher"]}`},
		{"disabled publisher", `{"publisher":"gone"` + slots + `}`, nil, 400, `{"publisher":["Disabled publisher"]}`},
		{"keywords are no list", `{"publisher":"open","keywords":"a"` + slots + `}`, nil, 400, `{"keywords":["Expected a list of items but got type \"str\"."]}`},
		{"a keyword is no text", `{"publisher":"open","keywords":["a",{}]` + slots + `}`, nil, 400, `{"keywords":{"1":["Not a valid string."]}}`},
		{"too many keywords", `{"publisher":"open","keywords":["` + keywords(101, `","`) + `"]` + slots + `}`, nil, 400, `{"keywords":["Ensure this field has no more than 100 elements."]}`},
		{"unknown campaign type", `{"publisher":"open","campaign_types":["unknown"]` + slots + `}`, nil, 400, `{"campaign_types":["Invalid campaign type"]}`},
		{"blank URL", `{"publisher":"open","url":""` + slots + `}`, nil, 400, `{"url":["This field may not be blank."]}`},
		{"rotations of a half", `{"publisher":"open","rotations":2.5` + slots + `}`, nil, 400, `{"rotations":["A valid integer is required."]}`},
		{"rotations null", `{"publisher":"open","rotations":null` + slots + `}`, nil, 400, `{"rotations":["This field may not be null."]}`},
		{"an enormous number", `{"publisher":"open","rotations":1e400` + slots + `}`, nil, 400, `{"rotations":["A valid integer is required."]}`},
		{"a null byte", `{"publisher":"open","force_ad":"a\u0000b"` + slots + `}`, nil, 400, `{"force_ad":["Null characters are not allowed."]}`},
		{"IP with a port", `{"publisher":"open","user_ip":"1.1.1.1:80"` + slots + `}`, nil, 400, `{"user_ip":["Invalid IPv4 or IPv6 address"]}`},
		{"IP with a zone", `{"publisher":"open","user_ip":"fe80::1%eth0"` + slots + `}`, nil, 400, `{"user_ip":["Invalid IPv4 or IPv6 address"]}`},
		{"no IP", `{"publisher":"open","user_ip":"not-an-ip"` + slots + `}`, nil, 400, `{"user_ip":["Invalid IPv4 or IPv6 address"]}`},

		{"not an object", `[1]`, nil, 400, `{"non_field_errors":["Invalid data. Expected a dictionary, but got list."]}`},
		{"not JSON", `{"publisher":`, nil, 400, `{"detail":"JSON parse error: expected one JSON object in UTF-8."}`},
		{"two values", `{} {}`, nil, 400, `{"detail":"JSON parse error: expected one JSON object in UTF-8."}`},
		{"not UTF-8", "{\"publisher\":\"\xff\"}", nil, 400, `{"detail":"JSON parse error: expected one JSON object in UTF-8."}`},
		{"too deep", strings.Repeat(`{"a":`, 12000), nil, 400, `{"detail":"JSON parse error: expected one JSON object in UTF-8."}`},
		{"a form", `publisher=open`, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, `{"detail":"Unsupported media type in request, expected application/json."}`},
		{"a wrong token comes before a broken body", `{`, []string{"Authorization", "Token x"}, 401, `{"detail":"Invalid token."}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := w.do(http.MethodPost, decisionPath, tt.body, tt.headers...)
			got := r.body
			if r.status == 200 && strings.HasPrefix(got, `{"id":"ad-`) {
				got = "ad"
			}
			if r.status != tt.status || got != tt.want {
				t.Errorf("got  %d %s\nwant %d %s", r.status, got, tt.status, tt.want)
			}
		})
	}
	// It is refused by its length; a client that sends all the same may find the
	// connection closed before it has read why.
	status, body := w.raw(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: ads.example.com\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n{", decisionPath, 65<<10))
	if want := `{"detail":"The request's body is too large."}`; status != 413 || body != want {
		t.Errorf("a body too large: got %d %s, want 413 %s", status, body, want)
	}
}

func TestMethods(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"PUT", decisionPath, 405, "GET, POST, OPTIONS"},
		{"HEAD", decisionPath, 405, "GET, POST, OPTIONS"},
		{"OPTIONS", decisionPath, 204, "GET, POST, OPTIONS"},
		{"GET", "/api/v1/decision?" + ask1, 200, ""},
		{"POST", "/proxy/view/101/x/", 405, "GET, HEAD"},
		{"DELETE", "/proxy/click/101/x/", 405, "GET, HEAD"},
		{"GET", "/", 404, ""},
		{"GET", "/api/v1/", 404, ""},
		{"GET", "/proxy/view/", 404, ""},
		{"GET", "/proxy/view/x/y/", 404, ""},
		{"GET", "/proxy/view/101", 404, ""},
		{"GET", "/proxy/view/101/", 404, ""},
		{"GET", "/proxy/view/101/a/b/", 404, ""},
		{"GET", "/proxy/view/99999999999/a/", 404, ""},
		{"GET", "/proxy/view/-1/a/", 404, ""},
	} {
		r := w.do(tt.method, tt.path, "")
		if r.status != tt.status || r.header.Get("Allow") != tt.allow {
			t.Errorf("%s %s: got %d, Allow %q, want %d, %q", tt.method, tt.path, r.status, r.header.Get("Allow"), tt.status, tt.allow)
		}
	}
}

func TestJSONP(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		name, query string
		status      int
		start, end  string
	}{
		{"default name", ask1 + "&format=jsonp", 200, `callback({"id":"ad-views"`, `"div_id":"a"});`},
		{"a name", ask1 + "&format=jsonp&callback=ad_1718000000", 200, `ad_1718000000({"id"`, `});`},
		{"a path", ask1 + "&format=jsonp&callback=a.$b._c", 200, `a.$b._c({`, `});`},
		{"no ad", ask1 + "&format=jsonp&campaign_types=community", 200, `callback({});`, ``},
		{"an error is wrapped too", "publisher=x&format=jsonp&callback=f&div_ids=a&ad_types=b", 400, `f({"publisher":["Invalid publisher"]});`, ``},
		{"a callback without format is JSON", ask1 + "&callback=f", 200, `{"id"`, `}`},
		{"script in the name", ask1 + "&format=jsonp&callback=alert(1)//", 400, `{"callback":["Enter a valid JavaScript name."]}`, ``},
		{"empty name", ask1 + "&format=jsonp&callback=", 400, `{"callback"`, ``},
		{"digit first", ask1 + "&format=jsonp&callback=1a", 400, `{"callback"`, ``},
		{"too long", ask1 + "&format=jsonp&callback=" + strings.Repeat("a", 129), 400, `{"callback"`, ``},
		{"longest", ask1 + "&format=jsonp&callback=" + strings.Repeat("a", 128), 200, `aaa`, `);`},
	} {
		r := w.get(decisionPath + "?" + tt.query)
		if r.status != tt.status || !strings.HasPrefix(r.body, tt.start) || !strings.HasSuffix(r.body, tt.end) {
			t.Errorf("%s: %d %s", tt.name, r.status, r.body)
		}
		script := strings.HasSuffix(r.body, ");")
		if script != (r.header.Get("Content-Type") == "text/javascript; charset=utf-8") || r.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", tt.name, r.header)
		}
	}
	if r := w.do("POST", decisionPath+"?format=jsonp&callback=f", `{`); !strings.HasPrefix(r.body, `f({"detail"`) {
		t.Errorf("POST: %s", r.body)
	}
	if r := w.get(decisionPath+"?format=jsonp&callback=f", "Authorization", "Token x"); r.status != 401 || r.body != `f({"detail":"Invalid token."});` {
		t.Errorf("401: %s", r.body)
	}
}

func TestOfferFields(t *testing.T) {
	w := newWorld(t)
	o := w.offer("publisher=bids&div_ids=%3Cdiv%3E%22&ad_types=image-v1")
	nonce := o["nonce"].(string)
	for name, want := range map[string]any{
		"id": "ad-views", "body": "Headline Content of views Go", "image": "https://img.example.com/1.png", "logo": nil,
		"link": "https://eu.example.com/proxy/click/101/" + nonce + "/", "link_domain": "views.example.com",
		"view_url":      "https://eu.example.com/proxy/view/101/" + nonce + "/",
		"view_time_url": "https://eu.example.com/proxy/viewtime/101/" + nonce + "/",
		"display_type":  "image-v1", "campaign_type": "paid", "div_id": `<div>"`, "cpm": 10.0, "cpc": 1.0,
	} {
		if o[name] != want {
			t.Errorf("%s: got %v, want %v", name, o[name], want)
		}
	}
	if !strings.Contains(o["html"].(string), `class="ethical-pixel"`) {
		t.Errorf("render_pixel: %s", o["html"])
	}
	timing := w.get(decisionPath + "?" + ask1).header.Get("Server-Timing")
	if ok, _ := regexp.MatchString(`^decide;dur=\d+\.\d{3}$`, timing); !ok {
		t.Errorf("Server-Timing %q", timing)
	}
	plain := w.offer(ask1)
	if _, ok := plain["cpm"]; ok || strings.Contains(plain["html"].(string), "pixel") {
		t.Errorf("without send_bid_rate and render_pixel: %v", plain)
	}
}

// What a token says is what the beacon will be judged by.
func TestClaims(t *testing.T) {
	w := newWorld(t)
	open := func(o map[string]any) (c token.Claims) {
		t.Helper()
		if err := w.judge.Open(&c, []byte(o["nonce"].(string)), noon); err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := open(w.offer("publisher=open&div_ids=a|my-div&ad_types=x|image-v1&rotations=3&url=https://docs.example.com/page", "X-Forwarded-For", dutch))
	got := fmt.Sprintf("%d %d %d %d %s %d %d %d %d %d %s %s", c.Ad, c.Flight, c.Publisher, c.AdType, c.Country, c.Rotation, c.ViewPrice, c.ClickPrice, c.Issued, c.Flags, c.Placement, c.Domain)
	want := fmt.Sprintf("101 1 1 1 NL 3 10000 1000000 %d %d my-div docs.example.com", noon.UnixMilli(), token.FlagViews|token.FlagClicks)
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if c := open(w.offer("publisher=capped&div_ids=a&ad_types=image-v1")); c.Flags != token.FlagViews|token.FlagClicks|token.FlagPublisherDay {
		t.Errorf("capped publisher: flags %b", c.Flags)
	}
	if c := open(w.offer("publisher=open&div_ids=a&ad_types=image-v1&campaign_types=house")); c.Flags != token.FlagViews || c.ViewPrice != 0 || c.ClickPrice != 0 {
		t.Errorf("house: flags %b, prices %d, %d", c.Flags, c.ViewPrice, c.ClickPrice)
	}
	if o := w.offer(ask1 + "&force_ad=ad-views"); o["nonce"] != "forced" {
		t.Errorf("forced paid: nonce %v", o["nonce"])
	}
	if c := open(w.offer(ask1 + "&force_ad=ad-house")); c.Ad != 105 {
		t.Errorf("forced unpaid: ad %d", c.Ad)
	}
}

// Who is asked for decides, not who asks: servers POST for their readers.
func TestTargeting(t *testing.T) {
	w := newWorld(t)
	const q = "publisher=open&div_ids=a&ad_types=text-v1"
	const post = `{"publisher":"open","placements":[{"div_id":"a","ad_type":"text-v1"}]`
	for _, tt := range []struct {
		name, method, ask string
		headers           []string
		want              string // ad, "" for none
	}{
		{"nothing matches", "GET", q, nil, ""},
		{"keyword", "GET", q + "&keywords=python|Docker%20", nil, "ad-docker"},
		{"the 21st keyword is ignored", "GET", q + "&keywords=" + keywords(20, "|") + "|docker", nil, ""},
		{"the 20th is not", "GET", q + "&keywords=" + keywords(19, "|") + "|docker", nil, "ad-docker"},
		{"country of the address", "GET", q, []string{"X-Forwarded-For", dutch}, "ad-dutch"},
		{"a forged address does not count", "GET", q, []string{"X-Forwarded-For", dutch + ", " + american}, ""},
		{"user_ip of a GET does not count", "GET", q + "&user_ip=" + dutch, nil, ""},
		{"user_ip of a POST counts", "POST", post + `,"user_ip":"` + dutch + `"}`, nil, "ad-dutch"},
		{"of a list the first counts", "POST", post + `,"user_ip":"` + dutch + `,8.8.8.8"}`, nil, "ad-dutch"},
		{"domain of the page", "GET", q + "&url=https://docs.example.com/a/b?c", nil, "ad-domain"},
		{"the Referer stands in for the page", "GET", q, []string{"Referer", "https://docs.example.com/x"}, "ad-domain"},
		{"the page wins over the Referer", "GET", q + "&url=https://example.com/", []string{"Referer", "https://docs.example.com/x"}, ""},
		{"a Referer that is no URL", "GET", q, []string{"Referer", "docs.example.com"}, ""},
		{"keywords in JSON", "POST", post + `,"keywords":["docker"]}`, nil, "ad-docker"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var r response
			if tt.method == "GET" {
				r = w.get(decisionPath+"?"+tt.ask, tt.headers...)
			} else {
				r = w.do("POST", decisionPath, tt.ask, tt.headers...)
			}
			got, _ := r.json(t)["id"].(string)
			if r.status != 200 || got != tt.want {
				t.Errorf("got %d %q, want %q", r.status, got, tt.want)
			}
		})
	}
	if r := w.do("POST", decisionPath, `{"publisher":"desktop","placements":[{"div_id":"a","ad_type":"image-v1"}],"user_ua":"`+phone+`"}`); r.body != "{}" {
		t.Errorf("user_ua of a phone: %s", r.body)
	}
	if r := w.do("POST", decisionPath, post+`,"user_ip":"`+dutch+`"}`); r.header.Get("X-Adserver-RealIP") != dutch || r.header.Get("X-Adserver-Country") != "NL" || r.header.Get("X-Adserver-Continent") != "EU" {
		t.Errorf("debug headers %v", r.header)
	}
}

func TestCountryHeader(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.CountryHeader = "CF-IPCountry" })
	for said, want := range map[string]string{"NL": "NL", "nl": "NL", "XX": "None", "T1": "T1", "nonsense": "None", "": "US"} {
		if r := w.get(decisionPath+"?"+ask1, "CF-IPCountry", said); r.header.Get("X-Adserver-Country") != want {
			t.Errorf("%q: got %s, want %s", said, r.header.Get("X-Adserver-Country"), want)
		}
	}
}

func TestDebugHeadersAreOff(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.DebugHeaders = false })
	o := w.offer(ask1)
	for _, r := range []response{w.get(decisionPath + "?" + ask1), w.get(path(o, "view_url")), w.get(path(o, "link"))} {
		for name := range r.header {
			if strings.HasPrefix(name, "X-Adserver") {
				t.Errorf("%s is sent", name)
			}
		}
	}
}

func TestSticky(t *testing.T) {
	const q = "publisher=sticky&div_ids=a&ad_types=image-v1"
	tests := []struct {
		name, query string
		between     func(w *world)
		headers     []string
		same        bool
	}{
		{"again", q, nil, nil, true},
		{"in another div", "publisher=sticky&div_ids=b&ad_types=image-v1", nil, nil, true},
		{"after its time", q, func(w *world) { w.clock.Add(5000) }, nil, false},
		{"shortly before", q, func(w *world) { w.clock.Add(4999) }, nil, true},
		{"another address", q, nil, []string{"X-Forwarded-For", "8.8.4.4"}, false},
		{"another agent", q, nil, []string{"User-Agent", firefox}, false},
		{"other keywords", q + "&keywords=x", nil, nil, false},
		{"another host", q + "&url=https://e.com/", nil, nil, false},
		{"other campaign types", q + "&campaign_types=paid", nil, nil, false},
		{"another priority", q + "&priorities=2", nil, nil, false},
		{"forced", q + "&force_ad=ad-views", nil, nil, false},
		{"the flight was paused", q, func(w *world) {
			w.books.Switch(1).Set(catalog.Pause, 9)
		}, nil, false},
		{"a new catalog", q, func(w *world) { w.apply(sample()) }, nil, false},
		{"a publisher without cache_ads", ask1, nil, nil, false},
	}
	w := newWorld(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w.clock.Add(60_000)
			first := w.offer(q)
			if tt.between != nil {
				tt.between(w)
			}
			second := w.offer(tt.query, tt.headers...)
			if same := first["nonce"] == second["nonce"]; same != tt.same {
				t.Errorf("the same offer: %v, want %v", same, tt.same)
			}
			if div := strings.Contains(tt.query, "div_ids=b"); div && second["div_id"] != "b" {
				t.Errorf("div_id %v", second["div_id"])
			}
			w.books.Switch(1).Set(catalog.Run, 0)
		})
	}
}

func TestNoOffers(t *testing.T) {
	w := newWorld(t)
	w.judge.stopped = true
	if r := w.get(decisionPath + "?" + ask1); r.status != 200 || r.body != "{}" {
		t.Errorf("while no offers are made: %d %s", r.status, r.body)
	}
	w.judge.stopped = false
	w.offer(ask1)
	w.server.loaded.Store(nil)
	if r := w.get(decisionPath + "?" + ask1); r.status != 503 || r.header.Get("Retry-After") == "" {
		t.Errorf("without a catalog: %d %s", r.status, r.body)
	}
	if r := w.get("/proxy/view/101/x/"); r.status != 503 {
		t.Errorf("view without a catalog: %d %s", r.status, r.body)
	}
}

func TestTallyAndStats(t *testing.T) {
	w := newWorld(t)
	w.offer(ask1)
	w.get(decisionPath+"?"+ask1+"&campaign_types=community", "X-Forwarded-For", "127.0.0.1")
	w.get(decisionPath)
	w.books.Account(0) // no effect
	w.books.Switch(1).Set(catalog.Pause, 9)
	w.get(decisionPath + "?" + ask1 + "&campaign_types=paid")
	got := fmt.Sprint(w.tally.decisions, w.tally.refusals)
	if want := "map[1//0:1 1/US/0:1 1/US/1:1] map[1/paused:1 2/ad_type:1 3/ad_type:1 4/ad_type:1 6/not_live:1]"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	answers := map[string]uint64{}
	w.server.Stats().EachAnswer(func(a string, n uint64) { answers[a] = n })
	if answers["filled"] != 1 || answers["empty"] != 2 || answers["refused"] != 1 {
		t.Errorf("answers %v", answers)
	}
	if _, n, _ := w.server.Stats().Latency.Read(); n != 4 {
		t.Errorf("%d durations, want 4", n)
	}
}

func TestPublicURL(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.PublicURL = "" })
	for _, tt := range []struct {
		host, proto string
		want        string // "" for 400
	}{
		{"ads.example.com", "", "http://ads.example.com/"},
		{"ads.example.com:8180", "https", "https://ads.example.com:8180/"},
		{"[::1]:80", "", "http://[::1]:80/"},
		{"a\"b", "", ""},
		{"a<b>", "", ""},
	} {
		ctx := &fasthttp.RequestCtx{}
		ctx.Request.SetRequestURI(decisionPath + "?" + ask1)
		ctx.Request.Header.SetHost(tt.host)
		ctx.Request.Header.Set("X-Forwarded-Proto", tt.proto)
		w.server.Handle(ctx)
		body := string(ctx.Response.Body())
		if tt.want == "" {
			if ctx.Response.StatusCode() != 400 {
				t.Errorf("%s: %d %s", tt.host, ctx.Response.StatusCode(), body)
			}
			continue
		}
		if !strings.Contains(body, `"view_url":"`+tt.want+`proxy/view/`) {
			t.Errorf("%s: %s", tt.host, body)
		}
	}
	for _, bad := range []string{"eu.example.com", "ftp://x", "https://", "https://x?y"} {
		cfg := config()
		cfg.PublicURL = bad
		if _, err := New(cfg, w.judge, w.tally, Visitors{}, w.ready.Load); err == nil || !strings.Contains(err.Error(), "public-url") {
			t.Errorf("%s: error %v", bad, err)
		}
	}
}

func TestReadyTwin(t *testing.T) {
	w := newWorld(t)
	if r := w.get("/readyz"); r.status != 200 || r.body != "" {
		t.Errorf("ready: %d %q", r.status, r.body)
	}
	w.ready.Store(false)
	if r := w.get("/readyz"); r.status != 503 || r.body != "" {
		t.Errorf("not ready: %d %q", r.status, r.body)
	}
}

// A decision allocates nothing once its catalog is warm; it has no I/O to do,
// since nothing it calls can do any.
func TestDecisionAllocates(t *testing.T) {
	if raceOn {
		t.Skip("under the race detector pools forget at random, so that allocations say nothing; this runs without it")
	}
	w := newWorld(t, func(c *Config) { c.DebugHeaders = false })
	w.server.tally = silentTally{} // the other one prints
	s := sample()
	s.Topics = []catalog.Topic{{ID: 1, Slug: "containers", Name: "Containers", Keywords: []string{"docker", "podman"}}}
	w.apply(s)
	for name, query := range map[string]string{
		"filled":      ask1 + "&keywords=a|b|podman&url=https://docs.example.com/a&priorities=1",
		"jsonp":       ask1 + "&format=jsonp&callback=ad_1",
		"sticky":      "publisher=sticky&div_ids=a&ad_types=image-v1",
		"no ad":       "publisher=open&div_ids=a&ad_types=text-v1",
		"placements":  "publisher=open&div_ids=a|b|c&ad_types=image-v1|text-v1|x&campaign_types=paid|house",
		"with a bid":  "publisher=bids&div_ids=a&ad_types=image-v1",
		"second slot": "publisher=many&div_ids=a&ad_types=image-v1&placement_index=2&rotations=2",
	} {
		ctx := &fasthttp.RequestCtx{}
		uri := decisionPath + "?" + query
		ask := func() {
			ctx.Request.Reset()
			ctx.Response.Reset()
			ctx.Request.SetRequestURI(uri)
			ctx.Request.Header.SetHost("ads.example.com")
			ctx.Request.Header.SetUserAgent(chrome)
			ctx.Request.Header.Set("X-Forwarded-For", american)
			w.server.Handle(ctx)
			if ctx.Response.StatusCode() != 200 {
				t.Fatal(string(ctx.Response.Body()))
			}
		}
		for range 100 { // caches fill beside the requests
			ask()
			w.server.candidates.Wait()
		}
		n := testing.AllocsPerRun(200, ask)
		if n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

type silentTally struct{}

func (silentTally) Decision(uint32, [2]byte, uint32, token.Topics) {}
func (silentTally) Refusals(uint32, uint8, int64)                  {}
