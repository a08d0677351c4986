// Package testpg gives tests a real Postgres. Main starts a private server for
// a package's tests and stops it after them; New gives each test its own
// database with the newest schema, copied from a template, and drops it when
// the test ends.
//
// Where NEARSIDE_DATABASE_URL is set, that server is used instead of a private
// one; its user must be allowed to create databases. Otherwise the programs
// initdb and postgres are taken from PATH, or from where Debian and Homebrew
// keep them; as root the server runs as the user postgres (or nobody), since
// Postgres refuses root. A missing Postgres fails the tests: it does not skip
// them.
//
// The private server listens on a Unix socket only, commits with
// synchronous_commit on and runs with fsync off: it forgets nothing when it is
// killed, only when the machine is.
package testpg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"nearside/migrations"
)

// server is the package's Postgres; it starts with the first New.
var server struct {
	main     bool // set by Main before any test runs
	once     sync.Once
	err      error
	base     string // URL of an existing database
	template string
	stop     func()
	n        atomic.Int64
}

// Main is a TestMain: it runs the tests of m, stops what New started and exits.
func Main(m *testing.M) {
	server.main = true
	code := m.Run()
	Stop()
	os.Exit(code)
}

// Stop ends the private server, for a TestMain that has more to do than Main.
func Stop() {
	server.main = true
	if server.stop != nil {
		server.stop()
	}
}

// Use is for a TestMain of its own: it allows New; the caller calls Stop.
func Use() { server.main = true }

// New gives t a database of its own with the newest schema and returns its URL.
func New(t testing.TB) string {
	t.Helper()
	if !server.main {
		t.Fatal("testpg.New needs func TestMain(m *testing.M) { testpg.Main(m) } in the package")
	}
	server.once.Do(func() { server.err = start() })
	if server.err != nil {
		t.Fatal(server.err)
	}
	name := fmt.Sprintf("nearside_test_%d_%d", os.Getpid(), server.n.Add(1))
	if err := admin(`CREATE DATABASE ` + name + ` TEMPLATE ` + server.template); err != nil {
		t.Fatalf("create a database for the test: %v", err)
	}
	t.Cleanup(func() {
		if err := admin(`DROP DATABASE IF EXISTS ` + name + ` WITH (FORCE)`); err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
	})
	return with(server.base, name)
}

// with is the URL base with another database name.
func with(base, name string) string {
	u, err := url.Parse(base)
	if err != nil {
		return base
	}
	u.Path = "/" + name
	return u.String()
}

// admin runs one statement in the base database.
func admin(statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, server.base)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, statement)
	return err
}

func start() error {
	server.stop = func() {}
	if given := os.Getenv("NEARSIDE_DATABASE_URL"); given != "" {
		if u, err := url.Parse(given); err != nil || !strings.HasPrefix(u.Scheme, "postgres") {
			return errors.New("NEARSIDE_DATABASE_URL: expected postgres://user:password@host:port/name")
		}
		server.base = given
	} else if err := startPrivate(); err != nil {
		return err
	}
	server.template = fmt.Sprintf("nearside_template_%d", os.Getpid())
	if err := admin(`CREATE DATABASE ` + server.template); err != nil {
		return fmt.Errorf("create the template database: %w", err)
	}
	stop := server.stop
	server.stop = func() {
		_ = admin(`DROP DATABASE IF EXISTS ` + server.template + ` WITH (FORCE)`)
		stop()
	}
	return migrate(with(server.base, server.template))
}

func migrate(to string) error {
	config, err := pgx.ParseConfig(to)
	if err != nil {
		return err
	}
	db := stdlib.OpenDB(*config)
	defer func() { _ = db.Close() }()
	provider, err := goose.NewProvider(goose.DialectPostgres, db, migrations.Files)
	if err != nil {
		return err
	}
	_, err = provider.Up(context.Background())
	return err
}

// startPrivate makes a cluster in a temporary directory and starts it.
func startPrivate() error {
	bin, err := programs()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "nearside-pg-")
	if err != nil {
		return err
	}
	attr, err := drop(dir)
	if err != nil {
		return err
	}
	data := filepath.Join(dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "nearside", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	initdb.SysProcAttr, initdb.Dir = attr, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		_ = os.RemoveAll(dir)
		return fmt.Errorf("initdb: %w: %s", err, bytes.TrimSpace(out))
	}
	var log bytes.Buffer
	postgres := exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-k", dir,
		"-c", "listen_addresses=", "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=200",
		"-c", "shared_buffers=128MB", "-c", "max_wal_size=4GB", "-c", "logging_collector=off", "-c", "log_min_messages=fatal")
	postgres.SysProcAttr, postgres.Dir = dying(attr), dir
	postgres.Stdout, postgres.Stderr = &log, &log
	if err := postgres.Start(); err != nil {
		_ = os.RemoveAll(dir)
		return fmt.Errorf("start postgres: %w", err)
	}
	exited := make(chan error, 1)
	go func() { exited <- postgres.Wait() }()
	server.stop = func() {
		_ = postgres.Process.Signal(syscall.SIGINT) // fast shutdown
		select {
		case <-exited:
		case <-time.After(20 * time.Second):
			_ = postgres.Process.Kill()
			<-exited
		}
		_ = os.RemoveAll(dir)
	}
	server.base = "postgres:///postgres?" + url.Values{"host": {dir}, "user": {"nearside"}, "sslmode": {"disable"}}.Encode()
	deadline := time.Now().Add(30 * time.Second)
	for {
		if err = admin(`SELECT 1`); err == nil {
			return nil
		}
		select {
		case died := <-exited:
			exited <- died
			server.stop()
			return fmt.Errorf("postgres ended while starting: %w: %s", died, bytes.TrimSpace(log.Bytes()))
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			server.stop()
			return fmt.Errorf("postgres does not answer: %w", err)
		}
	}
}

// programs is the directory of initdb and postgres, the newest version first.
func programs() (string, error) {
	var dirs []string
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin",
		"/opt/homebrew/bin", "/usr/local/pgsql/bin",
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return "", err
		}
		slices.Reverse(found)
		dirs = append(dirs, found...)
	}
	// PATH first, though its initdb may be a wrapper beside which there is no postgres.
	dirs = append(filepath.SplitList(os.Getenv("PATH")), dirs...)
	for _, dir := range dirs {
		if runnable(filepath.Join(dir, "initdb")) && runnable(filepath.Join(dir, "postgres")) {
			return dir, nil
		}
	}
	return "", errors.New("tests need Postgres: install it (Debian: apt-get install postgresql; macOS: brew install postgresql) or set NEARSIDE_DATABASE_URL")
}

func runnable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir() && info.Mode()&0o111 != 0
}

// drop gives dir to an unprivileged user where this process is root, and says
// how to start programs as that user.
func drop(dir string) (*syscall.SysProcAttr, error) {
	if os.Geteuid() != 0 {
		return &syscall.SysProcAttr{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.Atoi(u.Uid)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.Atoi(u.Gid)
		if err != nil {
			return nil, err
		}
		if err := os.Chown(dir, uid, gid); err != nil {
			return nil, err
		}
		return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
	}
	return nil, errors.New("as root, Postgres needs a user postgres or nobody to run as")
}
