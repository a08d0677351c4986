package postgres

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// fake makes a directory that looks like an installation.
func fake(t *testing.T, dir, version string, names ...string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		script := "#!/bin/sh\necho 'postgres (PostgreSQL) " + version + "'\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFind(t *testing.T) {
	for _, c := range []struct {
		about     string
		installed map[string]string // directory: version
		onPath    string            // the directory that PATH leads to
		want      string            // directory, or what the error says
	}{
		{"the newest", map[string]string{"a": "14.2", "b": "17.1 (Debian)", "c": "15.0"}, "", "b"},
		{"what PATH leads to, by a link", map[string]string{"elsewhere": "16.4"}, "elsewhere", "elsewhere"},
		{"a newer one than on PATH", map[string]string{"a": "17.1", "elsewhere": "16.4"}, "elsewhere", "a"},
		{"one that is too old", map[string]string{"a": "13.9"}, "", "holds version 13, and 14 or later is needed"},
		{"none", nil, "", "no Postgres found"},
	} {
		t.Run(c.about, func(t *testing.T) {
			root, path := t.TempDir(), t.TempDir()
			t.Setenv("PATH", path+":/bin")
			for dir, version := range c.installed {
				place := filepath.Join(root, "known", dir)
				if dir == "elsewhere" {
					place = filepath.Join(root, dir)
				}
				fake(t, place, version, "initdb", "postgres")
				if dir == c.onPath {
					if err := os.Symlink(filepath.Join(place, "initdb"), filepath.Join(path, "initdb")); err != nil {
						t.Fatal(err)
					}
				}
			}
			fake(t, filepath.Join(root, "known", "client-only"), "99.0", "psql")
			found, err := find([]string{filepath.Join(root, "known", "*")})
			if err != nil {
				if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), c.want) {
					t.Error(err)
				}
				return
			}
			if filepath.Base(found.Dir) != c.want {
				t.Errorf("%+v, want %s", found, c.want)
			}
		})
	}
}

// TestServer makes a server with a password on a port, and wants that only
// who knows it comes in.
func TestServer(t *testing.T) {
	ctx := t.Context()
	bin, err := FindOrInstall(ctx, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	as, err := Unprivileged()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "nearside-postgres-test-") //nolint:usetesting // the unprivileged user must be able to enter it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := as.MakeDir(dir); err != nil {
		t.Fatal(err)
	}
	password := Password()
	if err := Init(ctx, bin, as, dir, password); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	t.Setenv("PGPORT", "1") // of somebody else's server
	cmd := Command(bin, as, dir, port)
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		_ = cmd.Wait() // it says that it was asked to end
	}()
	ready, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := WaitReady(ready, URL(dir, port, password, ""), log.Name()); err != nil {
		t.Fatal(err)
	}
	if conn, err := pgx.Connect(ctx, URL(dir, port, "wrong", "")); err == nil {
		conn.Close(ctx)
		t.Error("it lets in who does not know the password")
	}
}

func TestWaitReadySaysWhatTheLogSays(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(log, []byte("FATAL: no room\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := WaitReady(ctx, URL("", freePort(t), "x", ""), log)
	if err == nil || !strings.Contains(err.Error(), "FATAL: no room") {
		t.Errorf("%v", err)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
