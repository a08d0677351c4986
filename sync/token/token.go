// Package token seals what an offer promised into the nonce of its URLs, and
// opens it again at any node of any region without asking anybody.
//
// A token carries everything that decides what an event debits: the flight, the
// publisher, the day of issue, the price of one view and of one click, and one
// flag for each budget that exists. Which budgets a view or a click touches is a
// function of the token alone, so two nodes with different catalogs agree on it.
//
// # Format, version 1
//
// The text is unpadded base64url (RFC 4648) of these bytes. Exactly one text
// stands for one token: stray bits in the last character, line breaks and
// padding are refused. Numbers of fixed size are big-endian.
//
//	offset  size  field
//	0       1     version, 1
//	1       2     key id
//	3       4     holder
//	7       8     boot
//	15      6     sequence
//	21      n     sealed body
//	21+n    16    tag
//
// The first 21 bytes are in the clear and authenticated. The body is sealed with
// AES-256-GCM; the nonce is six zero bytes and the sequence; the AES key is
//
//	HKDF-SHA256(secret = the ring key, salt = none,
//	            info = "nearside token v1" | key id | holder | boot)
//
// so a sequence number needs to be unique only within one boot of one holder.
// The body is, in this order (uvarint as in encoding/binary):
//
//	uvarint ad, flight, publisher, ad type
//	2 bytes country, 3 bytes state
//	1 byte each: OS family, browser family, rotation
//	uvarint view price, click price, issued (each the int64's bits)
//	2 bytes flags
//	1 byte length and bytes: placement, domain
//	1 byte count and 2 bytes each: topics
//
// Topic 0 says that the page is about none of the catalog's topics; no topic at
// all, that whoever sealed the token did not say. Topics whose ids do not fit
// into two bytes are left out.
//
// # What it leaves out
//
// Open does not judge age: the caller compares Issued with its own clock. It
// does not know whether a token was used before: the holder's windows do. It
// keeps no time; the time comes in, and only the keys' windows are compared with
// it. While the core is away keys must not expire, so a caller cut off from the
// core passes the time it last heard from it.
package token

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
	"time"
)

// Why a text is not a token of ours. Open returns these as they are.
var (
	ErrMalformed  = errors.New("token: malformed")
	ErrVersion    = errors.New("token: unknown version")
	ErrUnknownKey = errors.New("token: key unknown or past its time")
	ErrForged     = errors.New("token: not sealed by this key")
)

// Bounds of what a token carries. Seal cuts what is longer.
const (
	MaxDomain    = 64
	MaxPlacement = 24
	MaxTopics    = 8
	MaxSeq       = 1<<48 - 1
)

const (
	version    = 1
	headerSize = 1 + 2 + 4 + 8 + 6
	tagSize    = 16
	maxBody    = 4*binary.MaxVarintLen32 + // ad, flight, publisher, ad type
		2 + 3 + 1 + 1 + 1 + // country, state, OS, browser, rotation
		3*binary.MaxVarintLen64 + 2 + // prices, issued, flags
		1 + MaxPlacement + 1 + MaxDomain + 1 + 2*MaxTopics
	minBody = 4 + 2 + 3 + 1 + 1 + 1 + 3 + 2 + 1 + 1 + 1
	maxRaw  = headerSize + maxBody + tagSize
	minRaw  = headerSize + minBody + tagSize
)

// MaxText is the length of the longest text that Seal makes and Open looks at.
const MaxText = (maxRaw*8 + 5) / 6

// Flags say which budgets exist for the offer. The other bits are carried as
// they are.
const (
	// FlagViews: the flight sells views; each view debits one event.
	FlagViews uint16 = 1 << iota
	// FlagClicks: the flight sells clicks; each click debits one event.
	FlagClicks
	// FlagFlightDay: the flight has a daily cap; an event debits its price.
	FlagFlightDay
	// FlagPublisherDay: the publisher has a daily cap; an event debits its price.
	FlagPublisherDay
)

// Topics are what a page is about, as a token has room for it: the ids of the
// first MaxTopics topics. The zero value says nothing; topic 0 says that there is
// none. Topics can be compared.
type Topics struct {
	ids [MaxTopics]uint16
	n   uint8
}

// Add adds a topic where there is room for it and it is not there yet; ids that a token
// cannot carry are left out.
func (t *Topics) Add(id uint32) {
	if int(t.n) < len(t.ids) && id < 1<<16 && !slices.Contains(t.All(), uint16(id)) {
		t.ids[t.n] = uint16(id)
		t.n++
	}
}

// All are the topics; they point into t.
func (t *Topics) All() []uint16 { return t.ids[:t.n] }

// TopicsOf are the first of a list.
func TopicsOf(list []uint16) (t Topics) {
	for _, id := range list {
		t.Add(uint32(id))
	}
	return t
}

// Claims is what a token says. It is also the scratch space of Seal and Open, so
// one Claims serves one goroutine at a time; keep them in a pool.
type Claims struct {
	// Who judges the token's events, and under which number. Seal takes Seq from
	// here, and Holder and Boot from the Sealer. Under one (Holder, Boot) a Seq
	// must never be sealed with two different contents.
	Holder uint32
	Boot   uint64
	Seq    uint64 // at most MaxSeq

	Ad        uint32
	Flight    uint32
	Publisher uint32
	AdType    uint32

	Country [2]byte // ISO 3166-1 alpha-2; zero bytes where unknown
	State   [3]byte // ISO 3166-2 subdivision, zero-padded; zero bytes where unknown
	OS      uint8   // family
	Browser uint8   // family

	Rotation   uint8
	ViewPrice  int64 // micros, of one view
	ClickPrice int64 // micros, of one click
	Issued     int64 // unix milliseconds
	Flags      uint16

	// After Open these three point into the Claims itself: they are overwritten
	// by its next Open. Whoever keeps them copies them.
	Placement []byte // div id, cut to MaxPlacement
	Domain    []byte // host of the page, cut to MaxDomain
	Topics    []uint16

	nonce  [12]byte
	raw    [maxRaw]byte
	body   [maxBody]byte
	topics [MaxTopics]uint16
}

// Day returns the day of issue, in days since 1970-01-01 UTC: the day whose
// budgets the token's events debit.
func (c *Claims) Day() int32 {
	const day = 24 * 60 * 60 * 1000
	d := c.Issued / day
	if c.Issued%day < 0 {
		d--
	}
	return int32(d)
}

// clear empties what a failed Open must not leave behind.
func (c *Claims) clear() {
	c.Holder, c.Boot, c.Seq = 0, 0, 0
	c.Ad, c.Flight, c.Publisher, c.AdType = 0, 0, 0, 0
	c.Country, c.State, c.OS, c.Browser = [2]byte{}, [3]byte{}, 0, 0
	c.Rotation, c.ViewPrice, c.ClickPrice, c.Issued, c.Flags = 0, 0, 0, 0, 0
	c.Placement, c.Domain, c.Topics = nil, nil, nil
}

// Seal appends the text of c to dst. It picks the key by c.Issued: the newest
// one that seals at that time, else the newest that has begun, so an edge cut
// off from the core goes on with the last key it was given. Where c.Seq is
// above MaxSeq there is no token, and dst comes back as it was.
func (s *Sealer) Seal(dst []byte, c *Claims) []byte {
	if c.Seq > MaxSeq {
		return dst
	}
	k := s.at(c.Issued / 1000)
	raw := append(c.raw[:0], version)
	raw = binary.BigEndian.AppendUint16(raw, k.id)
	raw = binary.BigEndian.AppendUint32(raw, s.holder)
	raw = binary.BigEndian.AppendUint64(raw, s.boot)
	c.setNonce(c.Seq)
	raw = append(raw, c.nonce[6:]...)
	body := c.appendBody(raw)[headerSize:]
	raw = k.aead.Seal(raw, c.nonce[:], body, raw)
	return base64.RawURLEncoding.AppendEncode(dst, raw)
}

// setNonce is the one place that knows how a sequence becomes a GCM nonce.
func (c *Claims) setNonce(seq uint64) {
	c.nonce = [12]byte{}
	binary.BigEndian.PutUint64(c.nonce[4:], seq)
}

func (c *Claims) appendBody(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(c.Ad))
	b = binary.AppendUvarint(b, uint64(c.Flight))
	b = binary.AppendUvarint(b, uint64(c.Publisher))
	b = binary.AppendUvarint(b, uint64(c.AdType))
	b = append(b, c.Country[:]...)
	b = append(b, c.State[:]...)
	b = append(b, c.OS, c.Browser, c.Rotation)
	b = binary.AppendUvarint(b, uint64(c.ViewPrice))
	b = binary.AppendUvarint(b, uint64(c.ClickPrice))
	b = binary.AppendUvarint(b, uint64(c.Issued))
	b = binary.BigEndian.AppendUint16(b, c.Flags)
	b = appendBytes(b, c.Placement, MaxPlacement)
	b = appendBytes(b, c.Domain, MaxDomain)
	topics := c.Topics[:min(len(c.Topics), MaxTopics)]
	b = append(b, byte(len(topics)))
	for _, t := range topics {
		b = binary.BigEndian.AppendUint16(b, t)
	}
	return b
}

func appendBytes(b, s []byte, most int) []byte {
	s = s[:min(len(s), most)]
	b = append(b, byte(len(s)))
	return append(b, s...)
}

// Open reads text into c if one of the ring's keys sealed it and that key still
// verifies at now. Otherwise c is empty and the error is one of this package's.
// It may be called from many goroutines at once, each with its own Claims.
func (r *Ring) Open(c *Claims, text []byte, now time.Time) error {
	c.clear()
	if len(text) > MaxText || bytes.ContainsAny(text, "\r\n") {
		return ErrMalformed
	}
	n, err := strict.Decode(c.raw[:], text)
	if err != nil || n == 0 {
		return ErrMalformed
	}
	if c.raw[0] != version {
		return ErrVersion
	}
	if n < minRaw {
		return ErrMalformed
	}
	header, sealed := c.raw[:headerSize], c.raw[headerSize:n]
	id := deriving{
		key:    binary.BigEndian.Uint16(header[1:]),
		holder: binary.BigEndian.Uint32(header[3:]),
		boot:   binary.BigEndian.Uint64(header[7:]),
	}
	k := r.key(id.key)
	if k == nil || now.Unix() > k.VerifyUntil {
		return ErrUnknownKey
	}
	aead, known := r.cached(id)
	if !known {
		if aead, err = derive(k.Secret, id); err != nil {
			return ErrForged
		}
	}
	seq := binary.BigEndian.Uint64(header[13:]) & MaxSeq
	c.setNonce(seq)
	body, err := aead.Open(c.body[:0], c.nonce[:], sealed, header)
	if err != nil {
		return ErrForged
	}
	if !known {
		r.remember(id, aead)
	}
	if !c.readBody(body) {
		c.clear()
		return ErrMalformed
	}
	c.Holder, c.Boot, c.Seq = id.holder, id.boot, seq
	return nil
}

// strict refuses stray bits in the last character; it would still skip line
// breaks, which Open looks for itself.
var strict = base64.RawURLEncoding.Strict()

func (c *Claims) readBody(b []byte) bool {
	r := reader{b: b}
	c.Ad = uint32(r.uvarint(1<<32 - 1))
	c.Flight = uint32(r.uvarint(1<<32 - 1))
	c.Publisher = uint32(r.uvarint(1<<32 - 1))
	c.AdType = uint32(r.uvarint(1<<32 - 1))
	copy(c.Country[:], r.take(len(c.Country)))
	copy(c.State[:], r.take(len(c.State)))
	c.OS, c.Browser, c.Rotation = r.byte(), r.byte(), r.byte()
	c.ViewPrice = int64(r.uvarint(1<<64 - 1))
	c.ClickPrice = int64(r.uvarint(1<<64 - 1))
	c.Issued = int64(r.uvarint(1<<64 - 1))
	c.Flags = r.uint16()
	c.Placement = r.short(MaxPlacement)
	c.Domain = r.short(MaxDomain)
	n := int(r.byte())
	if n > MaxTopics {
		return false
	}
	c.Topics = c.topics[:n]
	for i := range c.Topics {
		c.Topics[i] = r.uint16()
	}
	return !r.bad && len(r.b) == 0
}

// reader takes fields off b; once one is missing, bad stays set and the rest
// read as zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || len(r.b) < n {
		r.bad = true
		return nil
	}
	t := r.b[:n]
	r.b = r.b[n:]
	return t
}

func (r *reader) byte() byte {
	if t := r.take(1); t != nil {
		return t[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if t := r.take(2); t != nil {
		return binary.BigEndian.Uint16(t)
	}
	return 0
}

func (r *reader) uvarint(most uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > most {
		r.bad = true
		return 0
	}
	r.take(n)
	return v
}

func (r *reader) short(most int) []byte {
	n := int(r.byte())
	if n > most {
		r.bad = true
		return nil
	}
	return r.take(n)
}
