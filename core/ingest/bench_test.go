package ingest

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"nearside/core/ledger"
	"nearside/core/postgres"
	"nearside/dev/testpg"
	"nearside/sync/lease"
	"nearside/sync/wire"
)

// BenchmarkExchangeRows is the exchange through the ledger into Postgres: every
// holder has spent from every one of its leases, in groups as ingest makes
// them. rows/s are leases settled a second; budgets and cursors come on top.
// bare is what Postgres does of it alone: one UPDATE of as many rows. hot is a
// flight that all holders spend from, own one for each of them.
func BenchmarkExchangeRows(b *testing.B) {
	b.Run("bare", bareRows)
	for _, size := range []struct {
		name            string
		holders, leases int
		own             bool // no two holders lease from one budget
	}{
		{"1x250", 1, 250, false}, {"4x250", 4, 250, false}, {"20x250", 20, 250, false}, {"100x50", 100, 50, false},
		{"hot", 100, 1, false}, {"own", 100, 1, true},
	} {
		budget := func(holder, i int) lease.Budget {
			if size.own {
				i += holder * size.leases
			}
			return lease.Of(lease.FlightViews, uint32(i+1), 0)
		}
		b.Run(size.name, func(b *testing.B) {
			db, err := postgres.Open(b.Context(), testpg.New(b))
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			store := db.Ledger()
			const limit = 1 << 40
			if err := db.InTx(b.Context(), func(tx pgx.Tx) error {
				for i := range size.holders {
					for j := range size.leases {
						if err := db.SetBudget(b.Context(), tx, budget(i, j), limit); err != nil {
							return err
						}
					}
				}
				return nil
			}); err != nil {
				b.Fatal(err)
			}
			rules, now := ledger.DefaultRules(), int64(1_772_452_800_000)
			var requests []*wire.SyncRequest
			for i := range size.holders {
				r, err := ledger.Register(b.Context(), store, &wire.RegisterRequest{Region: "r", Node: fmt.Sprintf("n%d", i), Disk: fmt.Sprint(i)}, []byte("x"), now, rules)
				if err != nil {
					b.Fatal(err)
				}
				request := &wire.SyncRequest{Protocol: 1, Holder: r.Holder, Boot: 1, BootOrdinal: 1, Side: &wire.Side{}}
				for j := range size.leases {
					request.Side.Wants = append(request.Side.Wants, &wire.Want{Budget: int64(budget(i, j)), Target: 1 << 30, VelocityMilli: 1000})
				}
				requests = append(requests, request)
			}
			if _, err := ledger.Exchange(b.Context(), store, requests, now, rules); err != nil {
				b.Fatal(err)
			}
			for i, r := range requests {
				r.Side = &wire.Side{}
				t := &wire.Totals{}
				for j := range size.leases {
					t.Budget = append(t.Budget, int64(budget(i, j)))
					t.Granted, t.Spent, t.Returned = append(t.Granted, 1<<29), append(t.Spent, 0), append(t.Returned, 0)
				}
				requests[i].Batch = &wire.Batch{Totals: t}
			}
			n := uint64(0)
			rows := 0
			for b.Loop() {
				n++
				for _, r := range requests {
					r.Batch.Seal = &wire.Cursor{Batch: n, Position: n, Hash: []byte("0123456789abcdef")}
					for j := range r.Batch.Totals.Spent {
						r.Batch.Totals.Spent[j]++
					}
				}
				result, err := ledger.Exchange(b.Context(), store, requests, now, rules)
				if err != nil {
					b.Fatal(err)
				}
				rows += result.Rows
			}
			if want := int(n) * size.holders * size.leases; rows != want {
				b.Fatalf("%d rows were written, want %d", rows, want)
			}
			b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

func bareRows(b *testing.B) {
	const rows = 5000
	pool, err := pgxpool.New(b.Context(), testpg.NewEmpty(b))
	if err != nil {
		b.Fatal(err)
	}
	defer pool.Close()
	if _, err := pool.Exec(b.Context(), `
		CREATE TABLE leases (id bigint PRIMARY KEY, granted bigint NOT NULL, spent bigint NOT NULL, returned bigint NOT NULL) WITH (fillfactor = 50)`); err != nil {
		b.Fatal(err)
	}
	if _, err := pool.Exec(b.Context(), `INSERT INTO leases SELECT n, 1 << 29, 0, 0 FROM generate_series(1, $1::bigint) AS n`, rows); err != nil {
		b.Fatal(err)
	}
	ids, spent := make([]int64, rows), make([]int64, rows)
	for i := range ids {
		ids[i] = int64(i + 1)
	}
	n := 0
	for b.Loop() {
		n += rows
		for i := range spent {
			spent[i]++
		}
		if _, err := pool.Exec(b.Context(), `
			UPDATE leases l SET spent = u.spent FROM unnest($1::bigint[], $2::bigint[]) AS u (id, spent) WHERE l.id = u.id`, ids, spent); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "rows/s")
}
