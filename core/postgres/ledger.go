package postgres

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"nearside/core/ledger"
	"nearside/sync/lease"
)

// SetBudget creates the budget b with a limit, or changes its limit, in the
// transaction of the write that asks for it. A limit below what is leased or
// settled comes into force as leases are returned. Budgets are locked after
// counters and holders; whoever sets many sets them in the order of their ids.
func (db *DB) SetBudget(ctx context.Context, tx pgx.Tx, b lease.Budget, asked int64) error {
	if asked < 0 {
		return fmt.Errorf("set budget %d: limit %d, expected 0 or more", b, asked)
	}
	found, err := db.changeBudget(ctx, tx, b, asked)
	if err != nil || found {
		return err
	}
	unit := int64(1)
	if b.Micros() {
		if err := tx.QueryRow(ctx, statement("unit"), int16(b.Kind()), int32(b.Owner())).Scan(&unit); err != nil {
			return fmt.Errorf("set budget %d: %w", b, err)
		}
	}
	if _, err := tx.Exec(ctx, statement("insert_budgets"), int64(b), asked, unit); err != nil {
		return fmt.Errorf("set budget %d: %w", b, err)
	}
	return nil
}

// SetDayCaps brings a daily cap that was changed into the budgets of today and
// tomorrow, where they exist already: kind is lease.FlightDay or
// lease.PublisherDay. A cap that is new starts with its first day, when the
// core makes that day's budget; a cap that is gone limits no new token, and
// the days that have a budget keep it.
func (db *DB) SetDayCaps(ctx context.Context, tx pgx.Tx, kind lease.Kind, owner uint32, micros int64, today int32) error {
	if micros <= 0 {
		return nil
	}
	for _, day := range [...]int32{today, today + 1} {
		if _, err := db.changeBudget(ctx, tx, lease.Of(kind, owner, day), micros); err != nil {
			return err
		}
	}
	return nil
}

// SetDayUnits brings a change of prices into the budgets of today and tomorrow:
// what is granted of them is a multiple of the largest price that can debit
// them, so that no holder is given less than it needs for one event.
func (db *DB) SetDayUnits(ctx context.Context, tx pgx.Tx, today int32) error {
	between := func(kind lease.Kind) (first, last int64) {
		return int64(lease.Of(kind, 0, today)), int64(lease.Of(kind, math.MaxUint32, today+1))
	}
	flights, flightsEnd := between(lease.FlightDay)
	publishers, publishersEnd := between(lease.PublisherDay)
	if _, err := tx.Exec(ctx, statement("set_day_units"), flights, flightsEnd, publishers, publishersEnd); err != nil {
		return fmt.Errorf("bring prices into the budgets of day %d: %w", today, err)
	}
	return nil
}

// changeBudget asks for another limit of a budget; false: there is none.
func (db *DB) changeBudget(ctx context.Context, tx pgx.Tx, id lease.Budget, asked int64) (bool, error) {
	b, err := one(ctx, tx, scanBudget, "lock_budgets", []int64{int64(id)}, []int32{})
	if err != nil || b == nil {
		return false, err
	}
	if b.Asked == asked {
		return true, nil
	}
	b.Ask(asked)
	b.Changed++
	batch := &pgx.Batch{}
	writeBudgets(batch, []*ledger.Budget{b})
	return true, send(ctx, tx, batch, fmt.Sprintf("change budget %d", id))
}

// Delivery is what was counted of a flight, everywhere, until AsOf. Unbilled
// came valid but beyond a budget; HomeLost could not be judged any more.
type Delivery struct {
	Views, Clicks                 int64
	UnbilledViews, UnbilledClicks int64
	HomeLost                      int64
	SpentMicros                   int64
	AsOf                          time.Time // zero: nothing was counted yet
}

// FlightDeliveries are the deliveries of flights, by flight; those of which
// nothing was counted are not in it.
func (db *DB) FlightDeliveries(ctx context.Context, flights []uint32) (map[uint32]Delivery, error) {
	rows, err := db.pool.Query(ctx, statement("deliveries"), ids(flights))
	if err != nil {
		return nil, fmt.Errorf("read deliveries: %w", err)
	}
	defer rows.Close()
	deliveries := make(map[uint32]Delivery, len(flights))
	for rows.Next() {
		var (
			flight uint32
			d      Delivery
		)
		if err := rows.Scan(&flight, &d.Views, &d.Clicks, &d.UnbilledViews, &d.UnbilledClicks, &d.HomeLost, &d.SpentMicros, &d.AsOf); err != nil {
			return nil, fmt.Errorf("read deliveries: %w", err)
		}
		deliveries[flight] = d
	}
	return deliveries, rows.Err()
}

// FlightDelivery is the delivery of one flight.
func (db *DB) FlightDelivery(ctx context.Context, flight uint32) (Delivery, error) {
	all, err := db.FlightDeliveries(ctx, []uint32{flight})
	return all[flight], err
}

// flightBudgets are the budgets that a flight may have today.
func flightBudgets(flight uint32, today int32) []int64 {
	return budgetIDs([]lease.Budget{
		lease.Of(lease.FlightViews, flight, 0), lease.Of(lease.FlightClicks, flight, 0), lease.Of(lease.FlightDay, flight, today),
	})
}

// FlightBudgets are the budgets of a flight that exist: of views, of clicks,
// and of today.
func (db *DB) FlightBudgets(ctx context.Context, flight uint32, today int32) ([]ledger.Budget, error) {
	rows, err := db.pool.Query(ctx, statement("budgets_named"), flightBudgets(flight, today))
	if err != nil {
		return nil, fmt.Errorf("read budgets of flight %d: %w", flight, err)
	}
	budgets, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (b ledger.Budget, err error) {
		err = scanBudget(row, &b)
		return b, err
	})
	if err != nil {
		return nil, fmt.Errorf("read budgets of flight %d: %w", flight, err)
	}
	return budgets, nil
}

// HeldLease is a lease with its holder's name.
type HeldLease struct {
	ledger.Lease
	Region string
	Node   string
	State  string // of the holder: open, fenced, closed
	SeenAt time.Time
}

// FlightLeases are the leases of a flight's budgets (views, clicks, today), by
// region and node.
func (db *DB) FlightLeases(ctx context.Context, flight uint32, today int32) ([]HeldLease, error) {
	rows, err := db.pool.Query(ctx, statement("flight_leases"), flightBudgets(flight, today))
	if err != nil {
		return nil, fmt.Errorf("read leases of flight %d: %w", flight, err)
	}
	leases, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (l HeldLease, err error) {
		err = row.Scan(&l.Holder, &l.Region, &l.Node, &l.State, &l.SeenAt, (*int64)(&l.Budget), &l.Granted, &l.Spent, &l.Returned, &l.Velocity)
		return l, err
	})
	if err != nil {
		return nil, fmt.Errorf("read leases of flight %d: %w", flight, err)
	}
	return leases, nil
}

// Holders are the holders that are not closed, and those closed after since,
// by region and node.
func (db *DB) Holders(ctx context.Context, since time.Time) ([]ledger.Holder, error) {
	rows, err := db.pool.Query(ctx, statement("holders"), since)
	if err != nil {
		return nil, fmt.Errorf("read holders: %w", err)
	}
	holders, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (h ledger.Holder, err error) {
		err = scanHolder(row, &h)
		return h, err
	})
	if err != nil {
		return nil, fmt.Errorf("read holders: %w", err)
	}
	return holders, nil
}

// Refusal is how often a reason refused a flight in one hour of one region.
type Refusal struct {
	Hour   time.Time
	Region string
	Reason string
	N      int64
}

// FlightRefusals say why a flight was not served, since an hour.
func (db *DB) FlightRefusals(ctx context.Context, flight uint32, since time.Time) ([]Refusal, error) {
	rows, err := db.pool.Query(ctx, statement("flight_refusals"), int32(flight), since)
	if err != nil {
		return nil, fmt.Errorf("read refusals of flight %d: %w", flight, err)
	}
	refusals, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Refusal])
	if err != nil {
		return nil, fmt.Errorf("read refusals of flight %d: %w", flight, err)
	}
	return refusals, nil
}

// Reconcile compares what is kept twice: each budget against the sum of its
// leases, each flight's totals against the sum of its rollups. It reads one
// state of the database; a difference is a defect.
func (db *DB) Reconcile(ctx context.Context) ([]ledger.Difference, error) {
	rows, err := db.pool.Query(ctx, statement("reconcile"))
	if err != nil {
		return nil, fmt.Errorf("reconcile: %w", err)
	}
	diff, err := pgx.CollectRows(rows, pgx.RowToStructByPos[ledger.Difference])
	if err != nil {
		return nil, fmt.Errorf("reconcile: %w", err)
	}
	return diff, nil
}
