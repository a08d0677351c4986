package decision_test

import (
	"encoding/json"
	"strings"
	"testing"

	"nearside/edge/decision"
	"nearside/sync/catalog"
	"nearside/sync/lease"
)

// pacedBooks are books of flights that are let go along their plan.
type pacedBooks struct {
	accounts map[lease.Budget]*decision.Account
	control  decision.Switch
	paces    map[lease.Budget]decision.Pace
}

func (b *pacedBooks) Account(id lease.Budget) *decision.Account {
	if b.accounts[id] == nil {
		b.accounts[id] = new(decision.Account)
	}
	return b.accounts[id]
}

func (b *pacedBooks) Switch(uint32) *decision.Switch { return &b.control }

func (b *pacedBooks) Pace(id lease.Budget) (decision.Pace, bool) {
	p, ok := b.paces[id]
	return p, ok
}

// Whoever asks why a flight is not offered that waits for its plan is told the
// plan, what has been delivered, what is released and how fast more is.
func TestExplainSaysWhereAPacedFlightStands(t *testing.T) {
	today := catalog.DayOf(noon)
	views := lease.Of(lease.FlightViews, 1, 0)
	books := &pacedBooks{accounts: map[lease.Budget]*decision.Account{}, paces: map[lease.Budget]decision.Pace{
		views: {Leased: 140, Rate: 0.25, Share: 0.5, Released: 0.3333333333},
	}}
	c, err := decision.Compile(&catalog.Snapshot{
		Version:     1,
		Advertisers: []catalog.Advertiser{{ID: 1, Slug: "a"}},
		Groups:      []catalog.Group{{ID: 1, Slug: "g"}},
		Publishers:  []catalog.Publisher{{ID: 1, Slug: "site", Groups: []uint32{1}, AllowPaid: true}},
		Campaigns:   []catalog.Campaign{{ID: 1, Slug: "c", Advertiser: 1, PublisherGroups: []uint32{1}}},
		AdTypes:     []catalog.AdType{{ID: 1, Slug: "text"}},
		Flights: []catalog.Flight{{
			ID: 1, Slug: "f", Campaign: 1, Live: true, StartDate: today, EndDate: today, SoldViews: 2400, CPM: 1_000_000,
			PacingInterval: 3600, PriorityMultiplier: 1,
		}},
		Ads: []catalog.Ad{{ID: 1, Slug: "ad", Flight: 1, AdTypes: []uint32{1}, Link: "https://example.com/", Live: true}},
	}, books, today)
	if err != nil {
		t.Fatal(err)
	}
	a := books.Account(views)
	a.Settled.Store(1251)
	a.Held.Store(true)
	a.Changed()
	r := &decision.Request{Publisher: c.Publisher("site"), Placements: []decision.Placement{{DivID: "x", AdType: "text", Priority: 1}}}

	var s decision.Scratch
	var out decision.Outcome
	c.Decide(r, &s, noon.UnixMilli(), 1, &out)
	if out.Filled || len(s.Refused()) != 1 || s.Refused()[0].Reason != decision.OnPace {
		t.Fatalf("%+v, refused %v", out, s.Refused())
	}
	e := c.Explain(r, noon.UnixMilli())
	line := e.Flights[0]
	if line.Reason != "on_pace" || line.Weight != 0 || line.Probability != 0 {
		t.Errorf("%+v", line)
	}
	want := decision.PacingState{Sold: 2400, Plan: 1250, Delivered: 1251, Leased: 140, Released: 0.333333, PerSecond: 0.25, Share: 0.5}
	if len(line.Accounts) != 1 || line.Accounts[0].Pacing == nil || *line.Accounts[0].Pacing != want {
		t.Errorf("accounts %+v, want pacing %+v", line.Accounts, want)
	}
	for text, parts := range map[string][]string{
		line.Wanted: {"by now 1250 views", "of 2400 views"},
		line.Found:  {"1251 views", "of 140 leased here 0.333333 released", "0.25 more a second"},
	} {
		for _, part := range parts {
			if !strings.Contains(text, part) {
				t.Errorf("%q does not say %q", text, part)
			}
		}
	}
	body, err := json.Marshal(line)
	if err != nil || !strings.Contains(string(body), `"pacing":{"sold":2400,"plan":1250,"delivered":1251,"leased":140,"released":0.333333,"rate_per_second":0.25,"share":0.5}`) {
		t.Errorf("%s, %v", body, err)
	}

	// It is no matter of pacing where nothing is leased.
	a.Held.Store(false)
	a.Changed()
	if reason := c.Explain(r, noon.UnixMilli()).Flights[0].Reason; reason != "lease" {
		t.Errorf("refused for %s where pacing holds nothing back", reason)
	}
	a.Left.Store(5)
	a.Changed()
	if reason := c.Explain(r, noon.UnixMilli()).Flights[0].Reason; reason != "none" {
		t.Errorf("refused for %s where five are left", reason)
	}
}

// TestReserveTellsDeciding: an offer that takes the last room, and one that gives it
// back, are seen by the next decision of the same second, which goes by standings.
func TestReserveTellsDeciding(t *testing.T) {
	c, r := oneFlight(t, 2)
	f := c.FlightByID(1)
	const now = 20516 * 86_400_000
	var s decision.Scratch
	for i, step := range []struct {
		reserved int64
		filled   bool
	}{{0, true}, {1, true}, {1, false}, {-1, true}, {1, false}, {5, false}, {-5, false}, {-2, true}} {
		f.Views.Reserve(step.reserved)
		var out decision.Outcome
		c.Decide(r, &s, now, 1, &out)
		if out.Filled != step.filled {
			t.Errorf("step %d: filled %v with %d of 2 under way, want %v (%v)", i, out.Filled, f.Views.InFlight.Load(), step.filled, out.Reason)
		}
	}
}
