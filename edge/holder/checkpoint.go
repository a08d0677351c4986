package holder

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/proto"

	"nearside/sync/exchange"
	"nearside/sync/lease"
	"nearside/sync/wire"
)

// Encode appends the whole state to dst, sorted, so that equal states have
// equal bytes. In the notation of the package doc, and with list for a u and as
// many elements:
//
//	1 version, 2; u holder; u position; 8 current boot; 1 fenced; 1 closed
//	u batch; cursor acknowledged; u foreign position; u the same as last said
//	s day on which leases of dead days were last forgotten
//	list of boots      8 boot, u ordinal, s began, s ended, u floor, u next,
//	                   list of blocks: u index, 1024 bits
//	list of leases     u budget, u granted, u spent, u returned, 1 dirty
//	list of controls   u version, u flight, 1 state
//	list of waiting    u foreign position, event
//	list of held       event
//	list of counts     s hour, u flight, u ad, u publisher, 2 country,
//	                   u views, u clicks, u unbilled views, u unbilled clicks, u micros,
//	                   u home lost
//	list of topics     s hour, u topic, u flight, 2 country, the six counts as above
//	list of foreign    event
//	list of verdicts   u foreign position, 1 outcome
//	list of batches    u length, wire.Batch
//
// Version 1 has no list of held, no list of topics and no home lost.
//
//	cursor             u batch, u position, u length, hash
func (s *State) Encode(dst []byte) []byte {
	u, v := binary.AppendUvarint, binary.AppendVarint
	dst = append(dst, newest)
	dst = u(dst, uint64(s.holder))
	dst = u(dst, s.pos)
	dst = binary.BigEndian.AppendUint64(dst, s.current)
	dst = append(dst, boolByte(s.fenced), boolByte(s.closed))
	dst = u(dst, s.batch)
	dst = u(dst, s.acked.GetBatch())
	dst = u(dst, s.acked.GetPosition())
	dst = u(dst, uint64(len(s.acked.GetHash())))
	dst = append(dst, s.acked.GetHash()...)
	dst = u(dst, s.ack)
	dst = u(dst, s.saidAck)
	dst = v(dst, int64(s.swept))

	dst = u(dst, uint64(len(s.boots)))
	for _, w := range s.byOrdinal() {
		dst = binary.BigEndian.AppendUint64(dst, w.boot)
		dst = u(dst, w.ordinal)
		dst = v(dst, w.began)
		dst = v(dst, w.ended)
		dst = u(dst, w.floor)
		dst = u(dst, w.next)
		n := uint64(0)
		for _, b := range w.blocks {
			if b != nil {
				n++
			}
		}
		dst = u(dst, n)
		for i, b := range w.blocks {
			if b != nil {
				dst = u(dst, uint64(i))
				dst = append(dst, b[:]...)
			}
		}
	}
	dst = u(dst, uint64(len(s.leases)))
	for _, id := range sortedKeys(s.leases) {
		a := s.leases[id]
		dst = u(dst, uint64(id))
		dst = u(dst, uint64(a.Granted))
		dst = u(dst, uint64(a.Spent))
		dst = u(dst, uint64(a.Returned))
		dst = append(dst, boolByte(a.dirty))
	}
	dst = u(dst, uint64(len(s.controls)))
	for _, id := range sortedKeys(s.controls) {
		c := s.controls[id]
		dst = u(dst, c.Version)
		dst = u(dst, uint64(c.Flight))
		dst = append(dst, c.State)
	}
	dst = u(dst, uint64(len(s.waiting)))
	for i := range s.waiting {
		dst = u(dst, s.waiting[i].position)
		dst = s.waiting[i].event.append(dst, newest)
	}
	dst = u(dst, uint64(len(s.held)))
	for i := range s.held {
		dst = s.held[i].append(dst, newest)
	}
	dst = u(dst, uint64(len(s.counts)))
	for _, k := range s.countKeys() {
		c := s.counts[k]
		dst = v(dst, k.hour)
		dst = u(dst, uint64(k.flight))
		dst = u(dst, uint64(k.ad))
		dst = u(dst, uint64(k.publisher))
		dst = append(dst, k.country[:]...)
		dst = c.append(dst)
	}
	dst = u(dst, uint64(len(s.topics)))
	for _, k := range s.topicKeys() {
		dst = v(dst, k.hour)
		dst = u(dst, uint64(k.topic))
		dst = u(dst, uint64(k.flight))
		dst = append(dst, k.country[:]...)
		dst = s.topics[k].append(dst)
	}
	dst = u(dst, uint64(len(s.foreign)))
	for i := range s.foreign {
		dst = s.foreign[i].append(dst, newest)
	}
	dst = u(dst, uint64(len(s.verdicts)))
	for _, w := range s.verdicts {
		dst = u(dst, w.position)
		dst = append(dst, byte(w.outcome))
	}
	dst = u(dst, uint64(len(s.sealed)))
	for _, b := range s.sealed {
		bytes, err := proto.MarshalOptions{Deterministic: true}.Marshal(b)
		if err != nil {
			// Its strings are made by country, which lets through nothing that
			// protobuf refuses.
			panic("holder: a batch cannot be encoded: " + err.Error())
		}
		dst = u(dst, uint64(len(bytes)))
		dst = append(dst, bytes...)
	}
	return dst
}

func (c *counts) append(dst []byte) []byte {
	for _, n := range [...]int64{c.views, c.clicks, c.unbilledViews, c.unbilledClicks, c.spent, c.homeLost} {
		dst = binary.AppendUvarint(dst, uint64(n))
	}
	return dst
}

// Decode reads what Encode wrote.
func Decode(b []byte) (*State, error) {
	d := decoder{b: b}
	if d.readVersion(); d.err == nil && d.version == 0 {
		return nil, fmt.Errorf("checkpoint.version: %d, expected %d to %d", b[0], version1, newest)
	}
	s := New(d.u32("holder"))
	s.pos = d.uint("position")
	s.current = d.fixed("current")
	s.fenced, s.closed = d.bool("fenced"), d.bool("closed")
	s.batch = d.uint("batch")
	s.acked = &wire.Cursor{Batch: d.uint("acked.batch"), Position: d.uint("acked.position")}
	if h := d.take(d.uint("acked.hash"), "acked.hash"); len(h) > 0 {
		s.acked.Hash = append([]byte(nil), h...)
	}
	s.ack = d.uint("foreign")
	s.saidAck = d.uint("foreign said")
	s.swept = int32(d.int("swept"))
	s.decodeBoots(&d)
	for range d.count(5, "leases") {
		id := lease.Budget(d.amount("lease.budget"))
		a := &account{Totals: lease.Totals{Granted: d.amount("lease.granted"), Spent: d.amount("lease.spent"), Returned: d.amount("lease.returned")}}
		if d.bool("lease.dirty") {
			s.mark(id, a)
		}
		if s.leases[id] != nil || a.Returned > a.Granted || a.Spent > a.Granted-a.Returned {
			d.fail("lease")
		}
		s.leases[id] = a
	}
	for range d.count(3, "controls") {
		c := Control{d.uint("control.version"), d.u32("control.flight"), d.byte("control.state")}
		if c.State > killed || c.Version == 0 {
			d.fail("control")
		}
		s.controls[c.Flight] = c
		s.newest = max(s.newest, c.Version)
	}
	for range d.count(20, "waiting") {
		w := waiting{position: d.uint("waiting.position")}
		d.event(&w.event)
		if n := len(s.waiting); w.position > s.ack || n > 0 && w.position <= s.waiting[n-1].position {
			d.fail("waiting.position")
		}
		s.waiting = append(s.waiting, w)
	}
	if d.version >= version2 {
		s.decodeHeld(&d)
	}
	for range d.count(11, "counts") {
		k := countKey{hour: d.int("count.hour"), flight: d.u32("count.flight"), ad: d.u32("count.ad"), publisher: d.u32("count.publisher")}
		copy(k.country[:], d.take(2, "count.country"))
		s.counts[k] = d.counts("count")
	}
	if d.version >= version2 {
		for range d.count(11, "topics") {
			k := topicKey{hour: d.int("topic.hour")}
			topic := d.uint("topic.topic")
			if topic > 1<<16-1 {
				d.fail("topic.topic")
			}
			k.topic, k.flight = uint16(topic), d.u32("topic.flight")
			copy(k.country[:], d.take(2, "topic.country"))
			s.topics[k] = d.counts("topic")
		}
	}
	for range d.count(20, "foreign") {
		var e Event
		d.event(&e)
		s.foreign = append(s.foreign, e)
		s.received[e.key()] = struct{}{}
	}
	for range d.count(2, "verdicts") {
		s.verdicts = append(s.verdicts, verdict{d.uint("verdict.position"), exchange.Outcome(d.byte("verdict.outcome"))})
	}
	last := s.acked.GetBatch()
	for range d.count(1, "batches") {
		w := new(wire.Batch)
		bytes := d.take(d.uint("batch"), "batch")
		if d.err == nil {
			if err := proto.Unmarshal(bytes, w); err != nil || w.GetSeal().GetBatch() != last+1 {
				d.fail("batch")
			}
		}
		last++
		s.sealed = append(s.sealed, w)
	}
	if last != s.batch {
		d.fail("batches")
	}
	if err := d.end(); err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	return s, nil
}

// decodeHeld reads the clicks that wait for their views, and finds those whose
// views have come.
func (s *State) decodeHeld(d *decoder) {
	for i := range d.count(20, "held") {
		var e Event
		d.event(&e)
		if d.err == nil && (e.Kind != exchange.Click || e.Holder != s.holder || i >= MaxHeld || i > 0 && byOffer(&s.held[i-1], &e) >= 0) {
			d.fail("held")
		}
		if d.err != nil {
			return
		}
		s.held = append(s.held, e)
		if w := s.boots[e.Boot]; w != nil && w.inSpan(e.Seq) && w.has(exchange.View, e.Seq) {
			s.ready = append(s.ready, e)
		}
	}
}

func (d *decoder) counts(of string) *counts {
	c := &counts{
		views: d.amount(of + ".views"), clicks: d.amount(of + ".clicks"),
		unbilledViews: d.amount(of + ".unbilled_views"), unbilledClicks: d.amount(of + ".unbilled_clicks"),
		spent: d.amount(of + ".spent"),
	}
	if d.version >= version2 {
		c.homeLost = d.amount(of + ".home_lost")
	}
	return c
}

func (s *State) decodeBoots(d *decoder) {
	ordinal := uint64(0)
	for i := range d.count(14, "boots") {
		w := &window{
			boot: d.fixed("boot"), ordinal: d.uint("boot.ordinal"), began: d.int("boot.began"), ended: d.int("boot.ended"),
			floor: d.uint("boot.floor"), next: d.uint("boot.next"),
		}
		if w.boot == 0 || w.floor%blockSeqs != 0 || w.floor > Gone-MaxSpan || s.boots[w.boot] != nil || i > 0 && w.ordinal <= ordinal {
			d.fail("boot")
		}
		ordinal = w.ordinal
		for range d.count(blockBytes+1, "boot.blocks") {
			at := d.uint("block.index")
			bits := d.take(blockBytes, "block.bits")
			if d.err != nil || at >= MaxSpan/blockSeqs || at < uint64(len(w.blocks)) {
				d.fail("block.index")
				return
			}
			for uint64(len(w.blocks)) <= at {
				w.blocks = append(w.blocks, nil)
			}
			w.blocks[at] = (*block)(append([]byte(nil), bits...))
		}
		s.boots[w.boot] = w
	}
	if s.current != 0 && s.boots[s.current] == nil {
		d.fail("current")
	}
}
