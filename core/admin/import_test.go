package admin_test

import (
	"encoding/json"
	"strings"
	"testing"

	"nearside/core/admin"
	"nearside/dev/sample"
)

// TestImportSample imports what every new world starts with, and finds all of
// it in the snapshot that edges get.
func TestImportSample(t *testing.T) {
	w := open(t)
	document := sample.Catalog(w.now)
	text, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	done, err := w.api.Import(t.Context(), "test", text)
	if err != nil {
		t.Fatal(err)
	}
	if done.Created == 0 || done.Changed+done.Unchanged != 0 {
		t.Errorf("first import: %+v, want everything created", done)
	}
	again, err := w.api.Import(t.Context(), "test", text)
	if err != nil {
		t.Fatal(err)
	}
	if again.Unchanged != done.Created || again.CatalogVersion != done.CatalogVersion {
		t.Errorf("second import: %+v, want %d unchanged at version %d", again, done.Created, done.CatalogVersion)
	}
	s := w.snapshot()
	if len(s.Flights) != len(document.Flights) || len(s.Ads) != len(document.Ads) || len(s.Publishers) != len(document.Publishers) {
		t.Errorf("%d flights, %d ads, %d publishers in the snapshot; want %d, %d, %d", len(s.Flights), len(s.Ads), len(s.Publishers),
			len(document.Flights), len(document.Ads), len(document.Publishers))
	}
}

// TestImportRefuses names the place in the document that is wrong, and leaves
// nothing of it behind.
func TestImportRefuses(t *testing.T) {
	w := open(t)
	for _, c := range []struct{ document, want string }{
		{"", "not a map of lists"},
		{"[]", "not a map of lists"},
		{"advertisers", "not a map of lists"},
		{"advertisers: [", "line 1"},
		{"advertisers: {slug: a}", "advertisers: expected a list"},
		{"advertisers: [a]", "advertisers[0]: expected a map"},
		{"people: []", "people: unexpected"},
		{"advertisers: []\nadvertisers: []", "line 2: the key \"advertisers\" is repeated"},
		{"advertisers: [{slug: a, slug: b, name: A}]", "line 1: the key \"slug\" is repeated"},
		{"advertisers: &x []\ntopics: *x", "line 2: aliases are not taken"},
		{"advertisers: [{slug: !!binary YQ==, name: A}]", "line 1: the tag"},
		{"advertisers: [{slug: .nan, name: A}]", "line 1"},
		{"advertisers: [{slug: a, name: A}, {slug: b}]", "advertisers[1].name: expected to be present"},
		{"advertisers: [{slug: a, name: A}, {slug: a, name: B}]", "advertisers[1].slug: expected a slug that advertisers[0] does not have"},
		{"advertisers: [{slug: a, name: A, colour: blue}]", "advertisers[0].colour: unexpected property"},
		{"campaigns: [{slug: c, name: C, advertiser: a}]", "campaigns[0].advertiser: expected the slug of an advertiser that exists, not \"a\""},
		{"advertisers: [{slug: a, name: A}]\ncampaigns: [{slug: c, name: C, advertiser: a}]\n" +
			"flights: [{slug: f, name: F, campaign: c, start_date: 2025-09-01, end_date: 2025-08-31}]",
			"flights[0].end_date: expected a date that is not before start_date, not \"2025-08-31\""},
	} {
		_, err := w.api.Import(t.Context(), "test", []byte(c.document))
		if err == nil || !strings.Contains(admin.Explain(err).Error(), c.want) {
			t.Errorf("%s:\n%v\nwant %s", c.document, admin.Explain(err), c.want)
		}
	}
	if left := w.must(200, "GET", "/v1/advertisers", nil).body["items"].([]any); len(left) != 0 {
		t.Errorf("refused imports left %v", left)
	}
}

// TestImportChanges replaces what is there and keeps what is not named.
func TestImportChanges(t *testing.T) {
	w := open(t)
	w.sample()
	before := w.version()
	done, err := w.api.Import(t.Context(), "test", []byte(`
advertisers: [{slug: acme, name: Acme}]
topics: [{slug: python, name: Python}, {slug: go, name: Go, keywords: [golang]}]
flights:
  - {slug: autumn, name: Autumn, campaign: paid, live: true, start_date: 2025-09-01, end_date: 2025-12-31, cpm_micros: 2000000, sold_views: 1000}
`))
	if err != nil {
		t.Fatal(admin.Explain(err))
	}
	if want := (admin.Imported{Created: 1, Changed: 2, Unchanged: 1, CatalogVersion: int64(before + 1)}); done != want {
		t.Errorf("%+v, want %+v", done, want)
	}
	if a := w.must(200, "GET", "/v1/flights/autumn", nil); a.body["end_date"] != "2025-12-31" {
		t.Errorf("the flight is %s", a.text)
	}
	w.must(200, "GET", "/v1/ads/ad", nil)
}
