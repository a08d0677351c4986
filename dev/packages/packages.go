// Package packages installs Debian packages that development and tests need.
//
// As root it runs apt-get; a plain user needs sudo, which is asked for a
// password only where there is a terminal to ask on. Where neither works, or
// there is no apt-get, the error is one line that says what to install.
package packages

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// Install installs the named packages and says so on out.
func Install(ctx context.Context, out io.Writer, names ...string) error {
	advice := errors.New("install it by hand; on Debian or Ubuntu: sudo apt-get install " + strings.Join(names, " "))
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("there is no apt-get here: %w", advice)
	}
	prefix, err := asRoot(ctx)
	if err != nil {
		return fmt.Errorf("no right to install packages: %w", advice)
	}
	fmt.Fprintf(out, "installing %s with apt-get\n", strings.Join(names, ", "))
	apt := []string{"env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "DPkg::Lock::Timeout=300"}
	for _, step := range [][]string{
		slices.Concat(prefix, apt, []string{"update"}),
		slices.Concat(prefix, apt, []string{"install", "-y", "--no-install-recommends"}, names),
	} {
		if err := run(ctx, out, step); err != nil {
			return fmt.Errorf("%w; %w", err, advice)
		}
	}
	return nil
}

// WriteFile writes a file that only root may write.
func WriteFile(ctx context.Context, path, content string) error {
	prefix, err := asRoot(ctx)
	if err != nil {
		return err
	}
	return run(ctx, io.Discard, slices.Concat(prefix, []string{"sh", "-c", `mkdir -p "$(dirname "$0")" && printf %s "$1" >"$0"`, path, content}))
}

// RemoveFile removes what WriteFile wrote.
func RemoveFile(ctx context.Context, path string) error {
	prefix, err := asRoot(ctx)
	if err != nil {
		return err
	}
	return run(ctx, io.Discard, slices.Concat(prefix, []string{"rm", "-f", path}))
}

// asRoot is what to put before a command for it to run as root.
func asRoot(ctx context.Context) ([]string, error) {
	if os.Geteuid() == 0 {
		return nil, nil
	}
	sudo := []string{"sudo", "-n"}
	if info, err := os.Stdin.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		sudo = []string{"sudo"}
	}
	return sudo, run(ctx, io.Discard, append(slices.Clone(sudo), "true"))
}

func run(ctx context.Context, out io.Writer, args []string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, out, out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return nil
}
