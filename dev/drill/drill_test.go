//go:build linux

package drill

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nearside/dev/wan"
)

const runbooks = "../../docs/operate/runbooks"

// programs are built once, where a test needs them.
var programs = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "nearside-programs-")
	if err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-o", dir+"/", "./core/cmd/nearside-core", "./edge/cmd/nearside-edge", "./dev/cmd/nearside-dev")
	build.Dir = "../.."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the programs: %w: %s", err, out)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := programs(); err == nil {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// books are the runbooks by file name, the index not among them.
func books(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(runbooks, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, file := range files {
		if filepath.Base(file) == "README.md" {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(file)] = string(text)
	}
	return all
}

var namedDrill = regexp.MustCompile("`make drill ONLY=([a-z-]+)`")

// Every runbook names its drills at its top and every drill its runbook; the
// index leads to each, and each says what to do, what to see and what it costs.
func TestRunbooksAndDrillsNameEachOther(t *testing.T) {
	named := map[string]string{} // drill to runbook
	index, err := os.ReadFile(filepath.Join(runbooks, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range books(t) {
		drills := namedDrill.FindAllStringSubmatch(text, -1)
		if len(drills) == 0 {
			t.Errorf("%s names no drill", file)
		}
		for _, d := range drills {
			named[d[1]] = file
		}
		for _, heading := range []string{"\n## Do", "\n## You should see\n", "\n## What it costs\n"} {
			if !strings.Contains(text, heading) {
				t.Errorf("%s has no section %q", file, strings.TrimSpace(heading))
			}
		}
		if !strings.Contains(string(index), "]("+file+")") {
			t.Errorf("the index does not lead to %s", file)
		}
	}
	seen := map[string]bool{}
	for _, d := range All {
		if seen[d.Name] {
			t.Errorf("two drills are named %s", d.Name)
		}
		seen[d.Name] = true
		if named[d.Name] != d.Runbook {
			t.Errorf("the drill %s belongs to %s, and it is %q that names it", d.Name, d.Runbook, named[d.Name])
		}
		delete(named, d.Name)
	}
	for name, file := range named {
		t.Errorf("%s names the drill %s, which does not exist", file, name)
	}
}

// commands are the lines of a runbook's code blocks, with their continuations.
func commands(text string) (lines []string) {
	in := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "```"):
			in = !in
		case in && line != "":
			lines = append(lines, line)
		}
	}
	return lines
}

// What a runbook tells people to type exists: programs take the arguments,
// the admin API has the paths, and the metrics it speaks of are there.
func TestWhatRunbooksSayToTypeExists(t *testing.T) {
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	paths := apiPaths(t)
	metrics := metricNames(t)
	checked := map[string]int{}
	for file, text := range books(t) {
		for _, line := range commands(text) {
			program, _, _ := strings.Cut(line, " ")
			checked[program]++
			switch program {
			case "nearside-core", "nearside-edge":
				args := strings.Fields(strings.ReplaceAll(line, "/etc/nearside/", "/nonexistent/"))[1:]
				if !slices.Contains(args, "--check") {
					args = append(args, "--check")
				}
				cmd := exec.Command(filepath.Join(dir, program), args...)
				cmd.Env = append(os.Environ(), "NEARSIDE_DATABASE_URL=postgres://a@127.0.0.1:1/x")
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%s: %s: %v: %s", file, line, err, out)
				}
			case "curl":
				if path, ok := strings.CutPrefix(line[strings.LastIndex(line, " ")+1:], "$CORE"); ok {
					method := "GET"
					if strings.Contains(line, "-X POST") {
						method = "POST"
					}
					if !paths.has(method, path) {
						t.Errorf("%s: the admin API has no %s %s", file, method, path)
					}
				} else if !strings.HasSuffix(line, "/readyz") {
					t.Errorf("%s: %s asks for what is not known here", file, line)
				}
			case "systemctl", "timedatectl", "apt", "psql", "ALTER", "SELECT": // not ours
			default:
				t.Errorf("%s: %s: which program is that?", file, line)
			}
		}
		for _, name := range regexp.MustCompile(`nearside_(?:core|edge)_[a-z_]+`).FindAllString(text, -1) {
			checked["metric"]++
			if !metrics[name] {
				t.Errorf("%s: there is no metric %s", file, name)
			}
		}
		for _, link := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(runbooks, link[1])); errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s leads to %s, which is not there", file, link[1])
			}
		}
	}
	for _, what := range []string{"nearside-core", "nearside-edge", "curl", "metric"} {
		if checked[what] == 0 {
			t.Errorf("nothing of the kind %s was looked at", what)
		}
	}
}

// api is what the admin API's own document lists.
type api []operation

type operation struct {
	method string
	path   *regexp.Regexp
}

func (a api) has(method, path string) bool {
	return slices.ContainsFunc(a, func(o operation) bool { return o.method == method && o.path.MatchString(path) })
}

// apiPaths reads the document that the API's own test holds it to.
func apiPaths(t *testing.T) (list api) {
	t.Helper()
	text, err := os.ReadFile("../../core/admin/testdata/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	for path, methods := range document.Paths {
		for method := range methods {
			pattern := "^" + regexp.MustCompile(`\\\{[a-z_]+\\\}`).ReplaceAllString(regexp.QuoteMeta(path), "[^/]+") + "$"
			list = append(list, operation{strings.ToUpper(method), regexp.MustCompile(pattern)})
		}
	}
	if !list.has(http.MethodPost, "/v1/flights/x/pause") || list.has(http.MethodGet, "/v1/flights/x/y/pause") {
		t.Fatal("the API's document is not read as it should be")
	}
	return list
}

// metricNames are the names that stand in the programs' sources.
func metricNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	full, part := regexp.MustCompile(`"(nearside_(?:core|edge)_[a-z_]+)"`), regexp.MustCompile(`\{"([a-z_]+_total)", "`)
	for _, pattern := range []string{"../../core/cmd/nearside-core/*.go", "../../edge/cmd/nearside-edge/*.go", "../../core/ops/*.go", "../../edge/ops/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range full.FindAllSubmatch(text, -1) {
				names[string(m[1])] = true
			}
			for _, m := range part.FindAllSubmatch(text, -1) {
				names["nearside_core_"+string(m[1])] = true
			}
		}
	}
	return names
}

// freePort is the first of a range of ports that nobody has.
func freePort() (int, error) {
next:
	for base := 29000; base < 60000; base += 500 {
		for port := base; port < base+400; port++ {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				continue next
			}
			if err := l.Close(); err != nil {
				return 0, err
			}
		}
		return base, nil
	}
	return 0, errors.New("no 400 free ports in a row")
}

// Some of the drills, ten minutes lasting three seconds.
func TestShortDrills(t *testing.T) {
	if err := wan.Missing(); err != nil {
		t.Skipf("no drill is rehearsed here: %v", err)
	}
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range All {
		if !d.Short {
			continue
		}
		t.Run(d.Name, func(t *testing.T) {
			base, err := freePort()
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			err = Run(t.Context(), d, Options{Programs: dir, Source: "../..", Cache: dir, BasePort: base, Scale: 0.005, Out: &out})
			t.Log("\n" + out.String())
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// A drill whose promise does not hold fails, and says which.
func TestAFailedCheckFailsTheDrill(t *testing.T) {
	var out bytes.Buffer
	s := &stage{Options: Options{Out: &out, Scale: 0.1}, began: time.Now()}
	s.check(true, "one")
	if s.failed != 0 || !strings.Contains(out.String(), "ok     one") {
		t.Errorf("%d failed: %s", s.failed, out.String())
	}
	s.check(false, "two is %d", 3)
	if s.failed != 1 || !strings.Contains(out.String(), "FAIL   two is 3") {
		t.Errorf("%d failed: %s", s.failed, out.String())
	}
	if d := s.scaled(10 * time.Minute); d != time.Minute {
		t.Errorf("ten minutes at 0.1 last %s", d)
	}
}

func TestThePreviousVersionIsNamed(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, filepath.Dir(previousFile)), 0o755),
		os.WriteFile(filepath.Join(dir, previousFile), []byte("# why\n\nv1.2.3\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	if ref, err := previous(t.Context(), dir); err != nil || ref != "v1.2.3" {
		t.Errorf("%q, %v", ref, err)
	}
	if err := os.Remove(filepath.Join(dir, previousFile)); err != nil {
		t.Fatal(err)
	}
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "tag.gpgsign=false", "-c", "commit.gpgsign=false"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	git("init", "-q")
	git("commit", "-q", "--allow-empty", "-m", "one")
	if ref, err := previous(t.Context(), dir); err == nil {
		t.Errorf("without a tag it is %q", ref)
	}
	git("tag", "v1")
	git("commit", "-q", "--allow-empty", "-m", "two")
	git("tag", "v2")
	git("commit", "-q", "--allow-empty", "-m", "three")
	if ref, err := previous(t.Context(), dir); err != nil || ref != "v2" {
		t.Errorf("%q, %v; want the newest tag that is an ancestor", ref, err)
	}
	if _, err := buildPrevious(t.Context(), Options{Source: dir, Cache: dir}, "v9"); err == nil || !strings.Contains(err.Error(), "git fetch") {
		t.Errorf("a ref that is not there: %v", err)
	}
}
