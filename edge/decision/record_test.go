package decision_test

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"nearside/edge/decision"
	"nearside/edge/decision/conformance"
	"nearside/sync/catalog"
	"nearside/sync/lease"
)

// again records a decision, writes it, reads it and replays it.
func again(t rapid.TB, c *decision.Catalog, r *decision.Request, now int64, seed uint64) (*decision.Record, *decision.Replayed) {
	t.Helper()
	var s decision.Scratch
	var decided, recorded decision.Outcome
	c.Decide(r, &s, now, seed, &decided)
	rec := c.DecideAndRecord(r, &s, now, seed, &recorded)
	if recorded != decided {
		t.Fatalf("recorded %+v, decided %+v", recorded, decided)
	}
	if rec.Torn || rec.Cut {
		t.Fatalf("torn %v, cut %v, though nothing moved", rec.Torn, rec.Cut)
	}
	line, err := json.Marshal(rec)
	if err != nil {
		t.Fatal(err)
	}
	read, err := decision.ReadRecord(line)
	if err != nil {
		t.Fatal(err)
	}
	replayed, err := decision.Replay(read, c.Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	if !replayed.Same {
		t.Fatalf("replayed %+v, recorded %+v", replayed.Outcome, rec.Outcome)
	}
	return read, replayed
}

// TestRulesReplay: a record of each row of rules.md replays to the same choice,
// and its explanation refuses the candidates for the same reasons.
func TestRulesReplay(t *testing.T) {
	cases, err := conformance.Cases()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		compiled, err := decision.Compile(c.Snapshot, c.Books(), catalog.DayOf(c.Request.Now))
		if err != nil {
			t.Fatal(err)
		}
		for seed := range uint64(4) {
			rec, replayed := again(t, compiled, c.Request.Decision(compiled), c.Request.Now.UnixMilli(), seed*0x9e3779b97f4a7c15)
			for _, line := range replayed.Explanation.Flights {
				if want, said := c.Want.Refused[line.Flight]; said && candidate(rec, c.Snapshot, line.Flight) && line.Reason != want.String() {
					t.Errorf("line %d, %s: replayed, %s is refused for %s, expected %s", c.Line, c.Name, line.Flight, line.Reason, want)
				}
			}
		}
	}
}

// candidate reports whether the record holds a flight's accounts.
func candidate(rec *decision.Record, s *catalog.Snapshot, slug string) bool {
	return slices.ContainsFunc(rec.Switches, func(said decision.Said) bool {
		return slices.ContainsFunc(s.Flights, func(f catalog.Flight) bool { return f.ID == said.Flight && f.Slug == slug })
	})
}

// TestRecordsReplay: so do records of random requests to random worlds.
func TestRecordsReplay(t *testing.T) {
	filled := 0
	rapid.Check(t, func(t *rapid.T) {
		c, requests := drawCase(t)
		compiled, err := decision.Compile(c.Snapshot, c.Books(), 20516)
		if err != nil {
			t.Fatal(err)
		}
		for i := range requests {
			rec, _ := again(t, compiled, requests[i].Decision(compiled), requests[i].Now.UnixMilli(), rapid.Uint64().Draw(t, "seed"))
			if rec.Outcome.Filled {
				filled++
			}
		}
	})
	if filled == 0 {
		t.Error("no request was filled: the test shows nothing")
	}
}

// A record is not replayed on another catalog, nor on accounts that are not its own.
func TestReplayNeedsWhatWasThere(t *testing.T) {
	c, r := oneFlight(t, 5)
	rec, _ := again(t, c, r, 20516*86_400_000, 7)
	if !rec.Outcome.Filled {
		t.Fatal("nothing was offered: the test shows nothing")
	}
	other := *c.Snapshot()
	other.Version++
	if _, err := decision.Replay(rec, &other); err == nil || !strings.Contains(err.Error(), "catalog version") {
		t.Errorf("on another version: %v", err)
	}
	for i := range rec.Accounts {
		rec.Accounts[i].Left = 0
	}
	replayed, err := decision.Replay(rec, c.Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	if replayed.Same || replayed.Outcome.Filled {
		t.Errorf("with nothing left it is replayed as %+v", replayed.Outcome)
	}
	rec.Cut = true
	if _, err := decision.Replay(rec, c.Snapshot()); err == nil {
		t.Error("a record that was cut is replayed")
	}
}

// While other requests and the exchange move the accounts, a record either
// replays to the same choice or says that they moved.
func TestRecordWhileAccountsMove(t *testing.T) {
	c, r := oneFlight(t, 5)
	account := c.FlightByID(1).Views
	stop := make(chan struct{})
	var moving sync.WaitGroup
	moving.Go(func() {
		for i := int64(0); ; i++ {
			select {
			case <-stop:
				return
			default:
				account.Left.Store(i % 2 * 5)
				account.Changed()
			}
		}
	})
	var s decision.Scratch
	var out decision.Outcome
	for seed := range uint64(2000) {
		rec := c.DecideAndRecord(r, &s, 20516*86_400_000, seed, &out)
		if rec.Outcome.Filled != out.Filled {
			t.Fatalf("recorded %+v of %+v", rec.Outcome, out)
		}
		if rec.Torn {
			continue
		}
		// The account may have moved there and back between the two readings.
		if _, err := decision.Replay(rec, c.Snapshot()); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	moving.Wait()
}

// oneFlight is a catalog with one flight of which left views may be spent, and
// a request that it matches.
func oneFlight(t testing.TB, left int64) (*decision.Catalog, *decision.Request) {
	t.Helper()
	s := &catalog.Snapshot{
		Version:     3,
		Advertisers: []catalog.Advertiser{{ID: 1, Slug: "a"}},
		Groups:      []catalog.Group{{ID: 1, Slug: "g"}},
		AdTypes:     []catalog.AdType{{ID: 1, Slug: "text"}},
		Publishers:  []catalog.Publisher{{ID: 1, Slug: "p", Groups: []uint32{1}, AllowPaid: true}},
		Campaigns:   []catalog.Campaign{{ID: 1, Slug: "c", Advertiser: 1, Type: catalog.Paid, PublisherGroups: []uint32{1}}},
		Flights: []catalog.Flight{{
			ID: 1, Slug: "f", Campaign: 1, Live: true, StartDate: 20510, EndDate: 20520, CPM: 1_000_000, SoldViews: 1000,
			PriorityMultiplier: 1, PacingInterval: 3600,
		}},
		Ads: []catalog.Ad{{ID: 1, Slug: "ad", Flight: 1, AdTypes: []uint32{1}, Live: true, Link: "https://a.example/"}},
	}
	world := conformance.Case{Snapshot: s, Accounts: map[lease.Budget]conformance.State{lease.Of(lease.FlightViews, 1, 0): {Left: left}}}
	c, err := decision.Compile(s, world.Books(), 20516)
	if err != nil {
		t.Fatal(err)
	}
	return c, &decision.Request{Publisher: c.Publisher("p"), Placements: []decision.Placement{{DivID: "d", AdType: "text", Priority: 1}}}
}

// What an account holds is in its record: a field that is not would make
// replays differ for no visible reason.
func TestBalanceHoldsAnAccount(t *testing.T) {
	account, balance := reflect.TypeFor[decision.Account](), reflect.TypeFor[decision.Balance]()
	for i := range account.NumField() {
		if name := account.Field(i).Name; account.Field(i).IsExported() {
			if _, ok := balance.FieldByName(name); !ok {
				t.Errorf("Account.%s is not in Balance", name)
			}
		}
	}
	request, asked := reflect.TypeFor[decision.Request](), reflect.TypeFor[decision.Asked]()
	for i := range request.NumField() {
		if name := request.Field(i).Name; request.Field(i).IsExported() && name != "Known" { // which follows from Keywords
			if _, ok := asked.FieldByName(name); !ok {
				t.Errorf("Request.%s is not in Asked", name)
			}
		}
	}
}

func TestRecordAsWritten(t *testing.T) {
	c, r := oneFlight(t, 5)
	rec, _ := again(t, c, r, 20516*86_400_000, 7)
	text, err := json.MarshalIndent(rec, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/record.json", string(text)+"\n")
}

func TestReadRecordRefuses(t *testing.T) {
	for _, c := range []struct{ what, line, want string }{
		{"no JSON", "hello", "invalid character"},
		{"two records", `{"record":1,"seed":"1"}{"record":1,"seed":"1"}`, "nothing after it"},
		{"another format", `{"record":2,"seed":"1"}`, "format 2, expected 1"},
		{"a seed that is no number", `{"record":1,"seed":"xyz"}`, "seed: expected up to 16 hexadecimal digits"},
		{"a number for a text", `{"record":1,"seed":"1","request":{"url":5}}`, "request.url"},
		{"too long", `{"record":1,"seed":"1","request":{"url":"` + strings.Repeat("x", 5<<20) + `"}}`, "expected at most"},
	} {
		if _, err := decision.ReadRecord([]byte(c.line)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, expected %q", c.what, err, c.want)
		}
	}
}

// FuzzReplay: whatever stands in a record, replaying it ends with an answer or
// an error.
func FuzzReplay(f *testing.F) {
	written, err := os.ReadFile("testdata/record.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(written)
	f.Add([]byte(`{"record":1,"catalog_version":3,"seed":"ffffffffffffffff","at_ms":-1,"request":{"publisher":"p","placements":[{"ad_type":"text","priority":-1}]}}`))
	c, _ := oneFlight(f, 5)
	f.Fuzz(func(t *testing.T, line []byte) {
		rec, err := decision.ReadRecord(line)
		if err != nil {
			return
		}
		if replayed, err := decision.Replay(rec, c.Snapshot()); err == nil && replayed.Explanation == nil {
			t.Error("replayed without an explanation")
		}
	})
}
