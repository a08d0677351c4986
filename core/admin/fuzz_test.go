package admin_test

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"nearside/core/admin"
)

// FuzzBody sends any bytes as a body to any kind. Whatever comes, the answer
// is one of those described, nothing goes wrong inside, and what was taken can
// be published to edges.
func FuzzBody(f *testing.F) {
	for i, k := range kinds {
		for j, text := range []string{k.least, k.whole, k.patch, k.patched} {
			f.Add(uint8(i), uint8(j), text)
		}
	}
	f.Add(uint8(7), uint8(1), `{"targeting":{"niche_targeting":-0.0,"include_metro_codes":[65535]},"traffic_cap":{"countries":{"NL":0}}}`)
	f.Add(uint8(7), uint8(1), `{"start_date":"2199-12-31","end_date":"2199-12-31","priority_multiplier":1e6,"sold_views":1000000000000}`)
	f.Add(uint8(7), uint8(1), `{"sold_views":9007199254740993}`)
	f.Add(uint8(7), uint8(1), `{"targeting":null,"traffic_cap":{"countries":null}}`)
	f.Add(uint8(3), uint8(1), `{"template":"{{define \"x\"}}{{template \"x\"}}{{end}}"}`)
	f.Add(uint8(8), uint8(1), `{"link":"https://[::1]:80/%zz?${publisher}"}`)
	w := open(f)
	w.sample()
	for _, k := range kinds {
		w.must(201, "POST", "/v1/"+k.path, k.least)
	}
	f.Fuzz(func(t *testing.T, kind, way uint8, text string) {
		w.t = t
		k := kinds[int(kind)%len(kinds)]
		method, path := "POST", "/v1/"+k.path
		switch way % 3 {
		case 1:
			method, path = "PATCH", path+"/x"
		case 2:
			method, path = "PUT", path+"/x"
		}
		a := w.call(method, path, text, "Content-Type: application/json")
		if !slices.Contains([]int{200, 201, 400, 409, 413, 422}, a.status) || w.log.Len() > 0 {
			t.Fatalf("%s %s %q: %d %s\nlog: %s", method, path, text, a.status, a.text, w.log.String())
		}
		if len(a.text) > 64<<10 && a.status >= 400 {
			t.Fatalf("%s %s: an answer of %d bytes", method, path, len(a.text))
		}
		if a.status < 300 {
			w.snapshot() // is valid, or the test fails
		}
	})
}

// FuzzRequest sends any path, query and headers.
func FuzzRequest(f *testing.F) {
	f.Add("GET", "/v1/flights?limit=1&cursor=MQ", "", "")
	f.Add("PATCH", "/v1/flights/autumn", `"1", *`, "key")
	f.Add("GET", "/v1/reports/delivery?from=2025-01-01&to=2025-01-02T00:00:00%2B23:59&group_by=hour,ad", "", "")
	f.Add("GET", "/v1/catalog/versions/1/receipts?cursor=OTIyMzM3MjAzNjg1NDc3NTgwNw", "", "")
	f.Add("GET", "/v1/audit?resource=%25", "", "")
	f.Add("DELETE", "/v1/tokens/2147483647", "", "")
	f.Add("POST", "/v1/flights/a%2Fb/pause", "", "")
	w := open(f)
	w.sample()
	f.Fuzz(func(t *testing.T, method, target, ifMatch, key string) {
		if !slices.Contains([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}, method) || !strings.HasPrefix(target, "/") {
			t.Skip("what net/http does not pass on")
		}
		r := httptest.NewRequest(method, "/", strings.NewReader(`{}`))
		path, query, _ := strings.Cut(target, "?")
		r.URL.Path, r.URL.RawQuery = path, query
		r.Header.Set("Authorization", "Bearer "+w.token)
		r.Header.Set("If-Match", ifMatch)
		r.Header.Set("Idempotency-Key", key)
		recorder := httptest.NewRecorder()
		w.api.ServeHTTP(recorder, r)
		if recorder.Code >= 500 || w.log.Len() > 0 {
			t.Fatalf("%s %q: %d %s\nlog: %s", method, target, recorder.Code, recorder.Body.String(), w.log.String())
		}
	})
}

// FuzzImport reads any bytes as a catalog document: it is taken whole and can
// be published, or refused with an error of one line.
func FuzzImport(f *testing.F) {
	f.Add("advertisers: [{slug: a, name: A}]\ncampaigns: [{slug: c, name: C, advertiser: a}]")
	f.Add(`{"topics":[{"slug":"t","name":"T","keywords":["a"]}]}`)
	f.Add("topics:\n- {slug: t, name: T}\n- {slug: t, name: U}")
	f.Add("topics: {slug: t}")
	f.Add("flights: [1]")
	f.Add("nothing: []")
	f.Add("a: &a [*a, *a]")
	f.Add("topics: &x\n- slug: t\n  name: *x")
	f.Add("topics: [{slug: 2025-01-01, name: 007}]")
	f.Add("? {}\n: x")
	f.Add("")
	w := open(f)
	f.Fuzz(func(t *testing.T, text string) {
		w.t = t
		_, err := w.api.Import(t.Context(), "fuzz", []byte(text))
		if err != nil {
			if message := admin.Explain(err).Error(); message == "" || strings.Contains(message, "\n") || len(message) > 16<<10 {
				t.Fatalf("%q: the error %q", text, message)
			}
			return
		}
		w.snapshot()
	})
}
