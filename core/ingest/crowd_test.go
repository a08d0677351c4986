package ingest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"nearside/core/ledger"
	"nearside/core/ledger/ledgertest"
	"nearside/core/postgres"
	"nearside/dev/testpg"
	"nearside/sync/lease"
	"nearside/sync/wire"
)

// TestCrowd has many edges speak to two cores on one Postgres at once, while
// replies are lost, requests are repeated at the other core, limits change, and
// the database breaks connections whatever they are in the middle of. Each edge spends
// through its own lease; in the end everything is counted once and no budget
// is overspent.
func TestCrowd(t *testing.T) {
	const (
		edges   = 12
		budgets = 8
		limit   = 300
	)
	url := testpg.New(t)
	db, err := postgres.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	// A write of the admin API: counters first, then budgets by id.
	setLimits := func(limit func() int64) error {
		return db.InTx(t.Context(), func(tx pgx.Tx) error {
			if _, err := tx.Exec(t.Context(), `SELECT FROM counters FOR UPDATE`); err != nil {
				return err
			}
			for i := range budgets {
				if err := db.SetBudget(t.Context(), tx, lease.Of(lease.FlightViews, uint32(i+1), 0), limit()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := setLimits(func() int64 { return limit }); err != nil {
		t.Fatal(err)
	}
	if err := db.InTx(t.Context(), func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), `INSERT INTO join_tokens (name, hash) VALUES ('test', $1)`, ledger.Hash(joinToken))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	cores := []*core{start(t, db.Ledger(), Options{Window: 2 * time.Millisecond}), start(t, db.Ledger(), Options{Window: 5 * time.Millisecond})}

	breaking, calm := context.WithCancel(t.Context())
	var breaker sync.WaitGroup
	var broken atomic.Int64
	breaker.Go(func() { breakConnections(breaking, t, url, &broken) })
	breaker.Go(func() { // a person who cannot make up her mind
		for again := time.NewTicker(10 * time.Millisecond); ; {
			select {
			case <-breaking.Done():
				again.Stop()
				return
			case <-again.C:
			}
			_ = setLimits(func() int64 { return limit/2 + rand.Int64N(limit/2) }) // broken off like all others
		}
	})
	var crowd sync.WaitGroup
	spent := make([]int64, edges)
	for i := range edges {
		crowd.Go(func() { spent[i] = live(t, cores, i, budgets, calm) })
	}
	// calm is called by the first edge that has seen enough rounds.
	crowd.Wait()
	calm()
	breaker.Wait()
	if broken.Load() == 0 {
		t.Error("no connection was broken: nothing was tried")
	}

	var deadlocks int
	if err := db.InTx(t.Context(), func(tx pgx.Tx) error {
		return tx.QueryRow(t.Context(), `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`).Scan(&deadlocks)
	}); err != nil {
		t.Fatal(err)
	}
	if deadlocks != 0 {
		t.Errorf("%d deadlocks: locks do not nest in one order", deadlocks)
	}
	diff, err := db.Reconcile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range diff {
		t.Errorf("%s of %d: have %d, its parts make %d", d.What, d.Of, d.Have, d.Want)
	}
	var counted, settled int64
	deliveries, err := db.FlightDeliveries(t.Context(), []uint32{1, 2, 3, 4, 5, 6, 7, 8})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range deliveries {
		counted += d.Views
	}
	if err := db.Ledger().Budgets(t.Context(), 0, func(b ledger.Budget) {
		if err := b.Check(); err != nil {
			t.Error(err)
		}
		settled += b.Settled
	}); err != nil {
		t.Fatal(err)
	}
	var want int64
	for _, n := range spent {
		want += n
	}
	if counted != want || settled != want || want == 0 || want > budgets*limit {
		t.Errorf("edges spent %d, settled %d, counted %d, of %d", want, settled, counted, budgets*limit)
	}
	holders, err := db.Holders(t.Context(), time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range holders {
		if h.State != ledger.Open {
			t.Errorf("holder %d, which lied to nobody, is %v: %s", h.ID, h.State, h.Reason)
		}
	}
}

// breakConnections ends the cores' connections, one every few milliseconds,
// until ctx ends.
func breakConnections(ctx context.Context, t *testing.T, url string, broken *atomic.Int64) {
	conn, err := pgx.Connect(context.WithoutCancel(ctx), url)
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	ticker := time.NewTicker(15 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		tag, err := conn.Exec(context.WithoutCancel(ctx), `
			SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE application_name = 'nearside-core' AND datname = current_database() AND state <> 'idle'
			ORDER BY random() LIMIT 1`)
		if err != nil {
			t.Error(err)
			return
		}
		broken.Add(tag.RowsAffected())
	}
}

// live is one edge's life: rounds of spending and exchanging, and then, once
// calm, exchanges until everything is acknowledged. It says what it spent.
func live(t *testing.T, cores []*core, i, budgets int, calm func()) int64 {
	const rounds = 30
	random := rand.New(rand.NewPCG(uint64(i), 42))
	try := func(what string, do func() error) {
		for deadline := time.Now().Add(time.Minute); ; {
			err := do()
			if err == nil {
				return
			}
			if time.Now().After(deadline) {
				t.Errorf("edge %d: %s: %v", i, what, err)
				return
			}
		}
	}
	var n *node
	try("register", func() error {
		c := cores[i%2]
		r, err := c.client(joinToken).Register(t.Context(), registration(fmt.Sprintf("n%d", i)))
		if err == nil {
			n = &node{id: r.GetHolder(), secret: r.GetSecret()}
		}
		return err
	})
	if n == nil {
		return 0
	}
	e := ledgertest.NewEdge(n.id, time.Now().UnixMilli())
	for b := range budgets {
		e.Want(lease.Of(lease.FlightViews, uint32(b+1), 0), 100, 5000)
	}
	spent := int64(0)
	exchange := func(heard bool) {
		request := e.Request()
		try("sync", func() error {
			reply, err := cores[random.IntN(2)].client(n.secret).Sync(t.Context(), request)
			if err == nil && heard {
				e.Hear(reply)
				if s := reply.GetStatus(); s != wire.SyncResponse_OK {
					t.Errorf("edge %d: %v", i, s)
				}
			}
			return err
		})
	}
	for range rounds {
		exchange(random.IntN(4) > 0)
		for b := range budgets {
			spent += e.Spend(lease.Of(lease.FlightViews, uint32(b+1), 0), random.Int64N(5))
		}
		if random.IntN(20) == 0 {
			e.Restart()
		}
	}
	calm()
	for range 3 {
		exchange(true)
	}
	return spent
}
