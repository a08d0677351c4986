// Command nearside-dev runs nearside on one machine, for development and
// tests: a Postgres, a core, edges in several regions, and sample traffic.
//
// nearside-dev up prints one line on stdout when everything answers: "ready "
// and a JSON object that says where everything is. Where stdout is a terminal
// a live status follows; elsewhere stdout carries that line alone, and logs go
// to stderr and to files. SIGINT and SIGTERM stop everything that it started;
// a second one does not wait. Exit status: 0 after such a signal, 1 where
// something failed, 2 where the command line is wrong.
//
// nearside-dev up --wan puts the regions as far apart as they are on earth, and
// nearside-dev wan cuts, heals and slows down what is between them.
// nearside-dev need installs what the tests need and this machine lacks.
// nearside-dev bench measures what is claimed about speed, and nearside-dev
// latency what readers far away wait for; nearside-dev drill rehearses the
// runbooks.
// nearside-dev dist makes what operators deploy.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
)

func main() {
	// A reader of stdout or stderr that went away must not end the world.
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(signals, os.Args[1:], os.Stdout, os.Stderr)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "nearside-dev:", err)
	var wrong usageError
	if errors.As(err, &wrong) {
		os.Exit(2)
	}
	os.Exit(1)
}

// usageError is a command line that cannot be used.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// env is what a command runs in.
type env struct {
	signals        <-chan os.Signal
	stdout, stderr io.Writer
}

func run(signals <-chan os.Signal, args []string, stdout, stderr io.Writer) error {
	var commands struct {
		Version kong.VersionFlag `help:"Print the version and exit."`

		Up   up         `cmd:"" help:"Run everything until interrupted."`
		WAN  wanCommand `cmd:"" name:"wan" help:"Cut, heal and slow down what is between the regions of up --wan."`
		Need need       `cmd:"" help:"Install what the tests need and this machine lacks."`

		Bench     measure        `cmd:"" help:"Measure speed beside a baseline, print a table, write bench.json."`
		Dist      release        `cmd:"" help:"Make tarballs, packages, bills of materials and image recipes."`
		Drill     drillCommand   `cmd:"" help:"Rehearse the runbooks of docs/operate, over a WAN."`
		Latency   latencyCommand `cmd:"" help:"Measure what readers in each region wait for, near and central, over a WAN; write a report."`
		Test      testCommand    `cmd:"" help:"Run go test, and remember which tests were left out and why."`
		BenchBare bare           `cmd:"" hidden:""`
	}
	exited := false
	parser, err := kong.New(&commands, kong.Name("nearside-dev"),
		kong.Description("Runs nearside on one machine, for development and tests."),
		kong.Vars{"version": versionText()}, kong.Writers(stdout, stderr), kong.Exit(func(int) { exited = true }))
	if err != nil {
		return err
	}
	parsed, err := parser.Parse(args)
	if exited { // --help or --version has answered
		return nil
	}
	if err != nil {
		return usageError{err}
	}
	return parsed.Run(&env{signals: signals, stdout: stdout, stderr: stderr})
}

// bounce is how long further signals belong to the first: a driver may signal
// this process and its group, which is one wish and not two.
const bounce = time.Second

// interrupted is a context that ends with the first signal; again hears of
// the next one that is meant.
func (e *env) interrupted() (ctx context.Context, again <-chan os.Signal, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	second := make(chan os.Signal, 1)
	done := make(chan struct{})
	go func() {
		var first time.Time
		for {
			select {
			case s := <-e.signals:
				switch {
				case first.IsZero():
					first = time.Now()
					cancel()
				case time.Since(first) > bounce:
					second <- s
					return
				}
			case <-done:
				return
			}
		}
	}()
	return ctx, second, func() { cancel(); close(done) }
}

// versionText is the program's version as the build has it.
func versionText() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version + " " + info.GoVersion
}
