package postgres_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"nearside/core/postgres"
	"nearside/dev/testpg"
)

func TestMain(m *testing.M) { testpg.Main(m) }

func TestMigrateIsRepeatableAndConcurrent(t *testing.T) {
	db, err := postgres.Open(t.Context(), testpg.New(t))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if err := db.Migrate(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestMigrateTakesUpWhatCameLate: a database that has a later migration than
// one that this program brings gets the earlier one all the same.
func TestMigrateTakesUpWhatCameLate(t *testing.T) {
	db, err := postgres.Open(t.Context(), testpg.NewEmpty(t))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	err = db.InTx(t.Context(), func(tx pgx.Tx) error {
		// As if 00003 had not been known when 09999 was applied.
		_, err := tx.Exec(t.Context(), `DROP TABLE jobs, sampled_ctrs, traffic_fills, demands, flight_series, rollups_dropped;
			DELETE FROM goose_db_version WHERE version_id = 3;
			INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	err = db.InTx(t.Context(), func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), "SELECT FROM jobs")
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestOpenHidesThePassword(t *testing.T) {
	for _, url := range []string{
		"postgres://nearside:hunter2@127.0.0.1:1/nearside?connect_timeout=1",
		"postgres://nearside:hunter2@127.0.0.1:port/nearside",
	} {
		_, err := postgres.Open(t.Context(), url)
		if err == nil {
			t.Fatalf("Open(%s) reached a database", url)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error tells the password: %v", err)
		}
	}
}

// A transaction whose core says nothing more lets go of its locks in the end; who
// wants another time says so in the URL.
func TestAnIdleTransactionEnds(t *testing.T) {
	url := testpg.NewEmpty(t)
	for _, tt := range []struct{ more, want string }{{"", "20s"}, {"&idle_in_transaction_session_timeout=3000", "3s"}} {
		db, err := postgres.Open(t.Context(), url+tt.more)
		if err != nil {
			t.Fatal(err)
		}
		var got string
		if err := db.InTx(t.Context(), func(tx pgx.Tx) error {
			return tx.QueryRow(t.Context(), `SHOW idle_in_transaction_session_timeout`).Scan(&got)
		}); err != nil {
			t.Error(err)
		}
		db.Close()
		if got != tt.want {
			t.Errorf("with %q it ends after %s, want %s", tt.more, got, tt.want)
		}
	}
}
