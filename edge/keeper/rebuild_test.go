package keeper_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"nearside/edge/holder"
	"nearside/edge/journal/faultfs"
	"nearside/sync/wire"
)

// However long the core is away, what waits for it takes no more memory than a
// few batches and a seal for each of the others; and when it is back it hears
// every batch, once, as it was sealed, a restart in their middle included.
func TestAnOutageIsOnDiskNotInMemory(t *testing.T) {
	for _, outage := range []int{holder.Kept + 1, 20, 200} {
		e := newEdge(t, faultfs.New(1))
		e.core.Sell(views, 1_000_000)
		e.start()
		e.exchange(false)
		e.view(e.mustOffer())
		e.exchange(true) // applied, the reply lost
		ctx := context.Background()
		total, stranger := 1, *e.mustOffer()
		var stated *wire.Statement
		for n := range outage {
			for range n%3 + 1 {
				e.view(e.mustOffer())
				total++
			}
			stranger.Holder, stranger.Seq = 99, uint64(n)
			if v := e.view(&stranger); v != holder.Foreign {
				t.Fatal(v)
			}
			e.clock.pass(time.Second)
			if err := e.Tick(e.clock.Now().UnixMilli()); err != nil {
				t.Fatal(err)
			}
			var err error
			if stated, err = e.Statement(ctx); err != nil { // which cuts a batch
				t.Fatal(err)
			}
			batches, whole, bytes := e.Queued()
			if most := holder.Kept; whole > most || bytes > most*400+batches*40 {
				t.Fatalf("%d batches wait: %d of them are in memory, %d bytes in all", batches, whole, bytes)
			}
		}
		if batches, whole, _ := e.Queued(); batches != outage+1 || whole != holder.Kept {
			t.Fatalf("%d batches wait, %d of them in memory, want %d and %d", batches, whole, outage+1, holder.Kept)
		}
		pending := int64(0)
		for _, views := range viewsOf(stated) {
			pending += views
		}
		if len(stated.GetPending()) != outage+1 || pending != int64(total) {
			t.Errorf("the statement has %d batches with %d views, want %d with %d", len(stated.GetPending()), pending, outage+1, total)
		}
		for round := 0; e.Outstanding() > 0; round++ {
			first, err := e.Prepare(ctx)
			if err != nil {
				t.Fatal(err)
			}
			sent := proto.CloneOf(first.GetBatch())
			again, err := e.Prepare(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(sent, again.GetBatch()) || holder.Hollow(sent) {
				t.Fatalf("batch %v goes again as %v", sent, again.GetBatch())
			}
			reply, err := e.core.Sync(again)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := e.Heard(ctx, reply); err != nil {
				t.Fatal(err)
			}
			if round == outage/2 {
				e.stop()
				e.start()
				if _, whole, _ := e.Queued(); whole > holder.Kept {
					t.Errorf("after a restart %d batches are in memory", whole)
				}
				now, err := e.Statement(ctx)
				if err != nil {
					t.Fatal(err)
				}
				before := viewsOf(stated)
				for batch, views := range viewsOf(now) {
					if was, ok := before[batch]; ok && views != was {
						t.Errorf("after a restart batch %d is stated with %d views, before with %d", batch, views, was)
					}
				}
			}
			if round > 2*outage+5 {
				t.Fatalf("it does not end: %d batches wait", e.Outstanding())
			}
		}
		e.exchange(false)
		e.core.Do(func() {
			if got := e.core.Counts.Views; got != int64(total) {
				t.Errorf("after %d batches the core counts %d views, want %d", outage, got, total)
			}
			if e.core.Lost != int64(outage) {
				t.Errorf("the core heard of %d events of others, want %d", e.core.Lost, outage)
			}
		})
		e.healthy()
		e.stop()
	}
}

// viewsOf are the views that the pending batches of a statement count.
func viewsOf(s *wire.Statement) map[uint64]int64 {
	all := map[uint64]int64{}
	for _, c := range s.GetPending() {
		all[c.GetBatch()] = 0
		for _, v := range c.GetViews() {
			all[c.GetBatch()] += v
		}
	}
	return all
}
