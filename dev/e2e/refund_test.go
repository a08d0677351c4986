package e2e

import (
	"net/http"
	"testing"
	"time"
)

// A flight is sold out; some of its views are refunded. So many are delivered
// again, and no more; the budget, the delivery, the report and the books agree.
func TestRefundedViewsAreDeliveredAgain(t *testing.T) {
	const sold, back = 40, 15
	f := newFlight(t, line{views: sold, cpm: 2_000_000})
	show := func() {
		t.Helper()
		for _, e := range edges {
			offer, err := browser.Decide(t.Context(), e.Public, f.query(), reader())
			if err != nil {
				t.Fatal(err)
			}
			if !offer.Filled() {
				continue
			}
			if err := seen(t.Context(), offer); err != nil {
				t.Fatal(err)
			}
		}
	}
	deliver := func(what string, settled int64) {
		t.Helper()
		eventually(t, 60*time.Second, what, func() bool {
			show()
			return f.state(t).Budgets[0].Settled >= settled
		})
	}
	deliver("the flight is sold out", sold)
	call(t, http.MethodPost, "/v1/flights/"+f.slug+"/refunds", map[string]any{"views": back, "reason": "readers that were none"}, nil)
	deliver("what was refunded is delivered again", sold+back)
	for range 20 { // and no more
		show()
	}
	exchanged(t)
	var report struct {
		Items []struct {
			Views          int64 `json:"views"`
			SpentMicros    int64 `json:"spent_micros"`
			RefundedViews  int64 `json:"refunded_views"`
			RefundedMicros int64 `json:"refunded_micros"`
		} `json:"items"`
	}
	call(t, http.MethodGet, "/v1/reports/delivery?flight="+f.slug, nil, &report)
	if r := report.Items[0]; r.Views != sold+back || r.RefundedViews != back || r.SpentMicros-r.RefundedMicros != sold*2000 {
		t.Errorf("the report says %+v, want %d views of which %d are refunded, and %d charged", r, sold+back, back, sold)
	}
	s := f.state(t)
	if b := s.Budgets[0]; b.Settled != sold+back || b.Refunded != back || b.Unleased+b.Outstanding != 0 {
		t.Errorf("the budget: %+v", b)
	}
	agrees(t)
}
