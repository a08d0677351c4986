package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"nearside/core/ledger"
	"nearside/sync/lease"
	"nearside/sync/wire"
)

func writeStatements(batch *pgx.Batch, statements []ledger.Statement) error {
	for _, s := range statements {
		said, err := proto.Marshal(s.Said)
		if err != nil {
			return fmt.Errorf("keep the statement of holder %d: %w", s.Holder, err)
		}
		execAll(batch, 1, "put_statements", []int32{int32(s.Holder)}, []time.Time{time.UnixMilli(s.At)}, []bool{s.Proven}, [][]byte{said})
	}
	return nil
}

// Unproven implements ledger.Tx.
func (t *ledgerTx) Unproven(ctx context.Context) (n int, err error) {
	if err := t.tx.QueryRow(ctx, statement("unproven")).Scan(&n); err != nil {
		return 0, fmt.Errorf("count statements: %w", err)
	}
	return n, nil
}

func addHolderAs(batch *pgx.Batch, h *ledger.Holder) {
	execAll(batch, 1, "add_holder_as", int32(h.ID), h.Region, h.Node, h.Disk, orEmpty(h.SecretHash), h.State.String(), h.Reason, h.PublicURL, h.Version,
		int64(h.Boot), int64(h.BootOrdinal), int64(h.Batch), int64(h.Position), orEmpty(h.Hash), time.UnixMilli(h.SeenAt), time.UnixMilli(h.CreatedAt))
	raiseIDs(batch, "holders", h.ID)
}

// raiseIDs makes the next id of a table higher than n.
func raiseIDs(batch *pgx.Batch, table string, n uint32) {
	if n > 0 {
		batch.Queue(statement("rebuild_ids"), table, int64(n))
	}
}

// AddHolderAs implements ledger.Tx.
func (t *ledgerTx) AddHolderAs(ctx context.Context, h *ledger.Holder) error {
	batch := &pgx.Batch{}
	addHolderAs(batch, h)
	return send(ctx, t.tx, batch, "add a holder")
}

// Everything implements ledger.Tx.
func (t *ledgerTx) Everything(ctx context.Context) (*ledger.Everything, error) {
	all := &ledger.Everything{
		Holders: map[uint32]*ledger.Holder{}, Budgets: map[lease.Budget]*ledger.Budget{}, Leases: map[ledger.LeaseKey]*ledger.Lease{},
		Statements: map[uint32]*ledger.Statement{}, Prices: map[uint32]ledger.Price{}, Controls: map[uint32]*wire.Control{},
	}
	batch := &pgx.Batch{}
	batch.Queue(statement("everything_lock"))
	batch.Queue(statement("everything_state")).QueryRow(func(row pgx.Row) error {
		var (
			forgotten        bool
			catalog, control int64
		)
		err := row.Scan(&forgotten, &all.Forgotten, &all.StampKey, &catalog, &control)
		all.Catalog, all.Control = uint64(catalog), uint64(control)
		if !forgotten {
			all.Forgotten = ""
		}
		return err
	})
	ask(batch, scanHolder, func(h *ledger.Holder) { all.Holders[h.ID] = h }, "everything_holders")
	ask(batch, scanBudget, func(b *ledger.Budget) { all.Budgets[b.ID] = b }, "everything_budgets")
	ask(batch, scanLease, func(l *ledger.Lease) {
		all.Leases[ledger.LeaseKey{Holder: l.Holder, Budget: l.Budget}] = l
	}, "everything_leases")
	ask(batch, scanStatement, func(s *ledger.Statement) { all.Statements[s.Holder] = s }, "everything_statements")
	ask(batch, scanFlight, func(f *flightRow) {
		all.Prices[f.id] = f.price
		all.Controls[f.id] = &wire.Control{Version: uint64(f.control), Flight: f.id}
	}, "everything_flights")
	ask(batch, scanKey, func(k *wire.TokenKey) { all.Keys = append(all.Keys, k) }, "keys")
	return all, send(ctx, t.tx, batch, "read the whole ledger")
}

func scanStatement(row pgx.Row, s *ledger.Statement) error {
	var (
		at   time.Time
		said []byte
	)
	if err := row.Scan(&s.Holder, &at, &s.Proven, &said); err != nil {
		return err
	}
	s.At, s.Said = at.UnixMilli(), &wire.Statement{}
	if err := proto.Unmarshal(said, s.Said); err != nil {
		return fmt.Errorf("statement of holder %d: %w", s.Holder, err)
	}
	return nil
}

type flightRow struct {
	id      uint32
	price   ledger.Price
	control int64
}

func scanFlight(row pgx.Row, f *flightRow) error {
	return row.Scan(&f.id, &f.price.View, &f.price.Click, &f.control)
}

// Rebuild implements ledger.Tx.
func (t *ledgerTx) Rebuild(ctx context.Context, r *ledger.Rebuilt) error {
	batch := &pgx.Batch{}
	writeHolders(batch, r.Holders) // first: a name may pass on
	for _, h := range r.NewHolders {
		addHolderAs(batch, h)
	}
	writeHolders(batch, r.NewHolders) // what a new row does not have
	for _, b := range r.NewBudgets {
		execAll(batch, 1, "insert_budgets", int64(b.ID), b.Asked, b.Unit)
	}
	writeBudgets(batch, r.NewBudgets)
	writeBudgets(batch, r.Budgets)
	writeLeases(batch, "update_leases", r.Leases)
	writeLeases(batch, "insert_leases", r.NewLeases)
	writeRollups(batch, &ledger.Changes{Rollups: r.Rollups, At: r.At})
	for _, f := range r.Refunds {
		batch.Queue(statement("rebuild_refund"), int32(f.Budget.Owner()), int16(f.Budget.Kind()), f.Units)
	}
	if len(r.Renumber) > 0 {
		batch.Queue(statement("rebuild_foreign"), ids(r.Renumber))
	}
	if len(r.Keys) > 0 {
		if err := t.PutKeys(ctx, r.Keys, nil); err != nil {
			return err
		}
	}
	execAll(batch, 1, "rebuild_counters", int64(r.Catalog), int64(r.Control))
	for _, c := range r.Controls {
		execAll(batch, 1, "rebuild_control", int32(c.GetFlight()), [...]string{"run", "pause", "kill"}[c.GetState()])
	}
	raiseIDs(batch, "holders", r.Holder)
	raiseIDs(batch, "flights", r.Flight)
	raiseIDs(batch, "ads", r.Ad)
	raiseIDs(batch, "publishers", r.Publisher)
	raiseIDs(batch, "campaigns", r.Campaign)
	batch.Queue(statement("rebuild_statements"))
	execAll(batch, 1, "rebuild_done", time.UnixMilli(r.At))
	batch.Queue(statement("rebuild_tell"))
	return send(ctx, t.tx, batch, "write the recovery")
}
