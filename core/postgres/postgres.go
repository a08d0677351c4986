// Package postgres is the only place that speaks SQL. It holds the stores of
// the ledger, of the admin API and of the catalog over one pool of connections.
//
// Every write that several cores may do at once takes its row locks in one
// order (counters, then holders by id, then budgets by id), so that cores
// never deadlock among themselves. A transaction that Postgres refused for a
// reason of concurrency (serialization failure, deadlock) is safe to repeat:
// nothing of it stayed.
//
// Durability is Postgres's: an answer is given after COMMIT returned. What a
// lost primary takes with it is decided by synchronous_commit and its standby,
// not here.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"nearside/migrations"
)

// DB is the truth. Its methods are safe for concurrent use.
type DB struct {
	pool *pgxpool.Pool
}

const (
	// pingTime is how long a connection that was idle has to answer.
	pingTime = 2 * time.Second
	// idleTime is how long a transaction may wait for its core's next statement. It
	// is more than an exchange may take in all.
	idleTime = "20s"
	idleInTx = "idle_in_transaction_session_timeout"
)

// Open connects to the database at url (a postgres:// URL or a libpq
// connection string) and checks that it answers.
func Open(ctx context.Context, url string) (*DB, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		// pgx's message may quote the URL with its password.
		return nil, errors.New("database URL: expected postgres://user:password@host:port/name or a libpq connection string")
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = 5 * time.Second
	}
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = "nearside-core"
	}
	config.ConnConfig.RuntimeParams["timezone"] = "UTC"
	// Where packets are dropped, neither end learns that the other is gone. An idle
	// connection is asked for a sign of life before it is used, and a transaction
	// whose core says nothing more lets go of its locks: others wait for them.
	if config.PingTimeout == 0 {
		config.PingTimeout = pingTime
	}
	if config.ConnConfig.RuntimeParams[idleInTx] == "" {
		config.ConnConfig.RuntimeParams[idleInTx] = idleTime
	}
	config.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
		freshen(url, c)
		return nil
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("reach the database at %s: %w", config.ConnConfig.Host, err)
	}
	return &DB{pool: pool}, nil
}

// freshen reads the password again where the URL names a passfile, or the
// environment does, so that it can be replaced while the core runs: each new
// connection shows what the file says then.
func freshen(url string, c *pgx.ConnConfig) {
	if again, err := pgx.ParseConfig(url); err == nil {
		c.Password = again.Password
	}
}

// Close waits for connections in use and closes all.
func (db *DB) Close() { db.pool.Close() }

// Ping asks the database for a sign of life.
func (db *DB) Ping(ctx context.Context) error { return db.pool.Ping(ctx) }

// Migrate brings the schema to the newest version that this program knows.
// Several programs may call it at once: one does the work, the others wait.
func (db *DB) Migrate(ctx context.Context) error {
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	conn := stdlib.OpenDBFromPool(db.pool)
	defer func() { _ = conn.Close() }()
	provider, err := goose.NewProvider(goose.DialectPostgres, conn, migrations.Files, goose.WithSessionLocker(locker), goose.WithAllowOutofOrder(true))
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// InTx runs f in one READ COMMITTED transaction and commits where f returns
// nil. It is not repeated.
func (db *DB) InTx(ctx context.Context, f func(tx pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, db.pool, f)
}

// Retryable reports whether err is a refusal of concurrency (serialization
// failure, deadlock) after which the same transaction may be tried again.
func Retryable(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "40001" || pg.Code == "40P01")
}
