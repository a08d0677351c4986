package decision

import (
	"testing"

	"nearside/sync/catalog"
	"nearside/sync/lease"
)

// ledger is a Books for tests.
type ledger struct {
	accounts map[lease.Budget]*Account
	switches map[uint32]*Switch
}

func newLedger() *ledger {
	return &ledger{make(map[lease.Budget]*Account), make(map[uint32]*Switch)}
}

func (l *ledger) Account(b lease.Budget) *Account {
	a := l.accounts[b]
	if a == nil {
		a = new(Account)
		a.Left.Store(1 << 40)
		l.accounts[b] = a
	}
	return a
}

func (l *ledger) Switch(flight uint32) *Switch {
	s := l.switches[flight]
	if s == nil {
		s = new(Switch)
		l.switches[flight] = s
	}
	return s
}

func TestDecideSmoke(t *testing.T) {
	day, _ := catalog.ParseDay("2026-03-02")
	s := &catalog.Snapshot{
		Version:     7,
		Advertisers: []catalog.Advertiser{{ID: 1, Slug: "a"}},
		Groups:      []catalog.Group{{ID: 1, Slug: "g"}},
		Publishers:  []catalog.Publisher{{ID: 1, Slug: "p", Groups: []uint32{1}, AllowPaid: true, AllowAPIKeywords: true}},
		Campaigns:   []catalog.Campaign{{ID: 1, Slug: "c", Advertiser: 1, PublisherGroups: []uint32{1}}},
		AdTypes:     []catalog.AdType{{ID: 1, Slug: "image"}},
		Topics:      []catalog.Topic{{ID: 1, Slug: "web", Keywords: []string{"html", "css"}}},
		Flights: []catalog.Flight{{ID: 1, Slug: "f", Campaign: 1, Live: true, StartDate: day, EndDate: day + 30, CPC: 2_000_000,
			SoldClicks: 1000, PacingInterval: 86400, PriorityMultiplier: 1, Targeting: catalog.Targeting{IncludeTopics: []string{"web"}}}},
		Ads: []catalog.Ad{{ID: 1, Slug: "ad", Flight: 1, AdTypes: []uint32{1}, Live: true}},
	}
	b, err := catalog.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	if s, err = catalog.Decode(b); err != nil {
		t.Fatal(err)
	}
	c, err := Compile(s, newLedger(), day)
	if err != nil {
		t.Fatal(err)
	}
	var scratch Scratch
	var out Outcome
	r := &Request{Publisher: c.Publisher("p"), Placements: []Placement{{"d", "image", 1}}, Keywords: []string{"CSS"}}
	c.Decide(r, &scratch, day.StartMillis()+1000, 1, &out)
	if !out.Filled || out.Ad.Slug != "ad" || out.Weight != 33 {
		t.Fatalf("%+v", out)
	}
	r.Keywords = nil
	c.Decide(r, &scratch, day.StartMillis()+1000, 1, &out)
	if out.Filled || out.Reason != NoCandidates {
		t.Fatalf("%+v", out)
	}
}
