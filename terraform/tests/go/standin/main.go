// Command standin takes the place of nearside-edge and nearside-core where a test
// is about how they are deployed, not about what they do. It keeps the part of
// CONTRACT.md that a node relies on: the settings it is given, /readyz, what SIGTERM
// and the subcommands mean. Which binary it is, its own file name says.
//
// As an edge it is ready while it has a join token, a state directory of its own and
// a core that answers. STATE_DIR/holder says open, and closed after a drain.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Set by the linker: a release that is sick never becomes ready.
var (
	version = "1"
	health  = "well"
)

func main() {
	if err := run(filepath.Base(os.Args[0]), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, os.Args[0]+":", err)
		os.Exit(2)
	}
}

func run(self string, args []string) error {
	command := strings.Join(args, " ")
	switch {
	case self == "nearside-edge" && command == "":
		return edge()
	case self == "nearside-edge" && strings.HasPrefix(command, "fence --reason "):
		return os.WriteFile(filepath.Join(os.Getenv("NEARSIDE_STATE_DIR"), "holder"), []byte("fenced\n"), 0o600)
	case self == "nearside-core" && command == "migrate":
		_, err := databaseURL()
		return err
	case self == "nearside-core" && command == "serve":
		return core()
	}
	return fmt.Errorf("%s %s: no such command", self, command)
}

func setting(name string) (string, error) {
	v := os.Getenv(name)
	if v == "" {
		return "", fmt.Errorf("%s is not set", name)
	}
	return v, nil
}

func secret(name string) (string, error) {
	path, err := setting(name)
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return strings.TrimSpace(string(b)), nil
}

func databaseURL() (string, error) {
	u, err := secret("NEARSIDE_CONFIG")
	if err == nil && !strings.HasPrefix(u, "database-url: postgres://") {
		return "", errors.New("NEARSIDE_CONFIG: expected database-url: postgres://")
	}
	return u, err
}

func core() error {
	if _, err := databaseURL(); err != nil {
		return err
	}
	ready := func() bool { return health == "well" }
	return serve(ready, func() error { return nil }, "NEARSIDE_ADMIN_LISTEN", "NEARSIDE_SYNC_LISTEN", "NEARSIDE_OPS_LISTEN")
}

func edge() error {
	for _, name := range []string{"NEARSIDE_REGION", "NEARSIDE_NODE", "NEARSIDE_PUBLIC_URL"} {
		if _, err := setting(name); err != nil {
			return err
		}
	}
	token, err := secret("NEARSIDE_JOIN_TOKEN_FILE")
	if err != nil {
		return err
	}
	dir, err := setting("NEARSIDE_STATE_DIR")
	if err != nil {
		return err
	}
	holder := filepath.Join(dir, "holder")
	if err := os.WriteFile(holder, []byte("open\n"), 0o600); err != nil {
		return err
	}
	coreURL, err := url.Parse(os.Getenv("NEARSIDE_CORE"))
	if err != nil || coreURL.Port() == "" {
		return errors.New("NEARSIDE_CORE: expected a URL with a port")
	}
	ready := func() bool {
		conn, err := net.DialTimeout("tcp", coreURL.Host, time.Second)
		if err != nil {
			return false
		}
		return conn.Close() == nil && token != "" && health == "well"
	}
	closed := func() error { return os.WriteFile(holder, []byte("closed\n"), 0o600) }
	return serve(ready, closed, "NEARSIDE_LISTEN", "NEARSIDE_OPS_LISTEN")
}

// serve answers on the listeners that the settings name until SIGTERM, then drains.
func serve(ready func() bool, drain func() error, listeners ...string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	var draining atomic.Bool
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if draining.Load() || !ready() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%s %s version %s\n", os.Getenv("NEARSIDE_REGION"), os.Getenv("NEARSIDE_NODE"), version)
	})
	failed := make(chan error, len(listeners))
	for _, name := range listeners {
		addr, err := setting(name)
		if err != nil {
			return err
		}
		listener, err := net.Listen("tcp", addr)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		go func() { failed <- http.Serve(listener, mux) }()
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		draining.Store(true)
		return drain()
	}
}
