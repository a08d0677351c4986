package visitor

import (
	"bytes"
	"net/netip"
	"unsafe"
)

// Addresses says where a client's address comes from.
type Addresses struct {
	// Proxies is how many proxies stand between the clients and this process.
	// Each appends the address of whoever spoke to it to X-Forwarded-For, so
	// that the entry Proxies places from the right is the client's, whatever
	// the client wrote to the left of it.
	Proxies int
	// Header, where set, names the header that carries the client's address
	// alone, such as CF-Connecting-IP. It wins over Proxies.
	Header string
}

// maxEntries bounds how far to the left Client reads.
const maxEntries = 64

// Client is the client's address. Remote is the connection's peer, header the
// value of the named header, forwarded the values of the X-Forwarded-For
// headers in the order they came. An entry that does not parse gives remote;
// where fewer proxies took part than configured, the leftmost entry counts,
// which the first of them wrote.
func (a Addresses) Client(remote netip.Addr, header []byte, forwarded [][]byte) netip.Addr {
	remote = remote.Unmap().WithZone("")
	if a.Header != "" {
		if addr, ok := ParseAddr(header); ok {
			return addr
		}
		return remote
	}
	if a.Proxies == 0 {
		return remote
	}
	var entry []byte
	left := min(a.Proxies, maxEntries)
	for i := len(forwarded) - 1; i >= 0 && left > 0; i-- {
		rest := forwarded[i]
		for left > 0 {
			comma := bytes.LastIndexByte(rest, ',')
			entry = rest[comma+1:]
			left--
			if comma < 0 {
				break
			}
			rest = rest[:comma]
		}
	}
	if addr, ok := ParseAddr(entry); ok {
		return addr
	}
	return remote
}

// ParseAddr reads an address as proxies write it: with or without a port,
// with or without brackets, never with a zone. IPv4 in IPv6 comes out as IPv4.
func ParseAddr(b []byte) (netip.Addr, bool) {
	b = bytes.TrimSpace(b)
	if len(b) == 0 || len(b) > 64 {
		return netip.Addr{}, false
	}
	if b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 0 || !portOrNothing(b[end+1:]) {
			return netip.Addr{}, false
		}
		b = b[1:end]
		if bytes.IndexByte(b, ':') < 0 {
			return netip.Addr{}, false
		}
	} else if colon := bytes.IndexByte(b, ':'); colon >= 0 && bytes.IndexByte(b[colon+1:], ':') < 0 {
		if !portOrNothing(b[colon:]) {
			return netip.Addr{}, false
		}
		b = b[:colon]
	}
	// A zone would be interned for the life of the process.
	if len(b) == 0 || bytes.IndexByte(b, '%') >= 0 {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(unsafe.String(&b[0], len(b)))
	if err != nil {
		return netip.Addr{}, false
	}
	return addr.Unmap(), true
}

// portOrNothing reports whether b is empty or a colon and up to five digits.
func portOrNothing(b []byte) bool {
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
