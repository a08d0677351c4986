package main

import (
	"nearside/dev/gotest"
)

// testCommand runs go test and remembers what it left out.
type testCommand struct {
	Verbose bool     `help:"Print every line."`
	Skipped string   `help:"The file in which what was left out is kept." default:"bin/skipped" placeholder:"FILE"`
	Summary bool     `help:"Run nothing; print what was left out so far."`
	Args    []string `arg:"" optional:"" help:"Arguments of go test, after --."`
}

// Run runs it, or prints.
func (c testCommand) Run(e *env) error {
	if c.Summary {
		return gotest.Summary(c.Skipped, e.stdout)
	}
	ctx, _, stop := e.interrupted()
	defer stop()
	return gotest.Run(ctx, gotest.Config{Args: c.Args, Verbose: c.Verbose, Skipped: c.Skipped, Out: e.stdout, Err: e.stderr})
}
