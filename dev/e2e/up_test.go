package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"nearside/dev/load"
	"nearside/dev/world"
)

// devUp is a running nearside-dev up.
type devUp struct {
	cmd    *exec.Cmd
	ready  world.Ready
	rest   chan string // what stdout carried after the ready line
	stderr lockedBuffer
}

// upCommand is nearside-dev up, with database as its NEARSIDE_DATABASE_URL.
func upCommand(database string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(programs, "nearside-dev"), append([]string{"up"}, args...)...)
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "NEARSIDE_") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	if database != "" {
		cmd.Env = append(cmd.Env, "NEARSIDE_DATABASE_URL="+database)
	}
	return cmd
}

func startUp(t *testing.T, database string, args ...string) *devUp {
	t.Helper()
	u := &devUp{cmd: upCommand(database, args...), rest: make(chan string, 1)}
	u.cmd.Stderr = &u.stderr
	stdout, err := u.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := u.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = u.cmd.Process.Kill() }) // where the test has not ended it
	lines := bufio.NewReader(stdout)
	line, err := lines.ReadString('\n')
	text, ok := strings.CutPrefix(line, "ready ")
	if err != nil || !ok {
		_ = u.cmd.Wait()
		t.Fatalf("stdout begins with %q (%v); stderr:\n%s", line, err, u.stderr.String())
	}
	if err := json.Unmarshal([]byte(text), &u.ready); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	go func() {
		rest, _ := io.ReadAll(lines)
		u.rest <- string(rest)
	}()
	return u
}

// stop sends a signal and wants everything gone.
func (u *devUp) stop(t *testing.T, s os.Signal) {
	t.Helper()
	if err := u.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	if rest := <-u.rest; rest != "" {
		t.Errorf("after the ready line stdout carries %q", rest)
	}
	if err := u.cmd.Wait(); err != nil {
		t.Errorf("it ends with %v; stderr:\n%s", err, u.stderr.String())
	}
	for _, e := range u.ready.Edges {
		if l, err := net.Listen("tcp", strings.TrimPrefix(e.Public, "http://")); err != nil {
			t.Errorf("the port of %s is not free again: %v", e.Node, err)
		} else {
			l.Close()
		}
	}
	for _, address := range []string{u.ready.Admin, u.ready.Sync} {
		_, host, _ := strings.Cut(address, "://")
		if l, err := net.Listen("tcp", host); err != nil {
			t.Errorf("the port of %s is not free again: %v", address, err)
		} else {
			l.Close()
		}
	}
}

func (u *devUp) admin(t *testing.T, path string) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u.ready.Admin+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+u.ready.AdminToken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

// views are all that the admin API counts.
func (u *devUp) views(t *testing.T) (n int64) {
	t.Helper()
	next := ""
	for {
		status, body := u.admin(t, "/v1/flights?limit=100&cursor="+next)
		if status != http.StatusOK {
			t.Fatalf("the list of flights: %d: %s", status, body)
		}
		var list struct {
			Items []state `json:"items"`
			Next  string  `json:"next"`
		}
		if err := json.Unmarshal(body, &list); err != nil {
			t.Fatal(err)
		}
		for _, f := range list.Items {
			n += f.Delivery.Views
		}
		if next = list.Next; next == "" {
			return n
		}
	}
}

// exchanges are how many of an edge's were answered since it started.
func exchanges(t *testing.T, e world.Edge) (n float64) {
	t.Helper()
	answer, err := browser.Get(t.Context(), e.Ops+"/metrics", load.Reader{})
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(answer.Body)) {
		if text, ok := strings.CutPrefix(line, "nearside_edge_exchanges_total "); ok {
			if _, err := fmt.Sscan(text, &n); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			return n
		}
	}
	t.Fatalf("%s does not count its exchanges", e.Node)
	return 0
}

// nearside-dev up keeps its contract: the ready line alone on stdout, the ports
// counted from the base, sample traffic, the killed start again, signals stop
// everything, a second run continues the state, --fresh does not.
func TestNearsideDevUp(t *testing.T) {
	base, err := freePorts()
	if err != nil {
		t.Fatal(err)
	}
	parent, err := os.MkdirTemp("/var/tmp", "nearside-up-") //nolint:usetesting // Postgres' own user must be able to enter it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(parent) })
	if err := os.Chmod(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(parent, "state")
	args := []string{"--dir", dir, "--base-port", fmt.Sprint(base), "--regions", "here,there", "--nodes", "1"}

	u := startUp(t, "", append(args, "--traffic", "40", "--restart-after", "300ms")...)
	port := func(n int) string { return fmt.Sprintf("http://127.0.0.1:%d", base+n) }
	if u.ready.Admin != port(0) || u.ready.Sync != fmt.Sprintf("https://127.0.0.1:%d", base+1) || !strings.Contains(u.ready.DatabaseURL, fmt.Sprintf("127.0.0.1:%d/", base+3)) {
		t.Errorf("%+v", u.ready)
	}
	for i, want := range []world.Edge{
		{Region: "here", Node: "here-1", Public: port(100), Ops: port(101), Dir: filepath.Join(dir, "edges", "here-1")},
		{Region: "there", Node: "there-1", Public: port(200), Ops: port(201), Dir: filepath.Join(dir, "edges", "there-1")},
	} {
		got := u.ready.Edges[i]
		if got.PID == 0 {
			t.Errorf("%s has no pid", got.Node)
		}
		if got.PID = 0; got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	for _, slug := range []string{"publishers/sample-docs", "advertisers/sample-advertiser", "campaigns/sample-paid", "ad-types/image-v1"} {
		if status, body := u.admin(t, "/v1/"+slug); status != http.StatusOK {
			t.Errorf("%s: %d: %s", slug, status, body)
		}
	}
	eventually(t, 30*time.Second, "sample traffic is counted", func() bool { return u.views(t) > 50 })

	t.Run("a second one in the same place is refused", func(t *testing.T) {
		for _, c := range []struct {
			args []string
			want string
		}{
			{args, fmt.Sprintf("in use by another nearside-dev (pid %d)", u.cmd.Process.Pid)},
			{[]string{"--dir", filepath.Join(parent, "other"), "--base-port", fmt.Sprint(base)}, fmt.Sprintf("port %d, for the core's admin API, is in use", base)},
		} {
			out, err := upCommand("", c.args...).CombinedOutput()
			if err == nil || !strings.Contains(string(out), c.want) || bytes.Count(out, []byte("\n")) != 1 {
				t.Errorf("%v: %s", err, out)
			}
		}
	})

	for _, pid := range []int{u.ready.Edges[0].PID, u.ready.CorePID} {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 20*time.Second, "what was killed answers again", func() bool {
		for _, ready := range []string{u.ready.Edges[0].Ops, port(2)} {
			resp, err := http.Get(ready + "/readyz")
			if err != nil {
				return false
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				return false
			}
		}
		return true
	})
	before := u.views(t)
	eventually(t, 20*time.Second, "sample traffic is counted again", func() bool { return u.views(t) > before })
	u.stop(t, syscall.SIGTERM)

	u = startUp(t, "", append(args, "--traffic", "0")...)
	kept := u.views(t)
	if kept < before {
		t.Errorf("the second run knows of %d views, the first had %d", kept, before)
	}
	for _, e := range u.ready.Edges {
		from := exchanges(t, e)
		eventually(t, 20*time.Second, e.Node+" exchanges with the core", func() bool { return exchanges(t, e) >= from+2 })
	}
	if now := u.views(t); now != kept {
		t.Fatalf("without traffic %d views become %d", kept, now)
	}
	u.stop(t, syscall.SIGINT)

	u = startUp(t, "", append(args, "--traffic", "0", "--fresh")...)
	if n := u.views(t); n != 0 {
		t.Errorf("afresh there are %d views", n)
	}
	u.stop(t, syscall.SIGINT)
}

// With NEARSIDE_DATABASE_URL nearside-dev up uses that database. State that
// belongs to another one is refused; --fresh empties a database of nearside's,
// and no other.
func TestNearsideDevUpWithADatabaseOfYours(t *testing.T) {
	base, err := freePorts()
	if err != nil {
		t.Fatal(err)
	}
	server := here.Ready().DatabaseURL
	yours := func(name string) string { return strings.Replace(server, "/nearside?", "/"+name+"?", 1) }
	execute := func(url, statement string) {
		t.Helper()
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"one", "two", "three"} {
		execute(server, "CREATE DATABASE "+name)
		t.Cleanup(func() {
			conn, err := pgx.Connect(context.Background(), server)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close(context.Background())
			if _, err := conn.Exec(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
				t.Error(err)
			}
		})
	}
	args := []string{"--dir", filepath.Join(t.TempDir(), "state"), "--base-port", fmt.Sprint(base), "--regions", "here", "--traffic", "0"}
	u := startUp(t, yours("one"), args...)
	if u.ready.DatabaseURL != yours("one") {
		t.Errorf("it uses %s", u.ready.DatabaseURL)
	}
	u.stop(t, syscall.SIGINT)

	execute(yours("three"), "CREATE TABLE precious (id int)")
	for _, c := range []struct {
		database, want string
		args           []string
	}{
		{yours("two"), "belongs to another database", args},
		{yours("three"), "holds tables that are not nearside's", append(args, "--fresh")},
		{"postgres://nobody@127.0.0.1:1/none", "NEARSIDE_DATABASE_URL: ", args},
	} {
		out, err := upCommand(c.database, c.args...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%s: %v, %s", c.database, err, out)
		}
	}
	execute(yours("three"), "SELECT id FROM precious")

	u = startUp(t, yours("one"), append(args, "--fresh")...)
	if n := u.views(t); n != 0 {
		t.Errorf("afresh there are %d views", n)
	}
	u.stop(t, syscall.SIGINT)
}

// What cannot be is refused in one line that names the flag, with status 2.
func TestNearsideDevRefuses(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--regions=a,a", "--regions: a is there twice"},
		{"--nodes=0", "--nodes: expected 1 to 9, not 0"},
		{"--restart-after=soon", `--restart-after: expected a duration such as 1s, or never, not "soon"`},
		{"--traffic=-1", "--traffic: expected 0 to 10000 decisions per second, not -1"},
		{"--base-port=70000", "--base-port: expected"},
		{"--colour", "unknown flag --colour"},
	} {
		out, err := upCommand("", "--dir", t.TempDir(), c.args).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(out), c.want) || bytes.Count(out, []byte("\n")) != 1 {
			t.Errorf("%s: %v, %s", c.args, err, out)
		}
	}
}
