package exchange

import (
	"fmt"
	"reflect"
	"testing"

	"nearside/sync/lease"
	"nearside/sync/token"
	"nearside/sync/wire"
)

func TestDebits(t *testing.T) {
	const day = 24 * 3600 * 1000
	const all = token.FlagViews | token.FlagClicks | token.FlagFlightDay | token.FlagPublisherDay
	const noon = 20000*day + day/2
	for _, c := range []struct {
		name  string
		kind  Kind
		flags uint16
		price int64
		want  []Debit
	}{
		{"view of a flight that sells views", View, token.FlagViews, 2000, []Debit{{lease.Of(lease.FlightViews, 7, 0), 1}}},
		{"view of a flight that sells clicks", View, token.FlagClicks, 0, nil},
		{"click of a flight that sells views", Click, token.FlagViews, 0, nil},
		{"click of a flight that sells clicks", Click, token.FlagClicks, 500000, []Debit{{lease.Of(lease.FlightClicks, 7, 0), 1}}},
		{"view under both caps, of the day of the offer", View, all, 2000, []Debit{
			{lease.Of(lease.FlightViews, 7, 0), 1}, {lease.Of(lease.FlightDay, 7, 20000), 2000}, {lease.Of(lease.PublisherDay, 9, 20000), 2000},
		}},
		{"free view under caps", View, all, 0, []Debit{{lease.Of(lease.FlightViews, 7, 0), 1}}},
		{"a price nobody asked for", View, token.FlagFlightDay, 2000, nil},
	} {
		d, n := Debits(c.kind, c.flags, 7, 9, noon, c.price)
		if !reflect.DeepEqual(append([]Debit(nil), d[:n]...), c.want) {
			t.Errorf("%s: %v, want %v", c.name, d[:n], c.want)
		}
	}
}

func TestDay(t *testing.T) {
	for ms, want := range map[int64]int32{0: 0, 86399999: 0, 86400000: 1, -1: -1, -86400000: -1, -86400001: -2} {
		if got := Day(ms); got != want {
			t.Errorf("day of %d ms: %d, want %d", ms, got, want)
		}
	}
}

func cursor(batch uint64, hash byte) *wire.Cursor {
	if batch == 0 {
		return nil
	}
	return &wire.Cursor{Batch: batch, Position: batch * 10, Hash: []byte{hash}}
}

func batch(n uint64) *wire.Batch { return &wire.Batch{Seal: cursor(n, 'a')} }

func TestEdgeReply(t *testing.T) {
	const (
		ok        = wire.SyncResponse_OK
		fenced    = wire.SyncResponse_FENCED
		super     = wire.SyncResponse_SUPERSEDED
		forgotten = wire.SyncResponse_FORGOTTEN
	)
	// The holder has heard batch 4 acknowledged, is sending 5 and has sealed 6.
	for _, c := range []struct {
		name   string
		status wire.SyncResponse_Status
		cursor *wire.Cursor
		course Course
		acked  uint64 // newly
		next   uint64 // the batch of the next request
	}{
		{"the batch sent was applied", ok, cursor(5, 'a'), Proceed, 5, 6},
		{"the batch sent was lost", ok, cursor(4, 'a'), Proceed, 0, 5},
		{"both were applied before a crash", ok, cursor(6, 'a'), Proceed, 6, 0},
		{"a cursor beyond the last seal", ok, cursor(7, 'a'), Fence, 0, 5},
		{"the batch of another copy of the journal", ok, cursor(5, 'b'), Fence, 0, 5},
		{"another history where we had been heard", ok, cursor(4, 'b'), Fence, 0, 5},
		{"the core forgot and does not know it", ok, cursor(3, 'a'), Withhold, 0, 5},
		{"the core forgot everything", ok, nil, Withhold, 0, 5},
		{"the core knows that it forgot", forgotten, cursor(3, 'a'), Withhold, 0, 5},
		{"fenced at the batch sent", fenced, cursor(5, 'a'), Fence, 5, 6},
		{"superseded", super, nil, Superseded, 0, 5},
		{"a status from the future", 9, cursor(5, 'a'), Withhold, 5, 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := NewEdge(3, 33, 2, cursor(4, 'a'), []*wire.Batch{batch(5)})
			e.Sealed(batch(6))
			before := e.Request(nil)
			if before.GetBatch().GetSeal().GetBatch() != 5 || before.GetSeal().GetBatch() != 5 || !before.GetFirst() {
				t.Fatalf("first request: %v", before)
			}
			step := e.Reply(&wire.SyncResponse{Status: c.status, Cursor: c.cursor})
			if step.Course != c.course || step.Acked.GetBatch() != c.acked {
				t.Errorf("course %d acknowledged %d (%s), want %d and %d", step.Course, step.Acked.GetBatch(), step.Reason, c.course, c.acked)
			}
			if (step.Reason == "") != (step.Course == Proceed) {
				t.Errorf("reason %q of course %d", step.Reason, step.Course)
			}
			after := e.Request(nil)
			if got := after.GetBatch().GetSeal().GetBatch(); got != c.next {
				t.Errorf("next request carries batch %d, want %d", got, c.next)
			}
			if after.GetFirst() != (c.course != Proceed) {
				t.Errorf("first is %v after course %d", after.GetFirst(), c.course)
			}
		})
	}
}

func TestEdgeRepliesLateAndTwice(t *testing.T) {
	e := NewEdge(3, 33, 1, nil, nil)
	if e.Reply(&wire.SyncResponse{}).Course != Proceed {
		t.Fatal("a new holder's first reply")
	}
	for n := uint64(1); n <= 3; n++ {
		e.Sealed(batch(n))
		reply := &wire.SyncResponse{Cursor: cursor(n, 'a')}
		if s := e.Reply(reply); s.Course != Proceed || s.Acked.GetBatch() != n {
			t.Fatalf("batch %d: %+v", n, s)
		}
		if s := e.Reply(reply); s.Course != Proceed || s.Acked != nil {
			t.Fatalf("the same reply again acknowledged something: %+v", s)
		}
	}
	late := e.Reply(&wire.SyncResponse{Cursor: cursor(2, 'a')})
	if late.Course != Withhold || late.Acked != nil || e.Outstanding() != 0 {
		t.Fatalf("a late reply: %+v", late)
	}
	if got := fmt.Sprint(Describe(e.Request(nil).GetSeal())); got != "batch 3 at position 30 (61)" {
		t.Errorf("seal said without a batch: %s", got)
	}
}
