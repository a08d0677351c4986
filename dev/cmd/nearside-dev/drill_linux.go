package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"nearside/dev/drill"
	"nearside/dev/wan"
)

// Run rehearses one after the other and says at the end how they went.
func (d drillCommand) Run(e *env) error {
	if d.List {
		for _, one := range drill.All {
			fmt.Fprintf(e.stdout, "%-16s %-20s %s\n", one.Name, one.Runbook, one.About)
		}
		return nil
	}
	var chosen []drill.Drill
	for _, one := range drill.All {
		if len(d.Only) == 0 || slices.Contains(d.Only, one.Name) {
			chosen = append(chosen, one)
		}
	}
	for _, name := range d.Only {
		if !slices.ContainsFunc(drill.All, func(one drill.Drill) bool { return one.Name == name }) {
			return usageError{fmt.Errorf("--only: there is no drill %q: nearside-dev drill --list", name)}
		}
	}
	if d.Scale <= 0 || d.Scale > 10 {
		return usageError{fmt.Errorf("--scale: expected more than 0, at most 10, not %g", d.Scale)}
	}
	if err := wan.Missing(); err != nil {
		return err
	}
	programs, err := programs()
	if err != nil {
		return err
	}
	source, err := filepath.Abs(d.Source)
	if err != nil {
		return err
	}
	cache := filepath.Join(programs, "drill") // what make clean removes with the rest
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return err
	}
	ctx, _, stop := e.interrupted()
	defer stop()
	var verdicts []string
	failed := 0
	for _, one := range chosen {
		began := time.Now()
		err := drill.Run(ctx, one, drill.Options{
			Programs: programs, Source: source, Cache: cache, BasePort: d.BasePort, Scale: d.Scale, Out: e.stdout,
		})
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		verdict := "PASS"
		if err != nil {
			verdict = "FAIL"
			failed++
			fmt.Fprintf(e.stdout, "  %v\n", err)
		}
		fmt.Fprintf(e.stdout, "%s %s in %s\n\n", verdict, one.Name, time.Since(began).Round(time.Second))
		verdicts = append(verdicts, fmt.Sprintf("%s  %-16s docs/operate/runbooks/%s", verdict, one.Name, one.Runbook))
	}
	fmt.Fprintf(e.stdout, "%s\n%d of %d drills passed, with times scaled by %g\n", strings.Join(verdicts, "\n"), len(chosen)-failed, len(chosen), d.Scale)
	if failed > 0 {
		return fmt.Errorf("%d drills failed", failed)
	}
	return nil
}
