package e2e

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"nearside/dev/load"
)

// A flight with a budget of 100 views (asap), asked for by three regions at
// full speed: billed views are at most 100 at every moment and exactly 100 in
// the end; what was shown beyond is recorded as unbilled.
func TestABudgetOf100(t *testing.T) {
	const budget = 100
	f := newFlight(t, line{views: budget, cpm: 7_000_000})
	var answered atomic.Int64
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for _, e := range edges {
		for range 4 {
			readers.Go(func() {
				var unseen []load.Offer
				for {
					select {
					case <-stop:
						return
					default:
					}
					offer, err := browser.Decide(t.Context(), e.Public, f.query(), reader())
					if err != nil {
						t.Error(err)
						return
					}
					if offer.Filled() {
						unseen = append(unseen, offer)
					}
					// Some look late, so that more is shown than there is.
					if len(unseen) > 0 && (!offer.Filled() || len(unseen) > 20) {
						if err := seen(t.Context(), unseen[0]); err != nil {
							t.Error(err)
							return
						}
						answered.Add(1)
						unseen = unseen[1:]
					}
				}
			})
		}
	}
	highest := int64(0)
	eventually(t, 60*time.Second, "the budget is used up", func() bool {
		s := f.state(t)
		highest = max(highest, s.Delivery.Views, s.Budgets[0].Settled)
		return s.Budgets[0].Settled == budget
	})
	close(stop)
	readers.Wait()
	if highest > budget {
		t.Errorf("at one moment %d views were billed of a budget of %d", highest, budget)
	}
	n := answered.Load()
	f.wantTotals(t, 10*time.Second, fmt.Sprintf("views %d+%d clicks 0+0 micros %d", budget, n-budget, budget*7000))
	t.Logf("%d views were answered", n)
}

// Views beyond the budget are answered, not billed, and recorded as unbilled.
func TestViewsBeyondTheBudgetAreUnbilled(t *testing.T) {
	const sold, shown = 6, 10
	f := newFlight(t, line{views: sold, cpm: 1_000_000})
	var offers []load.Offer
	// An offer that nobody looks at gives its place back after half a minute, so
	// more is offered than there is.
	eventually(t, 90*time.Second, "there are more offers than views", func() bool {
		for _, e := range edges {
			offer, err := browser.Decide(t.Context(), e.Public, f.query(), reader())
			if err != nil {
				t.Fatal(err)
			}
			if offer.Filled() {
				offers = append(offers, offer)
			}
		}
		return len(offers) >= shown
	})
	each(t, len(offers), 8, func(i int) error { return seen(t.Context(), offers[i]) })
	eventually(t, 30*time.Second, "the budget is used up or returned to who can use it", func() bool {
		d := f.state(t).Delivery
		return d.Views+d.UnbilledViews == int64(len(offers))
	})
	s := f.state(t)
	if s.Delivery.UnbilledViews < int64(len(offers))-sold || s.Delivery.Views > sold {
		t.Errorf("%s of %d sold, %d seen", s.totals(), sold, len(offers))
	}
}
