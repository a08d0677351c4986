// Package bench measures what nearside claims about speed, each figure beside
// its baseline in the same run.
//
// # What it promises
//
// The edge is measured as it ships: the built binary, over HTTP on loopback,
// against a bare fasthttp server that answers with a fixed body of the same
// size. Each server is held to one processor and the client to the other, the
// two are measured in turn several times, and the medians are compared, so that
// a machine whose speed drifts does not decide. Beside requests per second stand
// the processor time that each server spent on a request and its 99th
// percentile, and the same with the core gone (beside the edge's own with the
// core there). What is measured inside a package is that package's own Go
// benchmark, run by "go test -bench".
//
// # What it leaves out
//
// Verdicts: it prints and writes figures and fails only where something did not
// run. On a machine with one processor the shares of client and server are
// mixed and only the processor time per request means anything; it says so.
package bench

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"nearside/edge/visitor"
	"nearside/sync/catalog"
)

// Result is one line of the table and one element of bench.json.
type Result struct {
	Name     string  `json:"name"`
	Value    float64 `json:"value"`
	Unit     string  `json:"unit"`
	Baseline float64 `json:"baseline"` // in the same unit; 0: none
	Ratio    float64 `json:"ratio"`    // value / baseline; 0: none
}

// Config says what to measure and with which binaries.
type Config struct {
	Edge   string         // path of nearside-edge
	Self   string         // path of the binary whose subcommand "bench-bare BYTES" calls Bare
	Source string         // the module's root, for go test
	Only   *regexp.Regexp // nil: everything
	Log    io.Writer      // progress
	Rounds int            // how often each pair is measured; 0: 5
	Each   time.Duration  // how long each measurement lasts; 0: 1 s

	everywhere bool // servers are not held to the first processor
}

// Run measures and returns the results in the order of their names below.
func Run(ctx context.Context, conf Config) ([]Result, error) {
	conf.Rounds = cmp.Or(conf.Rounds, 5)
	conf.Each = cmp.Or(conf.Each, time.Second)
	out, err := conf.overHTTP(ctx)
	if err != nil {
		return out, err
	}
	return conf.inPackages(ctx, out)
}

func (conf *Config) wanted(name string) bool { return conf.Only == nil || conf.Only.MatchString(name) }

// size is a catalog to measure the edge with.
type size struct {
	name    string
	flights int
	alone   bool // without the core, too
}

var sizes = []size{
	{"edge_http_10_flights", 10, false},
	{"edge_http_100_flights", 100, false},
	{"edge_http_1k_flights", 1000, true},
	{"edge_http_10k_flights", 10_000, false},
	{"edge_http_100k_flights", 100_000, false},
}

// overHTTP measures the edge, from processors that it does not use.
func (conf *Config) overHTTP(ctx context.Context) (out []Result, err error) {
	if conf.wanted(viewsName) {
		if out, err = conf.views(ctx); err != nil {
			return out, fmt.Errorf("%s: %w", viewsName, err)
		}
	}
	back, err := keepOff(conf.Log)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, back()) }()
	small := 0.0 // MB of the edge with the fewest flights
	for _, size := range sizes {
		if !conf.wanted(size.name) {
			continue
		}
		results, rss, err := conf.edge(ctx, size)
		if err != nil {
			return out, fmt.Errorf("%s: %w", size.name, err)
		}
		out = append(out, results...)
		if size == sizes[0] {
			small = rss
		} else if small > 0 && size.flights >= 1000 { // fewer are lost in what an edge takes anyway
			out = append(out, Result{size.name + "_memory_per_flight", (rss - small) * 1e3 / float64(size.flights-sizes[0].flights), "kB", 0, 0})
		}
	}
	return out, nil
}

func (conf *Config) inPackages(ctx context.Context, out []Result) ([]Result, error) {
	for _, b := range goBenchmarks {
		if !slices.ContainsFunc(b.figures, func(f figure) bool { return conf.wanted(f.name) }) {
			continue
		}
		results, err := conf.goBench(ctx, b)
		if err != nil {
			return out, fmt.Errorf("%s: %w", b.pkg, err)
		}
		out = append(out, results...)
	}
	return out, nil
}

// Write prints the table and writes the file.
func Write(results []Result, table io.Writer, file string) error {
	w := tabwriter.NewWriter(table, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "name\tvalue\tunit\tbaseline\tratio\t")
	for _, r := range results {
		baseline, ratio := "-", "-"
		if r.Baseline != 0 {
			baseline, ratio = strconv.FormatFloat(r.Baseline, 'f', 1, 64), strconv.FormatFloat(r.Ratio, 'f', 3, 64)
		}
		fmt.Fprintf(w, "%s\t%.1f\t%s\t%s\t%s\t\n", r.Name, r.Value, r.Unit, baseline, ratio)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print the table: %w", err)
	}
	writeSizes(results, table)
	b, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the results: %w", err)
	}
	if err := os.WriteFile(file, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	return nil
}

// writeSizes prints, in Markdown, what each number of flights costs.
func writeSizes(results []Result, to io.Writer) {
	byName := map[string]Result{}
	for _, r := range results {
		byName[r.Name] = r
	}
	figure := func(r Result, value float64, format string) string {
		if r.Name == "" {
			return "-"
		}
		return fmt.Sprintf(format, value)
	}
	head := "\n| flights | Decide, unseen | seen | requests/s | beside bare | processor time | beside bare | p99 beside bare | memory | a flight |\n" +
		"|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
	for _, size := range sizes {
		decide, rps, cpu := byName[strings.Replace(size.name, "edge_http", "decide", 1)], byName[size.name], byName[size.name+"_cpu"]
		p99, memory, each := byName[size.name+"_p99"], byName[size.name+"_memory"], byName[size.name+"_memory_per_flight"]
		if decide.Name == "" && rps.Name == "" {
			continue
		}
		fmt.Fprintf(to, "%s| %d | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", head, size.flights,
			figure(decide, decide.Value/1000, "%.2f µs"), figure(decide, decide.Baseline/1000, "%.2f µs"),
			figure(rps, rps.Value, "%.0f"), figure(rps, rps.Ratio, "%.2f"), figure(cpu, cpu.Value, "%.1f µs"), figure(cpu, cpu.Ratio, "%.2f"),
			figure(p99, p99.Ratio, "%.2f"), figure(memory, memory.Value, "%.0f MB"), figure(each, each.Value, "%.1f kB"))
		head = ""
	}
}

// edge measures the edge with a catalog of a size in turn with the bare server.
// rss is what it takes, in MB.
func (conf *Config) edge(ctx context.Context, size size) (_ []Result, rss float64, err error) {
	name := size.name
	addresses, err := addressesOf(countries)
	if err != nil {
		return nil, 0, err
	}
	requests := decisions(size.flights, addresses)
	w, err := conf.serveEdge(ctx, name, size.flights, requests)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	edge := w.edge
	const connections = 64
	// What is measured are requests of shapes that were seen before.
	warm, err := drive(ctx, edge.addr, rounds(requests, 3), connections, time.Minute)
	if err != nil {
		return nil, 0, err
	}
	bodySize := warm.bytes / warm.requests
	bare, err := conf.start(ctx, conf.Self, "bench-bare", strconv.Itoa(bodySize))
	if err != nil {
		return nil, 0, err
	}
	defer bare.stop()
	if _, err := drive(ctx, bare.addr, inTurn(requests), connections, conf.Each/4); err != nil {
		return nil, 0, err
	}

	var turns pairs
	for round := range conf.Rounds {
		b, err := bare.measure(ctx, inTurn(requests), connections, conf.Each)
		if err != nil {
			return nil, 0, err
		}
		e, err := edge.measure(ctx, inTurn(requests), connections, conf.Each)
		if err != nil {
			return nil, 0, err
		}
		fmt.Fprintf(conf.Log, "%s: round %d: edge %.0f/s busy %.2f, bare %.0f/s busy %.2f, ratio %.3f; %.0f %% filled\n", name, round+1, e.rps, e.busy, b.rps, b.busy, e.rps/b.rps, e.filled*100)
		turns.add(e, b)
	}
	results := turns.results(name, "requests/s", "µs/request")
	if rss, err = edge.rss(); err != nil {
		return nil, 0, err
	}
	results = append(results, Result{name + "_memory", rss, "MB", 0, 0})
	if !size.alone {
		return results, rss, nil
	}
	if err := w.stopCore(); err != nil {
		return nil, 0, err
	}
	there := median(turns.p99)
	var p99, ratio []float64
	for range conf.Rounds {
		a, err := edge.measure(ctx, inTurn(requests), connections, conf.Each)
		if err != nil {
			return nil, 0, fmt.Errorf("without the core: %w", err)
		}
		fmt.Fprintf(conf.Log, "%s: without the core: %.0f/s; %.0f %% filled\n", name, a.rps, a.filled*100)
		p99, ratio = append(p99, a.p99), append(ratio, a.p99/there)
	}
	return append(results, Result{name + "_core_away_p99", median(p99), "µs", there, median(ratio)}), rss, nil
}

// pairs are the measurements of a server and its baseline, taken in turn.
type pairs struct {
	rps, cpu, p99             []float64
	baseRPS, baseCPU, baseP99 []float64
	byRPS, byCPU, byP99       []float64 // ratios of one turn
}

func (p *pairs) add(m, base measurement) {
	p.rps, p.baseRPS, p.byRPS = append(p.rps, m.rps), append(p.baseRPS, base.rps), append(p.byRPS, m.rps/base.rps)
	p.cpu, p.baseCPU, p.byCPU = append(p.cpu, m.cpu), append(p.baseCPU, base.cpu), append(p.byCPU, m.cpu/base.cpu)
	p.p99, p.baseP99, p.byP99 = append(p.p99, m.p99), append(p.baseP99, base.p99), append(p.byP99, m.p99/base.p99)
}

func (p *pairs) results(name, rate, each string) []Result {
	return []Result{
		{name, median(p.rps), rate, median(p.baseRPS), median(p.byRPS)},
		{name + "_cpu", median(p.cpu), each, median(p.baseCPU), median(p.byCPU)},
		{name + "_p99", median(p.p99), "µs", median(p.baseP99), median(p.byP99)},
	}
}

// world is an edge with its stand-in for the core.
type world struct {
	edge     *process
	stopCore func() error
	dir      string
}

// serveEdge starts an edge with a catalog of so many flights, and waits until it
// offers ads for the requests.
func (conf *Config) serveEdge(ctx context.Context, name string, flights int, requests [][]byte) (_ *world, err error) {
	fmt.Fprintf(conf.Log, "%s: making a catalog of %d flights\n", name, flights)
	published, err := catalog.Encode(shape(flights, time.Now()))
	if err != nil {
		return nil, err
	}
	w := &world{stopCore: func() error { return nil }}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.stop())
		}
	}()
	coreURL, stopCore, err := serveCore(1, published)
	if err != nil {
		return nil, err
	}
	w.stopCore = stopCore
	if w.dir, err = os.MkdirTemp("", "nearside-bench-"); err != nil {
		return nil, fmt.Errorf("make a state directory: %w", err)
	}
	if w.edge, err = conf.startEdge(ctx, w.dir, coreURL); err != nil {
		return nil, err
	}
	return w, w.edge.untilOffers(ctx, requests)
}

func (w *world) stop() error {
	if w.edge != nil {
		w.edge.stop()
	}
	err := w.stopCore()
	if w.dir != "" {
		err = errors.Join(err, os.RemoveAll(w.dir))
	}
	return err
}

// environ is a server's environment.
func (conf *Config) environ() []string {
	if conf.everywhere {
		return os.Environ()
	}
	return append(os.Environ(), "GOMAXPROCS=1")
}

// process is a server under measurement.
type process struct {
	cmd  *exec.Cmd
	addr string // its public port
	ops  string // its operations port, where it has one
	logs *bytes.Buffer

	everywhere bool // it is not held to the first processor
}

// start runs a server that prints "listening ADDRESS", held to the first
// processor while this process keeps to the others.
func (conf *Config) start(ctx context.Context, name string, args ...string) (*process, error) {
	p := &process{logs: &bytes.Buffer{}}
	p.cmd = exec.CommandContext(ctx, name, args...)
	p.cmd.Stderr = p.logs
	p.everywhere = conf.everywhere
	p.cmd.Env = conf.environ()
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(name), err)
	}
	if err := p.launch(); err != nil {
		return nil, err
	}
	line := make([]byte, 256)
	n, err := out.Read(line)
	addr, ok := strings.CutPrefix(strings.TrimSpace(string(line[:n])), "listening ")
	if err != nil || !ok {
		p.stop()
		return nil, fmt.Errorf("start %s: it said %q: %w", filepath.Base(name), line[:n], err)
	}
	p.addr = addr
	return p, nil
}

func (p *process) stop() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait() // it was killed
}

// startEdge runs the edge as it ships, with one trusted proxy, so that the
// requests can come from any country, and without rate limits.
func (conf *Config) startEdge(ctx context.Context, dir, coreURL string) (*process, error) {
	token := filepath.Join(dir, "join-token")
	if err := os.WriteFile(token, []byte("bench\n"), 0o600); err != nil {
		return nil, fmt.Errorf("write a join token: %w", err)
	}
	addr, err := freePorts(4)
	if err != nil {
		return nil, err
	}
	p := &process{addr: addr[0], ops: addr[1], logs: &bytes.Buffer{}}
	p.cmd = exec.CommandContext(ctx, conf.Edge,
		"--region", "bench", "--node", "bench-1", "--core", coreURL, "--join-token-file", token, "--state-dir", filepath.Join(dir, "state"),
		"--listen", addr[0], "--ops-listen", addr[1], "--gossip-listen", addr[2], "--peer-listen", addr[3],
		"--trusted-proxies", "1", "--rate-limits=false")
	p.cmd.Stderr = p.logs
	p.cmd.Stdout = p.logs
	p.everywhere = conf.everywhere
	p.cmd.Env = conf.environ()
	if err := p.launch(); err != nil {
		return nil, err
	}
	return p, nil
}

// untilOffers waits until the edge is ready and answers a request with an ad.
func (p *process) untilOffers(ctx context.Context, requests [][]byte) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if ready(ctx, p.ops) {
			s, err := drive(ctx, p.addr, inTurn(requests), 1, 50*time.Millisecond)
			if err == nil && s.filled > 0 {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the edge made no offer within two minutes; it said:\n%s", p.logs)
		}
	}
}

func ready(ctx context.Context, ops string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+ops+"/readyz", nil)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// measurement is one turn of one server.
type measurement struct {
	rps    float64
	cpu    float64 // µs of the server's processor time per request
	p99    float64 // µs
	busy   float64 // share of one processor that the server used
	filled float64 // share of answers with an ad
}

func (p *process) measure(ctx context.Context, what script, connections int, lasting time.Duration) (measurement, error) {
	before, err := p.processorTime()
	if err != nil {
		return measurement{}, err
	}
	s, err := drive(ctx, p.addr, what, connections, lasting)
	if err != nil {
		return measurement{}, err
	}
	after, err := p.processorTime()
	if err != nil {
		return measurement{}, err
	}
	return measurement{
		rps:    s.perSecond(),
		cpu:    float64((after - before).Nanoseconds()) / 1000 / float64(s.requests),
		busy:   (after - before).Seconds() / s.elapsed.Seconds(),
		p99:    float64(s.quantile(0.99).Microseconds()),
		filled: float64(s.filled) / float64(s.requests),
	}, nil
}

// processorTime is what the server's threads used so far: the first number of
// each one's /proc/PID/task/TID/schedstat, in nanoseconds.
func (p *process) processorTime() (time.Duration, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.cmd.Process.Pid))
	if err == nil && len(tasks) == 0 {
		err = errors.New("no schedstat")
	}
	total := int64(0)
	for _, task := range tasks {
		var used int64
		b, err := os.ReadFile(task)
		if errors.Is(err, os.ErrNotExist) {
			continue // the thread has ended
		}
		if err == nil {
			_, err = fmt.Sscan(string(b), &used)
		}
		if err != nil {
			return 0, fmt.Errorf("read the server's processor time: %w", err)
		}
		total += used
	}
	if err != nil {
		return 0, fmt.Errorf("read the server's processor time: %w", err)
	}
	return time.Duration(total), nil
}

// rss is the server's resident memory in MB.
func (p *process) rss() (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("read the server's memory: %w", err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read the server's memory: %w", err)
	}
	return float64(pages) * float64(os.Getpagesize()) / 1e6, nil
}

func freePorts(n int) ([]string, error) {
	var out []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close() // held until all are found, so that none is given twice
		out = append(out, l.Addr().String())
	}
	return out, nil
}

// addressesOf finds an address of each country in the built-in database.
func addressesOf(countries []string) (map[string]string, error) {
	places, err := visitor.OpenPlaces("")
	if err != nil {
		return nil, err
	}
	defer places.Close()
	found := make(map[string]string)
	for a := 1; a < 224 && len(found) < len(countries); a++ {
		for b := 0; b < 256; b += 4 {
			addr := netip.AddrFrom4([4]byte{byte(a), byte(b), 1, 1})
			place := places.Of(addr)
			country := string(place.Country[:])
			if slices.Contains(countries, country) && found[country] == "" {
				found[country] = addr.String()
			}
		}
	}
	for _, c := range countries {
		if found[c] == "" {
			return nil, fmt.Errorf("no address of %s is in the built-in database", c)
		}
	}
	return found, nil
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}
