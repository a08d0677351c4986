package ingest

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	"nearside/core/ledger"
	"nearside/sync/exchange"
	"nearside/sync/wire"
)

// absent is a store whose database does not answer: each transaction takes as
// long as it takes to find that out.
type absent struct {
	ledger.Store
	after time.Duration // 0: it is there
}

func (a *absent) Update(ctx context.Context, f func(ledger.Tx) error) error {
	if a.after == 0 {
		return a.Store.Update(ctx, f)
	}
	select {
	case <-time.After(a.after):
		return errors.New("dial: timed out")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A database that was away, however long it took to notice, leaves nothing
// behind: the first edges that are answered are to come again as they always do.
func TestADatabaseThatIsBackIsNotSpared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := ledger.NewMemory()
		store := &absent{Store: memory}
		s := New(store, &catalogs{}, Options{})
		got, err := ledger.Register(t.Context(), memory, &wire.RegisterRequest{
			Protocol: exchange.Protocol, Region: "eu-west", Node: "a", Disk: "0123456789abcdef0123456789abcdef",
		}, ledger.Hash("secret"), time.Now().UnixMilli(), s.o.Rules)
		if err != nil {
			t.Fatal(err)
		}
		exchanged := func() (*wire.SyncResponse, error) {
			p := &pending{done: make(chan struct{}), request: &wire.SyncRequest{
				Protocol: exchange.Protocol, Holder: got.Holder, Boot: 1, BootOrdinal: 1, First: true, Seal: &wire.Cursor{}, Side: &wire.Side{},
			}}
			s.exchange(t.Context(), []*pending{p})
			<-p.done
			return p.reply, p.err
		}
		for _, took := range []time.Duration{10 * time.Millisecond, 2 * time.Second, 5 * time.Second, time.Minute} {
			store.after = took
			for range 20 {
				if _, err := exchanged(); connect.CodeOf(err) != connect.CodeUnavailable {
					t.Fatalf("while the database is away: %v, want %v", err, connect.CodeUnavailable)
				}
			}
			store.after = 0
			for n := range 3 {
				reply, err := exchanged()
				if err != nil || reply.GetStatus() != wire.SyncResponse_OK {
					t.Fatalf("with the database back: %v, %v", reply.GetStatus(), err)
				}
				if next := reply.GetNextMs(); next != 0 {
					t.Errorf("failures took %v each: answer %d says to come in %d ms, want the usual interval", took, n+1, next)
				}
			}
		}
	})
}
