package serve

import (
	"encoding/json"
	"slices"
	"testing"

	"nearside/edge/decision"
)

// About one decision a second is recorded and stands for those between; from
// the record and the catalog comes the ad that the reader got.
func TestRecords(t *testing.T) {
	w := newWorld(t)
	kept := func() []*decision.Record { return slices.Collect(w.server.Records()) }
	w.offer(ask1)
	for range 9 {
		w.offer(ask1)
	}
	w.clock.Add(recordEvery)
	w.get(decisionPath + "?publisher=open&div_ids=a&ad_types=no-such-type")
	w.offer(ask1)
	records := kept()
	if len(records) != 2 {
		t.Fatalf("%d records of two seconds", len(records))
	}
	if newest, first := records[0], records[1]; newest.StandsFor != 10 || first.StandsFor != 1 || newest.Outcome.Filled || !first.Outcome.Filled {
		t.Errorf("records %+v and %+v", first, newest)
	}
	for _, rec := range records {
		replayed, err := decision.Replay(rec, w.server.loaded.Load().catalog.Snapshot())
		if err != nil || !replayed.Same {
			t.Errorf("replayed as %+v, %v", replayed, err)
		}
	}
	w.clock.Add(-1000 * recordEvery)
	w.offer(ask1)
	if len(kept()) != 3 {
		t.Error("no record after the clock went back")
	}
}

// An operator's explanation holds the record of the request; a publisher's does
// not, since it tells of other publishers' flights.
func TestExplanationIsRecorded(t *testing.T) {
	w := newWorld(t, explainer)
	body := `{"publisher":"closed",` + slots("a") + `}`
	for token, operator := range map[string]bool{"operator-token": true, "closed-token": false} {
		r := w.do("POST", explainPath, body, "Authorization", "Bearer "+token)
		var e struct {
			Record json.RawMessage
			Reason string
		}
		if err := json.Unmarshal([]byte(r.body), &e); err != nil || r.status != 200 {
			t.Fatalf("%d %s: %v", r.status, r.body, err)
		}
		if operator != (e.Record != nil) {
			t.Errorf("%s: record %s", token, e.Record)
		}
		if !operator {
			continue
		}
		rec, err := decision.ReadRecord(e.Record)
		if err != nil {
			t.Fatal(err)
		}
		if replayed, err := decision.Replay(rec, w.server.loaded.Load().catalog.Snapshot()); err != nil || !replayed.Same || replayed.Explanation.Reason != e.Reason {
			t.Errorf("replayed as %+v, %v; explained as %s", replayed, err, e.Reason)
		}
	}
	if n := len(slices.Collect(w.server.Records())); n != 2 || w.server.stats.Explained.Load() != 2 {
		t.Errorf("%d records of 2 explanations", n)
	}
}

// However many are kept, they take no more than so many bytes.
func TestRecordsAreBounded(t *testing.T) {
	var r records
	for range 200 {
		r.keep(&decision.Record{Accounts: make([]decision.Balance, 4096)})
	}
	total := 0
	for _, rec := range r.kept {
		total += sizeOf(rec)
	}
	if total > maxRecords || total != r.bytes || len(r.kept) < 50 {
		t.Errorf("%d records of %d bytes, counted %d", len(r.kept), total, r.bytes)
	}
}
