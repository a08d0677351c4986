package ledger_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"nearside/core/ledger"
	"nearside/core/ledger/ledgertest"
	"nearside/sync/lease"
	"nearside/sync/token"
	"nearside/sync/wire"
)

// lived is a store in which holder 1 is open with a lease and a batch behind
// it, holder 2 open, and holder 3 fenced.
func lived(t *testing.T) *ledgertest.World {
	w := ledgertest.NewWorld(t, memory(t))
	views := lease.Of(lease.FlightViews, 1, 0)
	w.SetBudget(views, 1000)
	w.SetCap(lease.FlightDay, 1, ledger.Cap{Micros: 1_000_000, Unit: 2000})
	a, b, c := w.Join("us", "a"), w.Join("eu", "b"), w.Join("ap", "c")
	a.Want(views, 100, 1000)
	w.SyncAll(a, b, c)
	a.Spend(views, 10)
	w.SyncAll(a, b, c)
	if err := ledger.Fence(t.Context(), w.Store, c.ID, "test", w.Now); err != nil {
		t.Fatal(err)
	}
	return w
}

// FuzzExchange: whatever a holder says, it is refused by name or answered, and
// the invariants hold.
func FuzzExchange(f *testing.F) {
	views, day := int64(lease.Of(lease.FlightViews, 1, 0)), int64(lease.Of(lease.FlightDay, 1, ledgertest.Today))
	seed := func(r *wire.SyncRequest) {
		bytes, err := proto.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(bytes)
	}
	seed(&wire.SyncRequest{Protocol: 1, Holder: 1, Boot: 1<<32 | 1, BootOrdinal: 1, First: true})
	seed(&wire.SyncRequest{
		Protocol: 1, Holder: 1, Boot: 1<<32 | 1, BootOrdinal: 1,
		Batch: &wire.Batch{
			Seal:    &wire.Cursor{Batch: 2, Position: 200, Hash: []byte("0123456789abcdef")},
			Totals:  &wire.Totals{Budget: []int64{views}, Granted: []int64{100}, Spent: []int64{20}, Returned: []int64{5}},
			Rollups: &wire.Rollups{Hour: []int64{3600}, Flight: []uint32{1}, Ad: []uint32{2}, Publisher: []uint32{3}, Country: []string{"DE"}, Views: []int64{1}, Clicks: []int64{1}, UnbilledViews: []int64{1}, UnbilledClicks: []int64{1}, SpentMicros: []int64{2000}},
			Topics:  &wire.TopicRollups{Hour: []int64{3600}, Topic: []uint32{4}, Flight: []uint32{1}, Country: []string{"DE"}, Views: []int64{1}, Clicks: []int64{1}, UnbilledViews: []int64{1}, UnbilledClicks: []int64{1}, SpentMicros: []int64{2000}, HomeLost: []int64{0}},
			Foreign: []*wire.Event{{
				Topics: []uint32{4, 5},
				Kind:   1, Holder: 2, Boot: 5, Seq: 7, Ad: 1, Flight: 1, Publisher: 1, Country: "NZ", ViewPrice: 2000, Issued: 1, At: ledgertest.Start,
				Flags: uint32(token.FlagViews | token.FlagFlightDay),
			}},
			Verdicts: []*wire.Verdict{{Position: 1, Outcome: 1}}, Closing: true, Final: []*wire.Window{{Boot: 1, Floor: 2, Next: 10, Bits: []byte{1, 2}}},
		},
		Side: &wire.Side{
			Wants:     []*wire.Want{{Budget: views, Target: 500, VelocityMilli: 1 << 40}, {Budget: day, Target: 4000, VelocityMilli: 7}},
			Decisions: &wire.DecisionCounts{Hour: []int64{3600}, Publisher: []uint32{1}, Country: []string{""}, Flight: []uint32{0}, Decisions: []int64{1}, Offers: []int64{0}},
			Topics:    &wire.TopicDecisions{Hour: []int64{3600}, Topic: []uint32{0}, Country: []string{""}, Flight: []uint32{0}, Decisions: []int64{1}, Offers: []int64{0}},
			Refusals:  &wire.Refusals{Flight: []uint32{1}, Reason: []string{"geo"}, N: []int64{2}}, AppliedCatalog: 3, AppliedControl: 4,
		},
	})
	seed(&wire.SyncRequest{Protocol: 1, Holder: 3, Boot: 3<<32 | 1, BootOrdinal: 1, Seal: &wire.Cursor{Batch: 9}})
	f.Fuzz(func(t *testing.T, bytes []byte) {
		r := &wire.SyncRequest{}
		if proto.Unmarshal(bytes, r) != nil {
			return
		}
		if err := ledger.Validate(r); err != nil {
			if err.Error() == "" {
				t.Error("refused without a word")
			}
			return
		}
		w := lived(t)
		for range 2 {
			result := w.Exchange(r)
			if known := r.GetHolder() <= 3; known != (result.Replies[0] != nil) {
				t.Errorf("holder %d was answered %v", r.GetHolder(), result.Replies[0])
			}
			w.Check()
		}
		if _, err := ledger.Sweep(t.Context(), w.Store, w.Now, w.Rules); err != nil {
			t.Error(err)
		}
		w.Check()
	})
}

// FuzzHandIn: the same for a hand-in of the fenced holder.
func FuzzHandIn(f *testing.F) {
	seed := func(r *wire.HandInRequest) {
		bytes, err := proto.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(bytes)
	}
	event := &wire.Event{Kind: 2, Holder: 3, Boot: 3<<32 | 1, Seq: 4, Flight: 1, ViewPrice: 1, ClickPrice: 2, Issued: 1, At: 1, Flags: 15}
	seed(&wire.HandInRequest{Holder: 3, Windows: []*wire.Window{{Boot: 3<<32 | 1, Floor: 1, Next: 9, Bits: []byte{0xff}}}, Late: []*wire.Event{event}, Last: true})
	seed(&wire.HandInRequest{Holder: 1})
	f.Fuzz(func(t *testing.T, bytes []byte) {
		r := &wire.HandInRequest{}
		if proto.Unmarshal(bytes, r) != nil || ledger.ValidateHandIn(r) != nil {
			return
		}
		w := lived(t)
		for range 2 {
			_, _ = ledger.HandIn(t.Context(), w.Store, r, w.Now) // a refusal is as good
			if _, err := ledger.Sweep(t.Context(), w.Store, w.Now, w.Rules); err != nil {
				t.Error(err)
			}
			w.Check()
		}
	})
}
