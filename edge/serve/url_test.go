package serve

import (
	"net/url"
	"strings"
	"testing"
)

// What Django's URLValidator says of the same.
func TestValidURL(t *testing.T) {
	for in, want := range map[string]bool{
		"http://example.com": true, "https://example.com/": true, "HTTPS://EXAMPLE.COM/A?b=c#d": true, "ftp://example.com": true,
		"http://localhost": true, "http://localhost:8000/x": true, "http://127.0.0.1:8000": true, "http://[::1]/": true,
		"http://[2001:db8::1]:8080/a": true, "http://a.b-c.de": true, "http://example.com.": true, "http://user:pw@example.com/": true,
		"http://user@example.com": true, "http://xn--bcher-kva.example": true, "http://bücher.example/é": true, "http://a.xn--p1ai": true,
		"http://example.com?x": true, "http://example.com#x": true, "https://docs.example.com/en/latest/?q=a%20b": true,

		"": false, "example.com": false, "invalid-url": false, "http://": false, "http:///x": false, "http://intranet": false,
		"javascript:alert(1)": false, "data://example.com": false, "http://-a.com": false, "http://a-.com": false, "http://a..b": false,
		"http://example.com:port": false, "http://example.com:123456": false, "http://example.com:": false, "http://exa mple.com": false,
		"http://example.com/a b": false, "http://example.com/\n": false, "http://256.1.1.1": false, "http://1.1.1": false,
		"http://[::1": false, "http://[fe80::1%25eth0]/": false, "http://a_b.com": false, "http://@example.com": false,
		"http://a:b:c@example.com": false, "http://example.c": false, "http://example.c0m": false, "http://\xff.com": false,
		"http://" + strings.Repeat("a", 64) + ".com": false, "http://" + strings.Repeat("a.", 130) + "com": false,
	} {
		if got := validURL([]byte(in)); got != want {
			t.Errorf("%q: got %v", in, got)
		}
	}
}

func TestHostOf(t *testing.T) {
	for in, want := range map[string]string{
		"http://example.com": "example.com", "https://a.b:80/c": "a.b:80", "https://u:p@a.b?x": "a.b", "https://a#b": "a", "x": "", "": "",
	} {
		if got := hostOf(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// What is valid here is never nonsense to net/url.
func FuzzValidURL(f *testing.F) {
	for _, s := range []string{"http://example.com", "https://u:p@[::1]:80/a?b#c", "ftp://xn--a.b", "http://1.2.3.4", "http://é.é", "http://a.b:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !validURL([]byte(s)) {
			return
		}
		if strings.ContainsAny(s, " \t\r\n\x00") {
			t.Errorf("%q: white space", s)
		}
		if hostOf(s) == "" {
			t.Errorf("%q: no host", s)
		}
		scheme, rest, _ := strings.Cut(s, "://")
		authority, _, _ := strings.Cut(rest, "/")
		if u, err := url.Parse(scheme + "://" + strings.NewReplacer("%", "", "?", "", "#", "").Replace(authority)); err == nil && u.Host == "" {
			t.Errorf("%q: net/url finds no host", s)
		}
	})
}
