// Package gotest runs "go test" and remembers which tests were left out and
// why: go test itself says that only to those who ask for every line.
//
// Run prints what go test prints, or all of it where it is to be verbose, and
// ends as go test ends. Each test that skipped becomes a line of a file, which
// Summary prints at the end of everything.
package gotest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

// Config says what to run.
type Config struct {
	Dir      string   // where go test runs; "": here
	Args     []string // of go test
	Verbose  bool
	Skipped  string // file that lines are added to
	Out, Err io.Writer
}

// event is one line of go test -json (go doc test2json).
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

// Run runs go test. Its error is go test's own end.
func Run(ctx context.Context, c Config) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, c.Args...)...)
	cmd.Dir, cmd.Stderr = c.Dir, c.Err
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	skipped, err := read(stdout, c.Verbose, c.Out)
	_, _ = io.Copy(c.Out, stdout) // what read did not want, so that go test can end
	if err := errors.Join(err, cmd.Wait()); err != nil {
		return fmt.Errorf("go test: %w", errors.Join(err, add(c.Skipped, skipped)))
	}
	return add(c.Skipped, skipped)
}

// read prints what go test says and returns what was skipped, with reasons.
func read(from io.Reader, verbose bool, out io.Writer) (skipped []string, err error) {
	said := map[string]*strings.Builder{} // by package and test
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 8<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil { // not test2json's: a build's, say
			fmt.Fprintln(out, lines.Text())
			continue
		}
		key := e.Package + " " + e.Test
		switch e.Action {
		case "build-output":
			fmt.Fprint(out, e.Output)
		case "output":
			if verbose || e.Test == "" && !framing(e.Output) {
				fmt.Fprint(out, e.Output)
			}
			if said[key] == nil {
				said[key] = &strings.Builder{}
			}
			said[key].WriteString(e.Output)
		case "fail":
			if b := said[key]; b != nil && e.Test != "" && !verbose {
				fmt.Fprint(out, b)
			}
			delete(said, key)
		case "pass":
			delete(said, key)
		case "skip":
			if e.Test != "" {
				skipped = append(skipped, fmt.Sprintf("%s %s: %s", e.Package, e.Test, reason(said[key])))
			}
			delete(said, key)
		}
	}
	return skipped, lines.Err()
}

// framing reports whether a line is one that only go test -v prints.
func framing(line string) bool {
	return line == "PASS\n" || strings.HasPrefix(line, "testing: warning: no tests to run") || strings.Contains(line, "[no test files]")
}

var where = regexp.MustCompile(`^\s*[a-z0-9_]+_test\.go:\d+: `)

// reason is what a test said last before it skipped.
func reason(said *strings.Builder) string {
	if said == nil {
		return "no reason given"
	}
	for _, line := range slices.Backward(strings.Split(said.String(), "\n")) {
		if where.MatchString(line) {
			return where.ReplaceAllString(line, "")
		}
	}
	return "no reason given"
}

func add(file string, lines []string) error {
	if len(lines) == 0 {
		return nil
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(strings.Join(lines, "\n") + "\n")
	return errors.Join(err, f.Close())
}

// Summary prints what was left out since the file was removed.
func Summary(file string, out io.Writer) error {
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if lines[0] == "" {
		_, err := fmt.Fprintln(out, "no test was left out")
		return err
	}
	slices.Sort(lines)
	_, err = fmt.Fprintf(out, "%d tests were left out:\n  %s\n", len(lines), strings.Join(lines, "\n  "))
	return err
}
