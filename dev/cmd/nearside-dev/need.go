package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"nearside/dev/packages"
	"nearside/dev/postgres"
)

// need is the command of that name.
type need struct{}

// Run looks for each thing before it installs it.
func (need) Run(e *env) error {
	ctx, _, stop := e.interrupted()
	defer stop()
	// The race detector is linked by a C compiler.
	if _, err := exec.LookPath("gcc"); err != nil {
		if _, err := exec.LookPath("clang"); err != nil {
			if err := packages.Install(ctx, e.stderr, "gcc", "libc6-dev"); err != nil {
				return fmt.Errorf("no C compiler for the race detector: %w", err)
			}
		}
	}
	// strace is one of the witnesses that a decision makes no system call of
	// its own; where there is none to be had, its test says so.
	if _, err := exec.LookPath("strace"); err != nil {
		if err := packages.Install(ctx, e.stderr, "strace"); err != nil {
			fmt.Fprintln(e.stderr, "no strace, whose test will be left out:", err)
		}
	}
	// The WAN's tests make network namespaces, which only root may.
	if _, err := exec.LookPath("ip"); err != nil && os.Geteuid() == 0 {
		if err := packages.Install(ctx, e.stderr, "iproute2"); err != nil {
			fmt.Fprintln(e.stderr, "no iproute2, so the WAN's tests will be left out:", err)
		}
	}
	bin, err := postgres.FindOrInstall(ctx, e.stderr)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.stdout, "Postgres %d in %s\n", bin.Major, bin.Dir)
	return errors.Join(err, ctx.Err())
}
