package serve

import (
	"bytes"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
	"unsafe"
)

// text views bytes as a string, for as long as nobody changes them.
func text(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	return unsafe.String(&b[0], len(b))
}

// hostOf is the authority of an absolute URL, without a user: "host" or
// "host:port". It is empty where there is none.
func hostOf(u string) string {
	_, host, ok := strings.Cut(u, "://")
	if !ok {
		return ""
	}
	if i := strings.IndexAny(host, "/?#"); i >= 0 {
		host = host[:i]
	}
	return host[strings.LastIndexByte(host, '@')+1:]
}

// validURL says what Django's URLValidator says of a page's URL: one of four
// schemes; a host that is an IP address, localhost, or a name with a top-level
// domain; no white space.
func validURL(u []byte) bool {
	i := bytes.Index(u, []byte("://"))
	if i < 0 || hasSpace(u) {
		return false
	}
	switch scheme := u[:i]; {
	case equalFold(scheme, "https"), equalFold(scheme, "http"), equalFold(scheme, "ftp"), equalFold(scheme, "ftps"):
	default:
		return false
	}
	authority := u[i+3:]
	for i, c := range authority {
		if c == '/' || c == '?' || c == '#' {
			authority = authority[:i]
			break
		}
	}
	if i := bytes.IndexByte(authority, '@'); i >= 0 {
		user, _, _ := bytes.Cut(authority[:i], []byte(":"))
		if len(user) == 0 || bytes.Count(authority[:i], []byte(":")) > 1 {
			return false
		}
		authority = authority[i+1:]
	}
	if len(authority) > 0 && authority[0] == '[' {
		end := bytes.IndexByte(authority, ']')
		if end < 0 || !validPort(authority[end+1:]) {
			return false
		}
		inside := authority[1:end]
		addr, err := netip.ParseAddr(text(inside))
		return err == nil && addr.Is6() && bytes.IndexByte(inside, '%') < 0
	}
	host := authority
	if i := bytes.IndexByte(authority, ':'); i >= 0 {
		if !validPort(authority[i:]) {
			return false
		}
		host = authority[:i]
	}
	return validHost(host)
}

// hasSpace reports white space, as Python knows it, null bytes, and bytes that
// are not UTF-8.
func hasSpace(b []byte) bool {
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c > ' ' && c < utf8.RuneSelf:
		case c < utf8.RuneSelf:
			if c == ' ' || '\t' <= c && c <= '\r' || 0x1c <= c && c <= 0x1f || c == 0 {
				return true
			}
		default:
			r, size := utf8.DecodeRune(b[i:])
			if r == utf8.RuneError && size == 1 || r == 0x85 || unicode.IsSpace(r) {
				return true
			}
			i += size - 1
		}
	}
	return false
}

func validPort(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if b[0] != ':' || len(b) < 2 || len(b) > 6 {
		return false
	}
	for _, c := range b[1:] {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

func validHost(host []byte) bool {
	if len(host) == 0 || len(host) > 253 {
		return false
	}
	if equalFold(host, "localhost") {
		return true
	}
	if c := host[len(host)-1]; '0' <= c && c <= '9' { // no top-level domain ends in a digit, but for xn--
		if addr, err := netip.ParseAddr(text(host)); err == nil {
			return addr.Is4()
		}
	}
	if host[len(host)-1] == '.' {
		host = host[:len(host)-1]
	}
	labels, label := 0, []byte(nil)
	for more := true; more; labels++ {
		label, host, more = bytes.Cut(host, []byte("."))
		if len(label) == 0 || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range label {
			if c < utf8.RuneSelf && !isAlphaNumeric(c) && c != '-' {
				return false
			}
		}
	}
	// What is left in label is the top-level domain.
	if labels < 2 || len(label) < 2 {
		return false
	}
	if len(label) > 4 && equalFold(label[:4], "xn--") {
		return true
	}
	for _, c := range label {
		if '0' <= c && c <= '9' {
			return false
		}
	}
	return true
}

func isAlphaNumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// equalFold reports whether b is s, a lower-case word, in any case.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range b {
		c := b[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != s[i] {
			return false
		}
	}
	return true
}
