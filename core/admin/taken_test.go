package admin_test

import (
	"fmt"
	"slices"
	"testing"
)

// TestTakenCanBePublished sends every body of the tables in every way to every
// kind: whatever is taken makes a snapshot that edges take, and nothing goes
// wrong inside.
func TestTakenCanBePublished(t *testing.T) {
	w := open(t)
	w.sample()
	for _, k := range kinds {
		w.must(201, "POST", "/v1/"+k.path, k.least)
	}
	taken := 0
	for _, k := range kinds {
		for i, text := range []string{
			k.least, k.whole, k.patch, k.patched,
			`{"slug":"X-1_y","name":"é <b>\n\t'; DROP TABLE flights; --"}`,
			`{"targeting":null,"traffic_cap":{"countries":null}}`,
			`{"sold_views":1000000000000,"sold_clicks":1000000000000,"priority_multiplier":1e6,"cpm_micros":1e12,"cpc_micros":1e12,"daily_cap_micros":1e15}`,
			`{"start_date":"2000-01-01","end_date":"2199-12-31"}`,
			`{"link":"https://[::1]:80/%zz?${publisher}&x=$country#y"}`,
			`{"template":"{{if .}}{{.}}{{end}}"}`,
			`{"daily_cap_micros":1e15,"revenue_share_percentage":99.999}`,
		} {
			for _, way := range []string{"PATCH", "PUT", "POST"} {
				path := "/v1/" + k.path
				if way != "POST" {
					path += "/x"
				}
				a := w.call(way, path, text)
				if !slices.Contains([]int{200, 201, 409, 422}, a.status) || w.log.Len() > 0 {
					t.Fatalf("%s %s %s: %d %s\nlog: %s", way, path, text, a.status, a.text, w.log.String())
				}
				if a.status < 300 {
					taken++
					w.t = &named{t, fmt.Sprintf("%s %s, body %d", way, path, i)}
					w.snapshot() // is valid, or the test fails
					w.t = t
				}
			}
		}
	}
	if taken < 60 {
		t.Errorf("only %d bodies were taken: the test shows little", taken)
	}
}

// named says what was going on when something failed.
type named struct {
	testing.TB
	what string
}

func (n *named) Fatal(args ...any) {
	n.Helper()
	n.TB.Fatal(append([]any{n.what + ":"}, args...)...)
}
