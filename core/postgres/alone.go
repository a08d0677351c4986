package postgres

import (
	"context"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/jackc/pgx/v5"
)

// Alone runs f while no other Alone of the same name runs on this database, in
// this process or another; where one does, it returns false at once and f is
// not run. The lock is that of a connection of its own, beside the pool: f may
// use the pool as anybody, and the lock is gone as soon as the process is.
//
// Should that connection break while f runs, somebody else may begin before f
// has ended. What is run so must bear that.
func (db *DB) Alone(ctx context.Context, name string, f func(ctx context.Context) error) (bool, error) {
	conn, err := pgx.ConnectConfig(ctx, db.pool.Config().ConnConfig)
	if err != nil {
		return false, fmt.Errorf("lock %s: %w", name, err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		// The lock ends with the connection, but only when the server has seen to
		// that; who looks next shall find it free.
		_, _ = conn.Exec(ctx, "SELECT pg_advisory_unlock_all()")
		_ = conn.Close(ctx)
	}()
	key := fnv.New64a()
	_, _ = key.Write([]byte("nearside/" + name))
	var mine bool
	if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", int64(key.Sum64())).Scan(&mine); err != nil {
		return false, fmt.Errorf("lock %s: %w", name, err)
	}
	if !mine {
		return false, nil
	}
	return true, f(ctx)
}
