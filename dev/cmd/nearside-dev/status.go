package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"nearside/dev/world"
)

// status is the live view: a table that is drawn over itself.
type status struct {
	world  *world.World
	out    io.Writer
	client *http.Client
	last   map[string]reading // by region
	drawn  int                // lines of the table on the screen
}

func newStatus(w *world.World, out io.Writer) *status {
	return &status{world: w, out: out, client: &http.Client{Timeout: 2 * time.Second}, last: map[string]reading{}}
}

// run draws once a second until ctx ends.
func (s *status) run(ctx context.Context) {
	defer s.client.CloseIdleConnections()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		s.draw(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// reading is what the metrics of a region's edges said together.
type reading struct {
	at            time.Time
	up, nodes     int
	decisions     float64
	filled        float64
	times         []bucket // cumulative, by upper bound
	age           float64  // of the last exchange, the oldest of the nodes
	leased, spent float64  // events
}

type bucket struct{ bound, count float64 }

func (s *status) draw(ctx context.Context) {
	var b strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", s.drawn)
	}
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\x1b[K\n", args...) }
	line("%-12s %6s %11s %9s %9s %6s %9s %12s %12s", "region", "edges", "decisions/s", "p50", "p99", "fill", "exchange", "leased", "spent")
	regions := s.read(ctx)
	for _, name := range regions.names {
		now, before := regions.readings[name], s.last[name]
		s.last[name] = now
		rate, fill, p50, p99 := "-", "-", "-", "-"
		if seconds := now.at.Sub(before.at).Seconds(); !before.at.IsZero() && now.decisions >= before.decisions {
			n := now.decisions - before.decisions
			rate = fmt.Sprintf("%.0f", n/seconds)
			if n > 0 {
				fill = fmt.Sprintf("%.0f%%", 100*(now.filled-before.filled)/n)
			}
			p50, p99 = quantile(0.50, before.times, now.times), quantile(0.99, before.times, now.times)
		}
		line("%-12s %6s %11s %9s %9s %6s %9s %12.0f %12.0f", name, fmt.Sprintf("%d/%d", now.up, now.nodes), rate, p50, p99, fill,
			fmt.Sprintf("%.1f s", math.Max(now.age, 0)), now.leased, now.spent)
	}
	line("leased and spent count events; exchange is the time since the core last answered")
	s.drawn = len(regions.names) + 2
	fmt.Fprint(s.out, b.String())
}

type regions struct {
	names    []string
	readings map[string]reading
}

// read asks every edge.
func (s *status) read(ctx context.Context) regions {
	r := regions{readings: map[string]reading{}}
	for _, e := range s.world.Ready().Edges {
		sum, seen := r.readings[e.Region]
		if !seen {
			r.names = append(r.names, e.Region)
			sum.at = time.Now()
		}
		sum.nodes++
		if families, err := s.scrape(ctx, e.Ops); err == nil {
			sum.up++
			sum.add(families)
		}
		r.readings[e.Region] = sum
	}
	return r
}

func (s *status) scrape(ctx context.Context, ops string) (map[string]*dto.MetricFamily, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, ops+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(resp.Body)
}

func (r *reading) add(families map[string]*dto.MetricFamily) {
	for _, m := range families["nearside_edge_decisions_total"].GetMetric() {
		n := m.GetCounter().GetValue()
		r.decisions += n
		if label(m, "outcome") == "filled" {
			r.filled += n
		}
	}
	for _, m := range families["nearside_edge_decision_seconds"].GetMetric() {
		for i, b := range m.GetHistogram().GetBucket() {
			if i == len(r.times) {
				r.times = append(r.times, bucket{bound: b.GetUpperBound()})
			}
			r.times[i].count += float64(b.GetCumulativeCount())
		}
	}
	for _, m := range families["nearside_edge_exchange_age_seconds"].GetMetric() {
		r.age = math.Max(r.age, m.GetGauge().GetValue())
	}
	for _, m := range families["nearside_edge_leased"].GetMetric() {
		if label(m, "unit") == "events" {
			r.leased += m.GetGauge().GetValue()
		}
	}
	for _, m := range families["nearside_edge_spent_total"].GetMetric() {
		if label(m, "unit") == "events" {
			r.spent += m.GetCounter().GetValue()
		}
	}
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// quantile is below which time the share q of what happened between two
// readings lies, as exactly as the buckets are fine.
func quantile(q float64, before, now []bucket) string {
	if len(now) == 0 {
		return "-"
	}
	count := func(i int) float64 {
		if i < len(before) {
			return now[i].count - before[i].count
		}
		return now[i].count
	}
	total := count(len(now) - 1)
	if total <= 0 {
		return "-"
	}
	lower, below := 0.0, 0.0
	for i := range now {
		n := count(i)
		if n >= q*total && n > below {
			upper := now[i].bound
			if math.IsInf(upper, 1) {
				return fmt.Sprintf("> %s", short(lower))
			}
			return short(lower + (upper-lower)*(q*total-below)/(n-below))
		}
		lower, below = now[i].bound, n
	}
	return "> " + short(lower)
}

func short(seconds float64) string {
	switch {
	case seconds < 1e-3:
		return fmt.Sprintf("%.0f µs", seconds*1e6)
	case seconds < 1:
		return fmt.Sprintf("%.1f ms", seconds*1e3)
	}
	return fmt.Sprintf("%.1f s", seconds)
}
