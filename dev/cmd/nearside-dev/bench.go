package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"nearside/dev/bench"
)

// measure is the command bench.
type measure struct {
	Only   string        `help:"A regular expression: measure only the figures whose names it matches." placeholder:"REGEXP"`
	Out    string        `help:"The file for the figures, as JSON." default:"bench.json" type:"path"`
	Source string        `help:"The module's root, for the packages' own benchmarks." default:"." type:"existingdir"`
	Rounds int           `help:"How often each pair is measured." default:"5"`
	Each   time.Duration `help:"How long each measurement over HTTP lasts." default:"1s"`
}

func (m *measure) Run(e *env) error {
	if m.Rounds < 1 || m.Each < 100*time.Millisecond {
		return usageError{fmt.Errorf("--rounds must be at least 1, --each at least 100ms")}
	}
	var only *regexp.Regexp
	if m.Only != "" {
		var err error
		if only, err = regexp.Compile(m.Only); err != nil {
			return usageError{fmt.Errorf("--only: %w", err)}
		}
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this binary: %w", err)
	}
	ctx, _, stop := e.interrupted()
	defer stop()
	results, err := bench.Run(ctx, bench.Config{
		Edge: filepath.Join(filepath.Dir(self), "nearside-edge"), Self: self, Source: m.Source,
		Only: only, Log: e.stderr, Rounds: m.Rounds, Each: m.Each,
	})
	if err != nil {
		return err
	}
	return bench.Write(results, e.stdout, m.Out)
}

// bare is the command bench-bare, the baseline that bench starts.
type bare struct {
	Bytes int `arg:"" help:"The size of the body."`
}

func (b *bare) Run(e *env) error {
	ctx, _, stop := e.interrupted()
	defer stop()
	return bench.Bare(ctx, b.Bytes, e.stdout)
}
