// Command nearside-edge answers publishers: it decides which ad to show from
// memory and from leased budgets, keeps views and clicks in its journal, and
// exchanges with the core.
//
// nearside-edge drain has the edge that runs here give everything back and end;
// nearside-edge fence is for one that could not.
//
// nearside-edge replay makes recorded decisions again, and serves nothing.
//
// Exit status: 0 when it was told to stop and has drained, 1 when it cannot go
// on, 2 when its configuration is wrong, with one line on stderr that names
// the key, 3 when it was told to stop and could not have the core close its
// holder: the next start goes on with it, but who is about to delete the disk
// must have it fenced.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"nearside/edge/uplink"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	scheduleMore()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "nearside-edge:", err)
	var wrong configError
	if errors.As(err, &wrong) {
		os.Exit(2)
	}
	if errors.Is(err, uplink.ErrOpen) {
		os.Exit(3)
	}
	os.Exit(1)
}

// configError is a configuration that cannot be used.
type configError struct{ error }

func (e configError) Unwrap() error { return e.error }

// commands are what the program does instead of serving, by its first argument.
var commands = map[string]func(ctx context.Context, args []string, stdout io.Writer) error{
	"drain":  drain,
	"fence":  fence,
	"replay": replay,
}

// run serves until ctx ends, then drains.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 {
		if command := commands[args[0]]; command != nil {
			return command(ctx, args[1:], stdout)
		}
	}
	var s settings
	exited := false
	parser, err := kong.New(&s,
		kong.Name("nearside-edge"),
		kong.Description("An edge of nearside: decides ads near their readers. Other commands: nearside-edge drain, fence, replay, each with --help."),
		kong.Vars{"version": versionText()},
		kong.Configuration(yamlFile),
		kong.Writers(stdout, stderr),
		kong.Exit(func(int) { exited = true }),
	)
	if err != nil {
		return err
	}
	parsed, err := parser.Parse(args)
	if exited { // --help or --version has answered
		return nil
	}
	if unread := new(fs.PathError); errors.As(err, &unread) && !strings.Contains(err.Error(), "--") {
		err = fmt.Errorf("--config: %w", err)
	}
	if err != nil {
		return configError{err}
	}
	if s.Check {
		if err := s.checkGeo(stdout); err != nil {
			return configError{err}
		}
		return s.print(stdout, parsed)
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	e, err := open(ctx, &s, log)
	if err != nil {
		return err
	}
	return errors.Join(e.run(ctx), e.close())
}
