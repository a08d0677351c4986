package postgres

import (
	"flag"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"nearside/core/ledger"
	"nearside/core/ledger/ledgertest"
	"nearside/dev/testpg"
	"nearside/sync/lease"
	"nearside/sync/wire"
)

func TestLedger(t *testing.T) { ledgertest.Run(t, ledgerFixture) }

// TestReconcileNames: what was billed and not counted, and what is refunded
// without a refund, are named.
func TestReconcileNames(t *testing.T) {
	db := openTest(t)
	for _, sql := range []string{
		`INSERT INTO budgets (id, asked, "limit", unleased, settled, judged) VALUES (1::bigint << 56 | 7, 100, 100, 80, 20, 20)`,
		`INSERT INTO rollups (hour, region, flight, ad, publisher, country, views) VALUES ('2026-03-02', 'eu', 7, 1, 1, 'DE', 20)`,
		`INSERT INTO flight_totals (flight, views) VALUES (7, 20)`,
	} {
		if _, err := db.pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	want := func(change, what string) {
		t.Helper()
		if _, err := db.pool.Exec(t.Context(), change); err != nil {
			t.Fatal(err)
		}
		diff, err := db.Reconcile(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, d := range diff {
			got += d.What + " "
		}
		if got != what {
			t.Errorf("after %s: %q, want %q", change, got, what)
		}
	}
	want(`SELECT 1`, "")
	want(`UPDATE budgets SET settled = 21, judged = 21, unleased = 79`, "billed ")
	want(`UPDATE budgets SET settled = 20, judged = 20, unleased = 81, refunded = 1`, "refunded ")
}

// TestStoresAgree runs random schedules on both stores at once.
func TestStoresAgree(t *testing.T) {
	few(t, "40")
	fixture := ledgerFixture(t)
	rapid.Check(t, func(rt *rapid.T) {
		fixture.Reset()
		m := ledger.NewMemory()
		ledgertest.Schedule(rt, ledgertest.Fixture{
			Store: m, SetBudget: func(id lease.Budget, asked int64) { m.SetBudget(id, asked, 1) }, SetCap: m.SetCap, Dump: m.Dump,
		}, fixture)
	})
}

// few lowers the number of schedules, each of which is some hundred round
// trips, unless the command line asks for one.
func few(t *testing.T, checks string) {
	f := flag.Lookup("rapid.checks")
	if f.Value.String() != f.DefValue {
		return
	}
	if err := f.Value.Set(checks); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Value.Set(f.DefValue) })
}

// openTest is a database of the test's own.
func openTest(t testing.TB) *DB {
	t.Helper()
	db, err := Open(t.Context(), testpg.New(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

func ledgerFixture(t testing.TB) ledgertest.Fixture {
	db := openTest(t)
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := db.pool.Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	exec(`INSERT INTO advertisers (slug, name) VALUES ('a', 'a')`)
	exec(`INSERT INTO campaigns (slug, name, advertiser, campaign_type) VALUES ('c', 'c', 1, 'paid')`)
	flight := func(id uint32) {
		exec(`INSERT INTO flights (id, slug, name, campaign, live, start_date, end_date) OVERRIDING SYSTEM VALUE
			VALUES ($1::integer, 'f' || $1::integer, 'f', 1, true, '2026-01-01', '2026-12-31') ON CONFLICT DO NOTHING`, int32(id))
	}
	sold := func(id lease.Budget) {
		if !id.Micros() {
			flight(id.Owner())
		}
	}
	exec(`UPDATE ledger SET stamp_key = $1`, ledger.MemoryStampKey)
	reset := func() {
		exec(`TRUNCATE budgets, holders, leases, windows, foreign_events, rollups, topic_counts, flight_totals, decision_counts, refusals, receipts, token_keys,
			statements, flights RESTART IDENTITY CASCADE`)
		exec(`INSERT INTO ledger (stamp_key) VALUES ($1)
			ON CONFLICT (id) DO UPDATE SET forgotten_at = NULL, forgotten_by = NULL, reason = '', recovered_at = NULL`, ledger.MemoryStampKey)
	}
	return ledgertest.Fixture{
		Restore: func(was ledger.Truth) {
			reset()
			for id := range was.Budgets {
				sold(id)
			}
			if err := db.Ledger().Update(t.Context(), func(tx ledger.Tx) error { return tx.Rebuild(t.Context(), rebuilt(was)) }); err != nil {
				t.Fatal(err)
			}
			if err := db.InTx(t.Context(), func(tx pgx.Tx) error {
				batch := &pgx.Batch{}
				writeTopics(batch, was.Topics)
				return send(t.Context(), tx, batch, "put the topics back")
			}); err != nil {
				t.Fatal(err)
			}
			exec(`UPDATE ledger SET recovered_at = NULL`)
		},
		Store: db.Ledger(),
		SetBudget: func(id lease.Budget, asked int64) {
			sold(id)
			if err := db.InTx(t.Context(), func(tx pgx.Tx) error { return db.SetBudget(t.Context(), tx, id, asked) }); err != nil {
				t.Fatal(err)
			}
		},
		SetCap: func(kind lease.Kind, owner uint32, c ledger.Cap) {
			from := time.Unix(int64(c.From)*86400, 0)
			if kind == lease.FlightDay {
				flight(owner)
				exec(`UPDATE flights SET daily_cap_micros = $2, daily_cap_from = $3, cpc_micros = $4 WHERE id = $1`, int32(owner), c.Micros, from, c.Unit)
				return
			}
			flight(1 << 20)
			exec(`UPDATE flights SET cpc_micros = $1 WHERE id = 1 << 20`, c.Unit)
			exec(`INSERT INTO publishers (id, slug, name, daily_cap_micros, daily_cap_from) OVERRIDING SYSTEM VALUE
				VALUES ($1::integer, 'p' || $1::integer, 'p', $2, $3)`, int32(owner), c.Micros, from)
		},
		Kill: func(id uint32) {
			flight(id)
			exec(`UPDATE flights SET state = 'kill' WHERE id = $1`, int32(id))
		},
		AllowJoin: func(token, region string, expires int64) {
			exec(`INSERT INTO join_tokens (name, hash, region, expires_at) VALUES ('test', $1, $2, $3)`, ledger.Hash(token), region, moment(expires))
		},
		Dump:  func() ledger.Truth { return dump(t, db) },
		Reset: reset,
	}
}

// rebuilt is a truth as something to be written.
func rebuilt(was ledger.Truth) *ledger.Rebuilt {
	r := &ledger.Rebuilt{Rollups: was.Rollups}
	for _, id := range slices.Sorted(maps.Keys(was.Holders)) {
		h := was.Holders[id]
		r.NewHolders = append(r.NewHolders, &h)
	}
	for _, b := range was.Budgets {
		r.NewBudgets = append(r.NewBudgets, &b)
	}
	for _, l := range was.Leases {
		r.NewLeases = append(r.NewLeases, &l)
	}
	return r
}

// dump reads everything that the ledger keeps, and holds Reconcile against it.
func dump(t testing.TB, db *DB) ledger.Truth {
	t.Helper()
	truth := ledger.NewTruth()
	each := func(sql string, read func(row pgx.Rows) error) {
		t.Helper()
		rows, err := db.pool.Query(t.Context(), sql)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			if err := read(rows); err != nil {
				t.Fatal(err)
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	holders, err := db.Holders(t.Context(), time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range holders {
		truth.Holders[h.ID] = h
		truth.LastHolder = max(truth.LastHolder, h.ID)
	}
	if err := db.Ledger().Budgets(t.Context(), 0, func(b ledger.Budget) { truth.Budgets[b.ID] = b }); err != nil {
		t.Fatal(err)
	}
	each(`SELECT holder, budget, granted, spent, returned, velocity_milli FROM leases`, func(row pgx.Rows) error {
		var l ledger.Lease
		err := scanLease(row, &l)
		truth.Leases[ledger.LeaseKey{Holder: l.Holder, Budget: l.Budget}] = l
		return err
	})
	each(`SELECT holder, boot, floor, next, bits FROM windows`, func(row pgx.Rows) error {
		var (
			w                 ledger.Window
			boot, floor, next int64
		)
		err := row.Scan(&w.Holder, &boot, &floor, &next, &w.Bits)
		w.Boot, w.Floor, w.Next = uint64(boot), uint64(floor), uint64(next)
		if truth.Windows[w.Holder] == nil {
			truth.Windows[w.Holder] = map[uint64]ledger.Window{}
		}
		truth.Windows[w.Holder][w.Boot] = w
		return err
	})
	each(`SELECT home, position, boot, seq, kind, sender, event, at, outcome FROM foreign_events`, func(row pgx.Rows) error {
		var (
			f                   ledger.Foreign
			position, boot, seq int64
			event               []byte
			at                  time.Time
		)
		if err := row.Scan(&f.Home, &position, &boot, &seq, (*uint8)(&f.Kind), &f.Sender, &event, &at, (*uint8)(&f.Outcome)); err != nil {
			return err
		}
		f.Position, f.Boot, f.Seq, f.At, f.Event = uint64(position), uint64(boot), uint64(seq), at.UnixMilli(), &wire.Event{}
		truth.Foreign[f.EventKey] = f
		return proto.Unmarshal(event, f.Event)
	})
	each(`SELECT hour, region, flight, ad, publisher, country, views, clicks, unbilled_views, unbilled_clicks, home_lost, spent_micros FROM rollups`, func(row pgx.Rows) error {
		var (
			k    ledger.RollupKey
			c    ledger.Counts
			hour time.Time
		)
		err := row.Scan(&hour, &k.Region, &k.Flight, &k.Ad, &k.Publisher, &k.Country, &c.Views, &c.Clicks, &c.UnbilledViews, &c.UnbilledClicks, &c.HomeLost, &c.Spent)
		k.Hour = hour.Unix()
		truth.Rollups[k] = c
		return err
	})
	each(`SELECT hour, region, topic, flight, country, decisions, offers, views, clicks, unbilled_views, unbilled_clicks, home_lost, spent_micros FROM topic_counts`, func(row pgx.Rows) error {
		var (
			k    ledger.TopicKey
			c    ledger.TopicCounts
			hour time.Time
		)
		err := row.Scan(&hour, &k.Region, &k.Topic, &k.Flight, &k.Country, &c.Decisions.Decisions, &c.Offers, &c.Views, &c.Clicks, &c.UnbilledViews, &c.UnbilledClicks, &c.HomeLost, &c.Spent)
		k.Hour = hour.Unix()
		truth.Topics[k] = c
		return err
	})
	each(`SELECT flight, views, clicks, unbilled_views, unbilled_clicks, home_lost, spent_micros FROM flight_totals`, func(row pgx.Rows) error {
		var (
			flight uint32
			c      ledger.Counts
		)
		err := row.Scan(&flight, &c.Views, &c.Clicks, &c.UnbilledViews, &c.UnbilledClicks, &c.HomeLost, &c.Spent)
		truth.Totals[flight] = c
		return err
	})
	each(`SELECT hour, region, publisher, country, flight, decisions, offers FROM decision_counts`, func(row pgx.Rows) error {
		var (
			k    ledger.DecisionKey
			d    ledger.Decisions
			hour time.Time
		)
		err := row.Scan(&hour, &k.Region, &k.Publisher, &k.Country, &k.Flight, &d.Decisions, &d.Offers)
		k.Hour = hour.Unix()
		truth.Decisions[k] = d
		return err
	})
	each(`SELECT hour, region, flight, reason, n FROM refusals`, func(row pgx.Rows) error {
		var (
			k    ledger.RefusalKey
			n    int64
			hour time.Time
		)
		err := row.Scan(&hour, &k.Region, &k.Flight, &k.Reason, &n)
		k.Hour = hour.Unix()
		truth.Refusals[k] = n
		return err
	})
	each(`SELECT holder, kind, version FROM receipts`, func(row pgx.Rows) error {
		var (
			r       ledger.Receipt
			version int64
		)
		err := row.Scan(&r.Holder, &r.Kind, &version)
		r.Version = uint64(version)
		truth.Receipts[r] = true
		return err
	})
	each(`SELECT reason FROM ledger`, func(row pgx.Rows) error { return row.Scan(&truth.Forgotten) })

	diff, err := db.Reconcile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range diff {
		if d.What == "billed" {
			continue // the model of an edge may spend what it does not count
		}
		t.Errorf("reconcile: %s of %d: have %d, its parts make %d", d.What, d.Of, d.Have, d.Want)
	}
	return truth
}
