package regions

import (
	"bytes"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"nearside/dev/load"
)

// The metrics of both programs keep the conventions of Prometheus, and their
// names the prefix of their program.
func TestMetricsKeepTheConventions(t *testing.T) {
	if reason := view(t, newFlight(t, line{views: 100, cpm: 1_000_000}).offer(t, edges[0]).ViewURL); reason != "Billed view" {
		t.Errorf("a view: %s", reason)
	}
	for program, ops := range map[string]string{"nearside_edge": edges[0].Ops, "nearside_core": here.Ops(0)} {
		answer, err := browser.Get(t.Context(), ops+"/metrics", load.Reader{})
		if err != nil || answer.Status != http.StatusOK {
			t.Fatalf("%s: %d (%v)", program, answer.Status, err)
		}
		problems, err := promlint.New(bytes.NewReader(answer.Body)).Lint()
		if err != nil {
			t.Fatalf("%s: %v", program, err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
		own := 0
		for line := range strings.Lines(string(answer.Body)) {
			words := strings.Fields(line)
			if len(words) < 3 || words[1] != "TYPE" {
				continue
			}
			switch name := words[2]; {
			case strings.HasPrefix(name, program+"_"):
				own++
			case !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_"):
				t.Errorf("%s has a metric %s", program, name)
			}
		}
		if own < 5 {
			t.Errorf("%s has %d metrics of its own", program, own)
		}
	}
}

var serverTiming = regexp.MustCompile(`^decide;dur=\d+(\.\d+)?$`)

// An answer says how long deciding took, as browsers show it.
func TestServerTiming(t *testing.T) {
	page := flight{slug: "sample-docs"}
	answer, err := browser.Get(t.Context(), edges[0].Public+"/api/v1/decision/?"+page.query().Encode(), reader())
	if err != nil {
		t.Fatal(err)
	}
	if got := answer.Header.Get("Server-Timing"); answer.Status != http.StatusOK || !serverTiming.MatchString(got) {
		t.Errorf("a decision is answered with %d, Server-Timing %q", answer.Status, got)
	}
}

// --version is one line: the version and the Go that built it, the same as the
// running program's metric says.
func TestVersion(t *testing.T) {
	said := map[string]string{}
	for _, program := range []string{"nearside-edge", "nearside-core", "nearside-dev"} {
		out, err := exec.Command(filepath.Join(programs, program), "--version").Output()
		if err != nil {
			t.Errorf("%s --version: %v", program, err)
		}
		said[program] = strings.TrimSuffix(string(out), "\n")
		if words := strings.Split(said[program], " "); len(words) < 2 || words[0] == "" || words[len(words)-1] != runtime.Version() {
			t.Errorf("%s --version says %q", program, out)
		}
	}
	for metricOf, ops := range map[string]string{"nearside-edge": edges[0].Ops, "nearside-core": here.Ops(0)} {
		name := strings.ReplaceAll(metricOf, "-", "_") + "_build_info"
		if got := metric(t, ops, fmt.Sprintf("%s{version=%q}", name, said[metricOf])); got != 1 {
			t.Errorf("%s is %v", name, got)
		}
	}
}
