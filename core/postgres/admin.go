package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"nearside/core/ledger"
	"nearside/core/postgres/query"
)

//go:generate sqlc generate

// Queries are the plain queries, each run on the pool in a transaction of its
// own. Inside a transaction use query.New(tx).
func (db *DB) Queries() *query.Queries { return query.New(db.pool) }

// InSnapshot runs f on one unmoving state of the database: what f reads
// belongs together, whatever is written meanwhile. f cannot write.
func (db *DB) InSnapshot(ctx context.Context, f func(q *query.Queries) error) error {
	options := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	return pgx.BeginTxFunc(ctx, db.pool, options, func(tx pgx.Tx) error { return f(query.New(tx)) })
}

// InLargeSnapshot is InSnapshot for queries that sum up much: each of their
// steps may take up to 64 MB before it goes to disk. Jobs use it, which run alone.
func (db *DB) InLargeSnapshot(ctx context.Context, f func(q *query.Queries) error) error {
	options := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	return pgx.BeginTxFunc(ctx, db.pool, options, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL work_mem = '64MB'"); err != nil {
			return err
		}
		return f(query.New(tx))
	})
}

// Listen reports notifications on the channels to heard until ctx ends or the
// connection breaks; ready is called once it listens. What was notified before
// that, or between two calls, is not told: look at the database in ready.
func (db *DB) Listen(ctx context.Context, channels []string, ready func(), heard func(channel string)) error {
	pooled, err := db.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	// A connection that listens is no use to others afterwards.
	conn := pooled.Hijack()
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	}()
	for _, channel := range channels {
		if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
			return fmt.Errorf("listen on %s: %w", channel, err)
		}
	}
	ready()
	for {
		notification, err := conn.WaitForNotification(ctx)
		if err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		heard(notification.Channel)
	}
}

// BudgetsOfFlights are the budgets that exist of flights (of views, of clicks,
// and of today), by flight.
func (db *DB) BudgetsOfFlights(ctx context.Context, flights []uint32, today int32) (map[uint32][]ledger.Budget, error) {
	var ids []int64
	for _, flight := range flights {
		ids = append(ids, flightBudgets(flight, today)...)
	}
	rows, err := db.pool.Query(ctx, statement("budgets_named"), ids)
	if err != nil {
		return nil, fmt.Errorf("read budgets of flights: %w", err)
	}
	defer rows.Close()
	budgets := map[uint32][]ledger.Budget{}
	for rows.Next() {
		var b ledger.Budget
		if err := scanBudget(rows, &b); err != nil {
			return nil, fmt.Errorf("read budgets of flights: %w", err)
		}
		budgets[b.ID.Owner()] = append(budgets[b.ID.Owner()], b)
	}
	return budgets, rows.Err()
}

// IsMissing reports whether err says that a query found no row.
func IsMissing(err error) bool { return errors.Is(err, pgx.ErrNoRows) }

// IsTaken reports whether err says that a unique value exists already.
func IsTaken(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "23505"
}

// IsAway reports whether err says that the database could not be reached or is
// going away, so that nothing can be known of it now.
func IsAway(err error) bool {
	var dial *pgconn.ConnectError
	if errors.As(err, &dial) {
		return true
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		// Class 08 connection, 57P0x shutdown, 53300 too many connections.
		return pg.Code[:2] == "08" || pg.Code[:4] == "57P0" || pg.Code == "53300"
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}

// Connections says how many connections of the pool are in use, idle, and
// allowed.
func (db *DB) Connections() (used, idle, most int) {
	stat := db.pool.Stat()
	return int(stat.AcquiredConns()), int(stat.IdleConns()), int(stat.MaxConns())
}

// CheckURL says what is wrong with the text of a database URL, without
// repeating it: it may hold a password.
func CheckURL(url string) error {
	if _, err := pgxpool.ParseConfig(url); err != nil {
		return errors.New("expected postgres://user:password@host:port/name or a libpq connection string")
	}
	return nil
}

// Redacted is a database URL without its secrets.
func Redacted(url string) string {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return "not a database URL"
	}
	return fmt.Sprintf("postgres://%s@%s/%s", config.User, net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port))), config.Database)
}
