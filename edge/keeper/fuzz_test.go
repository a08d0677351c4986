package keeper_test

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"nearside/edge/holder"
	"nearside/edge/journal/faultfs"
	"nearside/sync/exchange"
	"nearside/sync/wire"
)

// FuzzHeard reads any bytes as the core's reply. Whatever it says, the keeper
// goes on, and its journal can be replayed.
func FuzzHeard(f *testing.F) {
	add := func(r *wire.SyncResponse) {
		b, err := proto.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	add(&wire.SyncResponse{})
	add(&wire.SyncResponse{Status: wire.SyncResponse_FORGOTTEN})
	add(&wire.SyncResponse{Cursor: &wire.Cursor{Batch: 3, Position: 9, Hash: []byte("hash")}})
	add(&wire.SyncResponse{
		Leases:    []*wire.Grant{{Budget: int64(views), Granted: 1 << 62, RecallTo: 3}, {Budget: -5, Granted: 4, RecallTo: -1}},
		Delivered: []*wire.Delivered{{Budget: int64(views), Settled: -1, Limit: 1 << 62, VelocityMilli: 1 << 60}},
		ForeignIn: []*wire.Event{{Kind: 1, Holder: 1, Boot: 7, Flight: flight, Position: 1, Country: "DE"}, {Kind: 2, Holder: 9, Position: 2}},
		Controls:  []*wire.Control{{Version: 5, Flight: flight, State: 2}, {Version: 1 << 63, Flight: flight, State: 9}},
		Keys:      []*wire.TokenKey{{Id: 1, Secret: make([]byte, 32)}, {Id: 70000}},
		NextMs:    -1, NowMs: 1 << 62,
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		var reply wire.SyncResponse
		if proto.Unmarshal(b, &reply) != nil {
			return
		}
		e := newEdge(t, faultfs.New(1))
		e.cfg.Journal.Inline = true
		e.core.Sell(views, 1000)
		e.start()
		e.exchange(false)
		if c, ok := e.offer(); ok {
			e.view(c)
		}
		ctx := context.Background()
		if _, err := e.Prepare(ctx); err != nil {
			t.Fatal(err)
		}
		step, _ := e.Heard(ctx, &reply) // keys that are none are an error
		if e.Err() != nil {
			t.Fatalf("it ended the keeper: %v", e.Err())
		}
		if err := e.Tick(e.clock.Now().UnixMilli()); err != nil {
			t.Fatal(err)
		}
		if c, ok := e.offer(); ok && step.Course == exchange.Proceed {
			if v := e.view(c); v != holder.Billed && v != holder.Exhausted && v != holder.Killed {
				t.Errorf("a view afterwards: %v", v)
			}
		}
		if _, err := e.Prepare(ctx); err != nil {
			t.Fatal(err)
		}
		e.stop()
		e.start0()
		if e.Status().Holder != 1 {
			t.Error("its journal cannot be replayed")
		}
		if err := e.Close(); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
