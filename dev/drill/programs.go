//go:build linux

package drill

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"nearside/dev/world"
)

// previousFile names, in a line of its own, the commit or tag that the upgrade
// drill upgrades from. Without it, it is the newest tag that is an ancestor.
const previousFile = "dev/drill/previous"

// previous is the ref to upgrade from.
func previous(ctx context.Context, source string) (string, error) {
	text, err := os.ReadFile(filepath.Join(source, previousFile))
	if err == nil {
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				return line, nil
			}
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	out, err := exec.CommandContext(ctx, "git", "-C", source, "describe", "--tags", "--abbrev=0", "HEAD").Output()
	if err != nil {
		return "", fmt.Errorf("there is no tag before this commit, and %s names none", previousFile)
	}
	return strings.TrimSpace(string(out)), nil
}

// buildPrevious builds the programs of a ref into the cache and says where.
func buildPrevious(ctx context.Context, o Options, ref string) (string, error) {
	out, err := exec.CommandContext(ctx, "git", "-C", o.Source, "rev-parse", "--verify", ref+"^{commit}").Output()
	if err != nil {
		return "", fmt.Errorf("the commit %s, which %s names, is not in this clone: git fetch --unshallow --tags", ref, previousFile)
	}
	commit := strings.TrimSpace(string(out))
	dir := filepath.Join(o.Cache, "previous-"+commit[:12])
	if built(dir) {
		return dir, nil
	}
	tree, err := os.MkdirTemp(o.Cache, "source-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(tree) }()
	archive := exec.CommandContext(ctx, "git", "-C", o.Source, "archive", commit)
	unpack := exec.CommandContext(ctx, "tar", "-x", "-C", tree)
	if unpack.Stdin, err = archive.StdoutPipe(); err != nil {
		return "", err
	}
	if err := errors.Join(archive.Start(), unpack.Run(), archive.Wait()); err != nil {
		return "", fmt.Errorf("unpack %s: %w", ref, err)
	}
	return dir, build(ctx, tree, dir)
}

// built reports whether a directory of the cache is complete.
func built(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "nearside-edge"))
	return err == nil
}

// build builds both programs from a tree; the directory appears when they are
// there.
func build(ctx context.Context, tree, dir string, flags ...string) error {
	making, err := os.MkdirTemp(filepath.Dir(dir), "making-")
	if err != nil {
		return err
	}
	args := append(append([]string{"build", "-trimpath", "-buildvcs=false"}, flags...), "-o", making+"/", "./core/cmd/nearside-core", "./edge/cmd/nearside-edge")
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = tree
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return errors.Join(fmt.Errorf("build in %s: %w: %s", tree, err, bytes.TrimSpace(out)), os.RemoveAll(making))
	}
	return errors.Join(os.RemoveAll(dir), os.Rename(making, dir))
}

// offsetVariable tells programs of buildOffset how many seconds their clock is
// off.
const offsetVariable = "DRILL_CLOCK_OFFSET_SECONDS"

// buildOffset builds the programs so that their wall clock can be off: the
// standard library's time.Now adds what the environment says. Nothing of the
// product's source differs, and every reading of the clock in it is off, those
// of its libraries too; the monotonic clock is not, as on a real machine.
func buildOffset(ctx context.Context, o Options) (string, error) {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("find the Go installation: %w", err)
	}
	library := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	text, err := os.ReadFile(library)
	if err != nil {
		return "", err
	}
	const reading = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	if bytes.Count(text, []byte(reading)) != 1 {
		return "", fmt.Errorf("%s does not read the clock as this drill expects: adapt buildOffset to this version of Go", library)
	}
	text = bytes.Replace(text, []byte(reading), []byte(reading+"\tsec += wallOffset\n"), 1)
	offset := `
package time

import "syscall"

// wallOffset is how many seconds this program's wall clock is off.
var wallOffset = func() (seconds int64) {
	text, _ := syscall.Getenv("` + offsetVariable + `")
	sign := int64(1)
	for i, c := range text {
		if i == 0 && c == '-' {
			sign = -1
			continue
		}
		seconds = seconds*10 + int64(c-'0')
	}
	return sign * seconds
}()
`
	head, err := exec.CommandContext(ctx, "git", "-C", o.Source, "rev-parse", "HEAD").Output()
	if err != nil {
		return "", fmt.Errorf("which commit is this: %w", err)
	}
	// What is not committed is in the programs too, so that the cache goes by time.
	info, err := os.Stat(filepath.Join(o.Programs, "nearside-edge"))
	if err != nil {
		return "", err
	}
	name := sha256.Sum256(fmt.Appendf(text, "%s %s %d", offset, head, info.ModTime().UnixNano()))
	dir := filepath.Join(o.Cache, fmt.Sprintf("offset-%x", name[:6]))
	if built(dir) {
		return dir, nil
	}
	overlay, err := os.MkdirTemp(o.Cache, "overlay-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(overlay) }()
	replace := map[string]string{library: filepath.Join(overlay, "time"), filepath.Join(filepath.Dir(library), "offset.go"): filepath.Join(overlay, "offset")}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	if err := errors.Join(
		os.WriteFile(filepath.Join(overlay, "time"), text, 0o644),
		os.WriteFile(filepath.Join(overlay, "offset"), []byte(offset), 0o644),
		os.WriteFile(filepath.Join(overlay, "overlay"), list, 0o644),
	); err != nil {
		return "", err
	}
	return dir, build(ctx, o.Source, dir, "-overlay", filepath.Join(overlay, "overlay"))
}

var rollingUpgrade = Drill{
	Name: "rolling-upgrade", Runbook: "upgrade.md",
	About: "core and edges are upgraded from the previous version one by one, and the core is taken back once",
	shape: func(c *world.Config) { c.Regions, c.Nodes = []string{"us-east", "eu-west"}, 2 },
	prepare: func(ctx context.Context, s *stage, c *world.Config) error {
		ref, err := previous(ctx, s.Source)
		if err != nil {
			return err
		}
		s.say("building the previous version, %s", ref)
		s.other, err = buildPrevious(ctx, s.Options, ref)
		c.Programs = s.other
		return err
	},
	run: func(ctx context.Context, s *stage) error {
		if err := s.sell(ctx, large); err != nil {
			return err
		}
		s.visitAll(ctx, rate/2)
		if err := s.viewsCome(ctx, 50); err != nil {
			return err
		}
		goesOn := func(what string) error {
			if err := s.exchanged(ctx); err != nil {
				return err
			}
			from := s.answered()
			if err := s.let(ctx, time.Minute); err != nil {
				return err
			}
			if err := s.viewsCome(ctx, 20); err != nil {
				return err
			}
			to := s.answered()
			s.check(to.failed == 0 && to.billed > from.billed, "%s: %d more views, %d billed, nothing failed", what, to.views-from.views, to.billed-from.billed)
			return nil
		}
		if err := goesOn("all of the previous version"); err != nil {
			return err
		}
		if _, err := s.Tool(ctx, s.Programs, "migrate"); err != nil {
			return err
		}
		if err := goesOn("the new schema under the previous core"); err != nil {
			return err
		}
		core := func(programs string) error {
			s.Core.Stop(syscall.SIGTERM, 20*time.Second)
			s.Core.Change(programs)
			if err := s.Core.Start(); err != nil {
				return err
			}
			return s.WaitCore(ctx)
		}
		if err := core(s.Programs); err != nil {
			return err
		}
		if err := goesOn("a new core with edges of the previous version"); err != nil {
			return err
		}
		for n, e := range s.Ready().Edges {
			s.leave(e.Node)
			how := "drained and started anew"
			if n == 1 {
				how = "killed, and started on the journal of the previous version"
				s.Edges[n].Kill()
			} else if status := s.drain(e.Node); status != 0 {
				s.check(false, "%s of the previous version ended with status %d", e.Node, status)
			}
			s.Edges[n].Change(s.Programs)
			if err := s.start(ctx, e.Node); err != nil {
				return err
			}
			if _, err := s.offered(ctx, e); err != nil {
				return err
			}
			s.visit(ctx, e.Node, rate/2)
			s.say("%s is new: %s", e.Node, how)
			if n == 1 {
				if err := goesOn("half of the edges new"); err != nil {
					return err
				}
			}
		}
		if err := goesOn("all of the new version"); err != nil {
			return err
		}
		if err := core(s.other); err != nil {
			return err
		}
		if err := goesOn("the core taken back, with new edges"); err != nil {
			return err
		}
		if err := core(s.Programs); err != nil {
			return err
		}
		if err := goesOn("the core new again"); err != nil {
			return err
		}
		return s.settle(ctx, 0)
	},
}

var clockOff = Drill{
	Name: "clock-off", Runbook: "clock.md",
	About: "the clock of one node is an hour ahead, then an hour behind",
	prepare: func(ctx context.Context, s *stage, _ *world.Config) (err error) {
		s.say("building programs whose clock can be off")
		s.other, err = buildOffset(ctx, s.Options)
		return err
	},
	run: func(ctx context.Context, s *stage) error {
		if err := s.sell(ctx, large); err != nil {
			return err
		}
		s.visitAll(ctx, rate)
		if err := s.viewsCome(ctx, 60); err != nil {
			return err
		}
		i, e := s.node("eu-west-1")
		restart := func(programs string, env ...string) error {
			s.leave(e.Node)
			s.Edges[i].Stop(syscall.SIGTERM, 40*time.Second)
			s.Edges[i].Change(programs, env...)
			return s.Edges[i].Start()
		}
		for _, off := range []time.Duration{time.Hour, -time.Hour} {
			if err := restart(s.other, fmt.Sprintf("%s=%d", offsetVariable, int(off.Seconds()))); err != nil {
				return err
			}
			s.say("eu-west-1's clock is %s off", off)
			var said string
			_, err := s.until(ctx, time.Minute, "it says so", func() (bool, error) {
				status, body := s.readyz(ctx, e)
				said = fmt.Sprintf("%d %s", status, body)
				return status == 503 && strings.Contains(body, "clock"), nil
			})
			s.check(err == nil, "/readyz of eu-west-1: %.120s", said)
			skew, err := s.metric(ctx, e.Ops, "nearside_edge_clock_skew_seconds")
			if err != nil {
				return err
			}
			s.check(skew*off.Seconds() > 0 && skew/off.Seconds() > 0.9 && skew/off.Seconds() < 1.1, "nearside_edge_clock_skew_seconds is %.0f", skew)
			s.visit(ctx, e.Node, rate)
			from := s.answered(e.Node)
			if _, err := s.until(ctx, time.Minute, "it is asked", func() (bool, error) { return s.answered(e.Node).decisions > from.decisions+50, nil }); err != nil {
				return err
			}
			to := s.answered(e.Node)
			s.check(to.failed == 0, "whoever still asks it is answered: %d decisions, %d offers, %d views, %d billed", to.decisions, to.offers, to.views, to.billed)
		}
		if err := restart(s.Programs); err != nil {
			return err
		}
		if err := s.WaitReady(ctx, i); err != nil {
			return err
		}
		s.check(true, "with its clock right it is ready again")
		s.visit(ctx, e.Node, rate)
		if _, err := s.offered(ctx, e); err != nil {
			return err
		}
		if err := s.viewsCome(ctx, 20, e.Node); err != nil {
			return err
		}
		if err := s.exchanged(ctx); err != nil {
			return err
		}
		return s.settle(ctx, 0)
	},
}
