package postgres

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// role is the superuser that Init makes.
const role = "nearside"

// Account is whom the server runs as: the caller, or under root an
// unprivileged user.
type Account struct {
	name     string
	uid, gid int
	drop     bool
}

// Unprivileged is the account to run a server as.
func Unprivileged() (Account, error) {
	if os.Geteuid() != 0 {
		return Account{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err := errors.Join(err1, err2); err != nil {
			return Account{}, fmt.Errorf("user %s: %w", name, err)
		}
		return Account{name: name, uid: uid, gid: gid, drop: true}, nil
	}
	return Account{}, errors.New("as root: Postgres refuses to run as root, and there is neither a user postgres nor a user nobody to run it as")
}

// Apply makes cmd run as the account.
func (a Account) Apply(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	if a.drop {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
}

// MakeDir creates dir for the account alone.
func (a Account) MakeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if !a.drop {
		return nil
	}
	return os.Chown(dir, a.uid, a.gid)
}

// CanEnter reports whether the account can reach dir: under root a directory
// below a private home cannot be reached by anybody else.
func (a Account) CanEnter(dir string) bool {
	cmd := exec.Command("/bin/sh", "-c", `cd "$0"`, dir)
	cmd.Dir = "/"
	a.Apply(cmd)
	return cmd.Run() == nil
}

// tempFile is a file that only the account can read. It lies where any user
// can go, whatever TMPDIR says.
func (a Account) tempFile(text string) (string, error) {
	file, err := os.CreateTemp("/tmp", "nearside-")
	if err != nil {
		return "", err
	}
	_, err = file.WriteString(text + "\n")
	if a.drop && err == nil {
		err = file.Chown(a.uid, a.gid)
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return "", errors.Join(err, os.Remove(file.Name()))
	}
	return file.Name(), nil
}

// Init makes a data directory in dir, which MakeDir made, with a superuser
// called nearside. Without a password the server can only be reached through
// its socket, by whoever can enter the directory of it.
func Init(ctx context.Context, bin Binaries, as Account, dir, password string) error {
	args := []string{
		"--pgdata", dir, "--username", role, "--encoding", "UTF8", "--locale", "C", "--no-sync",
		"--auth-local", "trust", "--auth-host", "scram-sha-256",
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin.Dir, "initdb"), args...)
	if password != "" {
		file, err := as.tempFile(password)
		if err != nil {
			return err
		}
		defer func() { _ = os.Remove(file) }()
		cmd.Args = append(cmd.Args, "--pwfile", file)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Dir = "/"
	cmd.Env = environment()
	as.Apply(cmd)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("initdb in %s: %w: %s", dir, err, lastLines(out.Bytes(), 3))
	}
	return nil
}

// LetIn lets a network in, for queries and for replication, with a password.
func LetIn(dir, network string) error {
	file := filepath.Join(dir, "pg_hba.conf")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	lines := fmt.Sprintf("host all all %s scram-sha-256\nhost replication all %s scram-sha-256\n", network, network)
	if strings.Contains(string(text), lines) {
		return nil
	}
	return os.WriteFile(file, append(text, lines...), 0o600) // it exists: its owner stays
}

// BaseBackup is a program that copies the server at url into dir, which
// MakeDir made, so that a server over dir follows that one.
func BaseBackup(bin Binaries, as Account, url, dir string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(bin.Dir, "pg_basebackup"), "--dbname", url, "--pgdata", dir,
		"--write-recovery-conf", "--wal-method", "stream", "--checkpoint", "fast", "--no-sync")
	cmd.Dir = "/"
	cmd.Env = environment()
	as.Apply(cmd)
	return cmd
}

// Password is a new random password.
func Password() string { return rand.Text() }

// Command is the server over dir, listening on 127.0.0.1:port, or on a socket
// in dir where port is 0. It logs to its standard error.
func Command(bin Binaries, as Account, dir string, port int, settings ...string) *exec.Cmd {
	args := []string{"-D", dir, "-c", "max_connections=200"}
	if port == 0 {
		args = append(args, "-c", "listen_addresses=", "-c", "unix_socket_directories="+dir)
	} else {
		args = append(args, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "port="+strconv.Itoa(port))
	}
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	cmd := exec.Command(filepath.Join(bin.Dir, "postgres"), args...)
	cmd.Dir = "/"
	cmd.Env = environment()
	as.Apply(cmd)
	return cmd
}

// environment keeps what PG* variables the caller has for other servers away.
func environment() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "PG") {
			env = append(env, kv)
		}
	}
	return env
}

// URL is the address of a database on the server; the empty name stands for
// the one that every server has, from which others are made.
func URL(dir string, port int, password, database string) string {
	if database == "" {
		database = "postgres"
	}
	u := url.URL{Scheme: "postgres", User: url.User(role), Path: "/" + database}
	if port == 0 {
		u.RawQuery = url.Values{"host": {dir}}.Encode()
		return u.String()
	}
	if password != "" {
		u.User = url.UserPassword(role, password)
	}
	u.Host = "127.0.0.1:" + strconv.Itoa(port)
	u.RawQuery = "sslmode=disable"
	return u.String()
}

// WaitReady waits until the database at url answers, or until ctx ends; log is
// where the server says what keeps it.
func WaitReady(ctx context.Context, url, log string) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		conn, err := pgx.Connect(attempt, url)
		cancel()
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for Postgres: it does not answer: %w; its log: %s", err, tail(log))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func tail(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return lastLines(b, 5)
}

func lastLines(b []byte, n int) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}
