package report

import (
	"math"
	"strings"
	"testing"
	"time"
)

// TestECPM rounds down and does not overflow.
func TestECPM(t *testing.T) {
	for _, c := range []struct{ spent, views, want int64 }{
		{0, 1, 0}, {2000, 1, 2_000_000}, {1, 3, 333}, {999, 1_000_000, 0}, {1000, 1_000_000, 1},
		{9_000_000_000_000_001, 3, 3_000_000_000_000_000_333}, {math.MaxInt64, 1, math.MaxInt64}, {math.MaxInt64, 1001, 9_214_157_878_975_800_006},
	} {
		if got := ecpm(c.spent, c.views); got == nil || *got != c.want {
			t.Errorf("%d micros for %d views: %v, want %d", c.spent, c.views, got, c.want)
		}
	}
	if got := ecpm(5, 0); got != nil {
		t.Errorf("without views: %d", *got)
	}
	if got := ecpm(math.MaxInt64, math.MaxInt64); got == nil || *got != 1000 {
		t.Errorf("as many micros as views: %v", got)
	}
}

// TestCSV writes the dimensions in their order, whatever order they were asked
// in, and nothing for what is null.
func TestCSV(t *testing.T) {
	flight, region, hour, rate, price := "", "eu", time.Date(2025, 9, 1, 10, 0, 0, 0, time.UTC), 0.5, int64(7)
	var out strings.Builder
	err := WriteCSV(&out, []Dimension{Region, Flight, Hour}, []Row{
		{Flight: &flight, Region: &region, Hour: &hour, Decisions: 2, Offers: 1, FillRate: &rate, ECPMMicros: &price, RefundedViews: 3, RefundedMicros: 6000},
	})
	want := "hour,flight,region,decisions,offers,views,clicks,unbilled_views,unbilled_clicks,spent_micros,fill_rate,view_rate,ctr,ecpm_micros,refunded_views,refunded_clicks,refunded_micros\n" +
		"2025-09-01T10:00:00Z,,eu,2,1,0,0,0,0,0,0.500000,,,7,3,0,6000\n"
	if err != nil || out.String() != want {
		t.Errorf("%v\n%swant\n%s", err, out.String(), want)
	}
}
