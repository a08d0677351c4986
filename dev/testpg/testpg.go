// Package testpg gives tests a Postgres of their own.
//
// The first call in a test process starts a private server in a temporary
// directory; every test gets a fresh database, copied from a template that has
// been migrated. The server ends, and its directory goes, when the process
// does, however it ends: a small shell stands beside it and waits for the
// process's pipe to close. Nothing here starts a goroutine. Where
// NEARSIDE_DATABASE_URL is set, that server is used instead; its user must be
// allowed to create databases. A missing Postgres is installed, or fails the
// tests: it never skips them.
//
// The server keeps what it commits from a crash of its own processes, not from
// a crash of the machine: fsync is off.
package testpg

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // goose speaks database/sql
	"github.com/pressly/goose/v3"

	"nearside/dev/postgres"
	"nearside/migrations"
)

// Main is a TestMain: it runs the tests of m, stops what New started and exits.
func Main(m *testing.M) {
	code := m.Run()
	Stop()
	os.Exit(code)
}

// Stop ends what New started before the process ends, for a TestMain that has
// more to do than Main. No test may run after it.
func Stop() {
	stopping.Do(func() {
		if s := running.Load(); s != nil {
			s.stop()
		}
	})
}

// New returns the URL of a fresh database with the whole schema. It is
// dropped, connections and all, when the test ends.
func New(tb testing.TB) string {
	tb.Helper()
	return create(tb, func(s *server) string { return s.template })
}

// NewEmpty returns the URL of a fresh database without a schema.
func NewEmpty(tb testing.TB) string {
	tb.Helper()
	return create(tb, func(*server) string { return "template0" })
}

var (
	databases atomic.Int64
	start     = sync.OnceValues(startServer)
	running   atomic.Pointer[server]
	stopping  sync.Once
)

type server struct {
	base     *url.URL // an existing database
	template string   // the migrated one that New copies
	stop     func()
}

func (s *server) url(database string) string {
	u := *s.base
	u.Path = "/" + database
	return u.String()
}

func create(tb testing.TB, template func(*server) string) string {
	tb.Helper()
	s, err := start()
	if err != nil {
		tb.Fatal(err)
	}
	name := fmt.Sprintf("nearside_test_%d_%d", os.Getpid(), databases.Add(1))
	if err := s.exec(fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s", name, template(s))); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.exec(fmt.Sprintf("DROP DATABASE %s WITH (FORCE)", name)); err != nil {
			tb.Error(err)
		}
	})
	return s.url(name)
}

func (s *server) exec(statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.base.String())
	if err != nil {
		return fmt.Errorf("connect to the tests' Postgres: %w", err)
	}
	_, err = conn.Exec(ctx, statement)
	if err := errors.Join(err, conn.Close(ctx)); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

// keep runs the server, and ends it and removes its directory once its own
// standard input is at its end, or a signal to its group has ended the wait.
const keep = `trap : HUP INT TERM
log=$1; dir=$2; shift 2
"$@" >"$log" 2>&1 </dev/null &
pid=$!
cat >/dev/null
kill -QUIT $pid 2>/dev/null
while kill -0 $pid 2>/dev/null; do wait $pid; done
rm -rf "$dir"`

func startServer() (*server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	s, err := given()
	if s == nil && err == nil {
		s, err = private(ctx)
	}
	if err != nil {
		return nil, err
	}
	s.template = fmt.Sprintf("nearside_template_%d", os.Getpid())
	if err := s.makeTemplate(ctx); err != nil {
		s.stop()
		return nil, fmt.Errorf("migrate the template database: %w", err)
	}
	running.Store(s)
	return s, nil
}

// given is the server of NEARSIDE_DATABASE_URL, nil where that is not set.
func given() (*server, error) {
	text := os.Getenv("NEARSIDE_DATABASE_URL")
	if text == "" {
		return nil, nil
	}
	base, err := url.Parse(text)
	if err != nil || (base.Scheme != "postgres" && base.Scheme != "postgresql") {
		return nil, errors.New("NEARSIDE_DATABASE_URL: expected postgres://user:password@host:port/name")
	}
	s := &server{base: base}
	s.stop = func() {
		if err := s.exec("DROP DATABASE IF EXISTS " + s.template + " WITH (FORCE)"); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	return s, nil
}

// private starts a server in a temporary directory.
func private(ctx context.Context) (*server, error) {
	bin, err := postgres.FindOrInstall(ctx, os.Stderr)
	if err != nil {
		return nil, err
	}
	as, err := postgres.Unprivileged()
	if err != nil {
		return nil, err
	}
	// Not TMPDIR: a socket's path must be short, and its directory one that
	// an unprivileged user can enter.
	dir, err := os.MkdirTemp("/tmp", "nearside-testpg-")
	if err != nil {
		return nil, err
	}
	if err := as.MakeDir(dir); err != nil {
		return nil, err
	}
	if err := postgres.Init(ctx, bin, as, dir, ""); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	serve := postgres.Command(bin, as, dir, 0, "fsync=off", "full_page_writes=off", "shared_buffers=32MB")
	log := filepath.Join(dir, "log")
	cmd := exec.Command("/bin/sh", append([]string{"-c", keep, "sh", log, dir}, serve.Args...)...)
	cmd.Dir, cmd.Env = serve.Dir, serve.Env
	as.Apply(cmd)
	cmd.SysProcAttr.Setpgid = true // an interrupt meant for the tests is not meant for it
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	stop := func() {
		if err := errors.Join(pipe.Close(), cmd.Wait()); err != nil {
			fmt.Fprintln(os.Stderr, "stop the tests' Postgres:", err)
		}
	}
	ready, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	address := postgres.URL(dir, 0, "", "")
	if err := postgres.WaitReady(ready, address, log); err != nil {
		stop()
		return nil, err
	}
	base, err := url.Parse(address)
	if err != nil {
		stop()
		return nil, err
	}
	return &server{base: base, stop: stop}, nil
}

func (s *server) makeTemplate(ctx context.Context) error {
	if err := s.exec("CREATE DATABASE " + s.template + " TEMPLATE template0"); err != nil {
		return err
	}
	db, err := sql.Open("pgx", s.url(s.template))
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, migrations.Files)
	if err == nil {
		_, err = provider.Up(ctx)
	}
	return errors.Join(err, db.Close())
}
