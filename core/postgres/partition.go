package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Partitions are how a table is cut by time. It has a partition default, which
// takes the rows that no other is for: rows are never refused for want of a
// partition, and what lies in default stays there.
//
// A partition is made ahead of its time, while nothing of its range has
// arrived. Where something has (a database that is older than its partitions,
// or an edge whose clock is far ahead), the range is left to default for good:
// nothing is moved. Making one looks through default once under a lock that
// holds up who uses it: 0.9 s for 2 million rows on an overloaded machine, and
// nothing where default is empty. It waits for that lock at most lockTime and is
// tried again at the next run.
type Partitions struct {
	Table  string
	Column string
	Daily  bool // else by months
	Ahead  int  // how many are made ahead of the present one
}

const (
	lockTime = "2s"
	// dropBatch is how many rows of default go in one transaction.
	dropBatch = 20_000
)

// Of is the partition that t is in: its name, and its range.
func (p *Partitions) Of(t time.Time) (name string, from, to time.Time) {
	t = t.UTC()
	if p.Daily {
		from = time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
		return p.Table + from.Format("_p2006_01_02"), from, from.AddDate(0, 0, 1)
	}
	from = time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
	return p.Table + from.Format("_p2006_01"), from, from.AddDate(0, 1, 0)
}

// ends is where the range of a partition ends, by the name that Of gave it;
// false: Of gives no such name.
func (p *Partitions) ends(name string) (time.Time, bool) {
	layout := "2006_01"
	if p.Daily {
		layout = "2006_01_02"
	}
	from, err := time.Parse(layout, strings.TrimPrefix(name, p.Table+"_p"))
	if err != nil {
		return time.Time{}, false
	}
	again, _, to := p.Of(from)
	return to, again == name
}

// MakePartitions makes the partition of now and those ahead that do not exist,
// and names them; left are the ones that it leaves to default.
func (db *DB) MakePartitions(ctx context.Context, p Partitions, now time.Time) (made, left []string, err error) {
	have, err := db.partitions(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	_, at, _ := p.Of(now)
	for range p.Ahead + 1 {
		name, from, to := p.Of(at)
		at = to
		if slices.Contains(have, name) {
			continue
		}
		ok, err := db.makePartition(ctx, p, name, from, to)
		switch {
		case err != nil:
			return made, left, fmt.Errorf("make partition %s: %w", name, err)
		case ok:
			made = append(made, name)
		default:
			left = append(left, name)
		}
	}
	return made, left, nil
}

// errRowsThere undoes the making of a partition.
var errRowsThere = errors.New("rows of the range are in default")

func (db *DB) makePartition(ctx context.Context, p Partitions, name string, from, to time.Time) (bool, error) {
	table, rest, column := quoted(p.Table), quoted(p.Table+"_default"), quoted(p.Column)
	err := db.InTx(ctx, func(tx pgx.Tx) error {
		// Found by its index; without it a range that cannot be made would be
		// looked for under the lock, every night.
		var there bool
		err := tx.QueryRow(ctx, fmt.Sprintf("SELECT EXISTS (SELECT FROM %s WHERE %s >= $1 AND %s < $2)", rest, column, column), from, to).Scan(&there)
		if err != nil {
			return err
		}
		if there {
			return errRowsThere
		}
		for _, statement := range []string{
			"SET LOCAL lock_timeout = '" + lockTime + "'",
			// To attach takes a weaker lock of the table than to create in place.
			fmt.Sprintf("CREATE TABLE %s (LIKE %s INCLUDING ALL)", quoted(name), table),
			fmt.Sprintf("ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM ('%s') TO ('%s')",
				table, quoted(name), from.Format(time.RFC3339), to.Format(time.RFC3339)),
		} {
			if _, err := tx.Exec(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	})
	var pg *pgconn.PgError
	if errors.Is(err, errRowsThere) || errors.As(err, &pg) && pg.Code == "23514" { // one came meanwhile
		return false, nil
	}
	return err == nil, err
}

// partitions are the names of those that exist, but for default.
func (db *DB) partitions(ctx context.Context, p Partitions) ([]string, error) {
	rows, err := db.pool.Query(ctx, statement("partitions"), p.Table)
	if err != nil {
		return nil, fmt.Errorf("list the partitions of %s: %w", p.Table, err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list the partitions of %s: %w", p.Table, err)
	}
	return slices.DeleteFunc(names, func(name string) bool { _, ok := p.ends(name); return !ok }), nil
}

// BeforeDrop is called in the transaction in which the rows of table go.
type BeforeDrop func(ctx context.Context, tx pgx.Tx, table string) error

// DropPartitions drops the partitions whose rows are all from before a time,
// and names them; and deletes such rows from default, and counts them. first,
// if it is not nil, is called for each partition, and for each batch of default.
func (db *DB) DropPartitions(ctx context.Context, p Partitions, before time.Time, first BeforeDrop) (dropped []string, rows int64, err error) {
	have, err := db.partitions(ctx, p)
	if err != nil {
		return nil, 0, err
	}
	if first == nil {
		first = func(context.Context, pgx.Tx, string) error { return nil } // nothing is to be kept of it
	}
	for _, name := range have {
		if to, _ := p.ends(name); to.After(before) {
			continue
		}
		err := db.InTx(ctx, func(tx pgx.Tx) error {
			// Who reads goes on while it is summed up; who writes waits.
			if _, err := tx.Exec(ctx, fmt.Sprintf("SET LOCAL lock_timeout = '%s'; LOCK TABLE %s IN SHARE MODE", lockTime, quoted(name))); err != nil {
				return err
			}
			if err := first(ctx, tx, quoted(name)); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, fmt.Sprintf("ALTER TABLE %s DETACH PARTITION %s; DROP TABLE %s", quoted(p.Table), quoted(name), quoted(name)))
			return err
		})
		if err != nil {
			return dropped, rows, fmt.Errorf("drop partition %s: %w", name, err)
		}
		dropped = append(dropped, name)
	}
	for {
		n, err := db.dropFromDefault(ctx, p, before, first)
		rows += n
		if err != nil {
			return dropped, rows, fmt.Errorf("delete from %s_default: %w", p.Table, err)
		}
		if n < dropBatch {
			return dropped, rows, nil
		}
	}
}

func (db *DB) dropFromDefault(ctx context.Context, p Partitions, before time.Time, first BeforeDrop) (n int64, err error) {
	rest, column := quoted(p.Table+"_default"), quoted(p.Column)
	err = db.InTx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, fmt.Sprintf("CREATE TEMPORARY TABLE gone (LIKE %s) ON COMMIT DROP", rest)); err != nil {
			return err
		}
		done, err := tx.Exec(ctx, fmt.Sprintf(
			`WITH gone AS (
				DELETE FROM %s WHERE ctid = ANY(ARRAY(SELECT ctid FROM %s WHERE %s < $1 ORDER BY %s LIMIT %d)) RETURNING *
			) INSERT INTO pg_temp.gone SELECT * FROM gone`,
			rest, rest, column, column, dropBatch), before)
		if err != nil {
			return err
		}
		if n = done.RowsAffected(); n == 0 {
			return nil
		}
		return first(ctx, tx, "pg_temp.gone")
	})
	return n, err
}

// FoldDropped adds up by flight the rollups in a table that is to go, so that
// Reconcile can still prove the totals.
func FoldDropped(ctx context.Context, tx pgx.Tx, table string) error {
	_, err := tx.Exec(ctx, fmt.Sprintf(statement("fold_dropped"), table))
	return err
}

// ForgetRefusals deletes the refusals of hours before a time, and counts them.
func (db *DB) ForgetRefusals(ctx context.Context, before time.Time) (rows int64, err error) {
	for {
		n, err := db.Queries().ForgetRefusals(ctx, before, dropBatch)
		rows += n
		if err != nil {
			return rows, fmt.Errorf("forget refusals: %w", err)
		}
		if n < dropBatch {
			return rows, nil
		}
	}
}

func quoted(name string) string { return pgx.Identifier{name}.Sanitize() }
