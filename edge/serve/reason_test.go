package serve

import (
	"testing"
	"time"
)

func TestLatency(t *testing.T) {
	var l Latency
	for _, d := range []time.Duration{
		-1, 0, 1, time.Microsecond, time.Microsecond + 1, 1500 * time.Nanosecond, 1501 * time.Nanosecond, 2 * time.Microsecond,
		3 * time.Microsecond, 3*time.Microsecond + 1, 100 * time.Microsecond, 5 * time.Millisecond, time.Second, 4 * time.Second, time.Hour, 1 << 62,
	} {
		i := latencyBucket(d)
		if i < latencyBuckets-1 && d > latencyBound(i) || i > 0 && d <= latencyBound(i-1) {
			t.Errorf("%v is in the bucket up to %v", d, latencyBound(i))
		}
	}
	for range 3 {
		l.observe(10 * time.Microsecond)
	}
	l.observe(time.Hour)
	buckets, count, sum := l.Read()
	if count != 4 || sum < 3600 || sum > 3600.001 || buckets[12e-6] != 3 || buckets[8e-6] != 0 || len(buckets) != latencyBuckets-1 {
		t.Errorf("%v, %d, %v", buckets, count, sum)
	}
}

// Every reason and answer has a name, and the names are a bounded set.
func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for e := range events {
		for r := range reasons {
			if r.For(e) == "" {
				t.Errorf("reason %d of a %v has no name", r, e)
			}
		}
	}
	for a := range answers {
		if a.String() == "" || seen[a.String()] {
			t.Errorf("answer %d is called %q", a, a)
		}
		seen[a.String()] = true
	}
}
