// Package ops is the core's operations port, which is not public: /livez,
// /readyz, /metrics and /debug/pprof. It is the only importer of Prometheus in
// the core; other packages own their counters as atomics, which it exposes.
//
// /livez is 200 while the process answers. /readyz is 200 only when every check
// passes, and says what is missing otherwise; it turns 503 for good when the
// core begins to stop. Checks run for at most two seconds.
package ops

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const checkTime = 2 * time.Second

// Check is one thing that a core needs to be of use.
type Check struct {
	Name string
	Look func(context.Context) error
}

// Ops serves the operations port. It is safe for concurrent use.
type Ops struct {
	log      *slog.Logger
	checks   []Check
	stopping atomic.Bool
	registry *prometheus.Registry
	mux      *http.ServeMux
}

// New makes the port's handler.
func New(log *slog.Logger, version string, checks ...Check) *Ops {
	o := &Ops{log: log, checks: checks, registry: prometheus.NewRegistry(), mux: http.NewServeMux()}
	o.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	o.Gauge("nearside_core_build_info", "Always 1; the label is the program's version.", map[string]string{"version": version}, func() float64 { return 1 })
	o.mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	o.mux.HandleFunc("GET /readyz", o.ready)
	o.mux.Handle("GET /metrics", promhttp.HandlerFor(o.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second}))
	o.mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	o.mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	o.mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	o.mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	o.mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return o
}

// Gauge exposes what read says.
func (o *Ops) Gauge(name, help string, labels map[string]string, read func() float64) {
	o.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, read))
}

// Counter exposes what read says, which must never fall.
func (o *Ops) Counter(name, help string, labels map[string]string, read func() float64) {
	o.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels}, read))
}

// Gauges exposes values that come and go, by the value of one label. read is
// called at each look; an error leaves the gauge out of it.
func (o *Ops) Gauges(name, help, label string, read func(context.Context) (map[string]float64, error)) {
	o.registry.MustRegister(&gauges{prometheus.NewDesc(name, help, []string{label}, nil), read, o.log})
}

type gauges struct {
	desc *prometheus.Desc
	read func(context.Context) (map[string]float64, error)
	log  *slog.Logger
}

// lookTime bounds what a look at the gauges may take.
const lookTime = 3 * time.Second

// Describe implements prometheus.Collector.
func (g *gauges) Describe(out chan<- *prometheus.Desc) { out <- g.desc }

// Collect implements prometheus.Collector.
func (g *gauges) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), lookTime)
	defer cancel()
	values, err := g.read(ctx)
	if err != nil {
		g.log.Warn("a metric cannot be read", "metric", g.desc.String(), "error", err)
		return
	}
	for label, value := range values {
		out <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, value, label)
	}
}

// Stopping turns /readyz to 503 for good.
func (o *Ops) Stopping() { o.stopping.Store(true) }

func (o *Ops) ServeHTTP(w http.ResponseWriter, r *http.Request) { o.mux.ServeHTTP(w, r) }

func (o *Ops) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), checkTime)
	defer cancel()
	missing := map[string]string{}
	if o.stopping.Load() {
		missing["running"] = "the core is stopping"
	}
	for _, check := range o.checks {
		if err := check.Look(ctx); err != nil {
			missing[check.Name] = err.Error()
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	answer := struct {
		Ready   bool              `json:"ready"`
		Missing map[string]string `json:"missing,omitempty"`
	}{len(missing) == 0, missing}
	if !answer.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		o.log.Debug("nobody waited for the readiness", "error", err)
	}
}
