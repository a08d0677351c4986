package e2e

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

// A page of two topics counts for both in the report by topic, and once in every
// other; so do decisions, offers, views and clicks.
func TestTopicsReachTheReport(t *testing.T) {
	for _, topic := range []string{"left", "right"} {
		call(t, http.MethodPost, "/v1/topics", map[string]any{"slug": "e2e-" + topic, "name": topic, "keywords": []string{"e2e-both", "e2e-only-" + topic}}, nil)
	}
	f := newFlight(t, line{views: 1000, cpm: 2_000_000, clicks: 1000, cpc: 500_000})
	const each = 4
	for _, keyword := range []string{"e2e-both", "e2e-only-left", "e2e-neither"} {
		for i := range each {
			query := f.query()
			query.Set("keywords", keyword)
			edge := edges[i%len(edges)]
			eventually(t, 15*time.Second, edge.Node+" offers the flight", func() bool {
				offer, err := browser.Decide(t.Context(), edge.Public, query, reader())
				if err != nil {
					t.Fatal(err)
				}
				if !offer.Filled() {
					return false
				}
				if err := seen(t.Context(), offer); err != nil {
					t.Fatal(err)
				}
				beacon(t, offer.Link, http.StatusFound)
				return true
			})
		}
	}
	f.wantTotals(t, 20*time.Second, fmt.Sprintf("views %d+0 clicks %d+0 micros %d", 3*each, 3*each, 3*each*502_000))
	type row struct {
		Topic       string `json:"topic"`
		Offers      int64  `json:"offers"`
		Views       int64  `json:"views"`
		Clicks      int64  `json:"clicks"`
		SpentMicros int64  `json:"spent_micros"`
	}
	report := func(groupBy string) []row {
		var r struct{ Items []row }
		call(t, http.MethodGet, "/v1/reports/delivery?flight="+f.slug+groupBy, nil, &r)
		for i := range r.Items {
			if r.Items[i].Topic == "" {
				r.Items[i].Offers = 0 // newFlight's own, of a forced ad, are about none
			}
		}
		return r.Items
	}
	row1 := func(topic string, n int64) row {
		offers := n
		if topic == "" {
			offers = 0
		}
		return row{topic, offers, n, n, n * 502_000}
	}
	want := []row{row1("e2e-left", 2*each), row1("e2e-right", each), row1("", each)}
	got := ""
	defer func() { t.Logf("by topic: %s", got) }()
	eventually(t, 10*time.Second, "the report by topic is whole", func() bool {
		got = fmt.Sprint(report("&group_by=topic"))
		return got == fmt.Sprint(want)
	})
	if all, want := fmt.Sprint(report("")), fmt.Sprint([]row{row1("", 3*each)}); all != want {
		t.Errorf("in all %s, want %s", all, want)
	}
	agrees(t)
}
