package e2e

import (
	"net/http"
	"testing"
	"time"
)

// A flight that does not show says why at the core, with no reproduction: here
// readers from another country than it asks for.
func TestRefusals(t *testing.T) {
	f := newFlight(t, line{views: 1000, cpm: 1_000_000})
	call(t, http.MethodPatch, "/v1/flights/"+f.slug, map[string]any{"targeting": map[string]any{"include_countries": []string{"JP"}}}, nil)
	edge := edges[0]
	refused := func() bool {
		var answer struct {
			Items []struct {
				Reason, Region, Diagnosis string
				N                         int64
			}
		}
		call(t, http.MethodGet, "/v1/flights/"+f.slug+"/refusals", nil, &answer)
		for _, r := range answer.Items {
			if r.Reason == "include_countries" && r.Region == edge.Region && r.N > 0 && r.Diagnosis != "" {
				return true
			}
		}
		return false
	}
	eventually(t, 30*time.Second, "the core knows why "+f.slug+" does not show", func() bool {
		for range 50 { // a sample of requests looks at all flights
			if _, err := browser.Decide(t.Context(), edge.Public, f.query(), reader()); err != nil {
				t.Fatal(err)
			}
		}
		return refused()
	})
}
