package decision

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzAppendLower: on UTF-8 it is strings.ToLower; bytes that are not UTF-8
// stay, so that nothing of the length is lost.
func FuzzAppendLower(f *testing.F) {
	for _, s := range []string{"", "Go", "GRÖßE", "İstanbul", "ΣΊΣΥΦΟΣ", "ДАННЫЕ", "日本", "a\xffB\xc3", "\u2126", strings.Repeat("Ⱥ", 40)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := string(appendLower([]byte("x"), s))[1:]
		if utf8.ValidString(s) && got != strings.ToLower(s) {
			t.Fatalf("%q became %q, want %q", s, got, strings.ToLower(s))
		}
		if !utf8.ValidString(s) && utf8.ValidString(got) {
			t.Fatalf("%q became %q", s, got)
		}
	})
}
