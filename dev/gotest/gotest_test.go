package gotest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// module is one with a test that passes, one that skips and, if told, one that fails.
func module(t *testing.T, more string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module m\n\ngo 1.26\n",
		"m_test.go": `package m

import "testing"

func TestGood(t *testing.T) { t.Log("quiet") }
func TestSkips(t *testing.T) {
	t.Run("inner", func(t *testing.T) { t.Skip("there is no moon") })
}
` + more,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestWhatIsLeftOutIsSaid(t *testing.T) {
	for _, row := range []struct {
		name, more string
		verbose    bool
		fails      bool
		want, not  string
	}{
		{"quiet", "", false, false, "ok  \tm", "quiet"},
		{"verbose", "", true, false, "m_test.go:5: quiet", "FAIL"},
		{"a test fails", `func TestBad(t *testing.T) { t.Error("it is broken") }`, false, true, "it is broken", "quiet"},
		{"it does not build", `func TestBad(t *testing.T) { nonsense }`, false, true, "undefined: nonsense", "quiet"},
	} {
		t.Run(row.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "skipped")
			var out, stderr strings.Builder
			err := Run(t.Context(), Config{Dir: module(t, row.more), Args: []string{"-count=1", "./..."}, Verbose: row.verbose, Skipped: file, Out: &out, Err: &stderr})
			if (err != nil) != row.fails {
				t.Errorf("it ends with %v", err)
			}
			if all := out.String() + stderr.String(); !strings.Contains(all, row.want) || strings.Contains(all, row.not) {
				t.Errorf("it said\n%s\nwant %q and no %q", all, row.want, row.not)
			}
			var summary strings.Builder
			if err := Summary(file, &summary); err != nil {
				t.Fatal(err)
			}
			want := "1 tests were left out:\n  m TestSkips/inner: there is no moon\n"
			if row.name == "it does not build" {
				want = "no test was left out\n"
			}
			if summary.String() != want {
				t.Errorf("the summary is\n%s, want\n%s", summary.String(), want)
			}
		})
	}
}
