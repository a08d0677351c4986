package testpg_test

import (
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"nearside/dev/testpg"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		testpg.Stop()
		os.Exit(code)
	}))
}

func count(t *testing.T, url, query string) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := conn.QueryRow(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestDatabasesAreFreshAndApart(t *testing.T) {
	a, b := testpg.New(t), testpg.New(t)
	count(t, a, `INSERT INTO advertisers (slug, name) VALUES ('x', 'X') RETURNING id`)
	if n := count(t, a, `SELECT count(*) FROM advertisers`); n != 1 {
		t.Errorf("the first database has %d advertisers, want the 1 put there", n)
	}
	if n := count(t, b, `SELECT count(*) FROM advertisers`); n != 0 {
		t.Errorf("the second database has %d advertisers, want 0", n)
	}
}

func TestEmptyHasNoSchema(t *testing.T) {
	const tables = `SELECT count(*) FROM pg_tables WHERE schemaname = 'public'`
	if n := count(t, testpg.NewEmpty(t), tables); n != 0 {
		t.Errorf("an empty database has %d tables", n)
	}
	if n := count(t, testpg.New(t), tables); n == 0 {
		t.Error("a migrated database has no tables")
	}
}
