package creative

import (
	"net/url"
	"strings"
)

// Variables are what an advertiser's link may ask for, as $name or ${name}.
type Variables struct {
	PublisherSlug, PublisherName string // "unknown" where the offer is not known
	AdSlug, AdName               string
	FlightSlug, FlightName       string
	Country, Continent           string // "None" where they are not known
}

func (v *Variables) value(name string) (string, bool) {
	switch name {
	case "publisher", "publisher_slug":
		return v.PublisherSlug, true
	case "publisher_name":
		return v.PublisherName, true
	case "advertisement", "advertisement_slug":
		return v.AdSlug, true
	case "advertisement_name":
		return v.AdName, true
	case "flight", "flight_slug":
		return v.FlightSlug, true
	case "flight_name":
		return v.FlightName, true
	case "country":
		return v.Country, true
	case "continent":
		return v.Continent, true
	}
	return "", false
}

// publisherParam is appended to every link.
const publisherParam = "ea-publisher"

// Landing is where a click on a link leads: variables filled in, and
// ea-publisher appended to the query. Parameters keep their order; blank and
// repeated ones survive. A variable's value is escaped for where it stands, so
// that no name can add a parameter. Unknown variables stay as they are, and $$
// is a dollar sign. The result is printable ASCII whatever the link holds.
func Landing(link string, v *Variables) string {
	link, fragment, hasFragment := strings.Cut(link, "#")
	path, query, _ := strings.Cut(link, "?")
	var b strings.Builder
	expand(path, v, func(s string) { keepURL(&b, s) }, func(s string) { b.WriteString(url.PathEscape(s)) })
	b.WriteByte('?')
	for piece := range strings.SplitSeq(query, "&") {
		key, value, hasValue := strings.Cut(piece, "=")
		if piece == "" || unescape(key) == publisherParam {
			continue
		}
		inQuery(&b, key, v)
		if hasValue {
			b.WriteByte('=')
			inQuery(&b, value, v)
		}
		b.WriteByte('&')
	}
	b.WriteString(publisherParam + "=")
	b.WriteString(url.QueryEscape(v.PublisherSlug))
	if hasFragment {
		b.WriteByte('#')
		expand(fragment, v, func(s string) { keepURL(&b, s) }, func(s string) { b.WriteString(url.PathEscape(s)) })
	}
	return b.String()
}

// inQuery writes one key or value of the query, its own escapes made uniform.
func inQuery(b *strings.Builder, s string, v *Variables) {
	expand(s, v,
		func(s string) { b.WriteString(url.QueryEscape(unescape(s))) },
		func(s string) { b.WriteString(url.QueryEscape(s)) })
}

// expand splits s at its variables and hands over literal text and values in
// their order. The grammar is that of Python's string.Template.
func expand(s string, v *Variables, literal, value func(string)) {
	start := 0
	for i := 0; i < len(s); {
		if s[i] != '$' {
			i++
			continue
		}
		if i+1 < len(s) && s[i+1] == '$' {
			literal(s[start : i+1])
			i += 2
			start = i
			continue
		}
		from, braced := i+1, false
		if from < len(s) && s[from] == '{' {
			from, braced = from+1, true
		}
		to := from
		for to < len(s) && isNameByte(s[to], to > from) {
			to++
		}
		next := to
		if braced {
			if to == len(s) || s[to] != '}' {
				i++
				continue
			}
			next++
		}
		if filled, ok := v.value(s[from:to]); ok {
			literal(s[start:i])
			value(filled)
			start = next
		}
		i = max(next, i+1)
	}
	literal(s[start:])
}

func isNameByte(c byte, digit bool) bool {
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || digit && '0' <= c && c <= '9'
}

// unescape undoes + and %XX in a query; what is not an escape stays.
func unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '+':
			b = append(b, ' ')
		case s[i] == '%' && i+2 < len(s) && unhex(s[i+1]) >= 0 && unhex(s[i+2]) >= 0:
			b = append(b, byte(unhex(s[i+1])<<4|unhex(s[i+2])))
			i += 2
		default:
			b = append(b, s[i])
		}
	}
	return string(b)
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// keepURL writes s with only those bytes escaped that no URL may hold.
func keepURL(b *strings.Builder, s string) {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>\\^`{|}", c) >= 0 {
			b.WriteByte('%')
			b.WriteByte("0123456789ABCDEF"[c>>4])
			b.WriteByte("0123456789ABCDEF"[c&15])
			continue
		}
		b.WriteByte(c)
	}
}

// Domain is the host, with its port, that a link leads to.
func Domain(link string) string {
	_, rest, ok := strings.Cut(link, "://")
	if !ok {
		return ""
	}
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		rest = rest[:i]
	}
	return rest
}
