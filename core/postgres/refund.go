package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"nearside/core/ledger"
	"nearside/sync/exchange"
	"nearside/sync/lease"
)

// Refund is a number of billed events given back, and what they had cost.
type Refund struct {
	ID     int64
	Flight uint32
	Kind   exchange.Kind
	Units  int64
	Micros int64
	Reason string
	Actor  string
	At     time.Time
}

// ErrRefund refuses to give back more than was billed; Most says how much it was.
type ErrRefund struct{ Most int64 }

func (e ErrRefund) Error() string {
	return fmt.Sprintf("only %d are billed and not refunded yet", e.Most)
}

// Refund gives back r.Units billed views or clicks of a flight, in the
// transaction of the write that asks for it: the advertiser is not charged for
// them, and the budget may bill as many again. They are valued at the flight's
// price now, and at no more than what was paid in all. It fills in ID, Micros
// and At.
func (db *DB) Refund(ctx context.Context, tx pgx.Tx, r *Refund) error {
	kind := lease.FlightViews
	if r.Kind == exchange.Click {
		kind = lease.FlightClicks
	}
	id := lease.Of(kind, r.Flight, 0)
	b, err := one(ctx, tx, scanBudget, "lock_budgets", []int64{int64(id)}, []int32{})
	if err != nil {
		return fmt.Errorf("refund: %w", err)
	}
	if b == nil || !b.Refund(r.Units) {
		most := int64(0)
		if b != nil {
			most = b.Settled - b.Refunded
		}
		return ErrRefund{most}
	}
	b.Changed++
	var price, paid int64
	if err := tx.QueryRow(ctx, statement("refund_price"), int32(r.Flight), int16(r.Kind)).Scan(&price, &paid); err != nil {
		return fmt.Errorf("refund: %w", err)
	}
	r.Micros = max(min(r.Units*price, paid), 0)
	batch := &pgx.Batch{}
	writeBudgets(batch, []*ledger.Budget{b})
	batch.Queue(statement("add_refund"), int32(r.Flight), int16(r.Kind), r.Units, r.Micros, r.Reason, r.Actor).
		QueryRow(func(row pgx.Row) error { return row.Scan(&r.ID, &r.At) })
	return send(ctx, tx, batch, "refund")
}

// Refunds are those of a flight, the newest first, at most a thousand.
func (db *DB) Refunds(ctx context.Context, flight uint32) ([]Refund, error) {
	rows, err := db.pool.Query(ctx, statement("refunds"), int32(flight))
	if err == nil {
		var list []Refund
		list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r Refund, err error) {
			err = row.Scan(&r.ID, &r.Flight, (*uint8)(&r.Kind), &r.Units, &r.Micros, &r.Reason, &r.Actor, &r.At)
			return r, err
		})
		if err == nil {
			return list, nil
		}
	}
	return nil, fmt.Errorf("read refunds: %w", err)
}

// Refunded is what was given back of a flight in all.
type Refunded struct{ Views, Clicks, Micros int64 }

// RefundedOf is that of flights, by flight; those without are not in it.
func (db *DB) RefundedOf(ctx context.Context, flights []uint32) (map[uint32]Refunded, error) {
	rows, err := db.pool.Query(ctx, statement("refunded"), ids(flights))
	if err != nil {
		return nil, fmt.Errorf("read refunds: %w", err)
	}
	sums := map[uint32]Refunded{}
	var (
		flight uint32
		r      Refunded
	)
	_, err = pgx.ForEachRow(rows, []any{&flight, &r.Views, &r.Clicks, &r.Micros}, func() error {
		sums[flight] = r
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read refunds: %w", err)
	}
	return sums, nil
}

// IsRefused reports whether err is an ErrRefund, and how much could be refunded.
func IsRefused(err error) (most int64, refused bool) {
	var e ErrRefund
	ok := errors.As(err, &e)
	return e.Most, ok
}
