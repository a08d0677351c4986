package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"nearside/core/postgres/query"
)

// believer stands for a database in which every slug exists. Parsing and
// checking ask it nothing else, so that they can be fuzzed at full speed.
type believer struct{}

func (believer) Exec(context.Context, string, ...any) (pgconn.CommandTag, error) {
	return pgconn.CommandTag{}, errors.New("nothing is written here")
}

func (believer) QueryRow(context.Context, string, ...any) pgx.Row { return noRow{} }

func (believer) Query(_ context.Context, _ string, args ...any) (pgx.Rows, error) {
	slugs, ok := args[0].([]string)
	if len(args) != 1 || !ok {
		return nil, errors.New("only slugs are known here")
	}
	return &believed{slugs: slugs}, nil
}

type noRow struct{}

func (noRow) Scan(...any) error { return pgx.ErrNoRows }

type believed struct {
	pgx.Rows
	slugs []string
	next  int
}

func (b *believed) Next() bool { b.next++; return b.next <= len(b.slugs) }
func (b *believed) Close()     {}
func (b *believed) Err() error { return nil }
func (b *believed) Scan(to ...any) error {
	*to[0].(*int32), *to[1].(*string) = int32(b.next), b.slugs[b.next-1]
	return nil
}

// described is an API without a database, for its schemas.
func described() *API { return New(nil, Options{Version: "test"}) }

// checked is a document as a resource of one kind; it is what every write
// does before it writes.
type checked struct {
	plural string
	check  func(w *write, registry huma.Registry, document map[string]any) (any, error)
	patch  func(registry huma.Registry, base any, patch map[string]any) (map[string]any, error)
}

func checking[T any, P interface {
	*T
	resource
}](a *API, k *kind[T]) checked {
	schema := a.schema(*new(T))
	return checked{
		plural: k.plural,
		check: func(w *write, registry huma.Registry, document map[string]any) (any, error) {
			v, err := prepared[T, P](w, registry, k, document, &faults{at: "body"})
			return v, err
		},
		patch: func(registry huma.Registry, base any, patch map[string]any) (map[string]any, error) {
			return patched(registry, schema, base, patch)
		},
	}
}

func allKinds(a *API) []checked {
	return []checked{
		checking(a, &advertisers), checking(a, &publisherGroups), checking(a, &publishers), checking(a, &adTypes), checking(a, &topics),
		checking(a, &geoRegions), checking(a, &campaigns), checking(a, &flights), checking(a, &ads),
	}
}

// seeds are bodies by the number of their kind.
var seeds = []struct {
	kind uint8
	text string
}{
	{0, `{"slug":"x","name":"X"}`},
	{0, `{"slug":"x","name":"X","catalog_version":7}`},
	{2, `{"slug":"x","name":"X","groups":["g","g"],"default_keywords":["Go"," python "],"cache_ads":false,"daily_cap_micros":5000000,"revenue_share_percentage":0.1}`},
	{3, `{"slug":"x","name":"X","has_image":false,"max_text_length":80,"template":"{{define \"x\"}}{{template \"x\"}}{{end}}"}`},
	{4, `{"slug":"x","name":"X","keywords":["SQL","sql"]}`},
	{5, `{"slug":"x","name":"X","countries":["NO","SE","XK"]}`},
	{6, `{"slug":"x","name":"X","advertiser":"a","campaign_type":"publisher-house","publisher_groups":["g"],"exclude_publishers":["p"]}`},
	{7, `{"slug":"x","name":"X","campaign":"c","start_date":"2025-09-01","end_date":"2025-09-01"}`},
	{7, `{"slug":"x","name":"X","campaign":"c","start_date":"2199-12-31","end_date":"2199-12-31","priority_multiplier":1e6,"sold_views":1000000000000,"cpm_micros":1e12}`},
	{7, `{"slug":"x","name":"X","campaign":"c","start_date":"2025-09-01","end_date":"2025-09-02","live":true,"cpc_micros":1500000,"sold_clicks":100,"pacing":"asap",
		"frequency_cap":3,"traffic_cap":{"countries":{"NL":0.5},"regions":{"r":1},"publishers":{"p":0}},"targeting":{"include_countries":["NL","BE"],
		"include_keywords":["Go"],"mobile_traffic":"exclude","days":["sunday"],"niche_targeting":0.25,"include_topics":["t"],"exclude_regions":["r"],
		"include_metro_codes":[501],"include_state_provinces":["CA"],"include_publishers":["p"],"include_domains":["example.com"]}}`},
	{7, `{"targeting":{"niche_targeting":-0.0,"include_metro_codes":[65535]},"sold_views":9007199254740993}`},
	{7, `{"targeting":null,"traffic_cap":{"countries":null}}`},
	{8, `{"slug":"x","name":"X","flight":"f","ad_types":["t"],"headline":"é","link":"https://[::1]:80/%zz?${publisher}"}`},
	{8, `{"slug":"x","name":"X","flight":"f","ad_types":["t","t"],"link":"https://example.com/?a=$country","image_url":"http://example.com/i.png","live":false}`},
}

// FuzzBody reads any bytes as the body of any kind, whole or as a merge patch.
// It is refused with a problem that names a place, or it becomes a resource
// that reads back as it was written.
func FuzzBody(f *testing.F) {
	for _, s := range seeds {
		f.Add(s.kind, false, s.text)
		f.Add(s.kind, true, s.text)
	}
	a := described()
	registry := a.huma.OpenAPI().Components.Schemas
	kinds := allKinds(a)
	w := &write{ctx: f.Context(), q: query.New(believer{}), now: time.Unix(1757894400, 0).UTC()}
	bases := map[uint8]any{}
	for _, s := range seeds { // the first of a kind that is whole
		if document, err := parse([]byte(s.text)); err == nil && bases[s.kind] == nil {
			if v, err := kinds[s.kind].check(w, registry, document); err == nil {
				bases[s.kind] = v
			}
		}
	}
	f.Fuzz(func(t *testing.T, number uint8, patch bool, text string) {
		number %= uint8(len(kinds))
		k := kinds[number]
		document, err := parse([]byte(text))
		if err == nil && patch && bases[number] != nil {
			document, err = k.patch(registry, bases[number], document)
		}
		var v any
		if err == nil {
			v, err = k.check(w, registry, document)
		}
		if err != nil {
			refusal(t, err)
			return
		}
		// What was taken is taken again as it is, and stays as it is.
		again, err := asObject(v)
		if err != nil {
			t.Fatal(err)
		}
		twice, err := k.check(w, registry, again)
		if err != nil {
			t.Fatalf("%s %q: was taken, and is not when sent back: %v", k.plural, text, Explain(err))
		}
		if different, err := changes(v, twice); err != nil || len(different) > 0 {
			t.Fatalf("%s %q: changes when it is sent back: %v %v", k.plural, text, different, err)
		}
	})
}

// refusal checks that err is a problem of the caller's, of bounded size.
func refusal(t *testing.T, err error) {
	t.Helper()
	var problem *huma.ErrorModel
	if !errors.As(err, &problem) || problem.Status < 400 || problem.Status > 499 {
		t.Fatalf("not a refusal: %v", err)
	}
	text, err := json.Marshal(problem)
	if err != nil || len(text) > 64<<10 || len(problem.Errors) > maxFaults {
		t.Fatalf("a refusal of %d bytes with %d errors, %v", len(text), len(problem.Errors), err)
	}
	for _, detail := range problem.Errors {
		if detail.Location == "" || detail.Message == "" {
			t.Fatalf("an error without a place or without a word: %s", text)
		}
	}
}

// FuzzImport reads any bytes as a catalog document: an error of one line, or
// lists whose items are refused or taken one by one.
func FuzzImport(f *testing.F) {
	for _, text := range []string{
		"advertisers: [{slug: a, name: A}]\ncampaigns: [{slug: c, name: C, advertiser: a}]",
		`{"topics":[{"slug":"t","name":"T","keywords":["a"]}]}`,
		"topics:\n- {slug: t, name: T}\n- {slug: t, name: U}",
		"topics: {slug: t}", "flights: [1]", "nothing: []", "", "? {}\n: x", "- a", "topics: [", "topics: ~",
		"a: &a [*a, *a]", "topics: &x\n- slug: t\n  name: *x", "topics: [{<<: {slug: t}}]",
		"topics: [{slug: 2025-01-01, name: 007}]", "topics: [{slug: !!binary YQ==, name: .nan}]",
		"flights:\n- {slug: f, name: F, campaign: c, start_date: 2025-09-01, end_date: 2025-10-01, live: yes, sold_views: 1_000}",
	} {
		f.Add(text)
	}
	a := described()
	registry := a.huma.OpenAPI().Components.Schemas
	kinds := map[string]checked{}
	for _, k := range allKinds(a) {
		kinds[k.plural] = k
	}
	w := &write{ctx: f.Context(), q: query.New(believer{}), now: time.Unix(1757894400, 0).UTC()}
	f.Fuzz(func(t *testing.T, text string) {
		lists, err := readDocument([]byte(text))
		if err != nil {
			if message := Explain(err).Error(); message == "" || strings.Contains(message, "\n") || len(message) > 1000 {
				t.Fatalf("%q: the error %q", text, message)
			}
			return
		}
		for plural, items := range lists {
			for _, item := range items {
				if _, err := kinds[plural].check(w, registry, item); err != nil {
					refusal(t, err)
				}
			}
		}
	})
}

// FuzzRequest reads any path, query and headers.
func FuzzRequest(f *testing.F) {
	f.Add("/v1/flights?limit=1&cursor=MQ", `"1", *`, "Bearer nearside_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "gzip;q=0")
	f.Add("/v1/reports/delivery?from=2025-01-01&to=2025-01-02T00:00:00%2B23:59&cursor=OTIyMzM3MjAzNjg1NDc3NTgwNw", `W/"1"`, "Basic x", "br, gzip")
	f.Add("/%00?%ff=%zz", "", "", "")
	a := described()
	f.Fuzz(func(t *testing.T, target, ifMatch, authorization, encoding string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		path, rest, _ := strings.Cut(target, "?")
		r.URL = &url.URL{Path: path, RawQuery: rest}
		if readable(r.URL) {
			for _, values := range r.URL.Query() {
				for _, value := range values {
					if strings.ContainsAny(value, "\x00\n\x1b") {
						t.Fatalf("%q passes for text", target)
					}
				}
			}
		}
		cursor := r.URL.Query().Get("cursor")
		if after, err := (Page{Cursor: cursor}).after(); err != nil {
			refusal(t, err)
		} else if after < 0 || cursor != "" && after == 0 {
			t.Fatalf("cursor %q is after %d", cursor, after)
		}
		for _, end := range []bool{false, true} {
			faults := &faults{at: "query"}
			if at := moment(faults, "from", r.URL.Query().Get("from"), end); len(faults.list) == 0 && (at.Truncate(time.Hour) != at || at.Year() < 2000 || at.Year() > 2200) {
				t.Fatalf("from %q is %s", r.URL.Query().Get("from"), at)
			}
		}
		if matches(ifMatch, 7) && ifMatch != "" && !strings.Contains(ifMatch, `"7"`) && strings.TrimSpace(ifMatch) != "*" {
			t.Fatalf("If-Match %q lets change number 7 pass", ifMatch)
		}
		if text, ok := bearer(authorization); ok && len(text) != len(tokenPrefix)+43 {
			t.Fatalf("%q passes for a token", authorization)
		}
		acceptsGzip(encoding)

		// Without a token nothing gets further than the door.
		recorder := httptest.NewRecorder()
		a.ServeHTTP(recorder, r)
		if status := recorder.Code; status != 400 && status != 401 && status != 404 && status != 405 && status != 301 && status != 307 && status != 200 {
			t.Fatalf("%q: %d %s", target, status, recorder.Body)
		}
	})
}
