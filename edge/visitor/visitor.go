// Package visitor says who asks: the client's address, where that address is,
// what the user agent is, which privacy signals came, and a pseudonym.
//
// # What it promises
//
// The address comes from the connection, from a configured number of trusted
// proxies or from one named header, never from whatever an X-Forwarded-For
// header happens to say. A place comes from an MMDB file (a country database is
// built in) or from a named header that a trusted CDN sets. A user agent is
// judged by its first 256 bytes, once; the judgement is cached.
//
// # How it fails
//
// What does not parse is unknown: an address falls back to the connection's, a
// place to the zero Place, an agent to one that is not recognized. Nothing an
// outsider sends makes these functions fail, panic or keep memory beyond the
// caches, and parsing user agents never takes more than a fixed share of one
// processor: beyond it an unseen agent is not recognized, and the next request
// with it tries again.
//
// # What it leaves out
//
// It blocks nobody and counts nothing; edge/serve does. It does not know
// anonymous proxies or Tor exits beyond what an operator lists.
//
// # Data
//
// data/country.mmdb.zst is the country database of sapics/ip-location-db
// (geo-whois-asn-country), data/crawlers.txt the patterns of
// monperrus/crawler-user-agents; NOTICE names their licences. `go generate`
// here refreshes both.
package visitor

//go:generate go run nearside/dev/geo -out data

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
)

// Signals are what the browser asked for in the name of privacy.
type Signals uint8

const (
	DNT Signals = 1 << iota // DNT: 1
	GPC                     // Sec-GPC: 1
)

// ReadSignals reads the two headers' values.
func ReadSignals(dnt, gpc []byte) Signals {
	var s Signals
	if len(dnt) == 1 && dnt[0] == '1' {
		s |= DNT
	}
	if len(gpc) == 1 && gpc[0] == '1' {
		s |= GPC
	}
	return s
}

// Pseudonyms makes client ids: 64 bits that tell the same client on the same
// day from others, and cannot be led back to an address without the key.
type Pseudonyms struct{ key [32]byte }

// NewPseudonyms keeps the key. Edges of one region that share it make the same
// ids.
func NewPseudonyms(key [32]byte) *Pseudonyms { return &Pseudonyms{key: key} }

// Client is the id for an address and a user agent on a day, counted from
// 1970-01-01 UTC: the first 64 bits of SHA-256 over key, day, address and the
// agent's first 256 bytes. It changes every day and is never 0.
func (p *Pseudonyms) Client(addr netip.Addr, agent []byte, day int32) uint64 {
	var b [32 + 4 + 16 + maxAgent]byte
	n := copy(b[:], p.key[:])
	binary.BigEndian.PutUint32(b[n:], uint32(day))
	n += 4
	a := addr.As16()
	n += copy(b[n:], a[:])
	n += copy(b[n:], agent)
	sum := sha256.Sum256(b[:n])
	if id := binary.BigEndian.Uint64(sum[:]); id != 0 {
		return id
	}
	return 1
}
