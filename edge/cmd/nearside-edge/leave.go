package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"nearside/edge/credential"
	"nearside/edge/journal"
	"nearside/edge/statedir"
	"nearside/edge/uplink"
)

// pidFile, in the state directory, says which process serves from it.
const pidFile = "pid"

func writePID(dir string) error {
	return os.WriteFile(filepath.Join(dir, pidFile), fmt.Appendln(nil, os.Getpid()), 0o600)
}

// errServing: the state directory belongs to a process that runs.
var errServing = errors.New("an edge is running from this state directory")

// left says what a state directory that nobody serves from has left open; no
// error: its holder is closed, and nothing is to be handed in.
func left(dir string) (statedir.Identity, error) {
	if _, err := os.Stat(dir); err != nil {
		return statedir.Identity{}, err
	}
	d, err := statedir.Open(journal.OS(), dir)
	if errors.Is(err, statedir.ErrInUse) {
		return statedir.Identity{}, errServing
	}
	if err != nil {
		return statedir.Identity{}, err
	}
	id, _, err := d.Identity()
	return id, errors.Join(err, d.Close())
}

func parse(name, about string, into any, args []string, stdout io.Writer) (done bool, err error) {
	parser, err := kong.New(into, kong.Name("nearside-edge "+name), kong.Description(about),
		kong.Writers(stdout, stdout), kong.Exit(func(int) { done = true }))
	if err != nil {
		return false, err
	}
	if _, err := parser.Parse(args); err != nil && !done {
		return false, configError{err}
	}
	return done, nil
}

// drain has the edge that runs from a state directory drain, as SIGTERM does,
// and waits for its end. What counts is the directory afterwards: its holder is
// closed, or it is not.
func drain(ctx context.Context, args []string, stdout io.Writer) error {
	var s struct {
		StateDir string        `help:"The edge's state directory." env:"NEARSIDE_STATE_DIR" required:"" placeholder:"DIR"`
		Wait     time.Duration `help:"How long to wait for its end." default:"1m"`
	}
	if done, err := parse("drain", "Has the edge that runs on this machine give back what it holds, and end. Exit status: 0 its holder is closed, 3 it is still open, 2 wrong arguments, 1 anything else.", &s, args, stdout); done || err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.Wait)
	defer cancel()
	for asked := false; ; {
		id, err := left(s.StateDir)
		switch {
		case err == nil && id.Holder == 0 && len(id.Former) == 0:
			_, err := fmt.Fprintln(stdout, "drained: its holder is closed")
			return err
		case err == nil:
			return fmt.Errorf("%s: nobody serves from it: start the edge to let it drain, or have it fenced with nearside-edge fence: %w", s.StateDir, uplink.ErrOpen)
		case !errors.Is(err, errServing):
			return err
		}
		if !asked {
			if err := tellEnd(s.StateDir); err != nil {
				return err
			}
			asked = true
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not ended within %s: %w", s.StateDir, s.Wait, uplink.ErrOpen)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// tellEnd asks the process of a directory that is in use to drain and end.
func tellEnd(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, pidFile))
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return fmt.Errorf("%s: expected the number of a process", filepath.Join(dir, pidFile))
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("ask process %d to drain: %w", pid, err)
	}
	return nil
}

// fence has the core fence the holder of a state directory that nobody serves
// from, with the holder's own credential.
func fence(ctx context.Context, args []string, stdout io.Writer) error {
	var s struct {
		StateDir string   `help:"The edge's state directory." env:"NEARSIDE_STATE_DIR" required:"" placeholder:"DIR"`
		Core     []string `help:"URL of the core's exchange; several are tried in turn." env:"NEARSIDE_CORE" required:"" placeholder:"URL"`
		TLSDir   string   `help:"Directory of ca.pem, as the edge has it." name:"tls-dir" env:"NEARSIDE_TLS_DIR" placeholder:"DIR"`
		Reason   string   `help:"Why; the core's operators read it." default:"its node is about to go"`
	}
	if done, err := parse("fence", "Has the core fence the holder of this machine, which did not drain: it gets nothing any more, and what it held stays set aside until its journal is handed in or an operator closes it. Exit status: 0 fenced or closed, 2 wrong arguments, 1 anything else.", &s, args, stdout); done || err != nil {
		return err
	}
	d, err := statedir.Open(journal.OS(), s.StateDir)
	if errors.Is(err, statedir.ErrInUse) {
		return fmt.Errorf("%s: %w: use nearside-edge drain", s.StateDir, errServing)
	}
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	id, _, err := d.Identity()
	if err != nil {
		return err
	}
	if id.Holder == 0 {
		_, err := fmt.Fprintln(stdout, "it has no holder: nothing is to be fenced")
		return err
	}
	c := uplink.Config{Core: s.Core}
	if s.TLSDir != "" {
		if c.Credential, err = credential.Open(s.TLSDir, onDisk{d}, slog.New(slog.DiscardHandler)); err != nil {
			return configError{fmt.Errorf("--tls-dir: %w", err)}
		}
	}
	if err := uplink.FenceItself(ctx, c, id.Holder, id.Secret, s.Reason); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "holder %d is fenced\n", id.Holder)
	return err
}

// onDisk is a state directory without its keeper.
type onDisk struct{ *statedir.Dir }

func (d onDisk) StoredCertificate() (statedir.Certificate, error) { return d.Certificate() }
func (d onDisk) StoreCertificate(c statedir.Certificate) error    { return d.SaveCertificate(c) }
