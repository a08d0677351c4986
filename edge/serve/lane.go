package serve

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"nearside/edge/decision"
	"nearside/edge/visitor"
)

// Nearly all requests are of one form: a GET of a decision, whole and alone in
// what one read of the connection brought, with plain headers. The lane answers
// those as they stand in the connection's buffer, and leaves everything else,
// before it has done anything about it, to the HTTP server: what has a body, an
// error, a token or a callback, what asks to close or to upgrade, what is
// pipelined, folded, repeated or in several pieces, and whatever a proxy and a
// server could take for two different requests. It lets through only what
// has one meaning, and FuzzLane compares its answers with the server's.
//
// Its answers carry the same headers in the same order. The first request of a
// connection is never the lane's, so that the server has seen the connection.

// laneHead is the room before a body for the status line and the headers.
const laneHead = 256

// lane answers the request in b, or returns nil where it is not for the lane.
// The answer is good until the next request of the same w.
func (s *Server) lane(w *work, remote netip.Addr, b []byte) (answer []byte) {
	defer func() {
		if r := recover(); r != nil {
			// The server gets to answer it.
			s.stats.Panics.Add(1)
			s.log.Error("panic while answering", "stack", string(debug.Stack()))
			*w = work{out: make([]byte, laneHead)}
			answer = nil
		}
	}()
	start := s.now()
	l := s.loaded.Load()
	if l == nil || !s.readLane(w, remote, b) {
		return nil
	}
	publisher := l.catalog.Publisher(w.wanted.publisher)
	if publisher == nil || publisher.Disabled || !publisher.UnauthedAdDecisions {
		return nil
	}
	base := s.base
	if base == nil {
		base = w.base
	}
	defer w.release()
	w.callback = w.callback[:0]
	out, a := s.choose(w.out[:laneHead], w, l, publisher, base, start)
	w.out = out
	w.took = s.since(start)
	s.observe(w, a, start)

	h := append(w.head[:0], "HTTP/1.1 200 OK\r\nDate: "...)
	h = append(h, s.date.of(start)...)
	h = append(h, "\r\nContent-Type: application/json\r\nContent-Length: "...)
	h = strconv.AppendInt(h, int64(len(out)-laneHead), 10)
	h = append(h, "\r\nServer-Timing: "...)
	h = appendTiming(h, w.took)
	h = append(h, "\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\r\n"...)
	w.head = h
	copy(out[laneHead-len(h):], h)
	return out[laneHead-len(h):]
}

// date is the Date header of the second in which it was last asked for.
type date struct{ last atomic.Pointer[dated] }

type dated struct {
	second int64
	text   []byte
}

func (d *date) of(now time.Time) []byte {
	second := now.Unix()
	if last := d.last.Load(); last != nil && last.second == second {
		return last.text
	}
	text := now.UTC().AppendFormat(nil, http.TimeFormat)
	d.last.Store(&dated{second, text})
	return text
}

// Headers of which the lane reads one each. A second one is not for the lane.
const (
	laneHost = 1 << iota
	laneAgent
	laneForwarded
	laneProto
	laneReferer
	laneDNT
	laneGPC
	laneConnection
)

// laned is what the lane has found in headers.
type laned struct {
	seen                               uint
	host, agent, forwarded, proto      []byte
	referer, dnt, gpc, client, country []byte
}

// readLane reads a request into w, and reports whether it is for the lane.
// Where it is not, w may hold some of it.
func (s *Server) readLane(w *work, remote netip.Addr, b []byte) bool {
	const begin, version = "GET " + decisionPath + "?", "HTTP/1.1\r\n"
	if len(b) < len(begin) || string(b[:len(begin)]) != begin {
		return false
	}
	n := bytes.IndexByte(b[len(begin):], ' ') + 1
	if n == 0 {
		return false
	}
	query, rest := b[len(begin):len(begin)+n], b[len(begin)+n:]
	if !hasPrefix(rest, version) {
		return false
	}
	if w.wanted = s.questions.answerOf(query, s.seed, &w.ask); w.wanted == nil {
		return false
	}
	var h laned
	if !s.readHeaders(rest[len(version):], &h) || !plainHost(h.host) {
		return false
	}
	if s.base == nil {
		scheme := "http://"
		if s.cfg.Addresses.Proxies > 0 && string(h.proto) == "https" {
			scheme = "https://"
		}
		w.base = append(append(w.base[:0], scheme...), h.host...)
	}
	w.forwarded[0] = h.forwarded
	forwarded := w.forwarded[:]
	if h.forwarded == nil {
		forwarded = nil
	}
	w.visit = visit{
		addr:  s.cfg.Addresses.Client(remote, h.client, forwarded),
		agent: h.agent, referer: h.referer, country: h.country,
		signals: visitor.ReadSignals(h.dnt, h.gpc),
	}
	return true
}

// questions are what queries ask for that have come again and again: readers of
// one page ask the same. Their memory is fixed; what takes the same place as
// another takes it over, once it has come twice. An entry is of one query, byte
// for byte, and does not change.
//
// Each has two places, beside each other.
type questions struct {
	known [1 << 13]atomic.Pointer[question]
	came  [1 << 13]atomic.Uint64 // the hash of the last query that has no entry
}

type question struct {
	hash  uint64 // of query
	query []byte
	wanted
}

// Limits of what is kept of one query.
const (
	maxQuestion   = 512 // bytes
	maxKeptPlaces = 4   // placements
)

// answerOf is what a query, with the space that ends it, asks for; nil where it
// is not for the lane. It is read with a where it is not known, and then is a's.
func (q *questions) answerOf(query []byte, seed maphash.Seed, a *ask) *wanted {
	hash := maphash.Bytes(seed, query)
	slot := hash % uint64(len(q.known))
	if k := q.known[slot].Load(); k != nil && k.hash == hash && bytes.Equal(k.query, query) {
		return &k.wanted
	}
	if k := q.known[slot^1].Load(); k != nil && k.hash == hash && bytes.Equal(k.query, query) {
		return &k.wanted
	}
	a.reset()
	if n := a.readRaw(query); n != len(query) || a.bad {
		return nil
	}
	if len(query) <= maxQuestion && len(a.placements) <= maxKeptPlaces && q.came[slot].Swap(hash) == hash {
		q.keep(hash, query)
	}
	return &a.wanted
}

// keep reads a query once more, from a copy that nobody writes. It takes a place
// that is free, else one of the two by chance.
func (q *questions) keep(hash uint64, query []byte) {
	slot := hash % uint64(len(q.known))
	if q.known[slot].Load() != nil && (q.known[slot^1].Load() == nil || hash>>63 == 0) {
		slot ^= 1
	}
	k := &question{hash: hash, query: bytes.Clone(query)}
	var a ask
	a.reset()
	if a.readRaw(k.query) == len(query) && !a.bad {
		k.wanted = a.wanted
		k.known = &decision.Known{}
		q.known[slot].Store(k)
	}
}

// What a byte is in the query of a request line.
const (
	plain     = iota
	separator // & or =
	escaped   // % or +
	foreign   // nothing that stands there: also the space that ends it
)

var queryBytes = func() (t [256]uint8) {
	for c := range t {
		switch {
		case c <= ' ' || c >= 0x7f || c == '#':
			t[c] = foreign
		case c == '&' || c == '=':
			t[c] = separator
		case c == '%' || c == '+':
			t[c] = escaped
		}
	}
	return t
}()

// readRaw reads the parameters of a query that ends with a space, and returns
// how long it is with it; negative where it is not for the lane.
func (a *ask) readRaw(b []byte) int {
	from, equals, escapes := 0, -1, false
	for i, c := range b {
		switch queryBytes[c] {
		case plain:
			continue
		case escaped:
			escapes = true
			if equals < 0 {
				return -1 // in a name
			}
			continue
		case foreign:
			if c != ' ' {
				return -1
			}
		}
		if c == '=' {
			if equals < 0 {
				equals = i
			}
			continue
		}
		// The end of a parameter.
		var key, value []byte
		if equals < 0 {
			key = b[from:i]
		} else {
			key, value = b[from:equals], b[equals+1:i]
		}
		if string(key) == "format" || string(key) == "callback" {
			return -1
		}
		if escapes {
			before := len(a.arena)
			a.arena = appendUnescaped(a.arena, value)
			value = a.arena[before:]
		}
		a.parameter(key, value)
		if c == ' ' {
			a.endOfQuery()
			return i + 1
		}
		from, equals, escapes = i+1, -1, false
	}
	return -1
}

// appendUnescaped appends a value of a query as it was meant. What is no escape
// stays as it is.
func appendUnescaped(dst, b []byte) []byte {
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch {
		case c == '+':
			c = ' '
		case c == '%' && i+2 < len(b):
			high, low := hexDigit[b[i+1]], hexDigit[b[i+2]]
			if high|low < 16 {
				c = high<<4 | low
				i += 2
			}
		}
		dst = append(dst, c)
	}
	return dst
}

// hexDigit is the value of a hexadecimal digit, 255 for what is none.
var hexDigit = func() (t [256]byte) {
	for i := range t {
		c := byte(i)
		switch {
		case '0' <= c && c <= '9':
			t[i] = c - '0'
		case 'a' <= c && c <= 'f':
			t[i] = c - 'a' + 10
		case 'A' <= c && c <= 'F':
			t[i] = c - 'A' + 10
		default:
			t[i] = 255
		}
	}
	return t
}()

var nameBytes = func() (t [256]bool) {
	for i := range t {
		t[i] = isAlphaNumeric(byte(i)) || i == '-' || i == '_'
	}
	return t
}()

// readHeaders reads header lines up to the empty one, which must be the end of
// b.
func (s *Server) readHeaders(b []byte, h *laned) bool {
	for {
		if len(b) > 0 && b[0] == '\r' {
			return string(b) == "\r\n"
		}
		n := 0
		for n < len(b) && nameBytes[b[n]] {
			n++
		}
		// A name, a colon, one space, and a value that neither begins nor ends
		// with white space.
		if n == 0 || n+3 >= len(b) || b[n] != ':' || b[n+1] != ' ' || b[n+2] <= ' ' {
			return false
		}
		name, rest := b[:n], b[n+2:]
		end := control(rest)
		if end+1 >= len(rest) || rest[end] != '\r' || rest[end+1] != '\n' || rest[end-1] == ' ' {
			return false
		}
		if !s.readHeader(name, rest[:end], h) {
			return false
		}
		b = rest[end+2:]
	}
}

// readHeader takes one header, and reports whether the request is still for the
// lane.
func (s *Server) readHeader(name, value []byte, h *laned) bool {
	which, to := uint(0), (*[]byte)(nil)
	switch len(name) {
	case 3:
		if equalFold(name, "dnt") {
			which, to = laneDNT, &h.dnt
		}
	case 4:
		if equalFold(name, "host") {
			which, to = laneHost, &h.host
		}
	case 6:
		if equalFold(name, "expect") {
			return false
		}
	case 7:
		switch {
		case equalFold(name, "referer"):
			which, to = laneReferer, &h.referer
		case equalFold(name, "sec-gpc"):
			which, to = laneGPC, &h.gpc
		case equalFold(name, "upgrade"), equalFold(name, "trailer"):
			return false
		}
	case 10:
		switch {
		case equalFold(name, "user-agent"):
			which, to = laneAgent, &h.agent
		case equalFold(name, "connection"):
			if !equalFold(value, "keep-alive") {
				return false
			}
			which = laneConnection
		}
	case 13:
		if equalFold(name, "authorization") {
			return false
		}
	case 14:
		if equalFold(name, "content-length") {
			return false
		}
	case 15:
		if equalFold(name, "x-forwarded-for") {
			which, to = laneForwarded, &h.forwarded
		}
	case 17:
		switch {
		case equalFold(name, "x-forwarded-proto"):
			which, to = laneProto, &h.proto
		case equalFold(name, "transfer-encoding"):
			return false
		}
	}
	if h.seen&which != 0 {
		return false
	}
	h.seen |= which
	if to != nil {
		*to = value
	}
	return named(s.cfg.Addresses.Header, name, value, &h.client) && named(s.cfg.CountryHeader, name, value, &h.country)
}

// named takes the header that an operator named, and reports false where it has
// come before.
func named(wanted string, name, value []byte, to *[]byte) bool {
	if len(wanted) != len(name) || len(wanted) == 0 || !bytes.EqualFold(name, []byte(wanted)) {
		return true
	}
	again := *to != nil
	*to = value
	return !again
}

// control is where the first control character of b is; len(b) where there is
// none.
func control(b []byte) int {
	const each, top = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(b); i += 8 {
		v := binary.LittleEndian.Uint64(b[i:])
		del := v ^ 0x7f*each
		// The lowest byte that is marked is one; those above it may be marked by
		// what was borrowed from them.
		if marked := ((v-0x20*each) & ^v | (del-each) & ^del) & top; marked != 0 {
			return i + bits.TrailingZeros64(marked)/8
		}
	}
	for ; i < len(b); i++ {
		if b[i] < ' ' || b[i] == 0x7f {
			return i
		}
	}
	return i
}

// plainHost reports whether a Host header is lower-case letters, digits, dots
// and hyphens, and perhaps a port.
func plainHost(b []byte) bool {
	host, port, ported := bytes.Cut(b, []byte(":"))
	if len(host) == 0 || len(b) > 255 || ported && (len(port) == 0 || len(port) > 5) {
		return false
	}
	for _, c := range port {
		if c < '0' || c > '9' {
			return false
		}
	}
	for _, c := range host {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '-' {
			return false
		}
	}
	return true
}

// between tells a connection whether it is between two requests.
func between(c *conn, state fasthttp.ConnState) { c.between = state == fasthttp.StateIdle }
