// Package ops is the edge's operations port, which is not public: /livez,
// /readyz, /metrics and /debug/pprof, and what else Handle is given. It is the only importer of Prometheus at
// the edge; other packages own their counters as atomics, which it exposes.
//
// /livez is 200 while the process answers. /readyz is 200 only when every check
// passes, and says what is missing otherwise; it turns 503 for good when the
// edge begins to drain. Ready is the same answer for the public port's twin.
//
// It leaves out who may ask: bind it to a private address.
package ops

import (
	"encoding/json"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Check is one thing that an edge needs to be of use. Look answers from memory.
type Check struct {
	Name string
	Look func() error
}

// Ops serves the operations port. It is safe for concurrent use once its
// metrics are there.
type Ops struct {
	checks   []Check
	draining atomic.Bool
	registry *prometheus.Registry
	mux      *http.ServeMux
}

// New makes the port's handler.
func New(version string, checks ...Check) *Ops {
	o := &Ops{checks: checks, registry: prometheus.NewRegistry(), mux: http.NewServeMux()}
	o.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "nearside_edge_build_info", Help: "Always 1; the label is the program's version.",
			ConstLabels: prometheus.Labels{"version": version},
		}, func() float64 { return 1 }),
	)
	o.Gauge("nearside_edge_ready", "Whether /readyz is 200.", func() float64 {
		if o.Ready() {
			return 1
		}
		return 0
	})
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

// Handle serves a further path.
func (o *Ops) Handle(pattern string, handler http.Handler) { o.mux.Handle(pattern, handler) }

// Gauge exposes what read says.
func (o *Ops) Gauge(name, help string, read func() float64) {
	o.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read))
}

// Counter exposes what read says, which must never fall.
func (o *Ops) Counter(name, help string, read func() float64) {
	o.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, read))
}

// Counters exposes what each says under its labels, whose values come from a
// bounded set.
func (o *Ops) Counters(name, help string, labels []string, each func(say func(n float64, values ...string))) {
	o.registry.MustRegister(family{prometheus.NewDesc(name, help, labels, nil), prometheus.CounterValue, each})
}

// Gauges is Counters for what may fall.
func (o *Ops) Gauges(name, help string, labels []string, each func(say func(n float64, values ...string))) {
	o.registry.MustRegister(family{prometheus.NewDesc(name, help, labels, nil), prometheus.GaugeValue, each})
}

// Histogram exposes what read says: cumulative counts by upper bound, the count
// of all and their sum.
func (o *Ops) Histogram(name, help string, read func() (buckets map[float64]uint64, count uint64, sum float64)) {
	o.registry.MustRegister(histogram{prometheus.NewDesc(name, help, nil, nil), read})
}

type family struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	each func(say func(n float64, values ...string))
}

func (f family) Describe(c chan<- *prometheus.Desc) { c <- f.desc }

func (f family) Collect(c chan<- prometheus.Metric) {
	f.each(func(n float64, values ...string) {
		c <- prometheus.MustNewConstMetric(f.desc, f.kind, n, values...)
	})
}

type histogram struct {
	desc *prometheus.Desc
	read func() (map[float64]uint64, uint64, float64)
}

func (h histogram) Describe(c chan<- *prometheus.Desc) { c <- h.desc }

func (h histogram) Collect(c chan<- prometheus.Metric) {
	buckets, count, sum := h.read()
	c <- prometheus.MustNewConstHistogram(h.desc, count, sum, buckets)
}

// Drain turns readiness off for good.
func (o *Ops) Drain() { o.draining.Store(true) }

// Ready reports whether nothing is missing.
func (o *Ops) Ready() bool {
	if o.draining.Load() {
		return false
	}
	for _, c := range o.checks {
		if c.Look() != nil {
			return false
		}
	}
	return true
}

func (o *Ops) ServeHTTP(w http.ResponseWriter, r *http.Request) { o.mux.ServeHTTP(w, r) }

func (o *Ops) ready(w http.ResponseWriter, _ *http.Request) {
	missing := map[string]string{}
	if o.draining.Load() {
		missing["running"] = "the edge is draining"
	}
	for _, c := range o.checks {
		if err := c.Look(); err != nil {
			missing[c.Name] = err.Error()
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if len(missing) > 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(struct {
		Ready   bool              `json:"ready"`
		Missing map[string]string `json:"missing,omitempty"`
	}{len(missing) == 0, missing})
}
