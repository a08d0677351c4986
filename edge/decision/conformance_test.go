package decision_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"

	"nearside/edge/decision"
	"nearside/edge/decision/conformance"
	"nearside/sync/catalog"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; got\n%s", path, got)
	}
}

// TestRules runs every row of conformance/rules.md against Decide, against
// DecideAmong and against Explain.
func TestRules(t *testing.T) {
	cases, err := conformance.Cases()
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) < 150 {
		t.Errorf("%d rows, fewer than 150", len(cases))
	}
	for _, c := range cases {
		t.Run(fmt.Sprintf("%d %s", c.Line, c.Name), func(t *testing.T) { runCase(t, c) })
	}
}

func runCase(t *testing.T, c *conformance.Case) {
	compiled, err := decision.Compile(c.Snapshot, c.Books(), catalog.DayOf(c.Request.Now))
	if err != nil {
		t.Fatal(err)
	}
	r, now := c.Request.Decision(compiled), c.Request.Now.UnixMilli()
	checkExplained(t, c, compiled.Explain(r, now))

	var s decision.Scratch
	decide := map[string]func(seed uint64, out *decision.Outcome){
		"Decide": func(seed uint64, out *decision.Outcome) { compiled.Decide(r, &s, now, seed, out) },
		"DecideAmong": func(seed uint64, out *decision.Outcome) {
			compiled.Shape(r, &s, now)
			compiled.DecideAmong(compiled.Candidates(&s), r, &s, now, seed, out)
		},
	}
	for name, decide := range decide {
		seen := make([]bool, len(c.Want.Options))
		for seed := range uint64(200) {
			var out decision.Outcome
			decide(seed, &out)
			if out.Filled != (len(c.Want.Options) > 0) {
				t.Fatalf("%s: filled is %v (%v)", name, out.Filled, out.Reason)
			}
			if !out.Filled {
				if c.Want.Reason != decision.None && out.Reason != c.Want.Reason {
					t.Fatalf("%s: %v, want %v", name, out.Reason, c.Want.Reason)
				}
				if out.Reason == decision.None {
					t.Fatalf("%s: no ad and no reason", name)
				}
				continue
			}
			i := slices.IndexFunc(c.Want.Options, func(o conformance.Option) bool { return matches(o, r, &out) })
			if i < 0 {
				t.Fatalf("%s: %s of %s in %s", name, out.Ad.Slug, out.Flight.Slug, r.Placements[out.Placement].DivID)
			}
			seen[i] = true
			if w := c.Want.Options[i].Weight; w >= 0 && c.Want.Options[i].Ad == "" && out.Weight != w {
				t.Fatalf("%s: %s weighs %d, want %d", name, out.Flight.Slug, out.Weight, w)
			}
		}
		for i, o := range c.Want.Options {
			if !seen[i] {
				t.Errorf("%s: %+v never came", name, o)
			}
		}
	}
}

func matches(o conformance.Option, r *decision.Request, out *decision.Outcome) bool {
	return o.Flight == out.Flight.Slug && (o.Ad == "" || o.Ad == out.Ad.Slug) &&
		(o.Div == "" || o.Div == r.Placements[out.Placement].DivID)
}

func checkExplained(t *testing.T, c *conformance.Case, e *decision.Explanation) {
	t.Helper()
	if c.Want.Reason != decision.None && e.Reason != c.Want.Reason.String() {
		t.Errorf("explained as %s, want %v", e.Reason, c.Want.Reason)
	}
	got := make(map[string]bool)
	for _, line := range e.Flights {
		if line.Probability > 0 {
			got[line.Flight] = true
		}
		want, refused := c.Want.Refused[line.Flight]
		if refused && line.Reason != want.String() {
			t.Errorf("%s explained as %s (wanted %q, found %q), want %v", line.Flight, line.Reason, line.Wanted, line.Found, want)
		}
		if refused && line.Wanted == "" {
			t.Errorf("%s explained as %s without the values compared", line.Flight, line.Reason)
		}
		for _, o := range c.Want.Options {
			if o.Flight != line.Flight || o.Weight < 0 {
				continue
			}
			if o.Ad == "" && line.Weight != o.Weight {
				t.Errorf("%s explained with weight %d, want %d", o.Flight, line.Weight, o.Weight)
			}
			if i := slices.IndexFunc(line.Ads, func(a decision.AdLine) bool { return a.Ad == o.Ad }); o.Ad != "" && (i < 0 || line.Ads[i].Weight != o.Weight) {
				t.Errorf("%s explained with %+v, want weight %d", o.Ad, line.Ads, o.Weight)
			}
		}
	}
	want := make(map[string]bool)
	for _, o := range c.Want.Options {
		want[o.Flight] = true
	}
	if !maps.Equal(got, want) {
		t.Errorf("explained as possible: %v, want %v", got, want)
	}
}
