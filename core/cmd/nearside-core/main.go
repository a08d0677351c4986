// Command nearside-core owns the truth: it serves the admin API to people and
// scripts, the exchange to edges, and its operations port; and it migrates the
// database, makes tokens and imports catalogs.
//
// Exit status: 0 when it did what was asked (serve: when it was told to stop),
// 1 when that failed, 2 when its configuration is wrong, with one line on
// stderr that names the key.
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
	"syscall"

	"github.com/alecthomas/kong"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "nearside-core:", err)
	var wrong configError
	if errors.As(err, &wrong) {
		os.Exit(2)
	}
	os.Exit(1)
}

// configError is a configuration that cannot be used.
type configError struct{ error }

func (e configError) Unwrap() error { return e.error }

// env is what a command runs in.
type env struct {
	ctx      context.Context
	settings *settings
	stdin    io.Reader
	stdout   io.Writer
	log      *slog.Logger
}

// run does what args ask for; it returns when that is done or ctx ended.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	var s settings
	exited := false
	parser, err := kong.New(&s,
		kong.Name("nearside-core"),
		kong.Description("The core of nearside: admin API, exchange with the edges, and what keeps the database in order."),
		kong.UsageOnError(),
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
	if unread := new(fs.PathError); errors.As(err, &unread) {
		err = fmt.Errorf("--config: %w", err)
	}
	if err != nil {
		return configError{err}
	}
	if s.DatabaseURL == "" && parsed.Command() != "ca init" {
		return configError{errors.New("--database-url: expected postgres://user:password@host:port/name or a libpq connection string")}
	}
	if s.Check {
		return s.print(stdout, parsed)
	}
	e := &env{ctx: ctx, settings: &s, stdin: stdin, stdout: stdout, log: s.logger(stderr)}
	return parsed.Run(e)
}
