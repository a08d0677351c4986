package decision_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"nearside/edge/decision"
	"nearside/sync/catalog"
)

// TestStandingsAreNeverStale: while accounts and switches change and time goes
// by, in steps of milliseconds and of hours, back and forth, a decision that goes
// by what was found before, of flights and of its keywords, is the one that Explain, which looks anew at
// everything, says; with two catalogs over the same books, of which one has sold
// more.
func TestStandingsAreNeverStale(t *testing.T) {
	var s decision.Scratch
	moved, filled, taken := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		c, requests := drawCase(t)
		books := c.Books()
		more := *c.Snapshot
		more.Flights = slices.Clone(more.Flights)
		for i := range more.Flights {
			more.Flights[i].SoldViews *= 7
			more.Flights[i].SoldClicks *= 7
		}
		var catalogs [2]*decision.Catalog
		for i, snapshot := range []*catalog.Snapshot{c.Snapshot, &more} {
			var err error
			if catalogs[i], err = decision.Compile(snapshot, books, 20516); err != nil {
				t.Fatal(err)
			}
		}
		var known [2]decision.Known // of the two requests' keywords, in turn in either catalog
		sets := [2]map[decision.Shape]*decision.Candidates{{}, {}}
		now := requests[0].Now.UnixMilli()
		before := int64(-1)
		for range 30 {
			if id := uint32(rapid.IntRange(1, len(c.Snapshot.Flights)).Draw(t, "flight")); rapid.Bool().Draw(t, "change") {
				change(t, books, catalogs[0].FlightByID(id), now)
			}
			now += rapid.SampledFrom([]int64{0, 0, 1, 999, 60_000, 3600_000, 86_400_000, -1, -3600_000}).Draw(t, "later")
			which := rapid.IntRange(0, 1).Draw(t, "catalog")
			compiled := catalogs[which]
			asked := rapid.IntRange(0, 1).Draw(t, "request")
			plain := requests[asked].Decision(compiled)
			again := *plain
			again.Known = &known[asked]
			r := &again
			shape := compiled.Shape(r, &s, now)
			if sets[which][shape] == nil {
				sets[which][shape] = compiled.Candidates(&s)
			}
			decide := func() (out decision.Outcome) {
				compiled.DecideAmong(sets[which][shape], r, &s, now, 1, &out)
				explained(t, &out, &s, compiled.Explain(plain, now))
				return out
			}
			out := decide()
			if before >= 0 && out.Total != before {
				moved++
			}
			if before = out.Total; !out.Filled {
				continue
			}
			filled++
			// Offers of what was drawn take the last room that it has, and the next
			// decision of the moment is to know; then one of them gives it back.
			a := out.Flight.Views
			if a == nil {
				a = out.Flight.Clicks
			}
			if a == nil || !rapid.Bool().Draw(t, "more offers") {
				continue
			}
			last := room(a)
			a.Reserve(last)
			if without := decide(); without.Total < out.Total {
				taken++
			}
			if rapid.Bool().Draw(t, "seen") {
				a.Reserve(-1)
				decide()
				last--
			}
			a.Reserve(-last)
			decide()
		}
	})
	if moved == 0 || filled == 0 || taken == 0 {
		t.Errorf("of %d filled decisions %d differed from the one before, and after %d there was no room: the test shows nothing", filled, moved, taken)
	}
}

// explained holds what was decided by what was known against what Explain, which
// looks anew at everything, says of the same moment.
func explained(t *rapid.T, out *decision.Outcome, s *decision.Scratch, e *decision.Explanation) {
	total := int64(0)
	reasons := map[string]string{}
	for _, line := range e.Flights {
		reasons[line.Flight] = line.Reason
		if line.Reason == decision.None.String() {
			total += line.Weight
		}
		if out.Filled && line.Flight == out.Flight.Slug && line.Weight != out.Weight {
			t.Fatalf("%s was drawn with weight %d, explained with %d", line.Flight, out.Weight, line.Weight)
		}
	}
	if out.Total != total {
		t.Fatalf("weights add up to %d, explained ones to %d", out.Total, total)
	}
	for _, refusal := range s.Refused() {
		if got := reasons[refusal.Flight.Slug]; got != refusal.Reason.String() {
			t.Fatalf("%s refused for %v, explained as %s", refusal.Flight.Slug, refusal.Reason, got)
		}
	}
}

// room is how many offers more take the last room of an account.
func room(a *decision.Account) int64 {
	rho := int64(a.Rho.Load())
	if rho == 0 {
		rho = decision.Rate
	}
	return a.Left.Load()*decision.Rate/rho - a.InFlight.Load()
}

// change writes one thing that decisions read of a flight, as its owner would.
func change(t *rapid.T, books decision.Books, f *decision.Flight, now int64) {
	var accounts []*decision.Account
	for _, a := range []*decision.Account{f.Views, f.Clicks, f.DayAccount(catalog.DayOfMillis(now))} {
		if a != nil {
			accounts = append(accounts, a)
		}
	}
	amount := rapid.SampledFrom([]int64{0, 1, 9, 5000, 10_000, 20_000_000}).Draw(t, "amount")
	what := rapid.IntRange(0, 5).Draw(t, "what")
	if what == 4 || len(accounts) == 0 {
		books.Switch(f.ID).Set(catalog.State(rapid.IntRange(0, 2).Draw(t, "said")), uint64(rapid.IntRange(0, 9).Draw(t, "version")))
		return
	}
	a := rapid.SampledFrom(accounts).Draw(t, "account")
	if what == 5 && (a == f.Views || a == f.Clicks) {
		a.Reserve(rapid.SampledFrom([]int64{1, 9, 5000, -1, -9, -5000}).Draw(t, "offers"))
		return // it tells deciding where that makes a difference
	}
	switch what {
	case 0:
		a.Left.Store(amount)
	case 1:
		a.InFlight.Store(amount)
	case 2:
		a.Settled.Store(amount)
	case 3:
		a.Rho.Store(uint32(min(amount, decision.Rate)))
	}
	a.Changed()
}
