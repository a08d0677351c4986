package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"nearside/dev/load"
)

// page asks for two slots at once and says which flights fill them.
func page(t *testing.T, f flight, r load.Reader) []string {
	t.Helper()
	ask, err := json.Marshal(map[string]any{
		"publisher": f.publisher, "url": "https://docs.example.com/page",
		"placements": []map[string]any{{"div_id": "top", "ad_type": "image-v1"}, {"div_id": "side", "ad_type": "text-v1"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, edges[0].Public+"/v1/decisions", bytes.NewReader(ask))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	answer, err := browser.Do(req, r)
	if err != nil || answer.Status != http.StatusOK {
		t.Fatalf("%d %s: %v", answer.Status, answer.Body, err)
	}
	var decided struct {
		Decisions map[string][]struct {
			ID string `json:"id"`
		}
	}
	if err := json.Unmarshal(answer.Body, &decided); err != nil {
		t.Fatal(err)
	}
	var shown []string
	for _, div := range []string{"top", "side"} {
		for _, offer := range decided.Decisions[div] {
			shown = append(shown, offer.ID)
		}
	}
	return shown
}

// Somebody sells a flight that has a page to itself and that one reader sees at
// most twice a day: from the admin API to the page.
func TestRoadblockAndFrequencyCap(t *testing.T) {
	f := newFlight(t, line{views: 100_000, cpm: 1_000_000})
	one := load.Reader{Addr: readers["FR"][0], Country: "FR", Agent: load.Desktop()}
	filled := func(want int) func() bool {
		return func() bool { return len(page(t, f, reader())) == want }
	}
	eventually(t, 20*time.Second, "one slot of the page is filled: no advertiser stands on it twice", filled(1))
	call(t, http.MethodPatch, "/v1/flights/"+f.slug, map[string]any{"roadblock": true}, nil)
	eventually(t, 20*time.Second, "the roadblock fills all slots", filled(2))
	call(t, http.MethodPatch, "/v1/flights/"+f.slug, map[string]any{"frequency_cap": 2, "frequency_window_seconds": 86_400}, nil)
	eventually(t, 20*time.Second, "somebody who has seen it often enough sees nothing", filled(0))
	// The cap is each reader's own.
	if shown := page(t, f, one); len(shown) != 2 {
		t.Errorf("another reader is shown %v, want the roadblock twice", shown)
	}
	if shown := page(t, f, one); len(shown) != 0 {
		t.Errorf("and after two offers %v, want none", shown)
	}
}
