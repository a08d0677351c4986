package ledger

import (
	"nearside/sync/exchange"
	"nearside/sync/lease"
	"nearside/sync/wire"
)

// State is how far a holder's life has come. It only goes forwards.
type State uint8

const (
	Open State = iota
	Fenced
	Closed
)

// String is the state's name in the table and in the admin API.
func (s State) String() string { return [...]string{"open", "fenced", "closed"}[s] }

// ParseState is the inverse of String.
func ParseState(name string) (State, bool) {
	for s := Open; s <= Closed; s++ {
		if s.String() == name {
			return s, true
		}
	}
	return 0, false
}

// Holder is one state directory of one edge node. Times are unix milliseconds.
type Holder struct {
	ID         uint32
	Region     string
	Node       string
	Disk       string
	SecretHash []byte // see Hash
	State      State
	Reason     string // of a state other than open
	PublicURL  string
	Version    string // of the edge's program

	Boot        uint64
	BootOrdinal uint64
	Batch       uint64 // the cursor: the last batch applied
	Position    uint64
	Hash        []byte

	SeenAt         int64
	AppliedCatalog uint64
	AppliedControl uint64
	Alone          bool // its journal is on one disk only

	ForeignPosition uint64 // the last number given to a foreign event of this home
	ForeignAck      uint64 // the last that it has journalled
	HandedIn        bool   // its windows are here, whole
	Retired         bool   // closed so long ago that its leases, windows and events were dropped

	Doubt     string // what it claims and cannot be, while nobody else bears it out
	Stated    int64  // 0: no statement is here; else 1 + the time of the stamp in it
	Recovered uint64 // the last batch whose totals a statement told; its counts come with the batch

	CreatedAt int64
	ClosedAt  int64 // 0: not closed
}

// Cursor says how far the holder's batches were applied.
func (h *Holder) Cursor() *wire.Cursor {
	return &wire.Cursor{Batch: h.Batch, Position: h.Position, Hash: h.Hash}
}

func (h *Holder) fence(reason string) {
	h.State, h.Reason = Fenced, reason
}

// drained is the reason of a holder that was closed by its own last word.
const drained = "drained"

// mayHandIn says that a journal or a copy of the holder may still bring events that
// no batch has told of. One that was fenced may, also after its close.
func (h *Holder) mayHandIn() bool {
	return h.Recovered != told && (h.State == Fenced || h.State == Closed && !h.Retired && h.Reason != drained)
}

// toldBeyond is the last batch of which a statement has told, where that is beyond
// the cursor; else 0.
func (h *Holder) toldBeyond() uint64 {
	if h.Recovered == told || h.Recovered <= h.Batch {
		return 0
	}
	return h.Recovered
}

// Window holds the dedupe bits of one boot of a holder that handed in.
type Window struct {
	Holder uint32
	Boot   uint64
	Floor  uint64 // below it nothing is billed
	Next   uint64 // the first sequence number not offered when the window was cut
	Bits   []byte // bit 2·(seq−floor) view, +1 click
}

// used reports whether the event's bit is set, or can no longer be told.
func (w *Window) used(seq uint64, click bool) bool {
	if seq < w.Floor {
		return true
	}
	bit := 2 * (seq - w.Floor)
	if click {
		bit++
	}
	return bit/8 < uint64(len(w.Bits)) && w.Bits[bit/8]&(1<<(bit%8)) != 0
}

// Foreign is an event that came in away from its home.
type Foreign struct {
	EventKey
	Position uint64 // per home, from 1
	Sender   uint32
	Event    *wire.Event
	At       int64 // unix milliseconds, when it came here
	Outcome  exchange.Outcome
}

// Outcomes beside those that a home can say.
const (
	Waiting  exchange.Outcome = 0
	HomeLost                  = exchange.HomeLost // its home is gone with its windows, or its bits: refused, counted apart
)

// EventKey is one event: it has one effect.
type EventKey struct {
	Home uint32
	Boot uint64
	Seq  uint64
	Kind exchange.Kind
}

// Cap is what a daily cap is today: of a flight or of a publisher.
type Cap struct {
	Micros int64 // 0: none
	From   int32 // the first day on which it is in force
	Unit   int64 // the largest price that can debit it
}

// LeaseKey names a lease.
type LeaseKey struct {
	Holder uint32
	Budget lease.Budget
}
