package holder

import (
	"encoding/binary"
	"errors"
	"fmt"

	"nearside/sync/exchange"
	"nearside/sync/lease"
	"nearside/sync/token"
	"nearside/sync/wire"
)

// Records are written in the oldest version that has them.
const (
	version1 = 1
	version2 = 2 // clicks are held for their views; events are home lost; pages have topics
	newest   = version2
)

type recordKind uint8

const (
	recBoot recordKind = 1 + iota
	recJudged
	recForeign
	recWaiting
	recGrant
	recReturn
	recSeal
	recFloor
	recControl
	recFence
	recHeld
)

// Event is a view or a click with what its token says. Times are unix
// milliseconds, prices micros.
type Event struct {
	Kind       exchange.Kind
	Holder     uint32 // its home
	Boot       uint64
	Seq        uint64
	Ad         uint32
	Flight     uint32
	Publisher  uint32
	Country    [2]byte // zero bytes where unknown
	ViewPrice  int64
	ClickPrice int64
	Issued     int64
	Flags      uint16 // token.Flag…
	At         int64  // of the beacon, by the clock of the node that it reached
	Topics     token.Topics
}

// EventOf is what a token's beacon at a time says.
func EventOf(kind exchange.Kind, c *token.Claims, at int64) Event {
	return Event{
		Kind: kind, Holder: c.Holder, Boot: c.Boot, Seq: c.Seq,
		Ad: c.Ad, Flight: c.Flight, Publisher: c.Publisher, Country: c.Country,
		ViewPrice: c.ViewPrice, ClickPrice: c.ClickPrice, Issued: c.Issued, Flags: c.Flags, At: at,
		Topics: token.TopicsOf(c.Topics),
	}
}

// EventFrom reads an event that another node sent.
func EventFrom(w *wire.Event) (Event, error) {
	if n := w.GetKind(); n != uint32(exchange.View) && n != uint32(exchange.Click) {
		return Event{}, fmt.Errorf("event.kind: %d, expected 1 (view) or 2 (click)", n)
	}
	if w.GetFlags() > 1<<16-1 {
		return Event{}, fmt.Errorf("event.flags: %d, expected 16 bits", w.GetFlags())
	}
	e := Event{
		Kind: exchange.Kind(w.GetKind()), Holder: w.GetHolder(), Boot: w.GetBoot(), Seq: w.GetSeq(),
		Ad: w.GetAd(), Flight: w.GetFlight(), Publisher: w.GetPublisher(),
		ViewPrice: w.GetViewPrice(), ClickPrice: w.GetClickPrice(), Issued: w.GetIssued(),
		Flags: uint16(w.GetFlags()), At: w.GetAt(),
	}
	switch c := w.GetCountry(); len(c) {
	case 0:
	case 2:
		e.Country = [2]byte{c[0], c[1]}
	default:
		return Event{}, fmt.Errorf("event.country: %q, expected two letters or none", c)
	}
	if n := len(w.GetTopics()); n > token.MaxTopics {
		return Event{}, fmt.Errorf("event.topics: %d, expected at most %d", n, token.MaxTopics)
	}
	for _, topic := range w.GetTopics() {
		if topic > 1<<16-1 {
			return Event{}, fmt.Errorf("event.topics: %d, expected 16 bits", topic)
		}
		e.Topics.Add(topic)
	}
	return e, e.check()
}

func (e *Event) check() error {
	switch {
	case e.Kind != exchange.View && e.Kind != exchange.Click:
		return fmt.Errorf("event.kind: %d, expected 1 (view) or 2 (click)", e.Kind)
	case e.ViewPrice < 0:
		return fmt.Errorf("event.view_price: %d, expected at least 0", e.ViewPrice)
	case e.ClickPrice < 0:
		return fmt.Errorf("event.click_price: %d, expected at least 0", e.ClickPrice)
	case e.Seq > token.MaxSeq:
		return fmt.Errorf("event.seq: %d, expected at most %d", e.Seq, uint64(token.MaxSeq))
	case e.Flight == 0:
		return errors.New("event.flight: 0, expected a flight's id")
	}
	return nil
}

// Wire is the event as it travels.
func (e *Event) Wire() *wire.Event {
	w := &wire.Event{
		Kind: uint32(e.Kind), Holder: e.Holder, Boot: e.Boot, Seq: e.Seq,
		Ad: e.Ad, Flight: e.Flight, Publisher: e.Publisher, Country: country(e.Country),
		ViewPrice: e.ViewPrice, ClickPrice: e.ClickPrice, Issued: e.Issued, Flags: uint32(e.Flags), At: e.At,
	}
	for _, topic := range e.Topics.All() {
		w.Topics = append(w.Topics, uint32(topic))
	}
	return w
}

// country is the code as a string that protobuf can carry, "" where unknown.
func country(c [2]byte) string {
	for _, b := range c {
		if b <= ' ' || b > '~' {
			return ""
		}
	}
	return string(c[:])
}

// Price is what one such event costs, in micros.
func (e *Event) Price() int64 {
	if e.Kind == exchange.Click {
		return e.ClickPrice
	}
	return e.ViewPrice
}

// debits lists what the event takes, a function of its token alone.
func (e *Event) debits() ([exchange.MaxDebits]exchange.Debit, int) {
	return exchange.Debits(e.Kind, e.Flags, e.Flight, e.Publisher, e.Issued, e.Price())
}

// record is any record, decoded; which fields count follows from the kind.
type record struct {
	kind     recordKind
	event    Event
	outcome  exchange.Outcome
	position uint64 // of a foreign event at the core
	debits   [exchange.MaxDebits]exchange.Debit
	n        int
	holder   uint32
	boot     uint64
	ordinal  uint64
	at       int64
	budget   lease.Budget
	total    int64
	batch    uint64
	acked    uint64
	closing  bool
	next     uint64
	floor    uint64
	control  uint64 // version
	flight   uint32
	state    uint8
}

// version is the oldest one that has the record.
func (r *record) version() byte {
	if r.kind == recHeld || r.event.Topics != (token.Topics{}) ||
		r.kind == recJudged && (r.outcome == exchange.HomeLost || r.outcome == exchange.NotViewed && r.position == 0) {
		return version2
	}
	return version1
}

func (r *record) append(dst []byte) []byte {
	v := r.version()
	dst = append(dst, v, byte(r.kind))
	switch r.kind {
	case recBoot:
		dst = binary.AppendUvarint(dst, uint64(r.holder))
		dst = binary.BigEndian.AppendUint64(dst, r.boot)
		dst = binary.AppendUvarint(dst, r.ordinal)
		dst = binary.AppendVarint(dst, r.at)
	case recJudged:
		dst = append(dst, byte(r.outcome))
		dst = binary.AppendUvarint(dst, r.position)
		dst = r.event.append(dst, v)
		dst = append(dst, byte(r.n))
		for _, d := range r.debits[:r.n] {
			dst = binary.AppendUvarint(dst, uint64(d.Budget))
			dst = binary.AppendUvarint(dst, uint64(d.Amount))
		}
	case recForeign, recHeld:
		dst = r.event.append(dst, v)
	case recWaiting:
		dst = binary.AppendUvarint(dst, r.position)
		dst = r.event.append(dst, v)
	case recGrant, recReturn:
		dst = binary.AppendUvarint(dst, uint64(r.budget))
		dst = binary.AppendUvarint(dst, uint64(r.total))
	case recSeal:
		dst = binary.AppendUvarint(dst, r.batch)
		dst = binary.AppendUvarint(dst, r.acked)
		dst = binary.AppendVarint(dst, r.at)
		dst = append(dst, boolByte(r.closing))
		dst = binary.AppendUvarint(dst, r.next)
	case recFloor:
		dst = binary.BigEndian.AppendUint64(dst, r.boot)
		dst = binary.AppendUvarint(dst, r.floor)
	case recControl:
		dst = binary.AppendUvarint(dst, r.control)
		dst = binary.AppendUvarint(dst, uint64(r.flight))
		dst = append(dst, r.state)
	case recFence:
		dst = binary.AppendVarint(dst, r.at)
	}
	return dst
}

// append adds the event in a format.
func (e *Event) append(dst []byte, v byte) []byte {
	dst = append(dst, byte(e.Kind))
	dst = binary.AppendUvarint(dst, uint64(e.Holder))
	dst = binary.BigEndian.AppendUint64(dst, e.Boot)
	dst = binary.AppendUvarint(dst, e.Seq)
	dst = binary.AppendUvarint(dst, uint64(e.Ad))
	dst = binary.AppendUvarint(dst, uint64(e.Flight))
	dst = binary.AppendUvarint(dst, uint64(e.Publisher))
	dst = append(dst, e.Country[:]...)
	dst = binary.AppendUvarint(dst, uint64(e.ViewPrice))
	dst = binary.AppendUvarint(dst, uint64(e.ClickPrice))
	dst = binary.AppendVarint(dst, e.Issued)
	dst = binary.AppendUvarint(dst, uint64(e.Flags))
	dst = binary.AppendVarint(dst, e.At)
	if v < version2 {
		return dst
	}
	topics := e.Topics.All()
	dst = append(dst, byte(len(topics)))
	for _, topic := range topics {
		dst = binary.BigEndian.AppendUint16(dst, topic)
	}
	return dst
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func (r *record) decode(b []byte) error {
	d := decoder{b: b}
	*r = record{}
	if d.readVersion(); d.err == nil && d.version == 0 {
		return fmt.Errorf("record.version: %d, expected %d to %d", b[0], version1, newest)
	}
	r.kind = recordKind(d.byte("kind"))
	switch r.kind {
	case recBoot:
		r.holder = d.u32("boot.holder")
		r.boot = d.fixed("boot.boot")
		r.ordinal = d.uint("boot.ordinal")
		r.at = d.int("boot.at")
	case recJudged:
		r.outcome = exchange.Outcome(d.byte("judged.outcome"))
		r.position = d.uint("judged.position")
		d.event(&r.event)
		r.n = int(d.byte("judged.n"))
		if r.n > len(r.debits) {
			return fmt.Errorf("record: judged.n: %d, expected at most %d", r.n, len(r.debits))
		}
		for i := range r.n {
			r.debits[i] = exchange.Debit{Budget: lease.Budget(d.amount("judged.budget")), Amount: d.amount("judged.amount")}
		}
	case recForeign, recHeld:
		d.event(&r.event)
	case recWaiting:
		r.position = d.uint("waiting.position")
		d.event(&r.event)
	case recGrant, recReturn:
		r.budget = lease.Budget(d.amount("lease.budget"))
		r.total = d.amount("lease.total")
	case recSeal:
		r.batch = d.uint("seal.batch")
		r.acked = d.uint("seal.acked")
		r.at = d.int("seal.at")
		r.closing = d.bool("seal.closing")
		r.next = d.uint("seal.next")
	case recFloor:
		r.boot = d.fixed("floor.boot")
		r.floor = d.uint("floor.floor")
	case recControl:
		r.control = d.uint("control.version")
		r.flight = d.u32("control.flight")
		r.state = d.byte("control.state")
	case recFence:
		r.at = d.int("fence.at")
	default:
		if d.err == nil {
			return fmt.Errorf("record.kind: %d is unknown", r.kind)
		}
	}
	if err := d.end(); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	if want := r.version(); d.version != want {
		return fmt.Errorf("record.version: %d, expected %d", d.version, want)
	}
	return nil
}

// decoder reads fields until the first error, which names the field.
type decoder struct {
	b       []byte
	version byte // of the format; 0: unknown
	err     error
}

// readVersion reads the format's version, and leaves 0 where it is unknown.
func (d *decoder) readVersion() {
	if v := d.byte("version"); v >= version1 && v <= newest {
		d.version = v
	}
}

func (d *decoder) fail(field string) {
	if d.err == nil {
		d.err = fmt.Errorf("%s: bytes missing or out of range", field)
	}
	d.b = nil
}

func (d *decoder) end() error {
	if d.err == nil && len(d.b) > 0 {
		d.err = fmt.Errorf("%d bytes after the last field", len(d.b))
	}
	return d.err
}

func (d *decoder) take(n uint64, field string) []byte {
	if d.err != nil || uint64(len(d.b)) < n {
		d.fail(field)
		return nil
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) byte(field string) byte {
	if b := d.take(1, field); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) bool(field string) bool {
	b := d.byte(field)
	if b > 1 {
		d.fail(field)
	}
	return b == 1
}

func (d *decoder) fixed(field string) uint64 {
	if b := d.take(8, field); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) uint(field string) uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail(field)
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int(field string) int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail(field)
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) u32(field string) uint32 {
	v := d.uint(field)
	if v > 1<<32-1 {
		d.fail(field)
		return 0
	}
	return uint32(v)
}

// amount is a number that is never negative.
func (d *decoder) amount(field string) int64 {
	v := d.uint(field)
	if v > 1<<63-1 {
		d.fail(field)
		return 0
	}
	return int64(v)
}

// count is how many elements of at least size bytes follow.
func (d *decoder) count(size int, field string) int {
	v := d.uint(field)
	if v > uint64(len(d.b)/size) {
		d.fail(field)
		return 0
	}
	return int(v)
}

func (d *decoder) event(e *Event) {
	e.Kind = exchange.Kind(d.byte("event.kind"))
	e.Holder = d.u32("event.holder")
	e.Boot = d.fixed("event.boot")
	e.Seq = d.uint("event.seq")
	e.Ad = d.u32("event.ad")
	e.Flight = d.u32("event.flight")
	e.Publisher = d.u32("event.publisher")
	copy(e.Country[:], d.take(2, "event.country"))
	e.ViewPrice = d.amount("event.view_price")
	e.ClickPrice = d.amount("event.click_price")
	e.Issued = d.int("event.issued")
	flags := d.uint("event.flags")
	if flags > 1<<16-1 {
		d.fail("event.flags")
	}
	e.Flags = uint16(flags)
	e.At = d.int("event.at")
	if d.version >= version2 {
		n := d.byte("event.topics")
		if n > token.MaxTopics {
			d.fail("event.topics")
		}
		for range n {
			if b := d.take(2, "event.topics"); b != nil {
				e.Topics.Add(uint32(binary.BigEndian.Uint16(b)))
			}
		}
	}
	if d.err == nil {
		d.err = e.check()
	}
}
