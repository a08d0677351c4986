package ops_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"nearside/core/ops"
)

func get(o *ops.Ops, path string) (int, string) {
	recorder := httptest.NewRecorder()
	o.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, nil))
	return recorder.Code, strings.TrimSpace(recorder.Body.String())
}

// TestReadiness follows a core from its start to its stop.
func TestReadiness(t *testing.T) {
	var database, catalog error
	o := ops.New(slog.New(slog.NewTextHandler(io.Discard, nil)), "v1",
		ops.Check{Name: "database", Look: func(context.Context) error { return database }},
		ops.Check{Name: "catalog", Look: func(context.Context) error { return catalog }},
	)
	check := func(about string, status int, body string) {
		t.Helper()
		if gotStatus, got := get(o, "/readyz"); gotStatus != status || got != body {
			t.Errorf("%s: %d %s, want %d %s", about, gotStatus, got, status, body)
		}
		if status, _ := get(o, "/livez"); status != 200 {
			t.Errorf("%s: not alive: %d", about, status)
		}
	}
	check("all is well", 200, `{"ready":true}`)
	catalog = errors.New("no catalog version is published")
	check("no catalog", 503, `{"ready":false,"missing":{"catalog":"no catalog version is published"}}`)
	database = errors.New("refused")
	check("no database either", 503, `{"ready":false,"missing":{"catalog":"no catalog version is published","database":"refused"}}`)
	database, catalog = nil, nil
	check("all is well again", 200, `{"ready":true}`)
	o.Stopping()
	check("stopping", 503, `{"ready":false,"missing":{"running":"the core is stopping"}}`)
}

// TestMetrics exposes what counters say, at the moment of asking.
func TestMetrics(t *testing.T) {
	o := ops.New(slog.New(slog.NewTextHandler(io.Discard, nil)), "v1")
	n := 1.0
	o.Counter("nearside_test_total", "A counter.", map[string]string{"kind": "a"}, func() float64 { return n })
	o.Gauge("nearside_test", "A gauge.", nil, func() float64 { return -n })
	for range 2 {
		_, text := get(o, "/metrics")
		for _, want := range []string{
			`nearside_core_build_info{version="v1"} 1`, "# HELP nearside_test A gauge.", "# TYPE nearside_test_total counter", "go_goroutines ", "process_",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("there is no %s in\n%s", want, text)
			}
		}
		if value := map[float64][2]string{1: {`nearside_test_total{kind="a"} 1`, "nearside_test -1"}, 2: {`nearside_test_total{kind="a"} 2`, "nearside_test -2"}}[n]; !strings.Contains(text, value[0]) || !strings.Contains(text, value[1]) {
			t.Errorf("at %v: no %q in\n%s", n, value, text)
		}
		n++
	}
}

// TestProfiles answers the profiler and nothing else.
func TestProfiles(t *testing.T) {
	o := ops.New(slog.New(slog.NewTextHandler(io.Discard, nil)), "v1")
	for path, want := range map[string]int{"/debug/pprof/": 200, "/debug/pprof/goroutine?debug=1": 200, "/debug/pprof/none": 404, "/": 404, "/v1/flights": 404} {
		if got, _ := get(o, path); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
}
