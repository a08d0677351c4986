package world

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	gosync "sync"
	"syscall"
	"time"

	"nearside/dev/sample"
)

// Ready is what the world says of itself when everything answers. Other
// programs read it.
type Ready struct {
	Admin       string `json:"admin"`
	AdminToken  string `json:"admin_token"`
	Sync        string `json:"sync"`
	DatabaseURL string `json:"database_url"`
	CorePID     int    `json:"core_pid"`
	Edges       []Edge `json:"edges"`
}

// Edge is one node.
type Edge struct {
	Region string `json:"region"`
	Node   string `json:"node"`
	Public string `json:"public"`
	Ops    string `json:"ops"`
	Dir    string `json:"dir"`
	PID    int    `json:"pid"`
}

// World is what runs.
type World struct {
	Postgres *Process // nil where a database was given
	Standby  *Process // nil where there is none
	Core     *Process
	Others   []*Process // further cores on the same database
	Edges    []*Process // in the order of Ready.Edges

	config    Config
	elsewhere string // see varLib
	ready     Ready
	forwards  []*forward
	coreURL   string // the database as the cores see it
	spawn     *spawner
	echo      *echo
	lock      *os.File
	running   gosync.WaitGroup // one for each process that has not ended
	hurry     chan struct{}    // closed: whoever has not ended yet is killed
	rush      gosync.Once
}

// Start starts everything and returns when it answers. Where that fails, what
// was started is stopped again.
func Start(ctx context.Context, c Config) (*World, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	var err error
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return nil, err
	}
	w := &World{config: c, elsewhere: varLib, hurry: make(chan struct{})}
	if err := w.takeDir(); err != nil {
		return nil, err
	}
	if err := c.checkPorts(); err != nil {
		return nil, errors.Join(err, w.lock.Close())
	}
	w.spawn = newSpawner()
	if c.Log == nil {
		w.config.Log = io.Discard
	}
	w.echo = newEcho(w.config.Log)
	if err := w.start(ctx); err != nil {
		w.Stop()
		return nil, err
	}
	return w, nil
}

// takeDir makes the directory this process's alone, and empty where it is to
// begin afresh.
func (w *World) takeDir() error {
	for _, dir := range []string{"edges", "log"} {
		if err := os.MkdirAll(w.config.file(dir), 0o755); err != nil {
			return err
		}
	}
	lock, err := os.OpenFile(w.config.file("lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		owner, _ := io.ReadAll(io.LimitReader(lock, 20))
		return errors.Join(fmt.Errorf("%s is in use by another nearside-dev (pid %s): stop that, or choose another --dir", w.config.Dir, owner), lock.Close())
	}
	w.lock = lock
	if err := errors.Join(lock.Truncate(0), func() error { _, err := fmt.Fprint(lock, os.Getpid()); return err }()); err != nil {
		return err
	}
	if !w.config.Fresh {
		return nil
	}
	if target, err := os.Readlink(w.config.file("postgres")); err == nil && filepath.Dir(target) == w.elsewhere {
		if err := errors.Join(waitForOld(context.Background(), target), os.RemoveAll(target), os.Remove(target+".owner")); err != nil {
			return err
		}
	} else if err := waitForOld(context.Background(), w.config.file("postgres")); err != nil {
		return err
	}
	for _, name := range []string{"postgres", "standby", "postgres.password", "database", "admin.token", "join.token", "gossip.key", coreTLS, edgeTLS, "edges", "log"} {
		if err := os.RemoveAll(w.config.file(name)); err != nil {
			return err
		}
	}
	return errors.Join(os.Mkdir(w.config.file("edges"), 0o755), os.Mkdir(w.config.file("log"), 0o755))
}

func (w *World) start(ctx context.Context) error {
	database, err := w.startDatabase(ctx)
	if err != nil {
		return err
	}
	if err := w.checkSame(ctx, database); err != nil {
		return err
	}
	if _, err := w.command(ctx, database, nil, "migrate"); err != nil {
		return err
	}
	token, err := w.secret("admin.token", func() (string, error) {
		return w.command(ctx, database, nil, "token", "create", "--role", "admin", "--name", "nearside-dev")
	})
	if err != nil {
		return err
	}
	if _, err := w.secret("join.token", func() (string, error) {
		return w.command(ctx, database, nil, "join-token", "create", "--name", "nearside-dev")
	}); err != nil {
		return err
	}
	if _, err := w.secret("gossip.key", func() (string, error) {
		key := make([]byte, 32)
		_, err := rand.Read(key)
		return base64.StdEncoding.EncodeToString(key), err
	}); err != nil {
		return err
	}
	c := &w.config
	if c.TLS {
		if err := w.makeAuthority(ctx, database); err != nil {
			return err
		}
	}
	w.ready = Ready{
		Admin: url(c.BasePort + admin), AdminToken: token, Sync: c.scheme() + address(c.BasePort+sync), DatabaseURL: database,
	}
	for i := range c.cores() {
		if err := w.startCore(ctx, i); err != nil {
			return err
		}
	}
	if err := w.loadSample(ctx, database); err != nil {
		return err
	}
	if err := w.startEdges(); err != nil {
		return err
	}
	for i, e := range w.ready.Edges {
		if err := w.waitReady(ctx, w.Edges[i], e.Ops, true); err != nil {
			return err
		}
	}
	return nil
}

// makeAuthority makes the world's own authority the first time, and gives edges
// its certificate without its key.
func (w *World) makeAuthority(ctx context.Context, database string) error {
	ca := w.config.file(coreTLS, "ca.pem")
	if _, err := os.Stat(ca); errors.Is(err, fs.ErrNotExist) {
		if _, err := w.command(ctx, database, nil, "ca", "init", "--name", "nearside-dev"); err != nil {
			return err
		}
	}
	text, err := os.ReadFile(ca)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(w.config.file(edgeTLS), 0o755); err != nil {
		return err
	}
	return os.WriteFile(w.config.file(edgeTLS, "ca.pem"), text, 0o644)
}

func (w *World) startCore(ctx context.Context, i int) error {
	c, port, name := &w.config, w.config.corePort(i), coreName(i)
	if err := w.forward(name, port+admin, port+sync, port+operations); err != nil {
		return err
	}
	p := w.process(name, syscall.SIGKILL, func(programs string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(programs, "nearside-core"), append([]string{
			"serve",
			"--admin-listen", c.at(name, port+admin),
			"--sync-listen", c.at(name, port+sync),
			"--ops-listen", c.at(name, port+operations),
		}, c.CoreArgs...)...)
		cmd.Env = w.coreEnvironment(w.coreURL)
		return cmd
	})
	if i == 0 {
		w.Core = p
	} else {
		w.Others = append(w.Others, p)
	}
	if err := p.Start(); err != nil {
		return err
	}
	return w.waitReady(ctx, p, url(port+operations), true)
}

func (w *World) startEdges() error {
	c := &w.config
	for i, region := range c.Regions {
		for j := range c.Nodes {
			port, name := c.edgePort(i, j), nodeName(region, j)
			dir := c.file("edges", name)
			if err := w.forward(name, port+public, port+edgeOps); err != nil {
				return err
			}
			args := append([]string{
				"--region", region,
				"--node", name,
				"--listen", c.at(name, port+public),
				"--ops-listen", c.at(name, port+edgeOps),
				"--gossip-listen", c.at(name, port+gossip),
				"--peer-listen", c.at(name, port+peer),
				"--gossip-key-file", c.file("gossip.key"),
				"--join-token-file", c.file("join.token"),
				"--state-dir", dir,
				// readers come through one proxy, so that they can be of any country
				"--trusted-proxies", "1",
				"--rate-limits=false",
				"--debug-headers",
			}, c.EdgeArgs...)
			if c.Network == nil {
				args = append(args, "--public-url", url(port+public))
			} // else beacons go where the request came: to a forwarder, or to the machine
			if c.TLS {
				args = append(args, "--tls-dir", c.file(edgeTLS))
			}
			for k := range c.cores() {
				core := c.scheme() + c.at(coreName(k), c.corePort(k)+sync)
				if c.Via != nil {
					var err error
					if core, err = c.Via(name, core); err != nil {
						return err
					}
				}
				args = append(args, "--core", core)
			}
			for k := range c.Nodes {
				if k != j {
					args = append(args, "--seeds", c.at(nodeName(region, k), c.edgePort(i, k)+gossip))
				}
			}
			w.Edges = append(w.Edges, w.process(name, syscall.SIGKILL, func(programs string) *exec.Cmd {
				cmd := exec.Command(filepath.Join(programs, "nearside-edge"), args...)
				cmd.Env = environment()
				return cmd
			}))
			w.ready.Edges = append(w.ready.Edges, Edge{
				Region: region, Node: name, Public: url(port + public), Ops: url(port + edgeOps), Dir: dir,
			})
		}
	}
	for _, p := range w.Edges {
		if err := p.Start(); err != nil {
			return err
		}
	}
	return nil
}

// coreEnvironment is that of a core and of its commands.
func (w *World) coreEnvironment(database string) []string {
	env := environment("NEARSIDE_DATABASE_URL=" + database)
	if w.config.TLS {
		env = append(env, "NEARSIDE_TLS_DIR="+w.config.file(coreTLS))
	}
	return env
}

// environment is the caller's without what would configure the product, and
// with more.
func environment(more ...string) []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "NEARSIDE_") {
			env = append(env, kv)
		}
	}
	return append(env, more...)
}

// process is a part of the world that has not started yet.
func (w *World) process(name string, last syscall.Signal, command func(programs string) *exec.Cmd) *Process {
	p := &Process{
		Name: name, machine: name, command: command, last: last, log: w.config.file("log", name+".log"),
		restart: w.config.RestartAfter, rude: syscall.SIGKILL, programs: w.config.Programs, world: w,
	}
	return p
}

// Tool runs nearside-core of the directory programs to its end, on the world's
// database, and returns what it printed.
func (w *World) Tool(ctx context.Context, programs string, args ...string) (string, error) {
	return w.tool(ctx, programs, w.ready.DatabaseURL, nil, args...)
}

// command runs nearside-core to its end and returns what it printed.
func (w *World) command(ctx context.Context, database string, stdin io.Reader, args ...string) (string, error) {
	return w.tool(ctx, w.config.Programs, database, stdin, args...)
}

func (w *World) tool(ctx context.Context, programs, database string, stdin io.Reader, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(programs, "nearside-core"), args...)
	cmd.Env = w.coreEnvironment(database)
	cmd.Stdin = stdin
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return strings.TrimSpace(string(out)), fmt.Errorf("nearside-core %s: %w: %s", args[0], err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSpace(string(out)), nil
}

// secret is what a file of the directory holds, made the first time.
func (w *World) secret(name string, create func() (string, error)) (string, error) {
	path := w.config.file(name)
	text, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(text)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	value, err := create()
	if err != nil {
		return "", err
	}
	return value, os.WriteFile(path, []byte(value+"\n"), 0o600)
}

// loadSample loads the sample catalog where it is not there yet.
func (w *World) loadSample(ctx context.Context, database string) error {
	status, body, err := w.Admin(ctx, http.MethodGet, "/v1/publishers/sample-docs", nil)
	switch {
	case err != nil:
		return err
	case status == http.StatusUnauthorized:
		return fmt.Errorf("the core does not know the token in %s: remove that file to have another made", w.config.file("admin.token"))
	case status == http.StatusOK:
		return nil
	case status != http.StatusNotFound:
		return fmt.Errorf("look for the sample catalog: the admin API answers %d: %s", status, body)
	}
	document, err := json.Marshal(sample.Catalog(time.Now()))
	if err != nil {
		return err
	}
	said, err := w.command(ctx, database, bytes.NewReader(document), "import", "-")
	if err != nil {
		return err
	}
	w.note("the sample catalog is loaded: %s", said)
	return nil
}

// Admin asks the admin API; body may be nil, or anything that JSON can say.
func (w *World) Admin(ctx context.Context, method, path string, body any) (int, []byte, error) {
	return w.AdminOf(ctx, 0, method, path, body)
}

// AdminOf asks the admin API of one of the cores, from 0.
func (w *World) AdminOf(ctx context.Context, core int, method, path string, body any) (int, []byte, error) {
	var send io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		send = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, url(w.config.corePort(core)+admin)+path, send)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+w.ready.AdminToken)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return do(req)
}

var client = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func do(req *http.Request) (int, []byte, error) {
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	return resp.StatusCode, answer, errors.Join(err, resp.Body.Close())
}

// readyWithin bounds the wait for one process.
const readyWithin = time.Minute

// waitReady waits until a process says that it is ready. Where the world is
// only starting, a process that ends will not do better the next time.
func (w *World) waitReady(ctx context.Context, p *Process, ops string, starting bool) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	said := "nothing"
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, ops+"/readyz", nil)
		if err != nil {
			return err
		}
		status, body, err := do(req)
		if err == nil && status == http.StatusOK {
			return nil
		}
		if err == nil {
			said = fmt.Sprintf("%d: %s", status, bytes.TrimSpace(body))
		}
		if p.PID() == 0 && (starting || w.config.RestartAfter == Never) {
			return fmt.Errorf("%s has ended; it said:\n%s", p.Name, p.lastWords())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not get ready (/readyz says %s); it said:\n%s", p.Name, said, p.lastWords())
		case <-time.After(25 * time.Millisecond):
		}
	}
}

// WaitReady waits until edge i is ready.
func (w *World) WaitReady(ctx context.Context, i int) error {
	return w.waitReady(ctx, w.Edges[i], w.ready.Edges[i].Ops, false)
}

// WaitCore waits until the core is ready, and further ones too.
func (w *World) WaitCore(ctx context.Context) error {
	for i, p := range w.cores() {
		if err := w.waitReady(ctx, p, url(w.config.corePort(i)+operations), false); err != nil {
			return err
		}
	}
	return nil
}

// Ops is the operations port of one of the cores, from 0.
func (w *World) Ops(core int) string { return url(w.config.corePort(core) + operations) }

func (w *World) cores() []*Process {
	if w.Core == nil {
		return nil
	}
	return append([]*Process{w.Core}, w.Others...)
}

// lastWords are the last lines of its log.
func (p *Process) lastWords() string {
	const most = 4 << 10
	file, err := os.Open(p.log)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = file.Close() }()
	if info, err := file.Stat(); err == nil && info.Size() > most {
		_, _ = file.Seek(-most, io.SeekEnd)
	}
	text, _ := io.ReadAll(io.LimitReader(file, most))
	return strings.TrimSpace(string(text))
}

// Ready is what runs where, with the process ids of now.
func (w *World) Ready() Ready {
	r := w.ready
	r.CorePID = w.Core.PID()
	r.Edges = append([]Edge(nil), r.Edges...)
	for i := range r.Edges {
		r.Edges[i].PID = w.Edges[i].PID()
	}
	return r
}

// How long a part may take to end before it is killed.
const (
	drainTime = 30 * time.Second
	stopTime  = 15 * time.Second
)

// Stop ends everything in order and waits for it. The state stays.
func (w *World) Stop() {
	var edges gosync.WaitGroup
	for _, p := range w.Edges {
		edges.Go(func() { p.Stop(syscall.SIGTERM, drainTime) })
	}
	edges.Wait()
	for _, p := range w.cores() {
		p.Stop(syscall.SIGTERM, stopTime)
	}
	if w.Postgres != nil {
		w.Postgres.Stop(syscall.SIGINT, stopTime)
	}
	if w.Standby != nil { // after the one that waits for it
		w.Standby.Stop(syscall.SIGINT, stopTime)
	}
	w.running.Wait()
	for _, f := range w.forwards {
		f.close()
	}
	w.spawn.close()
	w.echo.close()
	_ = w.lock.Close()
}

// Hurry makes a Stop under way, or to come, kill what has not ended.
func (w *World) Hurry() { w.rush.Do(func() { close(w.hurry) }) }

func (w *World) note(format string, args ...any) {
	_, _ = fmt.Fprintf(w.echo, format+"\n", args...) // never fails
}
