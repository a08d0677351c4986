package main

import (
	"math"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

func TestQuantile(t *testing.T) {
	inf := math.Inf(1)
	before := []bucket{{1e-5, 10}, {1e-4, 10}, {1e-3, 10}, {inf, 10}}
	for _, c := range []struct {
		about string
		q     float64
		now   []bucket
		want  string
	}{
		{"half of what is new lies below the middle of the second bucket", 0.5, []bucket{{1e-5, 10}, {1e-4, 110}, {1e-3, 110}, {inf, 110}}, "55 µs"},
		{"the slowest hundredth", 0.99, []bucket{{1e-5, 60}, {1e-4, 108}, {1e-3, 110}, {inf, 110}}, "550 µs"},
		{"beyond the last bound", 0.99, []bucket{{1e-5, 10}, {1e-4, 10}, {1e-3, 10}, {inf, 20}}, "> 1.0 ms"},
		{"nothing is new", 0.5, before, "-"},
		{"no histogram", 0.5, nil, "-"},
	} {
		if got := quantile(c.q, before, c.now); got != c.want {
			t.Errorf("%s: %s, want %s", c.about, got, c.want)
		}
	}
}

func TestReadingsOfARegionAddUp(t *testing.T) {
	const said = `# TYPE nearside_edge_decisions_total counter
nearside_edge_decisions_total{outcome="filled"} 30
nearside_edge_decisions_total{outcome="empty"} 10
# TYPE nearside_edge_decision_seconds histogram
nearside_edge_decision_seconds_bucket{le="0.001"} 39
nearside_edge_decision_seconds_bucket{le="+Inf"} 40
nearside_edge_decision_seconds_sum 1
nearside_edge_decision_seconds_count 40
# TYPE nearside_edge_exchange_age_seconds gauge
nearside_edge_exchange_age_seconds 0.5
# TYPE nearside_edge_leased gauge
nearside_edge_leased{unit="events"} 100
nearside_edge_leased{unit="micros"} 5e6
# TYPE nearside_edge_spent_total counter
nearside_edge_spent_total{unit="events"} 7
nearside_edge_spent_total{unit="micros"} 1e6
`
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(said))
	if err != nil {
		t.Fatal(err)
	}
	var r reading
	r.add(families)
	r.add(families) // a second node
	if r.decisions != 80 || r.filled != 60 || r.age != 0.5 || r.leased != 200 || r.spent != 14 {
		t.Errorf("%+v", r)
	}
	if len(r.times) != 2 || r.times[0] != (bucket{0.001, 78}) || r.times[1].count != 80 {
		t.Errorf("%+v", r.times)
	}
}
