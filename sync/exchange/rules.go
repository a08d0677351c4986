package exchange

import (
	"bytes"
	"fmt"

	"nearside/sync/lease"
	"nearside/sync/token"
	"nearside/sync/wire"
)

// Protocol is the version of the exchange that both halves speak.
const Protocol = 1

// Kind is what a reader did.
type Kind uint8

// The numbers are those of wire.Event.kind and of the journal.
const (
	View  Kind = 1
	Click Kind = 2
)

// Outcome is what the judge of an event said.
type Outcome uint8

// The numbers are those of wire.Verdict.outcome and of the journal.
const (
	Billed    Outcome = 1 // counted, with every budget that it touches debited
	Unbilled  Outcome = 2 // valid, but beyond a budget
	Duplicate Outcome = 3
	NotViewed Outcome = 4 // a click whose view never came
	HomeLost  Outcome = 5 // its bits are gone: it may have been counted before; refused, and counted apart
	Held      Outcome = 6 // a click that waits at its home for its view; said between peers alone
)

// MaxBatch is the size at which a batch is sealed though the last one has not
// been acknowledged yet: batches stay under a megabyte.
const MaxBatch = 512 << 10

// Debit is an amount taken from a budget, in its unit.
type Debit struct {
	Budget lease.Budget
	Amount int64
}

// MaxDebits is the most budgets that one event touches.
const MaxDebits = 3

// Debits lists what one event takes, a function of its token alone: all of it
// or nothing. issued is the token's time of issue in unix milliseconds, price
// the token's price of such an event in micros. n may be 0: a view of a flight
// that sells clicks is counted and costs nothing.
func Debits(kind Kind, flags uint16, flight, publisher uint32, issued, price int64) (d [MaxDebits]Debit, n int) {
	add := func(b lease.Budget, amount int64) {
		d[n] = Debit{b, amount}
		n++
	}
	switch {
	case kind == View && flags&token.FlagViews != 0:
		add(lease.Of(lease.FlightViews, flight, 0), 1)
	case kind == Click && flags&token.FlagClicks != 0:
		add(lease.Of(lease.FlightClicks, flight, 0), 1)
	default:
		return d, 0
	}
	if price > 0 {
		day := Day(issued)
		if flags&token.FlagFlightDay != 0 {
			add(lease.Of(lease.FlightDay, flight, day), price)
		}
		if flags&token.FlagPublisherDay != 0 {
			add(lease.Of(lease.PublisherDay, publisher, day), price)
		}
	}
	return d, n
}

// Day is the UTC day of unix milliseconds, counted from 1970-01-01.
func Day(ms int64) int32 {
	const day = 24 * 3600 * 1000
	d := ms / day
	if ms%day < 0 {
		d--
	}
	return int32(d)
}

// Order is where one cursor stands to another.
type Order uint8

const (
	Same    Order = iota // the same batch of the same journal
	Behind               // an earlier batch
	Ahead                // a later batch
	Another              // the same number, but of another journal's history
)

// Compare says where c stands to known. Number 0 is before any batch; it has
// neither position nor hash.
func Compare(c, known *wire.Cursor) Order {
	switch {
	case c.GetBatch() < known.GetBatch():
		return Behind
	case c.GetBatch() > known.GetBatch():
		return Ahead
	case c.GetBatch() == 0:
		return Same
	case c.GetPosition() != known.GetPosition() || !bytes.Equal(c.GetHash(), known.GetHash()):
		return Another
	}
	return Same
}

// Describe is a cursor in words, for logs and errors.
func Describe(c *wire.Cursor) string {
	return fmt.Sprintf("batch %d at position %d (%x)", c.GetBatch(), c.GetPosition(), c.GetHash())
}
