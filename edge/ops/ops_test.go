package ops

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func get(o *Ops, path string) (int, string) {
	w := httptest.NewRecorder()
	o.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestReadiness(t *testing.T) {
	var catalog, keys error
	o := New("v1", Check{"catalog", func() error { return catalog }}, Check{"token_keys", func() error { return keys }})
	tests := []struct {
		name   string
		change func()
		status int
		body   string
	}{
		{"nothing is missing", func() {}, 200, `{"ready":true}`},
		{"no catalog", func() { catalog = errors.New("none yet") }, 503, `{"ready":false,"missing":{"catalog":"none yet"}}`},
		{"no keys either", func() { keys = errors.New("none yet") }, 503, `{"ready":false,"missing":{"catalog":"none yet","token_keys":"none yet"}}`},
		{"both came", func() { catalog, keys = nil, nil }, 200, `{"ready":true}`},
		{"draining", func() { o.Drain() }, 503, `{"ready":false,"missing":{"running":"the edge is draining"}}`},
	}
	for _, tt := range tests {
		tt.change()
		status, body := get(o, "/readyz")
		if status != tt.status || strings.TrimSpace(body) != tt.body || o.Ready() != (status == 200) {
			t.Errorf("%s: got %d %s, want %d %s", tt.name, status, body, tt.status, tt.body)
		}
		if status, _ := get(o, "/livez"); status != 200 {
			t.Errorf("%s: /livez %d", tt.name, status)
		}
	}
}

func TestMetrics(t *testing.T) {
	o := New("v1")
	o.Gauge("nearside_edge_g", "A gauge.", func() float64 { return 1.5 })
	o.Counter("nearside_edge_c_total", "A counter.", func() float64 { return 2 })
	o.Counters("nearside_edge_cs_total", "Counters.", []string{"a", "b"}, func(say func(float64, ...string)) { say(3, "x", "y"); say(4, "x", "z") })
	o.Gauges("nearside_edge_gs", "Gauges.", []string{"a"}, func(say func(float64, ...string)) { say(5, "x") })
	o.Histogram("nearside_edge_h_seconds", "A histogram.", func() (map[float64]uint64, uint64, float64) {
		return map[float64]uint64{0.001: 1, 0.002: 3}, 4, 0.5
	})
	status, body := get(o, "/metrics")
	for _, line := range []string{
		"nearside_edge_g 1.5", "nearside_edge_c_total 2", `nearside_edge_cs_total{a="x",b="y"} 3`, `nearside_edge_cs_total{a="x",b="z"} 4`,
		`nearside_edge_gs{a="x"} 5`, `nearside_edge_h_seconds_bucket{le="0.002"} 3`, "nearside_edge_h_seconds_count 4", "nearside_edge_h_seconds_sum 0.5",
		`nearside_edge_build_info{version="v1"} 1`, "nearside_edge_ready 1",
	} {
		if !strings.Contains(body, "\n"+line+"\n") {
			t.Errorf("%d: %q is missing", status, line)
		}
	}
}

func TestProfiles(t *testing.T) {
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/goroutine?debug=1", "/debug/pprof/cmdline"} {
		if status, _ := get(New("v1"), path); status != 200 {
			t.Errorf("%s: %d", path, status)
		}
	}
	if status, _ := get(New("v1"), "/"); status != 404 {
		t.Errorf("/: %d", status)
	}
}
