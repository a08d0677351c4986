package ingest

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"nearside/core/ledger"
	"nearside/core/postgres"
	"nearside/dev/testpg"
	"nearside/sync/lease"
	"nearside/sync/wire"
)

// BenchmarkHolders is a core whose holders exchange when it tells them to, a
// second apart where it says nothing: each has spent from every one of its
// leases since the last time, and every tenth batch carries a row of rollups for
// each. One iteration takes half a minute; holders, core and Postgres share the
// machine. p99-ms is of an exchange as the holder sees it, interval-ms what the
// core asked for in the end, rows/s the leases settled.
func BenchmarkHolders(b *testing.B) {
	for _, size := range []struct{ holders, leases int }{{100, 1000}, {300, 1000}} {
		b.Run(fmt.Sprintf("%dx%d", size.holders, size.leases), func(b *testing.B) {
			for b.Loop() {
				measureHolders(b, size.holders, size.leases, 10*time.Second, 20*time.Second)
			}
		})
	}
}

// holder is an edge that only exchanges.
type holder struct {
	node
	request *wire.SyncRequest
	batch   uint64
	took    []time.Duration
	asked   time.Duration
}

func measureHolders(b *testing.B, holders, leases int, warm, lasting time.Duration) {
	db, err := postgres.Open(b.Context(), testpg.New(b))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	if err := db.InTx(b.Context(), func(tx pgx.Tx) error {
		for i := range leases {
			if err := db.SetBudget(b.Context(), tx, lease.Of(lease.FlightViews, uint32(i+1), 0), 1<<50); err != nil {
				return err
			}
		}
		_, err := tx.Exec(b.Context(), `INSERT INTO join_tokens (name, hash) VALUES ('bench', $1)`, ledger.Hash(joinToken))
		return err
	}); err != nil {
		b.Fatal(err)
	}
	c := start(b, db.Ledger(), Options{})
	all := make([]*holder, holders)
	for i := range all {
		r, err := c.client(joinToken).Register(b.Context(), &wire.RegisterRequest{Protocol: 1, Region: "us", Node: fmt.Sprint("n", i), Disk: fmt.Sprintf("%032x", i), Version: "bench"})
		if err != nil {
			b.Fatal(err)
		}
		all[i] = newHolder(c, r, leases)
	}
	begin := time.Now()
	from, to := begin.Add(warm), begin.Add(warm+lasting)
	var running sync.WaitGroup
	for i, h := range all {
		running.Go(func() {
			time.Sleep(time.Duration(i) * time.Second / time.Duration(holders)) // they did not start together
			if err := h.live(b, leases, from, to); err != nil {
				b.Errorf("holder %d: %v", i, err)
			}
		})
	}
	running.Wait()
	var took []time.Duration
	var asked time.Duration
	for _, h := range all {
		took = append(took, h.took...)
		asked = max(asked, h.asked)
	}
	if len(took) == 0 {
		b.Fatal("no exchange was answered")
	}
	slices.Sort(took)
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	b.ReportMetric(took[len(took)/2].Seconds()*1000, "p50-ms")
	b.ReportMetric(took[len(took)*99/100].Seconds()*1000, "p99-ms")
	b.ReportMetric(float64(len(took)*leases)/lasting.Seconds(), "rows/s")
	b.ReportMetric(asked.Seconds()*1000, "interval-ms")
	b.ReportMetric(float64(memory.HeapInuse)/1e6, "heap-MB")
	c.stop()
	diff, err := db.Reconcile(b.Context())
	if err != nil || len(diff) > 0 {
		b.Errorf("the books: %v, %v", diff, err)
	}
}

func newHolder(c *core, r *wire.RegisterResponse, leases int) *holder {
	h := &holder{node: node{id: r.GetHolder(), secret: r.GetSecret(), ExchangeClient: c.client(r.GetSecret())}}
	h.request = &wire.SyncRequest{Protocol: 1, Holder: h.id, Boot: 1, BootOrdinal: 1, First: true, Side: &wire.Side{}}
	for j := range leases {
		h.request.Side.Wants = append(h.request.Side.Wants, &wire.Want{Budget: int64(lease.Of(lease.FlightViews, uint32(j+1), 0)), Target: 1 << 20, VelocityMilli: 1000})
	}
	return h
}

// live exchanges until a moment, and notes what began after another.
func (h *holder) live(b *testing.B, leases int, from, to time.Time) error {
	reply, err := h.Sync(b.Context(), h.request)
	if err != nil {
		return err
	}
	if n := len(reply.GetLeases()); n != leases {
		return fmt.Errorf("%d leases were granted, want %d", n, leases)
	}
	t := &wire.Totals{Spent: make([]int64, leases), Returned: make([]int64, leases)}
	for _, l := range reply.GetLeases() {
		t.Budget, t.Granted = append(t.Budget, l.GetBudget()), append(t.Granted, l.GetGranted())
	}
	h.request.First, h.request.Side = false, &wire.Side{}
	for time.Now().Before(to) {
		h.batch++
		for j := range t.Spent {
			t.Spent[j]++
		}
		h.request.Batch = &wire.Batch{Seal: &wire.Cursor{Batch: h.batch, Position: h.batch, Hash: []byte("0123456789abcdef")}, Totals: t}
		if h.batch%10 == 0 {
			h.request.Batch.Rollups = tenth(leases)
		}
		h.request.Side.DeliveredSeen = reply.GetDeliveredVersion()
		began := time.Now()
		if reply, err = h.Sync(b.Context(), h.request); err != nil {
			return err
		}
		if s := reply.GetStatus(); s != wire.SyncResponse_OK || reply.GetCursor().GetBatch() != h.batch {
			return fmt.Errorf("batch %d is answered with %v at %d", h.batch, s, reply.GetCursor().GetBatch())
		}
		if began.After(from) {
			h.took = append(h.took, time.Since(began))
		}
		if h.asked = time.Duration(reply.GetNextMs()) * time.Millisecond; h.asked == 0 {
			h.asked = time.Second
		}
		time.Sleep(h.asked - time.Since(began))
	}
	// What the last tenth did not tell, so that the books agree.
	rest := h.batch % 10
	if rest == 0 {
		return nil
	}
	h.batch++
	h.request.Batch = &wire.Batch{Seal: &wire.Cursor{Batch: h.batch, Position: h.batch, Hash: []byte("0123456789abcdef")}, Rollups: tenth(leases)}
	for j := range h.request.Batch.Rollups.Views {
		h.request.Batch.Rollups.Views[j] = int64(rest)
	}
	_, err = h.Sync(b.Context(), h.request)
	return err
}

// tenth is what ten batches delivered, a row for each flight.
func tenth(flights int) *wire.Rollups {
	r := &wire.Rollups{}
	hour := time.Now().Truncate(time.Hour).Unix()
	for j := range flights {
		r.Hour, r.Flight, r.Ad, r.Publisher = append(r.Hour, hour), append(r.Flight, uint32(j+1)), append(r.Ad, uint32(j+1)), append(r.Publisher, 1)
		r.Country, r.Views, r.Clicks = append(r.Country, "US"), append(r.Views, 10), append(r.Clicks, 0)
		r.UnbilledViews, r.UnbilledClicks, r.SpentMicros = append(r.UnbilledViews, 0), append(r.UnbilledClicks, 0), append(r.SpentMicros, 0)
	}
	return r
}
