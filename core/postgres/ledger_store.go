package postgres

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"google.golang.org/protobuf/proto"

	"nearside/core/ledger"
	"nearside/sync/exchange"
	"nearside/sync/lease"
	"nearside/sync/wire"
)

// The ledger's statements are written by hand: they take and give arrays, which
// sqlc cannot read. Each is prepared once a connection.
//
//go:embed ledger/*.sql
var ledgerFiles embed.FS

// ledgerSQL are the statements of ledger/, by name without .sql.
var ledgerSQL = readLedgerSQL()

func readLedgerSQL() map[string]string {
	entries, err := ledgerFiles.ReadDir("ledger")
	if err != nil {
		panic(err) // embedded: cannot fail in a program that was built
	}
	statements := map[string]string{}
	for _, e := range entries {
		text, err := ledgerFiles.ReadFile("ledger/" + e.Name())
		if err != nil {
			panic(err)
		}
		statements[e.Name()[:len(e.Name())-len(".sql")]] = string(text)
	}
	return statements
}

// statement is one of ledger/; a name that is not there is a mistake in this
// package, which every test that comes by finds.
func statement(name string) string {
	text, ok := ledgerSQL[name]
	if !ok {
		panic("no statement " + name)
	}
	return text
}

// Ledger is the ledger's store in this database.
func (db *DB) Ledger() ledger.Store { return &ledgerStore{db} }

type ledgerStore struct{ db *DB }

// Update implements ledger.Store.
func (s *ledgerStore) Update(ctx context.Context, f func(ledger.Tx) error) error {
	const tries = 4
	var err error
	for range tries {
		err = pgx.BeginFunc(ctx, s.db.pool, func(tx pgx.Tx) error { return f(&ledgerTx{tx}) })
		if !Retryable(err) {
			return err
		}
	}
	return err
}

// Holder implements ledger.Store.
func (s *ledgerStore) Holder(ctx context.Context, id uint32) (ledger.Holder, bool, error) {
	if id > math.MaxInt32 {
		return ledger.Holder{}, false, nil
	}
	h, err := one(ctx, s.db.pool, scanHolder, "holder", int32(id))
	if err != nil || h == nil {
		return ledger.Holder{}, false, err
	}
	return *h, true, nil
}

// JoinToken implements ledger.Store.
func (s *ledgerStore) JoinToken(ctx context.Context, hash []byte, now int64) (t ledger.JoinToken, ok bool, err error) {
	err = s.db.pool.QueryRow(ctx, statement("join_token"), hash, time.UnixMilli(now)).Scan(&t.ID, &t.Region)
	if IsMissing(err) {
		return t, false, nil
	}
	if err != nil {
		return t, false, fmt.Errorf("look for a join token: %w", err)
	}
	return t, true, nil
}

// Joined implements ledger.Store.
func (s *ledgerStore) Joined(ctx context.Context, token int32, now int64) error {
	if _, err := s.db.pool.Exec(ctx, statement("joined"), token, time.UnixMilli(now)); err != nil {
		return fmt.Errorf("count the use of join token %d: %w", token, err)
	}
	return nil
}

// Issue implements ledger.Store.
func (s *ledgerStore) Issue(ctx context.Context, holder uint32, i ledger.Issued) error {
	var next []byte
	if len(i.NextSecret) > 0 {
		next = i.NextSecret
	}
	if _, err := s.db.pool.Exec(ctx, statement("issue"), int32(holder), next, time.UnixMilli(i.At), i.Authority, moment(i.Expires)); err != nil {
		return fmt.Errorf("note the credential of holder %d: %w", holder, err)
	}
	return nil
}

// UseSecret implements ledger.Store.
func (s *ledgerStore) UseSecret(ctx context.Context, holder uint32, hash []byte) (bool, error) {
	tag, err := s.db.pool.Exec(ctx, statement("use_secret"), int32(holder), hash)
	if err != nil {
		return false, fmt.Errorf("use the next secret of holder %d: %w", holder, err)
	}
	return tag.RowsAffected() > 0, nil
}

// Trusted implements ledger.Store.
func (s *ledgerStore) Trusted(ctx context.Context, holder uint32, sum []byte) error {
	if _, err := s.db.pool.Exec(ctx, statement("trusted"), int32(holder), sum); err != nil {
		return fmt.Errorf("note what holder %d goes by: %w", holder, err)
	}
	return nil
}

// Credential implements ledger.Store.
func (s *ledgerStore) Credential(ctx context.Context, id uint32) (ledger.Credential, bool, error) {
	if id > math.MaxInt32 {
		return ledger.Credential{}, false, nil
	}
	c, err := one(ctx, s.db.pool, scanCredential, "credential", int32(id))
	if err != nil || c == nil {
		return ledger.Credential{}, false, err
	}
	return *c, true, nil
}

func scanCredential(row pgx.Row, c *ledger.Credential) error {
	var issued, expires *time.Time
	if err := row.Scan(&c.Region, &c.Node, &c.SecretHash, &c.NextSecret, &issued, &c.Authority, &expires, &c.Trust); err != nil {
		return err
	}
	if issued != nil {
		c.IssuedAt = issued.UnixMilli()
	}
	if expires != nil {
		c.Expires = expires.UnixMilli()
	}
	return nil
}

// Budgets implements ledger.Store.
func (s *ledgerStore) Budgets(ctx context.Context, from int32, f func(ledger.Budget)) error {
	const after = 1<<24 - 1
	rows, err := s.db.pool.Query(ctx, statement("budgets"),
		int64(lease.Of(lease.FlightDay, 0, 0)),
		int64(lease.Of(lease.FlightDay, 0, from)), int64(lease.Of(lease.FlightDay, math.MaxUint32, after)),
		int64(lease.Of(lease.PublisherDay, 0, from)))
	if err != nil {
		return fmt.Errorf("read budgets: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var b ledger.Budget
		if err := rows.Scan(budgetFields(&b)...); err != nil {
			return fmt.Errorf("read budgets: %w", err)
		}
		f(b)
	}
	return rows.Err()
}

// Silent implements ledger.Store.
func (s *ledgerStore) Silent(ctx context.Context, before int64) ([]uint32, error) {
	return s.ids(ctx, "silent", time.UnixMilli(before))
}

// Unjudged implements ledger.Store.
func (s *ledgerStore) Unjudged(ctx context.Context) ([]uint32, error) { return s.ids(ctx, "unjudged") }

// Stale implements ledger.Store.
func (s *ledgerStore) Stale(ctx context.Context, before int64) ([]uint32, error) {
	return s.ids(ctx, "stale", time.UnixMilli(before))
}

// DropForeign implements ledger.Store.
func (s *ledgerStore) DropForeign(ctx context.Context, before int64) (int, error) {
	tag, err := s.db.pool.Exec(ctx, statement("drop_foreign"), time.UnixMilli(before))
	if err != nil {
		return 0, fmt.Errorf("drop old foreign events: %w", err)
	}
	return int(tag.RowsAffected()), nil
}

func (s *ledgerStore) ids(ctx context.Context, name string, args ...any) ([]uint32, error) {
	rows, err := s.db.pool.Query(ctx, statement(name), args...)
	if err != nil {
		return nil, fmt.Errorf("list %s holders: %w", name, err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[uint32])
	if err != nil {
		return nil, fmt.Errorf("list %s holders: %w", name, err)
	}
	return ids, nil
}

// OpenDays implements ledger.Store.
func (s *ledgerStore) OpenDays(ctx context.Context, ids []lease.Budget) error {
	if len(ids) == 0 {
		return nil
	}
	var c struct {
		id    []int64
		kind  []int16
		owner []int32
		day   []time.Time
	}
	for _, b := range ids {
		c.id = append(c.id, int64(b))
		c.kind = append(c.kind, int16(b.Kind()))
		c.owner = append(c.owner, int32(b.Owner()))
		c.day = append(c.day, time.Unix(int64(b.Day())*86400, 0).UTC())
	}
	if _, err := s.db.pool.Exec(ctx, statement("open_days"), c.id, c.kind, c.owner, c.day); err != nil {
		return fmt.Errorf("open the budgets of days: %w", err)
	}
	return nil
}

// ledgerTx is one transaction. Each Load and each Write is one round trip.
type ledgerTx struct{ tx pgx.Tx }

// Load implements ledger.Tx.
func (t *ledgerTx) Load(ctx context.Context, n ledger.Needs, l *ledger.Loaded) error {
	batch := &pgx.Batch{}
	if len(n.Holders) > 0 {
		ask(batch, scanHolder, func(h *ledger.Holder) { l.Holders[h.ID] = h }, "lock_holders", ids(n.Holders))
		batch.Queue(statement("state")).QueryRow(func(row pgx.Row) error {
			var recovered *time.Time
			err := row.Scan(&l.Forgotten, &l.Open, &l.Doubted, &l.StampKey, &recovered)
			if recovered != nil {
				l.RecoveredAt = recovered.UnixMilli()
			}
			return err
		})
		ask(batch, scanTight, func(t *ledger.TightLease) { l.Tight = append(l.Tight, *t) }, "leases_tight", ids(n.Holders))
	}
	if len(n.Events) > 0 {
		home, boot, seq, kind := make([]int32, 0, len(n.Events)), make([]int64, 0, len(n.Events)), make([]int64, 0, len(n.Events)), make([]int16, 0, len(n.Events))
		for _, k := range n.Events {
			home, boot, seq, kind = append(home, int32(k.Home)), append(boot, int64(k.Boot)), append(seq, int64(k.Seq)), append(kind, int16(k.Kind))
		}
		ask(batch, scanEventKey, func(k *ledger.EventKey) { l.Known[*k] = true }, "known_events", home, boot, seq, kind)
	}
	if len(n.Inbox) > 0 {
		ask(batch, scanInbox, func(e *inboxRow) { l.Inbox[e.home] = append(l.Inbox[e.home], e.event) }, "inbox", ids(n.Inbox), ledger.MaxInbox)
	}
	if n.Docket != 0 {
		ask(batch, scanDocket, func(f *docketRow) {
			f.foreign.Home = n.Docket
			l.Docket = append(l.Docket, f.foreign)
			if f.viewed {
				view := f.foreign.EventKey
				view.Kind = exchange.View
				l.Viewed[view] = true
			}
		}, "docket", int32(n.Docket), ledger.MaxDocket)
		ask(batch, scanWindow, func(w *ledger.Window) {
			w.Holder = n.Docket
			l.Windows[w.Boot] = w
		}, "windows", int32(n.Docket))
	}
	if len(n.Killed) > 0 {
		ask(batch, scanID, func(id *uint32) { l.Killed[*id] = true }, "killed", ids(n.Killed))
	}
	keep := func(v *ledger.Lease) {
		key := ledger.LeaseKey{Holder: v.Holder, Budget: v.Budget}
		if l.Leases[key] == nil {
			l.Leases[key] = v
		}
	}
	if len(n.Leases) > 0 {
		holder, budget := make([]int32, 0, len(n.Leases)), make([]int64, 0, len(n.Leases))
		for _, k := range n.Leases {
			holder, budget = append(holder, int32(k.Holder)), append(budget, int64(k.Budget))
		}
		ask(batch, scanLease, keep, "leases", holder, budget)
	}
	if whole := slices.Concat(n.Whole, n.Release); len(whole) > 0 {
		ask(batch, scanLease, keep, "leases_whole", ids(whole))
	}
	if len(n.Budgets)+len(n.Release) > 0 {
		ask(batch, scanBudget, func(b *ledger.Budget) {
			if l.Budgets[b.ID] == nil {
				l.Budgets[b.ID] = b
			}
		}, "lock_budgets", budgetIDs(n.Budgets), ids(n.Release))
	}
	return send(ctx, t.tx, batch, "load the ledger")
}

// Write implements ledger.Tx.
func (t *ledgerTx) Write(ctx context.Context, c *ledger.Changes) error {
	batch := &pgx.Batch{}
	writeHolders(batch, c.Holders)
	writeBudgets(batch, c.Budgets)
	writeLeases(batch, "update_leases", c.Leases)
	writeLeases(batch, "insert_leases", c.NewLeases)
	writeRollups(batch, c)
	writeTopics(batch, c.Topics)
	writeSide(batch, c)
	if err := writeForeign(batch, c); err != nil {
		return err
	}
	if len(c.Retired) > 0 {
		for _, name := range [...]string{"retire_leases", "retire_windows", "retire_foreign"} {
			batch.Queue(statement(name), ids(c.Retired))
		}
	}
	if c.Forgotten != "" {
		var by *int32
		if c.Forgetter != 0 {
			id := int32(c.Forgetter)
			by = &id
		}
		batch.Queue(statement("forget"), time.UnixMilli(c.At), by, c.Forgotten)
	}
	if err := writeStatements(batch, c.Statements); err != nil {
		return err
	}
	return send(ctx, t.tx, batch, "write the ledger")
}

func writeHolders(batch *pgx.Batch, holders []*ledger.Holder) {
	if len(holders) == 0 {
		return
	}
	var (
		id, states, reasons, urls, versions      = ints[int32](holders), texts(holders), texts(holders), texts(holders), texts(holders)
		secrets, hashes                          = blobs(holders), blobs(holders)
		boots, ordinals, batches, positions      = ints[int64](holders), ints[int64](holders), ints[int64](holders), ints[int64](holders)
		catalogs, controls, foreign, acknowledge = ints[int64](holders), ints[int64](holders), ints[int64](holders), ints[int64](holders)
		seen, closed                             = make([]time.Time, 0, len(holders)), make([]*time.Time, 0, len(holders))
		doubts                                   = texts(holders)
		stated, recovered                        = ints[int64](holders), ints[int64](holders)
		alone, handedIn, retired                 = make([]bool, 0, len(holders)), make([]bool, 0, len(holders)), make([]bool, 0, len(holders))
	)
	for _, h := range holders {
		id, states, reasons = append(id, int32(h.ID)), append(states, h.State.String()), append(reasons, h.Reason)
		urls, versions = append(urls, h.PublicURL), append(versions, h.Version)
		secrets, hashes = append(secrets, orEmpty(h.SecretHash)), append(hashes, orEmpty(h.Hash))
		boots, ordinals = append(boots, int64(h.Boot)), append(ordinals, int64(h.BootOrdinal))
		batches, positions = append(batches, int64(h.Batch)), append(positions, int64(h.Position))
		catalogs, controls = append(catalogs, int64(h.AppliedCatalog)), append(controls, int64(h.AppliedControl))
		foreign, acknowledge = append(foreign, int64(h.ForeignPosition)), append(acknowledge, int64(h.ForeignAck))
		seen, closed = append(seen, time.UnixMilli(h.SeenAt)), append(closed, moment(h.ClosedAt))
		alone, handedIn, retired = append(alone, h.Alone), append(handedIn, h.HandedIn), append(retired, h.Retired)
		doubts, stated, recovered = append(doubts, h.Doubt), append(stated, h.Stated), append(recovered, int64(h.Recovered))
	}
	execAll(batch, len(holders), "update_holders", id, secrets, states, reasons, urls, versions, boots, ordinals, batches, positions, hashes, seen,
		catalogs, controls, alone, foreign, acknowledge, handedIn, retired, closed, doubts, stated, recovered)
}

func writeBudgets(batch *pgx.Batch, budgets []*ledger.Budget) {
	if len(budgets) == 0 {
		return
	}
	var columns [11][]int64
	tight, brokered := make([]bool, 0, len(budgets)), make([]bool, 0, len(budgets))
	for i := range columns {
		columns[i] = make([]int64, 0, len(budgets))
	}
	for _, b := range budgets {
		for i, v := range [...]int64{
			int64(b.ID), b.Asked, b.Limit, b.Unleased, b.Outstanding, b.Settled, b.Refunded, b.Judged, b.Unit, b.Velocity, b.Changed,
		} {
			columns[i] = append(columns[i], v)
		}
		tight, brokered = append(tight, b.Tight), append(brokered, b.Brokered)
	}
	execAll(batch, len(budgets), "update_budgets", columns[0], columns[1], columns[2], columns[3], columns[4], columns[5], columns[6],
		columns[7], columns[8], columns[9], tight, brokered, columns[10])
}

func writeLeases(batch *pgx.Batch, name string, leases []*ledger.Lease) {
	if len(leases) == 0 {
		return
	}
	holder := ints[int32](leases)
	budget, granted, spent, returned, velocity := ints[int64](leases), ints[int64](leases), ints[int64](leases), ints[int64](leases), ints[int64](leases)
	for _, l := range leases {
		holder, budget = append(holder, int32(l.Holder)), append(budget, int64(l.Budget))
		granted, spent, returned, velocity = append(granted, l.Granted), append(spent, l.Spent), append(returned, l.Returned), append(velocity, l.Velocity)
	}
	execAll(batch, len(leases), name, holder, budget, granted, spent, returned, velocity)
}

// counts are the columns of ledger.Counts.
type counts [6][]int64

func (c *counts) add(n ledger.Counts) {
	for i, v := range [...]int64{n.Views, n.Clicks, n.UnbilledViews, n.UnbilledClicks, n.HomeLost, n.Spent} {
		c[i] = append(c[i], v)
	}
}

// writeRollups adds what was counted, and its sums by flight. Rows go in one
// order, so that two cores that count the same do not wait for each other in
// a circle.
func writeRollups(batch *pgx.Batch, c *ledger.Changes) {
	if len(c.Rollups) == 0 {
		return
	}
	totals := ledger.Totals(c.Rollups)
	var (
		flights []int32
		sums    counts
	)
	for _, flight := range slices.Sorted(maps.Keys(totals)) {
		flights = append(flights, int32(flight))
		sums.add(totals[flight])
	}
	execAll(batch, len(flights), "add_totals", flights, sums[0], sums[1], sums[2], sums[3], sums[4], sums[5], time.UnixMilli(c.At))

	keys := slices.SortedFunc(maps.Keys(c.Rollups), func(a, b ledger.RollupKey) int {
		return cmp.Or(cmp.Compare(a.Hour, b.Hour), cmp.Compare(a.Flight, b.Flight), cmp.Compare(a.Ad, b.Ad),
			cmp.Compare(a.Publisher, b.Publisher), cmp.Compare(a.Country, b.Country), cmp.Compare(a.Region, b.Region))
	})
	var (
		hours                  = make([]time.Time, 0, len(keys))
		regions, countries     = texts(keys), texts(keys)
		flight, ads, publisher = ints[int32](keys), ints[int32](keys), ints[int32](keys)
		n                      counts
	)
	for _, k := range keys {
		hours, regions, countries = append(hours, time.Unix(k.Hour, 0)), append(regions, k.Region), append(countries, k.Country)
		flight, ads, publisher = append(flight, int32(k.Flight)), append(ads, int32(k.Ad)), append(publisher, int32(k.Publisher))
		n.add(c.Rollups[k])
	}
	execAll(batch, len(keys), "add_rollups", hours, regions, flight, ads, publisher, countries, n[0], n[1], n[2], n[3], n[4], n[5])
}

// writeTopics adds what was decided and counted by topic, in one order as
// writeRollups does.
func writeTopics(batch *pgx.Batch, topics map[ledger.TopicKey]ledger.TopicCounts) {
	if len(topics) == 0 {
		return
	}
	keys := slices.SortedFunc(maps.Keys(topics), func(a, b ledger.TopicKey) int {
		return cmp.Or(cmp.Compare(a.Hour, b.Hour), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Flight, b.Flight),
			cmp.Compare(a.Country, b.Country), cmp.Compare(a.Region, b.Region))
	})
	var (
		hours              = make([]time.Time, 0, len(keys))
		regions, countries = texts(keys), texts(keys)
		topic, flight      = ints[int32](keys), ints[int32](keys)
		decisions, offers  = ints[int64](keys), ints[int64](keys)
		n                  counts
	)
	for _, k := range keys {
		hours, regions, countries = append(hours, time.Unix(k.Hour, 0)), append(regions, k.Region), append(countries, k.Country)
		topic, flight = append(topic, int32(k.Topic)), append(flight, int32(k.Flight))
		c := topics[k]
		decisions, offers = append(decisions, c.Decisions.Decisions), append(offers, c.Offers)
		n.add(c.Counts)
	}
	execAll(batch, len(keys), "add_topics", hours, regions, topic, flight, countries, decisions, offers, n[0], n[1], n[2], n[3], n[4], n[5])
}

// writeSide adds counts of decisions and refusals, and receipts.
func writeSide(batch *pgx.Batch, c *ledger.Changes) {
	if len(c.Decisions) > 0 {
		keys := slices.SortedFunc(maps.Keys(c.Decisions), func(a, b ledger.DecisionKey) int {
			return cmp.Or(cmp.Compare(a.Hour, b.Hour), cmp.Compare(a.Publisher, b.Publisher), cmp.Compare(a.Flight, b.Flight),
				cmp.Compare(a.Country, b.Country), cmp.Compare(a.Region, b.Region))
		})
		var (
			hours              = make([]time.Time, 0, len(keys))
			regions, countries = texts(keys), texts(keys)
			publishers, flight = ints[int32](keys), ints[int32](keys)
			decisions, offers  = ints[int64](keys), ints[int64](keys)
		)
		for _, k := range keys {
			hours, regions, countries = append(hours, time.Unix(k.Hour, 0)), append(regions, k.Region), append(countries, k.Country)
			publishers, flight = append(publishers, int32(k.Publisher)), append(flight, int32(k.Flight))
			decisions, offers = append(decisions, c.Decisions[k].Decisions), append(offers, c.Decisions[k].Offers)
		}
		execAll(batch, len(keys), "add_decisions", hours, regions, publishers, countries, flight, decisions, offers)
	}
	if len(c.Refusals) > 0 {
		keys := slices.SortedFunc(maps.Keys(c.Refusals), func(a, b ledger.RefusalKey) int {
			return cmp.Or(cmp.Compare(a.Hour, b.Hour), cmp.Compare(a.Flight, b.Flight), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Region, b.Region))
		})
		hours, regions, reasons, flight, n := make([]time.Time, 0, len(keys)), texts(keys), texts(keys), ints[int32](keys), ints[int64](keys)
		for _, k := range keys {
			hours, regions, reasons = append(hours, time.Unix(k.Hour, 0)), append(regions, k.Region), append(reasons, k.Reason)
			flight, n = append(flight, int32(k.Flight)), append(n, c.Refusals[k])
		}
		execAll(batch, len(keys), "add_refusals", hours, regions, flight, reasons, n)
	}
	if len(c.Receipts) > 0 {
		holder, kinds, version, at := ints[int32](c.Receipts), texts(c.Receipts), ints[int64](c.Receipts), make([]time.Time, 0, len(c.Receipts))
		for _, r := range c.Receipts {
			holder, kinds, version, at = append(holder, int32(r.Holder)), append(kinds, r.Kind), append(version, int64(r.Version)), append(at, time.UnixMilli(r.At))
		}
		batch.Queue(statement("add_receipts"), holder, kinds, version, at)
	}
}

// writeForeign adds windows and events, and says what came of events.
func writeForeign(batch *pgx.Batch, c *ledger.Changes) error {
	if len(c.Windows) > 0 {
		holder, bits := ints[int32](c.Windows), blobs(c.Windows)
		boot, floor, next := ints[int64](c.Windows), ints[int64](c.Windows), ints[int64](c.Windows)
		for _, w := range c.Windows {
			holder, bits = append(holder, int32(w.Holder)), append(bits, orEmpty(w.Bits))
			boot, floor, next = append(boot, int64(w.Boot)), append(floor, int64(w.Floor)), append(next, int64(w.Next))
		}
		execAll(batch, len(c.Windows), "put_windows", holder, boot, floor, next, bits)
	}
	if len(c.Foreign) > 0 {
		var (
			home, sender        = ints[int32](c.Foreign), ints[int32](c.Foreign)
			position, boot, seq = ints[int64](c.Foreign), ints[int64](c.Foreign), ints[int64](c.Foreign)
			kind, outcome       = ints[int16](c.Foreign), ints[int16](c.Foreign)
			events              = blobs(c.Foreign)
			at                  = make([]time.Time, 0, len(c.Foreign))
		)
		for i := range c.Foreign {
			f := &c.Foreign[i]
			home, sender = append(home, int32(f.Home)), append(sender, int32(f.Sender))
			position, boot, seq = append(position, int64(f.Position)), append(boot, int64(f.Boot)), append(seq, int64(f.Seq))
			kind, outcome = append(kind, int16(f.Kind)), append(outcome, int16(f.Outcome))
			event, err := proto.Marshal(f.Event)
			if err != nil {
				return fmt.Errorf("keep an event of home %d: %w", f.Home, err)
			}
			events = append(events, event)
			at = append(at, time.UnixMilli(f.At))
		}
		execAll(batch, len(c.Foreign), "add_foreign", home, position, boot, seq, kind, sender, events, at, outcome)
	}
	if len(c.Verdicts) > 0 {
		home, position, outcome := ints[int32](c.Verdicts), ints[int64](c.Verdicts), ints[int16](c.Verdicts)
		for _, v := range c.Verdicts {
			home, position, outcome = append(home, int32(v.Home)), append(position, int64(v.Position)), append(outcome, int16(v.Outcome))
		}
		batch.Queue(statement("put_verdicts"), home, position, outcome)
	}
	return nil
}

// HolderNamed implements ledger.Tx.
func (t *ledgerTx) HolderNamed(ctx context.Context, region, node string) (*ledger.Holder, error) {
	return one(ctx, t.tx, scanHolder, "holder_named", region, node)
}

// AddHolder implements ledger.Tx.
func (t *ledgerTx) AddHolder(ctx context.Context, h *ledger.Holder) error {
	err := t.tx.QueryRow(ctx, statement("add_holder"),
		h.Region, h.Node, h.Disk, h.SecretHash, h.PublicURL, h.Version, time.UnixMilli(h.SeenAt), time.UnixMilli(h.CreatedAt)).Scan(&h.ID)
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.ConstraintName == "holders_open_name" {
		return ledger.ErrNameTaken
	}
	if err != nil {
		return fmt.Errorf("add a holder: %w", err)
	}
	return nil
}

// Keys implements ledger.Tx.
func (t *ledgerTx) Keys(ctx context.Context) ([]*wire.TokenKey, error) {
	var keys []*wire.TokenKey
	batch := &pgx.Batch{}
	batch.Queue(statement("lock_keys"))
	ask(batch, scanKey, func(k *wire.TokenKey) { keys = append(keys, k) }, "keys")
	err := send(ctx, t.tx, batch, "read token keys")
	return keys, err
}

// PutKeys implements ledger.Tx.
func (t *ledgerTx) PutKeys(ctx context.Context, put []*wire.TokenKey, drop []uint32) error {
	batch := &pgx.Batch{}
	if len(put) > 0 {
		id, secrets := ints[int32](put), blobs(put)
		from, until, verify := make([]time.Time, 0, len(put)), make([]*time.Time, 0, len(put)), make([]*time.Time, 0, len(put))
		for _, k := range put {
			id, secrets = append(id, int32(k.GetId())), append(secrets, k.GetSecret())
			from, until = append(from, time.Unix(k.GetSealFrom(), 0)), append(until, moment(k.GetSealUntil()*1000))
			verify = append(verify, moment(k.GetVerifyUntil()*1000))
		}
		execAll(batch, len(put), "put_keys", id, secrets, from, until, verify)
	}
	if len(drop) > 0 {
		batch.Queue(statement("drop_keys"), ids(drop))
	}
	return send(ctx, t.tx, batch, "write token keys")
}

// ask adds a statement whose rows go to keep.
func ask[T any](batch *pgx.Batch, scan func(pgx.Row, *T) error, keep func(*T), name string, args ...any) {
	batch.Queue(statement(name), args...).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			row := new(T)
			if err := scan(rows, row); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			keep(row)
		}
		return rows.Err()
	})
}

// execAll adds a statement that must touch exactly n rows.
func execAll(batch *pgx.Batch, n int, name string, args ...any) {
	batch.Queue(statement(name), args...).Exec(func(tag pgconn.CommandTag) error {
		if tag.RowsAffected() != int64(n) {
			return fmt.Errorf("%s: %d rows instead of %d", name, tag.RowsAffected(), n)
		}
		return nil
	})
}

func send(ctx context.Context, tx pgx.Tx, batch *pgx.Batch, doing string) error {
	if batch.Len() == 0 {
		return nil
	}
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}

// querier is a pool or a transaction.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// one is the row of a statement; nil: there is none.
func one[T any](ctx context.Context, q querier, scan func(pgx.Row, *T) error, name string, args ...any) (*T, error) {
	row := new(T)
	switch err := scan(q.QueryRow(ctx, statement(name), args...), row); {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return row, nil
}

func scanHolder(row pgx.Row, h *ledger.Holder) error {
	var (
		state                                                                          string
		boot, ordinal, batch, position, catalog, control, foreignPosition, foreignAcks int64
		recovered                                                                      int64
		seen, created                                                                  time.Time
		closed                                                                         *time.Time
	)
	if err := row.Scan(&h.ID, &h.Region, &h.Node, &h.Disk, &h.SecretHash, &state, &h.Reason, &h.PublicURL, &h.Version, &boot, &ordinal,
		&batch, &position, &h.Hash, &seen, &catalog, &control, &h.Alone, &foreignPosition, &foreignAcks, &h.HandedIn, &h.Retired,
		&h.Doubt, &h.Stated, &recovered, &created, &closed); err != nil {
		return err
	}
	var ok bool
	if h.State, ok = ledger.ParseState(state); !ok {
		return fmt.Errorf("holder %d has the unknown state %q", h.ID, state)
	}
	h.Boot, h.BootOrdinal, h.Batch, h.Position = uint64(boot), uint64(ordinal), uint64(batch), uint64(position)
	h.AppliedCatalog, h.AppliedControl = uint64(catalog), uint64(control)
	h.Recovered = uint64(recovered)
	h.ForeignPosition, h.ForeignAck = uint64(foreignPosition), uint64(foreignAcks)
	h.SeenAt, h.CreatedAt = seen.UnixMilli(), created.UnixMilli()
	if closed != nil {
		h.ClosedAt = closed.UnixMilli()
	}
	return nil
}

func budgetFields(b *ledger.Budget) []any {
	return []any{(*int64)(&b.ID), &b.Asked, &b.Limit, &b.Unleased, &b.Outstanding, &b.Settled, &b.Refunded, &b.Judged, &b.Unit, &b.Velocity, &b.Tight, &b.Brokered, &b.Changed}
}

func scanBudget(row pgx.Row, b *ledger.Budget) error { return row.Scan(budgetFields(b)...) }

func leaseFields(l *ledger.Lease) []any {
	return []any{&l.Holder, (*int64)(&l.Budget), &l.Granted, &l.Spent, &l.Returned, &l.Velocity}
}

func scanLease(row pgx.Row, l *ledger.Lease) error { return row.Scan(leaseFields(l)...) }

func scanTight(row pgx.Row, t *ledger.TightLease) error {
	return row.Scan(append(leaseFields(&t.Lease), budgetFields(&t.Budget)...)...)
}

func scanEventKey(row pgx.Row, k *ledger.EventKey) error {
	var boot, seq int64
	err := row.Scan(&k.Home, &boot, &seq, (*uint8)(&k.Kind))
	k.Boot, k.Seq = uint64(boot), uint64(seq)
	return err
}

type inboxRow struct {
	home  uint32
	event *wire.Event
}

func scanInbox(row pgx.Row, r *inboxRow) error {
	var (
		position int64
		bytes    []byte
	)
	if err := row.Scan(&r.home, &position, &bytes); err != nil {
		return err
	}
	r.event = &wire.Event{}
	if err := proto.Unmarshal(bytes, r.event); err != nil {
		return fmt.Errorf("event %d of home %d: %w", position, r.home, err)
	}
	r.event.Position = uint64(position)
	return nil
}

type docketRow struct {
	foreign ledger.Foreign
	viewed  bool
}

func scanDocket(row pgx.Row, r *docketRow) error {
	var (
		position, boot, seq int64
		bytes               []byte
		at                  time.Time
	)
	f := &r.foreign
	if err := row.Scan(&position, &boot, &seq, (*uint8)(&f.Kind), &f.Sender, &bytes, &at, &r.viewed); err != nil {
		return err
	}
	f.Position, f.Boot, f.Seq, f.At = uint64(position), uint64(boot), uint64(seq), at.UnixMilli()
	f.Event = &wire.Event{}
	if err := proto.Unmarshal(bytes, f.Event); err != nil {
		return fmt.Errorf("event %d: %w", position, err)
	}
	return nil
}

func scanWindow(row pgx.Row, w *ledger.Window) error {
	var boot, floor, next int64
	err := row.Scan(&boot, &floor, &next, &w.Bits)
	w.Boot, w.Floor, w.Next = uint64(boot), uint64(floor), uint64(next)
	return err
}

func scanID(row pgx.Row, id *uint32) error { return row.Scan(id) }

func scanKey(row pgx.Row, k *wire.TokenKey) error {
	var (
		from          time.Time
		until, verify *time.Time
	)
	if err := row.Scan(&k.Id, &k.Secret, &from, &until, &verify); err != nil {
		return err
	}
	k.SealFrom = from.Unix()
	if until != nil {
		k.SealUntil = until.Unix()
	}
	if verify != nil {
		k.VerifyUntil = verify.Unix()
	}
	return nil
}

// Empty columns with room for one value a row.
func ints[N int16 | int32 | int64, R any](rows []R) []N { return make([]N, 0, len(rows)) }
func texts[R any](rows []R) []string                    { return make([]string, 0, len(rows)) }
func blobs[R any](rows []R) [][]byte                    { return make([][]byte, 0, len(rows)) }

func ids(of []uint32) []int32 {
	list := make([]int32, len(of))
	for i, id := range of {
		list[i] = int32(id)
	}
	return list
}

func budgetIDs(of []lease.Budget) []int64 {
	list := make([]int64, len(of))
	for i, id := range of {
		list[i] = int64(id)
	}
	return list
}

// orEmpty keeps nothing from becoming NULL.
func orEmpty(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// moment is unix milliseconds as a column that may be NULL, which 0 becomes.
func moment(ms int64) *time.Time {
	if ms == 0 {
		return nil
	}
	at := time.UnixMilli(ms)
	return &at
}
