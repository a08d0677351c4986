package imports

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

func TestTheHouseKeepsItsRules(t *testing.T) {
	packages, err := Load("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range Rules {
		t.Run(rule.Name, func(t *testing.T) {
			broken, err := rule.Breaks(packages)
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range broken {
				t.Error(b)
			}
		})
	}
}

// TestEveryRuleCanFail runs the rules over a module that breaks each of them;
// its file want lists what they must find there.
func TestEveryRuleCanFail(t *testing.T) {
	dir, lines := unpackBroken(t)
	want := map[string][]string{}
	for _, line := range lines {
		rule, found, ok := strings.Cut(line, ": ")
		if !ok {
			t.Fatalf("want: %q is not of the form rule: finding", line)
		}
		want[rule] = append(want[rule], found)
	}
	packages, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range Rules {
		t.Run(rule.Name, func(t *testing.T) {
			got, err := rule.Breaks(packages)
			if err != nil {
				t.Fatal(err)
			}
			if len(want[rule.Name]) == 0 {
				t.Fatal("the broken module does not break this rule: nothing shows that it can fail")
			}
			slices.Sort(got)
			slices.Sort(want[rule.Name])
			if !slices.Equal(got, want[rule.Name]) {
				t.Errorf("found:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want[rule.Name], "\n"))
			}
		})
		delete(want, rule.Name)
	}
	for rule := range want {
		t.Errorf("the broken module expects findings of %q, which is no rule", rule)
	}
}

// TestMissingPackagesFail: a rule about a package that is gone must not pass
// for want of anything to look at.
func TestMissingPackagesFail(t *testing.T) {
	for _, rule := range Rules {
		about := strings.Contains(rule.Name, "links") || strings.HasPrefix(rule.Name, "pure")
		if _, err := rule.Breaks(nil); (err != nil) != about {
			t.Errorf("%s: over no packages at all the error is %v", rule.Name, err)
		}
	}
}

// TestLintSeesTheRules runs golangci-lint with the project's configuration
// over the broken module. make test names the linter; elsewhere the test says
// that it was left out.
func TestLintSeesTheRules(t *testing.T) {
	lint := os.Getenv("NEARSIDE_GOLANGCI_LINT")
	if lint == "" {
		t.Skip("NEARSIDE_GOLANGCI_LINT does not name a golangci-lint; make unit sets it")
	}
	config, err := filepath.Abs("../../.golangci.yml")
	if err != nil {
		t.Fatal(err)
	}
	dir, _ := unpackBroken(t)
	cmd := exec.Command(lint, "run", "--config", config, "--enable-only", "depguard", "--show-stats=false", "./...")
	cmd.Dir = dir
	out, err := cmd.Output()
	if exit := (&exec.ExitError{}); !errors.As(err, &exit) {
		t.Fatalf("golangci-lint finds nothing wrong with the broken module (%v):\n%s", err, out)
	}
	for _, want := range []string{
		"edge/creative/x.go:4:2: import 'nearside/core/admin' is not allowed from list 'edge'",
		"edge/creative/x.go:5:2: import 'github.com/valyala/fasthttp' is not allowed from list 'fasthttp'",
		"core/admin/x.go:4:2: import 'github.com/prometheus/client_golang' is not allowed from list 'prometheus'",
		"core/console/x.go:4:2: import 'nearside/edge/visitor' is not allowed from list 'core'",
		"sync/exchange/x.go:4:2: import 'nearside/edge/visitor' is not allowed from list 'sync'",
		"sync/exchange/x.go:5:2: import 'nearside/core/report' is not allowed from list 'sync'",
		"sync/catalog/x.go:4:2: import 'nearside/sync/wire' is not allowed from list 'wire'",
		"sync/catalog/x.go:5:2: import 'net/http' is not allowed from list 'pure'",
		"edge/tag/x.go:4:2: import 'nearside/dev/world' is not allowed from list 'ships'",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("golangci-lint does not say: %s", want)
		}
	}
	if t.Failed() {
		t.Logf("it says:\n%s", out)
	}
}

// unpackBroken writes the broken module to a directory and returns the lines
// of its file want.
func unpackBroken(t *testing.T) (dir string, want []string) {
	t.Helper()
	archive, err := txtar.ParseFile("testdata/broken.txtar")
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	for _, f := range archive.Files {
		if f.Name == "want" {
			want = strings.Split(strings.TrimSpace(string(f.Data)), "\n")
			continue
		}
		path := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir, want
}
