package bench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// goBenchmarks are the figures that packages measure themselves.
var goBenchmarks = []goBenchmark{
	{
		pkg: "./edge/decision", bench: "^BenchmarkDecide$",
		figures: []figure{
			{"decide_10_flights", "/10/unseen", "ns/op", "/10/seen"},
			{"decide_100_flights", "/100/unseen", "ns/op", "/100/seen"},
			{"decide_1k_flights", "/1k/unseen", "ns/op", "/1k/seen"},
			{"decide_10k_flights", "/10k/unseen", "ns/op", "/10k/seen"},
			{"decide_100k_flights", "/100k/unseen", "ns/op", "/100k/seen"},
		},
	},
	{
		pkg: "./edge/journal", bench: "^BenchmarkAcks$",
		figures: []figure{{"journal_acks", "/256", "acks/s", "/1"}},
	},
	{
		pkg: "./core/ingest", bench: "^BenchmarkExchangeRows$",
		figures: []figure{
			{"exchange_rows", "/20x250", "rows/s", "/bare"},
			{"exchange_hot_flight", "/hot", "ns/op", "/own"},
		},
	},
	{
		pkg: "./core/ingest", bench: "^BenchmarkHolders$", once: true,
		figures: []figure{
			{"exchange_100_holders_p99", "/100x1000", "p99-ms", ""},
			{"exchange_100_holders_rows", "/100x1000", "rows/s", ""},
			{"exchange_300_holders_p99", "/300x1000", "p99-ms", ""},
			{"exchange_300_holders_rows", "/300x1000", "rows/s", ""},
			{"exchange_300_holders_interval", "/300x1000", "interval-ms", ""},
			{"exchange_300_holders_heap", "/300x1000", "heap-MB", ""},
		},
	},
}

// goBenchmark is one run of go test.
type goBenchmark struct {
	pkg     string
	bench   string // of go test -bench
	once    bool   // it takes long by itself, and averages
	figures []figure
}

// figure is one line of its output: the value in a unit, and the line of its
// baseline.
type figure struct {
	name     string
	line     string // what the benchmark's name ends with, before the -CPUs
	unit     string
	baseline string // the same for the baseline; "": none
}

func (conf *Config) goBench(ctx context.Context, b goBenchmark) ([]Result, error) {
	fmt.Fprintf(conf.Log, "go test -bench %s %s\n", b.bench, b.pkg)
	lasting, count := "300ms", strconv.Itoa(conf.Rounds)
	if b.once {
		lasting, count = "1x", "1"
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", b.bench, "-benchtime", lasting, "-count", count, b.pkg)
	cmd.Dir = conf.Source
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("go test: %w\n%s%s", err, out.Bytes(), errs.Bytes())
	}
	lines := parseGoBench(out.Bytes())
	var results []Result
	for _, f := range b.figures {
		if !conf.wanted(f.name) {
			continue
		}
		values := lines.of(f.line, f.unit)
		if len(values) == 0 {
			return nil, fmt.Errorf("%s: no line ends with %q and has %s in:\n%s", f.name, f.line, f.unit, out.Bytes())
		}
		r := Result{Name: f.name, Value: median(values), Unit: f.unit}
		if base := lines.of(f.baseline, f.unit); f.baseline != "" && len(base) > 0 {
			r.Baseline = median(base)
			r.Ratio = r.Value / r.Baseline
		}
		results = append(results, r)
	}
	return results, nil
}

// benchLine is one result line of go test -bench.
type benchLine struct {
	name   string // without the -CPUs
	values map[string]float64
}

type benchLines []benchLine

func (l benchLines) of(suffix, unit string) []float64 {
	var out []float64
	for _, line := range l {
		if v, ok := line.values[unit]; ok && strings.HasSuffix(line.name, suffix) {
			out = append(out, v)
		}
	}
	return out
}

var cpuSuffix = regexp.MustCompile(`-\d+$`)

// parseGoBench reads the format of https://go.dev/design/14313-benchmark-format.
func parseGoBench(out []byte) benchLines {
	var lines benchLines
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		line := benchLine{name: cpuSuffix.ReplaceAllString(fields[0], ""), values: map[string]float64{}}
		for i := 2; i+1 < len(fields); i += 2 {
			if v, err := strconv.ParseFloat(fields[i], 64); err == nil {
				line.values[fields[i+1]] = v
			}
		}
		lines = append(lines, line)
	}
	return lines
}
