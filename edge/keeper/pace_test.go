package keeper_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"nearside/edge/journal/faultfs"
	"nearside/sync/lease"
)

// onPlan makes the core's account that of a flight whose plan has been kept.
func (e *edge) onPlan(sold int64) {
	e.Helper()
	now := e.clock.Now()
	done := sold / 2 // even is 15 of 30 days into it at midnight
	done += sold / 30 * int64(now.Sub(now.Truncate(24*time.Hour))/time.Second) / (24 * 3600)
	e.core.Do(func() {
		b := e.core.Budgets[views]
		b.Settled, b.Unleased = done, b.Unleased-done
	})
}

// Whatever the clock does and whatever is offered, no more is shown to decisions
// than is leased, and a flight that has room again after its clock was wrong goes
// no faster than its plan's pace allows.
func TestWhatIsLeftIsLeased(t *testing.T) {
	const sold = 30 * 24 * 3600 // one a second
	rapid.Check(t, func(rt *rapid.T) {
		e := newEdge(t, faultfs.New(1))
		e.core.Sell(views, sold)
		e.start()
		defer e.stop()
		e.even(sold)
		e.onPlan(sold)
		for range 3 {
			e.exchange(false)
		}
		account := e.Account(views)
		offers := 0
		steps := rapid.IntRange(5, 40).Draw(rt, "steps")
		for range steps {
			switch rapid.IntRange(0, 4).Draw(rt, "what") {
			case 0:
				e.clock.pass(time.Duration(rapid.SampledFrom([]int{-3600, 3600, -1, 0, 30}).Draw(rt, "clock")) * time.Second)
			case 1:
				e.exchange(false)
			default:
				e.ticks(time.Second, false)
			}
			if err := e.Tick(e.clock.Now().UnixMilli()); err != nil {
				rt.Fatal(err)
			}
			held := leased(e)
			if left := account.Left.Load(); left < 0 || left > held {
				rt.Fatalf("%d left of %d leased", left, held)
			}
			for account.Room(1) && offers < 1000 {
				e.view(e.mustOffer())
				offers++
			}
		}
		// Each step is two seconds at most, or counts as five of a clock that jumped;
		// four times the pace is the most, and two units may have been saved.
		if most := 4*5*(steps+1) + 4*5 + 2; offers > most {
			rt.Fatalf("%d delivered in %d steps", offers, steps)
		}
		e.healthy()
	})
}

// Pace says what explain shows; nothing where there is no plan.
func TestPaceIsTold(t *testing.T) {
	const sold = 30 * 24 * 3600
	e := newEdge(t, faultfs.New(1))
	e.core.Sell(views, sold)
	e.start()
	defer e.stop()
	if _, paced := e.Pace(views); paced {
		t.Error("an asap flight is paced")
	}
	e.even(sold)
	e.onPlan(sold)
	for range 3 {
		e.exchange(false)
	}
	account := e.Account(views)
	offers := 0
	for range 60 {
		e.ticks(time.Second, true)
		for account.Room(1) {
			e.view(e.mustOffer())
			offers++
		}
		e.Lacked(flight, 20)
	}
	p, paced := e.Pace(views)
	if !paced || p.Leased != leased(e) || p.Share < 0.99 || p.Rate < 0.5 || p.Rate > 2 || p.Released > float64(p.Leased) {
		t.Errorf("%+v (%v) with %d leased", p, paced, leased(e))
	}
	if offers < 50 || offers > 75 {
		t.Errorf("%d delivered in a minute at one a second", offers)
	}
	if !account.Held.Load() || account.Left.Load() >= p.Leased {
		t.Errorf("held %v with %d left of %d", account.Held.Load(), account.Left.Load(), p.Leased)
	}
	if _, paced := e.Pace(lease.Of(lease.FlightViews, flight+1, 0)); paced {
		t.Error("a flight that is not there is paced")
	}
}

// leased is what may be debited here, of all flights.
func leased(e *edge) int64 {
	_, available, _ := e.Held()
	return available
}
