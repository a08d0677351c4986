package world

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	gosync "sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	pg "nearside/dev/postgres"
)

// parentOf, in the environment, makes the test binary a process that starts
// the command in it and then waits to be killed.
const parentOf = "NEARSIDE_TEST_PARENT_OF"

func TestMain(m *testing.M) {
	if command := os.Getenv(parentOf); command != "" {
		parent(command)
	}
	goleak.VerifyTestMain(m)
}

func parent(command string) {
	s := newSpawner()
	cmd := exec.Command("/bin/sh", "-c", command)
	if err := s.start(cmd, syscall.SIGKILL, nil); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(cmd.Process.Pid)
	select {}
}

// testWorld is a world without parts.
func testWorld(t *testing.T, restart time.Duration) *World {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "log"), 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := os.Create(filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	w := &World{
		config: Config{Dir: dir, RestartAfter: restart}, hurry: make(chan struct{}),
		spawn: newSpawner(), echo: newEcho(io.Discard), lock: lock,
	}
	t.Cleanup(w.Stop)
	return w
}

func shell(script string) func(string) *exec.Cmd {
	return func(string) *exec.Cmd { return exec.Command("/bin/sh", "-c", script) }
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("it never happens that %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func alive(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return syscall.Kill(pid, 0) == nil && !os.IsNotExist(err)
	}
	_, after, _ := strings.Cut(string(status), ") ")
	return !strings.HasPrefix(after, "Z")
}

func TestTheKilledStartAgain(t *testing.T) {
	w := testWorld(t, 20*time.Millisecond)
	p := w.process("x", syscall.SIGKILL, shell("exec sleep 1000"))
	w.Core = p
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	first := p.PID()
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it runs again", func() bool { pid := p.PID(); return pid != 0 && pid != first })
}

func TestNeverMeansNever(t *testing.T) {
	w := testWorld(t, Never)
	p := w.process("x", syscall.SIGKILL, shell("exec sleep 1000"))
	w.Core = p
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := p.WaitExit(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.again != nil || p.runs() {
		t.Error("it is about to start again")
	}
}

func TestStopped(t *testing.T) {
	for _, c := range []struct {
		name, script string
		wait         time.Duration
		code         int
	}{
		{"asked, it ends by itself", `trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done`, time.Minute, 7},
		{"asked in vain, it is killed", `trap '' TERM; echo up; while :; do sleep 0.01; done`, 50 * time.Millisecond, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := testWorld(t, time.Millisecond)
			p := w.process("x", syscall.SIGKILL, shell(c.script))
			w.Core = p
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "its trap is set", func() bool { return p.lastWords() == "up" })
			pid := p.PID()
			p.Stop(syscall.SIGTERM, c.wait)
			if alive(pid) {
				t.Error("it is alive")
			}
			if got := p.ExitCode(); got != c.code {
				t.Errorf("exit code %d, want %d", got, c.code)
			}
			if p.PID() != 0 {
				t.Error("it started again")
			}
		})
	}
}

func TestHurryDoesNotWait(t *testing.T) {
	w := testWorld(t, time.Millisecond)
	p := w.process("x", syscall.SIGKILL, shell(`trap '' TERM; while :; do sleep 0.01; done`))
	w.Core = p
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(20*time.Millisecond, w.Hurry)
	p.Stop(syscall.SIGTERM, time.Hour)
}

// TestNobodyIsLeftBehind: when the process that started the world is killed,
// what it started goes too.
func TestNobodyIsLeftBehind(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("the kernel ties children to their parent on Linux only")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), parentOf+"=exec sleep 1000")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var child int
	if _, err := fmt.Fscan(out, &child); err != nil {
		t.Fatal(err)
	}
	if !alive(child) {
		t.Fatal("the child is not there")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // says that it was killed
	eventually(t, "the child of the killed process is dead", func() bool { return !alive(child) })
}

func TestAPortInUseIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().(*net.TCPAddr).Port
	c := Config{BasePort: taken - 100 - 2, Regions: []string{"us-east"}, Nodes: 1}
	err = c.checkPorts()
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("port %d, for gossip of the edge us-east-1, is in use", taken)) {
		t.Errorf("%v", err)
	}
}

func TestPortsOfCores(t *testing.T) {
	c := Config{BasePort: 8080, Regions: []string{"us-east"}, Nodes: 1}
	for core, want := range []int{8080, 8090, 8100} {
		if got := c.corePort(core); got != want {
			t.Errorf("core %d is at %d, want %d", core, got, want)
		}
	}
	for cores, fine := range map[int]bool{-1: false, 0: true, 1: true, 9: true, 10: false} {
		if c.Cores = cores; (c.Validate() == nil) != fine {
			t.Errorf("%d cores: %v", cores, c.Validate())
		}
	}
}

func TestPorts(t *testing.T) {
	c := Config{BasePort: 8080, Regions: []string{"us-east", "eu-west", "ap-south"}, Nodes: 3}
	for _, row := range []struct{ region, node, port int }{
		{0, 0, 8180}, {0, 1, 8190}, {0, 2, 8200}, {1, 0, 8280}, {2, 2, 8400},
	} {
		if got := c.edgePort(row.region, row.node); got != row.port {
			t.Errorf("node %d of region %d is at %d, want %d", row.node, row.region, got, row.port)
		}
	}
}

func TestValidate(t *testing.T) {
	good := Config{BasePort: 8080, Regions: []string{"a", "b"}, Nodes: 3, RestartAfter: time.Second}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Nodes = 0 }, "--nodes: expected 1 to 9, not 0"},
		{func(c *Config) { c.Nodes = 10 }, "--nodes: expected 1 to 9, not 10"},
		{func(c *Config) { c.Regions = nil }, "--regions: expected 1 to 50 names, not 0"},
		{func(c *Config) { c.Regions = []string{"a", "a"} }, "--regions: a is there twice"},
		{func(c *Config) { c.Regions = []string{"../a"} }, `--regions: expected lower-case letters, digits and dashes, not "../a"`},
		{func(c *Config) { c.BasePort = 65400 }, "--base-port: expected 1 to 65312 for so many regions, not 65400"},
		{func(c *Config) { c.BasePort = 0 }, "--base-port: expected 1 to 65312 for so many regions, not 0"},
		{func(c *Config) { c.RestartAfter = -2 }, "--restart-after: expected a duration or never, not -2ns"},
	} {
		bad := good
		c.change(&bad)
		if err := bad.Validate(); err == nil || err.Error() != c.want {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}

func TestADirectoryIsOneWorlds(t *testing.T) {
	dir := t.TempDir()
	first := &World{config: Config{Dir: dir}}
	if err := first.takeDir(); err != nil {
		t.Fatal(err)
	}
	second := &World{config: Config{Dir: dir, Fresh: true}}
	err := second.takeDir()
	if want := fmt.Sprintf("(pid %d)", os.Getpid()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
	if err := first.lock.Close(); err != nil {
		t.Fatal(err)
	}
	if err := second.takeDir(); err != nil {
		t.Error(err)
	}
	if err := second.lock.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFreshThrowsTheOldAway(t *testing.T) {
	dir := t.TempDir()
	w := &World{config: Config{Dir: dir}}
	if err := w.takeDir(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"admin.token", "edges/x", "mine"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.lock.Close(); err != nil {
		t.Fatal(err)
	}
	w.config.Fresh = true
	if err := w.takeDir(); err != nil {
		t.Fatal(err)
	}
	defer w.lock.Close()
	for name, there := range map[string]bool{"admin.token": false, "edges/x": false, "mine": true, "edges": true, "log": true} {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != there {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPostgresBelowAPrivateHome: under root, where the user that Postgres runs
// as cannot enter the world's directory, the data is kept elsewhere, found
// again, and swept once the world is gone.
func TestPostgresBelowAPrivateHome(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a plain user's Postgres is the user's own")
	}
	as, err := pg.Unprivileged()
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir() // private to root
	if as.CanEnter(home) {
		t.Fatal("the user that Postgres runs as can enter root's private directory")
	}
	// Not below it: that is the point.
	other, err := os.MkdirTemp("/var/tmp", "nearside-dev-") //nolint:usetesting // t.TempDir is where the unprivileged user cannot go
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(other) })
	if err := os.Chmod(other, 0o755); err != nil {
		t.Fatal(err)
	}
	dataDir := func(dir string) string {
		w := &World{config: Config{Dir: dir}, elsewhere: filepath.Join(other, "lib"), echo: newEcho(io.Discard)}
		defer w.echo.close()
		data, err := w.dataDir(as, "postgres")
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	first := dataDir(home)
	if !as.CanEnter(first) {
		t.Errorf("it cannot enter %s either", first)
	}
	if again := dataDir(home); again != first {
		t.Errorf("the second time it is %s, not %s", again, first)
	}
	if err := os.Remove(filepath.Join(home, "postgres")); err != nil { // as rm -rf .nearside does
		t.Fatal(err)
	}
	if anew := dataDir(home); anew == first {
		t.Error("a new world goes on with the data of one that is gone")
	}
	if _, err := os.Stat(first); !os.IsNotExist(err) {
		t.Errorf("the data of a world that is gone is still there: %v", err)
	}
}

// TestLogsHoldNobodyUp: a reader that does not read costs lines, not time.
func TestLogsHoldNobodyUp(t *testing.T) {
	gate := make(chan struct{})
	var mu gosync.Mutex
	var got bytes.Buffer
	e := newEcho(writerFunc(func(p []byte) (int, error) {
		<-gate
		mu.Lock()
		defer mu.Unlock()
		return got.Write(p)
	}))
	for i := range 5000 {
		if _, err := e.Write([]byte(strconv.Itoa(i) + "\n")); err != nil {
			t.Fatal(err)
		}
	}
	close(gate)
	eventually(t, "there is room again", func() bool {
		_, _ = e.Write([]byte("end\n"))
		mu.Lock()
		defer mu.Unlock()
		return strings.Contains(got.String(), "messages dropped)\n")
	})
	e.close()
	if text := got.String(); !strings.HasPrefix(text, "0\n1\n2\n") || !strings.HasSuffix(text, "end\n") {
		t.Errorf("%d bytes that begin with %q", len(text), text[:20])
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestOutputIsCutIntoLines(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var got bytes.Buffer
	e := newEcho(&got)
	o := &output{file: file, echo: e, prefix: "x: "}
	for _, part := range []string{"a", "b\nc\n", "", "d"} {
		if _, err := o.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	e.close()
	if got.String() != "x: ab\nx: c\n" {
		t.Errorf("%q", got.String())
	}
	if whole, err := os.ReadFile(file.Name()); err != nil || string(whole) != "ab\nc\nd" {
		t.Errorf("the file holds %q, %v", whole, err)
	}
}

func TestWaitExitEndsWithItsContext(t *testing.T) {
	w := testWorld(t, Never)
	p := w.process("x", syscall.SIGKILL, shell("exec sleep 1000"))
	w.Core = p
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.WaitExit(ctx); err == nil {
		t.Error("it says that a process has ended that runs")
	}
}
