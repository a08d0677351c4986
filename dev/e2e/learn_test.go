package e2e

import (
	"net/http"
	"testing"
	"time"

	"nearside/dev/load"
)

// What was delivered becomes what is decided: a country that has had its share
// of a flight gets no more of it, at any edge, once the night has computed so;
// and the flight has a plot.
func TestTrafficCap(t *testing.T) {
	f := newFlight(t, line{views: 1000, cpm: 1_000_000})
	call(t, http.MethodPatch, "/v1/flights/"+f.slug, map[string]any{"traffic_cap": map[string]any{"countries": map[string]any{"DE": 0.5}}}, nil)
	offers := f.offers(t, edges[0], 20) // to DE
	each(t, len(offers), 10, func(i int) error { return seen(t.Context(), offers[i]) })
	f.wantTotals(t, 20*time.Second, "views 20+0 clicks 0+0 micros 20000")

	for _, job := range []string{"traffic-fill", "flight-series"} {
		if out, err := coreCommand(t.Context(), "jobs", "run", job); err != nil {
			t.Fatalf("%s: %v: %s", job, err, out)
		}
	}
	var is struct {
		TrafficFill struct {
			Countries map[string]float64
		} `json:"traffic_fill"`
	}
	call(t, http.MethodGet, "/v1/flights/"+f.slug, nil, &is)
	if is.TrafficFill.Countries["DE"] != 1 {
		t.Errorf("DE had all of it, and the fill is %v", is.TrafficFill.Countries)
	}
	french := load.Reader{Addr: readers["FR"][0], Country: "FR", Agent: load.Desktop()}
	for _, edge := range edges {
		eventually(t, 10*time.Second, edge.Node+" refuses DE", func() bool {
			offer, err := browser.Decide(t.Context(), edge.Public, f.query(), reader())
			return err == nil && !offer.Filled()
		})
		eventually(t, 10*time.Second, edge.Node+" offers to FR", func() bool {
			offer, err := browser.Decide(t.Context(), edge.Public, f.query(), french)
			return err == nil && offer.Filled()
		})
	}

	var plot struct {
		Unit   string
		Points []struct{ Planned, Delivered *int64 }
	}
	call(t, http.MethodGet, "/v1/flights/"+f.slug+"/series", nil, &plot)
	sampled := 0
	for _, p := range plot.Points {
		if p.Planned == nil {
			continue
		}
		// A minute that had been sampled before the views came keeps its sample.
		if sampled++; *p.Planned != 1000 || *p.Delivered != 20 && *p.Delivered != 0 {
			t.Errorf("a point says %d planned and %d delivered", *p.Planned, *p.Delivered)
		}
	}
	if sampled == 0 || plot.Unit != "views" {
		t.Errorf("the plot has %d samples of %s", sampled, plot.Unit)
	}
}
