package main

import (
	"strings"
	"testing"
)

// TestBreaksApply keeps the breaks in step with the code that they break; the
// gate itself is make mutate.
func TestBreaksApply(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	list, err := load()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < 20 {
		t.Errorf("%d breaks, expected at least 20", len(list))
	}
	own := map[string]bool{}
	for _, m := range list {
		own[m.invariant] = true
		if _, err := m.apply(root); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
	if err := named(own); err != nil {
		t.Error(err)
	}
}

func TestParse(t *testing.T) {
	const good = "guards: a guard\ninvariant: I6\nfile: a.go\nwithin: 3\n<<<<\nold\n====\nnew\n>>>>\n"
	m, err := parse(good)
	if err != nil || m.old != "old\n" || m.new != "new\n" || m.within != 3 {
		t.Errorf("%+v, %v", m, err)
	}
	for _, c := range []struct{ name, old, new string }{
		{"no change", "new\n", "old\n"},
		{"no file", "file: a.go\n", ""},
		{"no seeds", "within: 3", "within: 0"},
		{"seeds in words", "within: 3", "within: three"},
		{"another header", "guards: ", "guard: "},
		{"no end", ">>>>\n", ""},
	} {
		if _, err := parse(strings.Replace(good, c.old, c.new, 1)); err == nil {
			t.Errorf("%s: parsed", c.name)
		}
	}
}
