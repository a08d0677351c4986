package retention_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"nearside/core/postgres"
	"nearside/core/retention"
	"nearside/dev/testpg"
)

func TestMain(m *testing.M) { testpg.Main(m) }

type world struct {
	*testing.T
	db *postgres.DB
}

func open(t *testing.T) *world {
	t.Helper()
	db, err := postgres.Open(t.Context(), testpg.New(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return &world{t, db}
}

func (w *world) sql(statement string, args ...any) {
	w.Helper()
	err := w.db.InTx(w.Context(), func(tx pgx.Tx) error {
		_, err := tx.Exec(w.Context(), statement, args...)
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
}

// counted adds rollups, decisions and a refusal of an hour, as the ingest does.
func (w *world) counted(hours ...string) {
	w.Helper()
	for _, hour := range hours {
		w.sql(`INSERT INTO rollups (hour, region, flight, ad, publisher, country, views, clicks, spent_micros)
			VALUES ($1, 'eu', 7, 1, 1, 'NL', 10, 1, 100)`, clock(hour))
		w.sql(`INSERT INTO flight_totals AS t (flight, views, clicks, spent_micros) VALUES (7, 10, 1, 100)
			ON CONFLICT (flight) DO UPDATE SET views = t.views + 10, clicks = t.clicks + 1, spent_micros = t.spent_micros + 100`)
		w.sql(`INSERT INTO decision_counts (hour, region, publisher, country, flight, decisions) VALUES ($1, 'eu', 1, 'NL', 7, 5)`, clock(hour))
		w.sql(`INSERT INTO topic_counts (hour, region, topic, flight, country, decisions, views) VALUES ($1, 'eu', 3, 7, 'NL', 5, 10)`, clock(hour))
		w.sql(`INSERT INTO refusals (hour, region, flight, reason, n) VALUES ($1, 'eu', 7, 'on_pace', 1)`, clock(hour))
	}
}

// where says in which partition of a table each of its rows is, by time.
func (w *world) where(table, column string) string {
	w.Helper()
	var found []string
	err := w.db.InTx(w.Context(), func(tx pgx.Tx) error {
		rows, err := tx.Query(w.Context(), "SELECT to_char("+column+", 'YYYY-MM-DD HH24 ') || replace(tableoid::regclass::text, $1, '') FROM "+table+" ORDER BY 1", table+"_")
		if err != nil {
			return err
		}
		found, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	return strings.Join(found, ", ")
}

func (w *world) run(now string, keep time.Duration) string {
	w.Helper()
	said, err := retention.Run(w.Context(), w.db, keep, clock(now))
	if err != nil {
		w.Fatal(err)
	}
	return said
}

func (w *world) agree() {
	w.Helper()
	differences, err := w.db.Reconcile(w.Context())
	if err != nil || len(differences) > 0 {
		w.Errorf("the books do not agree: %+v, %v", differences, err)
	}
}

func clock(text string) time.Time {
	at, err := time.Parse("2006-01-02 15", text)
	if err != nil {
		panic(err)
	}
	return at
}

const year = 365 * 24 * time.Hour

// TestPartitions makes them ahead, on a new database and on one that is older
// than its partitions.
func TestPartitions(t *testing.T) {
	w := open(t)
	if said := w.run("2026-11-30 10", 0); said != "made 17 partitions, dropped 0 and 0 rows" {
		t.Error(said)
	}
	if said := w.run("2026-11-30 11", 0); said != "made 0 partitions, dropped 0 and 0 rows" {
		t.Error(said)
	}
	// An edge's clock is far ahead; a core's job has slept through two months.
	w.counted("2026-10-31 23", "2026-11-30 23", "2026-12-01 00", "2027-01-31 23", "2027-02-01 00", "2027-03-31 23", "2027-04-01 00")
	const before = "2026-10-31 23 default, 2026-11-30 23 p2026_11, 2026-12-01 00 p2026_12, 2027-01-31 23 p2027_01, " +
		"2027-02-01 00 default, 2027-03-31 23 default, 2027-04-01 00 default"
	for _, table := range []string{"rollups", "decision_counts", "topic_counts"} {
		if got := w.where(table, "hour"); got != before {
			t.Errorf("%s: %s\nwant %s", table, got, before)
		}
	}
	// February, March and April have rows in default: they stay there, and what
	// comes later of them goes there too. May is made.
	said := w.run("2027-03-10 10", 0)
	if want := "; has rows already, stays in default: rollups_p2027_03, rollups_p2027_04, decision_counts_p2027_03, decision_counts_p2027_04, topic_counts_p2027_03, topic_counts_p2027_04"; !strings.HasSuffix(said, want) {
		t.Errorf("%s\nwant %s", said, want)
	}
	w.counted("2027-03-31 22", "2027-05-01 00", "2027-06-01 00")
	if got, want := w.where("rollups", "hour"), before+", 2027-05-01 00 p2027_05, 2027-06-01 00 default"; got != strings.Replace(want, "2027-03-31 23", "2027-03-31 22 default, 2027-03-31 23", 1) {
		t.Errorf("%s", got)
	}
	w.agree()
}

// TestRetention drops what is too old, where an operator said so, and nothing
// that the books need.
func TestRetention(t *testing.T) {
	w := open(t)
	w.counted("2024-01-01 00", "2024-12-31 23") // before there were partitions
	for _, now := range []string{"2025-01-15 10", "2025-04-15 10", "2025-07-15 10"} {
		w.run(now, 0)
	}
	w.counted("2025-01-01 00", "2025-01-31 23", "2025-02-28 23", "2025-07-15 09")
	all := w.where("rollups", "hour")
	w.run("2035-01-01 10", 0)
	if got := w.where("rollups", "hour"); got != all {
		t.Errorf("without a retention: %s\nwant %s", got, all)
	}
	// A year before is 2025-02-28 09: January goes; February's last day stays.
	if said := w.run("2026-02-28 09", year); said != "made 17 partitions, dropped 3 and 10 rows" {
		t.Error(said)
	}
	const kept = "2025-02-28 23 p2025_02, 2025-07-15 09 p2025_07"
	for _, table := range []string{"rollups", "decision_counts", "topic_counts"} {
		if got := w.where(table, "hour"); got != kept {
			t.Errorf("%s: %s\nwant %s", table, got, kept)
		}
	}
	if got := w.where("refusals", "hour"); got != "2025-02-28 23 refusals, 2025-07-15 09 refusals" {
		t.Errorf("refusals: %s", got)
	}
	w.agree()
	// What comes late of a month that is gone is counted, and goes the next night.
	w.counted("2025-01-05 00")
	w.agree()
	w.run("2026-03-01 09", year)
	w.agree()
	if got := w.where("rollups", "hour"); got != "2025-07-15 09 p2025_07" {
		t.Errorf("the next night: %s", got)
	}
}

// TestSeriesIsKept for 30 days, whatever is kept of reports.
func TestSeriesIsKept(t *testing.T) {
	w := open(t)
	w.sql("INSERT INTO flight_series SELECT at, 7, 1, 1, 1, 1, 1 FROM unnest(ARRAY['2026-01-01 12:00Z', '2026-01-02 12:00Z']::timestamptz[]) AS at")
	w.run("2026-01-03 10", 0)
	w.sql("INSERT INTO flight_series SELECT at, 7, 1, 1, 1, 1, 1 FROM unnest(ARRAY['2026-01-03 23:59Z', '2026-01-04 00:00Z', '2026-01-11 00:00Z']::timestamptz[]) AS at")
	if got, want := w.where("flight_series", "at"), "2026-01-01 12 default, 2026-01-02 12 default, 2026-01-03 23 p2026_01_03, 2026-01-04 00 p2026_01_04, 2026-01-11 00 default"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	w.run("2026-02-01 12", 0) // 30 days after 2026-01-02 12:00
	if got, want := w.where("flight_series", "at"), "2026-01-02 12 default, 2026-01-03 23 p2026_01_03, 2026-01-04 00 p2026_01_04, 2026-01-11 00 default"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	w.run("2026-02-03 00", 0)
	if got, want := w.where("flight_series", "at"), "2026-01-04 00 p2026_01_04, 2026-01-11 00 default"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// TestBeside makes and drops partitions while others write and read: nobody
// is refused, nothing is lost.
func TestBeside(t *testing.T) {
	w := open(t)
	ctx, stop := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	began := make(chan struct{})
	writing.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			hours := []string{"2025-01-01 00", "2026-03-01 00", "2026-05-01 00", "2026-06-01 00"}
			err := w.db.InTx(t.Context(), func(tx pgx.Tx) error {
				for _, hour := range hours {
					_, err := tx.Exec(t.Context(), `INSERT INTO rollups (hour, region, flight, ad, publisher, country, views) VALUES ($1, 'eu', 7, 1, $2, 'NL', 10)`, clock(hour), n)
					if err != nil {
						return err
					}
				}
				_, err := tx.Exec(t.Context(), `INSERT INTO flight_totals AS t (flight, views) VALUES (7, 40) ON CONFLICT (flight) DO UPDATE SET views = t.views + 40`)
				return err
			})
			if err != nil {
				t.Errorf("a writer was refused: %v", err)
				if n <= 3 {
					close(began)
				}
				return
			}
			if n == 3 {
				close(began)
			}
		}
	})
	<-began
	for _, now := range []string{"2026-03-02 00", "2026-04-02 00", "2026-05-02 00", "2026-06-02 00", "2026-07-02 00"} {
		if _, err := retention.Run(t.Context(), w.db, year, clock(now)); err != nil {
			t.Errorf("at %s: %v", now, err)
		}
	}
	stop()
	writing.Wait()
	w.agree()
}
