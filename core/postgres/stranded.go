package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"nearside/sync/lease"
)

// SetAside is what one holder may still spend: events of all flights, and what
// they are worth by the flights' prices. While the holder is silent nobody else
// can spend it.
type SetAside struct {
	Holder   uint32
	Region   string
	Node     string
	State    string
	Reason   string
	Version  string
	SeenAt   time.Time
	JoinedAt time.Time
	Events   int64
	Micros   int64
}

// SetAside is that of every holder that is not closed and was last heard at a
// moment or before; the most silent first.
func (db *DB) SetAside(ctx context.Context, heard time.Time) ([]SetAside, error) {
	rows, err := db.pool.Query(ctx, statement("set_aside"), int64(lease.Of(lease.FlightDay, 0, 0)), heard)
	if err != nil {
		return nil, fmt.Errorf("read what holders have set aside: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[SetAside])
	if err != nil {
		return nil, fmt.Errorf("read what holders have set aside: %w", err)
	}
	return list, nil
}

// Forgotten reports whether this database is known to have lost history.
func (db *DB) Forgotten(ctx context.Context) (forgotten bool, err error) {
	if err := db.pool.QueryRow(ctx, statement("forgotten")).Scan(&forgotten); err != nil {
		return false, fmt.Errorf("read the ledger's state: %w", err)
	}
	return forgotten, nil
}
