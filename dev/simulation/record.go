package simulation

import (
	"encoding/binary"
	"fmt"

	"nearside/edge/holder"
	"nearside/sync/exchange"
	"nearside/sync/lease"
	"nearside/sync/token"
)

// The records of edge/holder, versions 1 and 2, read by its package doc and not by its
// code.
const (
	kindBoot    = 1
	kindJudged  = 2
	kindForeign = 3
	kindWaiting = 4
	kindGrant   = 5
	kindReturn  = 6
	kindSeal    = 7
	kindFloor   = 8
	kindControl = 9
	kindFence   = 10
	kindHeld    = 11
)

// entry is one record.
type entry struct {
	bytes    []byte
	kind     byte
	holder   uint32 // of a boot
	boot     uint64 // that begins, or has a floor
	floor    uint64
	outcome  exchange.Outcome
	position uint64 // foreign
	event    holder.Event
	debits   []debit
	budget   lease.Budget
	total    int64
	flight   uint32
	version  uint64
	batch    uint64 // of a seal
}

type fields struct {
	b       []byte
	version byte
}

func (f *fields) byte() byte {
	x := f.b[0]
	f.b = f.b[1:]
	return x
}

func (f *fields) u() uint64 {
	x, n := binary.Uvarint(f.b)
	f.b = f.b[n:]
	return x
}

func (f *fields) s() int64 {
	x, n := binary.Varint(f.b)
	f.b = f.b[n:]
	return x
}

func (f *fields) fixed() uint64 {
	x := binary.BigEndian.Uint64(f.b)
	f.b = f.b[8:]
	return x
}

func (f *fields) event() (e holder.Event) {
	e.Kind = exchange.Kind(f.byte())
	e.Holder = uint32(f.u())
	e.Boot = f.fixed()
	e.Seq = f.u()
	e.Ad, e.Flight, e.Publisher = uint32(f.u()), uint32(f.u()), uint32(f.u())
	e.Country = [2]byte{f.byte(), f.byte()}
	e.ViewPrice, e.ClickPrice = int64(f.u()), int64(f.u())
	e.Issued = f.s()
	e.Flags = uint16(f.u())
	e.At = f.s()
	if f.version > 1 {
		for range f.byte() {
			e.Topics.Add(uint32(f.byte())<<8 | uint32(f.byte()))
		}
	}
	return e
}

func parseRecord(rec []byte) (x entry, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("record %x ends early", rec)
		}
	}()
	f := fields{b: rec}
	if f.version = f.byte(); f.version != 1 && f.version != 2 {
		return x, fmt.Errorf("record of version %d", f.version)
	}
	x = entry{bytes: append([]byte(nil), rec...), kind: f.byte()}
	switch x.kind {
	case kindBoot:
		x.holder = uint32(f.u())
		x.boot = f.fixed()
	case kindJudged:
		x.outcome = exchange.Outcome(f.byte())
		x.position = f.u()
		x.event = f.event()
		for range f.byte() {
			x.debits = append(x.debits, debit{lease.Budget(f.u()), int64(f.u())})
		}
	case kindForeign, kindHeld:
		x.event = f.event()
	case kindWaiting:
		x.position = f.u()
		x.event = f.event()
	case kindGrant, kindReturn:
		x.budget, x.total = lease.Budget(f.u()), int64(f.u())
	case kindSeal:
		x.batch = f.u()
	case kindFloor:
		x.boot, x.floor = f.fixed(), f.u()
	case kindControl:
		x.version, x.flight = f.u(), uint32(f.u())
	}
	judgedAnew := x.kind == kindJudged && (x.outcome == exchange.HomeLost || x.outcome == exchange.NotViewed && x.position == 0)
	if (f.version == 2) != (x.kind == kindHeld || judgedAnew || x.event.Topics != (token.Topics{})) {
		return x, fmt.Errorf("record of kind %d and version %d", x.kind, f.version)
	}
	return x, nil
}

// lost says that the record gave up an event whose bits are gone.
func (x *entry) lost() bool { return x.kind == kindJudged && x.outcome == exchange.HomeLost }

// refused says that the record gave up a click whose view never came.
func (x *entry) refused() bool { return x.kind == kindJudged && x.outcome == exchange.NotViewed }

// counted says that the record gave an event its effect.
func (x *entry) counted() bool {
	return x.kind == kindJudged && (x.outcome == exchange.Billed || x.outcome == exchange.Unbilled)
}
