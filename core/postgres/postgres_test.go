package postgres_test

import (
	"strings"
	"sync"
	"testing"

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
