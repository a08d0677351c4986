package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"nearside/dev/sample"
	"nearside/dev/testpg"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		testpg.Stop()
		os.Exit(code)
	}))
}

// core runs the program and returns what it printed.
func core(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	err := run(t.Context(), args, strings.NewReader(stdin), &stdout, &stderr)
	return stdout.String(), err
}

// TestConfiguration names the key that is wrong, in one line, without secrets.
func TestConfiguration(t *testing.T) {
	file := func(text string) string {
		path := filepath.Join(t.TempDir(), "core.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const url = "--database-url=postgres://u:secret@127.0.0.1:1/d"
	for _, c := range []struct {
		about string
		args  []string
		names string
	}{
		{"no database", []string{"serve"}, "--database-url"},
		{"no URL", []string{"serve", "--database-url=mysql://u:secret@h/d"}, "--database-url"},
		{"a port that is none", []string{"serve", url, "--admin-listen=:http"}, "--admin-listen"},
		{"a port too high", []string{"serve", url, "--admin-listen=:65536"}, "--admin-listen"},
		{"no room for the other ports", []string{"serve", url, "--admin-listen=:65535"}, "--sync-listen"},
		{"no address", []string{"serve", url, "--ops-listen=8082"}, "--ops-listen"},
		{"no duration", []string{"serve", url, "--exchange-interval=1"}, "--exchange-interval"},
		{"too often", []string{"serve", url, "--exchange-interval=1ms"}, "--exchange-interval"},
		{"never offline", []string{"serve", url, "--max-offline=0s"}, "--max-offline"},
		{"fenced while it may be offline", []string{"serve", url, "--fence-after=4h30m"}, "--fence-after"},
		{"reports kept too short to learn from", []string{"serve", url, "--keep-reports=24h"}, "--keep-reports"},
		{"a level that is none", []string{"serve", url, "--log-level=loud"}, "--log-level"},
		{"an unknown flag", []string{"serve", url, "--colour=blue"}, "--colour"},
		{"an unknown command", []string{url, "brew"}, "brew"},
		{"no role", []string{"token", "create", url}, "--role"},
		{"a role that is none", []string{"token", "create", url, "--role=owner"}, "--role"},
		{"a file that is not there", []string{"serve", url, "--config=/nowhere/core.yaml"}, "--config"},
		{"a file that is no YAML", []string{"serve", url, "--config=" + file("a: [")}, "--config"},
		{"a file that is a list", []string{"serve", url, "--config=" + file("- a")}, "--config"},
		{"a key that is none", []string{"serve", url, "--config=" + file("colour: blue")}, `"colour"`},
		{"a value that is wrong in the file", []string{"serve", url, "--config=" + file("max-offline: soon")}, "--max-offline"},
	} {
		_, err := core(t, "", c.args...)
		var wrong configError
		if !errors.As(err, &wrong) {
			t.Errorf("%s: %v, want a configuration error", c.about, err)
			continue
		}
		if text := err.Error(); !strings.Contains(text, c.names) || strings.Contains(text, "\n") || strings.Contains(text, "secret") {
			t.Errorf("%s: %q, want one line that names %s and no secret", c.about, text, c.names)
		}
	}
}

// TestCheck prints what is in force: flags over environment over file, and no
// secret.
func TestCheck(t *testing.T) {
	path := filepath.Join(t.TempDir(), "core.yaml")
	text := "database-url: postgres://u:secret@db:5432/d\nadmin-listen: 127.0.0.1:9000\nlog-level: warn\nmax-offline: 2h\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NEARSIDE_MAX_OFFLINE", "3h")
	t.Setenv("NEARSIDE_LOG_LEVEL", "debug")
	out, err := core(t, "", "serve", "--check", "--config", path, "--log-level", "error")
	if err != nil {
		t.Fatal(err)
	}
	want := `config: ` + path + `
database-url: postgres://u@db:5432/d
tls-dir: 
keep-reports: 0s
log-level: error
log-format: text
admin-listen: 127.0.0.1:9000
sync-listen: 127.0.0.1:9001
ops-listen: 127.0.0.1:9002
exchange-interval: 1s
max-offline: 3h0m0s
fence-after: 24h0m0s
`
	if out != want {
		t.Errorf("in force:\n%swant\n%s", out, want)
	}
}

// TestHelp answers without a configuration.
func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"serve", "--help"}, {"--version"}} {
		out, err := core(t, "", args...)
		if err != nil || out == "" {
			t.Errorf("%v: %q, %v", args, out, err)
		}
	}
	help, _ := core(t, "", "serve", "--help")
	if n := strings.Count(help, "($NEARSIDE_"); n >= 25 || n < 9 {
		t.Errorf("serve has %d knobs, want fewer than 25", n)
	}
}

// TestCommands does what an operator does on the first day.
func TestCommands(t *testing.T) {
	url := "--database-url=" + testpg.NewEmpty(t)
	must := func(stdin string, args ...string) string {
		t.Helper()
		out, err := core(t, stdin, append(args, url)...)
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return out
	}
	fails := func(want string, args ...string) {
		t.Helper()
		if _, err := core(t, "", append(args, url)...); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: %v, want %s", args, err, want)
		}
	}
	fails("was nearside-core migrate run?", "serve", "--admin-listen=127.0.0.1:0")
	must("", "migrate")
	must("", "migrate")

	document, err := json.Marshal(sample.Catalog(time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	if out := must(string(document), "import", "-"); !strings.HasPrefix(out, "created ") || strings.Contains(out, "created 0") {
		t.Errorf("first import: %s", out)
	}
	if out := must(string(document), "import", "-"); !strings.HasPrefix(out, "created 0, changed 0, unchanged ") {
		t.Errorf("second import: %s", out)
	}
	fails("no such file", "import", "/nowhere.yaml")
	wrong := filepath.Join(t.TempDir(), "wrong.yaml")
	if err := os.WriteFile(wrong, []byte("topics: [{slug: t, name: T}, {slug: u}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	fails("topics[1].name: expected to be present", "import", wrong)

	token := must("", "token", "create", "--role=admin", "--name=first")
	if strings.Count(token, "\n") != 1 || len(strings.TrimSpace(token)) < 40 {
		t.Errorf("the token is %q", token)
	}
	must("", "token", "create", "--role=publisher", "--publisher=sample-docs")
	fails("publisher: expected the slug", "token", "create", "--role=publisher", "--publisher=none")
	must("", "token", "revoke", "2")
	fails("there is no token 9", "token", "revoke", "9")
	list := must("", "token", "list")
	if lines := strings.Split(strings.TrimSpace(list), "\n"); len(lines) != 3 || !strings.Contains(lines[1], "first") || !strings.Contains(lines[2], "sample-docs") {
		t.Errorf("tokens:\n%s", list)
	}
	if strings.Contains(list, strings.TrimSpace(token)) {
		t.Error("the list says a token's text")
	}
	must("", "join-token", "create", "--name=region eu")
	must("", "join-token", "revoke", "1")
	fails("no join token 1", "join-token", "revoke", "1")
	if list := must("", "join-token", "list"); !strings.Contains(list, "region eu") {
		t.Errorf("join tokens:\n%s", list)
	}
	if out := must("", "jobs", "list"); !regexp.MustCompile(`(?m)^sampled-ctr +24h0m0s +- +- +0 +-$`).MatchString(out) {
		t.Errorf("jobs that never ran:\n%s", out)
	}
	if out := must("", "jobs", "run", "sampled-ctr"); out != "0 samples, none has changed\n" {
		t.Errorf("jobs run: %s", out)
	}
	if out := must("", "jobs", "list"); !strings.Contains(out, "0 samples, none has changed") {
		t.Errorf("jobs after a run:\n%s", out)
	}
	fails(`there is no job "tea"`, "jobs", "run", "tea")
	if out := must("", "reconcile"); out != "the books agree\n" {
		t.Errorf("reconcile: %s", out)
	}
}

// TestServe starts a core, asks each of its ports, and stops it while a
// request is under way.
func TestServe(t *testing.T) {
	url := testpg.New(t)
	token, err := core(t, "", "token", "create", "--role=admin", "--database-url="+url)
	if err != nil {
		t.Fatal(err)
	}
	base := freePorts(t)
	ctx, cancel := context.WithCancel(t.Context())
	var stderr lockedBuffer
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"serve", "--database-url=" + url, fmt.Sprintf("--admin-listen=127.0.0.1:%d", base)}, strings.NewReader(""), io.Discard, &stderr)
	}()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	get := func(port int, path string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", base+port, path), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(token))
		answer, err := client.Do(r)
		if err != nil {
			return 0, err.Error()
		}
		defer func() { _ = answer.Body.Close() }()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(text)
	}
	ready := func() bool {
		status, _ := get(2, "/readyz")
		return status == http.StatusOK
	}
	for limit := time.Now().Add(30 * time.Second); !ready(); {
		select {
		case err := <-done:
			t.Fatalf("serve ended: %v\n%s", err, stderr.String())
		default:
		}
		if time.Now().After(limit) {
			_, text := get(2, "/readyz")
			t.Fatalf("not ready: %s\n%s", text, stderr.String())
		}
	}
	for _, c := range []struct {
		port   int
		path   string
		status int
		holds  string
	}{
		{0, "/v1/flights", 200, `"items":[]`},
		{0, "/v1/catalog/versions", 200, `"version":1`},
		{0, "/openapi.json", 200, `"openapi":"3.1.0"`},
		{0, "/docs", 200, "elements-api"},
		{0, "/readyz", 404, "nothing at this path"},
		{1, "/v1/flights", 404, ""},
		{2, "/livez", 200, "ok"},
		{2, "/readyz", 200, `"ready":true`},
		{2, "/metrics", 200, "nearside_core_catalog_version 1"},
		{2, "/metrics", 200, `nearside_core_admin_requests_total{status="2xx"}`},
		{2, "/metrics", 200, "nearside_core_exchanges_total 0"},
		{2, "/metrics", 200, `nearside_core_job_runs_total{job="demand",result="failed"} 0`},
		{2, "/debug/pprof/cmdline", 200, ""},
		{2, "/v1/flights", 404, ""},
	} {
		if status, text := get(c.port, c.path); status != c.status || !strings.Contains(text, c.holds) {
			t.Errorf("port %d %s: %d %.200s, want %d with %s", c.port, c.path, status, text, c.status, c.holds)
		}
	}
	for _, c := range []struct {
		about  string
		body   string
		header string
		status int
	}{
		{"headers without end", `{}`, strings.Repeat("x", 32<<10), http.StatusRequestHeaderFieldsTooLarge},
		{"a body without end", `{"slug":"x","name":"` + strings.Repeat("x", 4<<20) + `"}`, "", http.StatusRequestEntityTooLarge},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, fmt.Sprintf("http://127.0.0.1:%d/v1/topics", base), strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(token))
		r.Header.Set("X-Much", c.header)
		answer, err := client.Do(r)
		if err != nil {
			t.Errorf("%s: %v", c.about, err)
			continue
		}
		_ = answer.Body.Close()
		if answer.StatusCode != c.status {
			t.Errorf("%s: %d, want %d", c.about, answer.StatusCode, c.status)
		}
	}
	// A second core on the same ports says which flag is wrong and ends.
	if _, err := core(t, "", "serve", "--database-url="+url, fmt.Sprintf("--admin-listen=127.0.0.1:%d", base)); err == nil || !strings.Contains(err.Error(), "--admin-listen") {
		t.Errorf("a second core on the same port: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("stopped with %v", err)
	}
	if strings.Contains(stderr.String(), strings.TrimSpace(token)) {
		t.Error("the log holds a token")
	}
}

// freePorts finds three ports in a row that nobody listens on.
func freePorts(t *testing.T) int {
	t.Helper()
	for range 50 {
		first, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		base := first.Addr().(*net.TCPAddr).Port
		ok := base+2 < 65536
		for i := 1; ok && i <= 2; i++ {
			other, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", base+i))
			if ok = err == nil; ok {
				_ = other.Close()
			}
		}
		_ = first.Close()
		if ok {
			return base
		}
	}
	t.Fatal("no three free ports in a row")
	return 0
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
