package main

import (
	"testing"
	"time"
)

// TestUtilisation is the table's first fleet over four hours, with and without
// faults: make utilisation is the whole of it.
func TestUtilisation(t *testing.T) {
	for _, s := range []shape{
		{name: "clean", regions: 3, nodes: 5, life: 4 * time.Hour},
		{name: "with faults", regions: 3, nodes: 5, life: 4 * time.Hour, faults: true},
	} {
		w, err := play(s, 1, []int64{100, 1000, 10_000, 50_000})
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		for _, f := range w.flights {
			if missed := f.misses(3); len(missed) > 0 {
				t.Errorf("%s: sold %d: %v", s.name, f.sold, missed)
			}
		}
	}
}

func BenchmarkLargeFleet(b *testing.B) {
	for b.Loop() {
		if _, err := play(shape{name: "large", regions: 10, nodes: 20, life: time.Hour}, 1, []int64{100, 1000, 10_000, 40_000}); err != nil {
			b.Fatal(err)
		}
	}
}
