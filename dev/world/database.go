package world

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	pg "nearside/dev/postgres"
)

// startDatabase makes sure that there is a database to use, and says where.
func (w *World) startDatabase(ctx context.Context) (string, error) {
	if w.config.DatabaseURL != "" {
		w.coreURL = w.config.DatabaseURL
		return w.config.DatabaseURL, w.useGiven(ctx)
	}
	bin, err := pg.FindOrInstall(ctx, w.echo)
	if err != nil {
		return "", err
	}
	as, err := pg.Unprivileged()
	if err != nil {
		return "", err
	}
	data, err := w.dataDir(as, "postgres")
	if err != nil {
		return "", err
	}
	password, err := w.secret("postgres.password", func() (string, error) { return pg.Password(), nil })
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(data, "PG_VERSION")); errors.Is(err, fs.ErrNotExist) {
		w.note("making a Postgres %d in %s", bin.Major, w.config.file("postgres"))
		if err := pg.Init(ctx, bin, as, data, password); err != nil {
			return "", err
		}
	} else if err != nil {
		return "", err
	} else if version, err := os.ReadFile(filepath.Join(data, "PG_VERSION")); err != nil {
		return "", err
	} else if had := strings.TrimSpace(string(version)); had != fmt.Sprint(bin.Major) {
		return "", fmt.Errorf("%s was made by Postgres %s, and the one here is %d: start with --fresh, which throws the old state away", w.config.file("postgres"), had, bin.Major)
	}
	if err := waitForOld(ctx, data); err != nil {
		return "", err
	}
	port := w.config.BasePort + postgres
	if w.config.Network != nil {
		if err := pg.LetIn(data, "10.0.0.0/8"); err != nil {
			return "", err
		}
		if err := w.forward(postgresMachine, port); err != nil {
			return "", err
		}
	}
	w.Postgres = w.server(postgresMachine, func() *exec.Cmd { return pg.Command(bin, as, data, port, w.listen(postgresMachine)...) })
	server := pg.URL(data, port, password, "")
	if err := w.startServer(ctx, w.Postgres, server); err != nil {
		return "", err
	}
	if err := createDatabase(ctx, server); err != nil {
		return "", err
	}
	url := pg.URL(data, port, password, database)
	w.coreURL = strings.Replace(url, address(port), w.config.at(postgresMachine, port), 1)
	if w.config.Standby {
		w.ready.DatabaseURL = url
		return url, w.startStandby(ctx, bin, as, password)
	}
	return url, nil
}

// listen are the settings with which a Postgres listens on its machine.
func (w *World) listen(machine string) []string {
	if w.config.Network == nil {
		return nil
	}
	return []string{"listen_addresses=" + w.config.Network.Addr(machine).String()}
}

func (w *World) server(name string, command func() *exec.Cmd) *Process {
	p := w.process(name, syscall.SIGINT, func(string) *exec.Cmd { return command() })
	p.restart, p.rude = Never, syscall.SIGQUIT
	return p
}

func (w *World) startServer(ctx context.Context, p *Process, url string) error {
	if err := p.Start(); err != nil {
		return err
	}
	ready, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return pg.WaitReady(ready, url, p.log)
}

// startStandby copies the first server, follows it, and makes it wait: from
// then on no commit is answered that is not on both.
func (w *World) startStandby(ctx context.Context, bin pg.Binaries, as pg.Account, password string) error {
	data, err := w.dataDir(as, "standby")
	if err != nil {
		return err
	}
	first, port := w.config.BasePort+postgres, w.config.BasePort+standby
	from := pg.URL("", first, password, "")
	inside := strings.Replace(from, address(first), w.config.at(postgresMachine, first), 1) + "&application_name=" + standbyMachine
	promoted := false
	if _, err := os.Stat(filepath.Join(data, "standby.signal")); errors.Is(err, fs.ErrNotExist) {
		_, err := os.Stat(filepath.Join(data, "PG_VERSION"))
		promoted = err == nil
	}
	if promoted {
		return fmt.Errorf("the standby in %s was promoted: the other server's truth is an old one; start with --fresh", w.config.Dir)
	}
	if _, err := os.Stat(filepath.Join(data, "PG_VERSION")); errors.Is(err, fs.ErrNotExist) {
		w.note("making a standby of it in %s", w.config.file("standby"))
		cmd := pg.BaseBackup(bin, as, inside, data)
		out := &bytes.Buffer{}
		cmd.Stdout, cmd.Stderr = out, out
		on := func(do func() error) error { return w.config.Network.Within(standbyMachine, do) }
		if err := w.spawn.start(cmd, syscall.SIGKILL, on); err != nil {
			return err
		}
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("make a standby: %w: %s", err, bytes.TrimSpace(out.Bytes()))
		}
	} else if err != nil {
		return err
	}
	if err := w.forward(standbyMachine, port); err != nil {
		return err
	}
	w.Standby = w.server(standbyMachine, func() *exec.Cmd { return pg.Command(bin, as, data, port, w.listen(standbyMachine)...) })
	if err := w.startServer(ctx, w.Standby, pg.URL("", port, password, "")); err != nil {
		return err
	}
	w.coreURL = strings.Replace(w.coreURL, w.config.at(postgresMachine, first),
		w.config.at(postgresMachine, first)+","+w.config.at(standbyMachine, port), 1) + "&target_session_attrs=read-write&connect_timeout=3"
	return w.Synchronous(ctx, true)
}

// Synchronous says whether the first Postgres waits for the standby before it
// answers a commit; a world with a standby begins so.
func (w *World) Synchronous(ctx context.Context, on bool) error {
	conn, err := pgx.Connect(ctx, w.server1())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	names, want := "", "async"
	if on {
		names, want = standbyMachine, "sync"
	}
	if _, err := conn.Exec(ctx, fmt.Sprintf(`ALTER SYSTEM SET synchronous_standby_names = '%s'`, names)); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, `SELECT pg_reload_conf()`); err != nil {
		return err
	}
	for state := ""; ; {
		err := conn.QueryRow(ctx, `SELECT coalesce(max(sync_state), 'absent') FROM pg_stat_replication WHERE state = 'streaming'`).Scan(&state)
		if err != nil || state == want {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the standby to be %s, it is %s: %w", want, state, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// server1 is the first server's maintenance database.
func (w *World) server1() string {
	return strings.Replace(w.ready.DatabaseURL, "/"+database+"?", "/postgres?", 1)
}

// Promote makes the standby the Postgres that is written to. The first one must
// be dead: two that are written to are two truths.
func (w *World) Promote(ctx context.Context) error {
	if w.Standby == nil {
		return errors.New("there is no standby")
	}
	if w.Postgres.PID() != 0 {
		return errors.New("the first Postgres runs: stop it before the standby takes its place")
	}
	url := strings.Replace(w.ready.DatabaseURL, address(w.config.BasePort+postgres), address(w.config.BasePort+standby), 1)
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	var done bool
	if err := conn.QueryRow(ctx, `SELECT pg_promote()`).Scan(&done); err != nil {
		return err
	}
	if !done {
		return errors.New("the standby was not promoted within a minute")
	}
	// It has followed the name of the standby that it waits for; it has none now.
	if _, err := conn.Exec(ctx, `ALTER SYSTEM RESET synchronous_standby_names`); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, `SELECT pg_reload_conf()`); err != nil {
		return err
	}
	w.ready.DatabaseURL = url
	return nil
}

// database is the name of the private server's one database.
const database = "nearside"

func createDatabase(ctx context.Context, server string) error {
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	var there bool
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, database).Scan(&there); err != nil || there {
		return err
	}
	_, err = conn.Exec(ctx, `CREATE DATABASE `+database)
	return err
}

// varLib is where data directories are that an unprivileged user could not
// enter in their world's own directory.
const varLib = "/var/lib/nearside-dev"

// dataDir is the data directory of a private Postgres, by the name that it has
// in the world's directory.
func (w *World) dataDir(as pg.Account, name string) (string, error) {
	dir := w.config.file(name)
	if target, err := os.Readlink(dir); err == nil {
		if _, err := os.Stat(target); err == nil {
			return target, nil
		}
		if err := os.Remove(dir); err != nil { // what it led to is gone
			return "", err
		}
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) && !as.CanEnter(w.config.Dir) {
		if err := sweep(w.elsewhere); err != nil {
			return "", err
		}
		target := filepath.Join(w.elsewhere, strings.ToLower(rand.Text()))
		if err := os.MkdirAll(w.elsewhere, 0o755); err != nil {
			return "", err
		}
		if err := as.MakeDir(target); err != nil {
			return "", err
		}
		if err := os.WriteFile(target+".owner", []byte(dir), 0o600); err != nil {
			return "", err
		}
		w.note("%s cannot be entered by the user that Postgres runs as: its data is in %s", w.config.Dir, target)
		return target, os.Symlink(target, dir)
	}
	return dir, as.MakeDir(dir)
}

// sweep removes the data directories in dir whose world is gone.
func sweep(dir string) error {
	owners, err := filepath.Glob(filepath.Join(dir, "*.owner"))
	if err != nil {
		return err
	}
	for _, owner := range owners {
		data := strings.TrimSuffix(owner, ".owner")
		link, err := os.ReadFile(owner)
		if err != nil {
			return err
		}
		if target, err := os.Readlink(string(link)); err == nil && target == data {
			continue
		}
		if err := errors.Join(os.RemoveAll(data), os.Remove(owner)); err != nil {
			return err
		}
	}
	return nil
}

// waitForOld waits for a Postgres that a killed world left shutting down.
func waitForOld(ctx context.Context, data string) error {
	for deadline := time.Now().Add(20 * time.Second); ; {
		text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		first, _, _ := bytes.Cut(text, []byte("\n"))
		pid, _ := strconv.Atoi(string(first))
		if pid == 0 || !isPostgres(pid) {
			return nil // it is not there any more, and Postgres knows what to do
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("a Postgres (pid %d) of an earlier run still uses %s", pid, data)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// isPostgres reports whether pid is alive and, where that can be seen, a Postgres.
func isPostgres(pid int) bool {
	if err := syscall.Kill(pid, 0); err != nil && !errors.Is(err, syscall.EPERM) {
		return false
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return err != nil || strings.HasPrefix(string(comm), "postgres")
}

// useGiven looks at the database that somebody gave us, and empties it where
// everything is to begin afresh.
func (w *World) useGiven(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, w.config.DatabaseURL)
	if err != nil {
		return fmt.Errorf("NEARSIDE_DATABASE_URL: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if !w.config.Fresh {
		return nil
	}
	var tables, ours int
	err = conn.QueryRow(ctx, `SELECT count(*), count(*) FILTER (WHERE tablename IN ('holders', 'leases', 'catalog_versions'))
		FROM pg_tables WHERE schemaname = 'public'`).Scan(&tables, &ours)
	if err != nil {
		return err
	}
	if tables == 0 {
		return nil
	}
	if ours < 3 {
		return errors.New("--fresh would empty the database of NEARSIDE_DATABASE_URL, which holds tables that are not nearside's: empty it by hand")
	}
	w.note("emptying the database of NEARSIDE_DATABASE_URL")
	_, err = conn.Exec(ctx, `DROP SCHEMA public CASCADE; CREATE SCHEMA public`)
	return err
}

// checkSame refuses a database that is not the one the state belongs to:
// edges would offer leases that it never granted.
func (w *World) checkSame(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	var identity string
	err = conn.QueryRow(ctx, `SELECT system_identifier || '/' || (SELECT oid FROM pg_database WHERE datname = current_database())
		FROM pg_control_system()`).Scan(&identity)
	if err != nil {
		return err
	}
	had, err := w.secret("database", func() (string, error) { return identity, nil })
	if err == nil && had != identity {
		err = fmt.Errorf("the state in %s belongs to another database: use that one, another --dir, or --fresh", w.config.Dir)
	}
	return err
}
