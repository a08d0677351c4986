package postgres

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"
)

// TestThePasswordIsReadAgain replaces a passfile between two connections.
func TestThePasswordIsReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pgpass")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("db:5432:nearside:u:first\n")
	url := "postgres://u@db:5432/nearside?sslmode=disable&passfile=" + file
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ about, file, want string }{
		{"at first", "db:5432:nearside:u:first\n", "first"},
		{"replaced", "db:5432:nearside:u:second\n", "second"},
		{"another database's", "db:5432:other:u:third\n", ""},
	} {
		write(c.file)
		if freshen(url, config); config.Password != c.want {
			t.Errorf("%s: %q, want %q", c.about, config.Password, c.want)
		}
	}
	freshen("postgres://u:in-the-url@db/nearside", config)
	if config.Password != "in-the-url" {
		t.Errorf("a password in the URL: %q", config.Password)
	}
	freshen("nonsense://", config)
	if config.Password != "in-the-url" {
		t.Error("a URL that cannot be read takes the password away")
	}
}
