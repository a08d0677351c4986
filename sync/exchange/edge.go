package exchange

import (
	"fmt"

	"nearside/sync/wire"
)

// Edge is the holder's half of the exchange. Its user is one goroutine, or
// holds a lock around it.
type Edge struct {
	holder        uint32
	boot, ordinal uint64

	first bool          // the core has not yet answered this boot
	acked *wire.Cursor  // the last batch that the core is known to have applied
	queue []*wire.Batch // sealed and durable, oldest first; the first is the one being sent
}

// NewEdge continues a holder whose last acknowledged batch was acked, and
// which has sealed queue since.
func NewEdge(holder uint32, boot, ordinal uint64, acked *wire.Cursor, queue []*wire.Batch) *Edge {
	if acked == nil {
		acked = &wire.Cursor{}
	}
	return &Edge{holder: holder, boot: boot, ordinal: ordinal, first: true, acked: acked, queue: queue}
}

// Sealed queues a batch whose seal is durable. Batches come in the order of
// their numbers.
func (e *Edge) Sealed(b *wire.Batch) { e.queue = append(e.queue, b) }

// Outstanding is how many sealed batches the core has not acknowledged.
func (e *Edge) Outstanding() int { return len(e.queue) }

// Position is that of the seal of the batch that the next request carries, 0
// where it carries none.
func (e *Edge) Position() uint64 {
	if len(e.queue) == 0 {
		return 0
	}
	return e.queue[0].GetSeal().GetPosition()
}

// Next is the batch that the next request carries, nil where it carries none.
func (e *Edge) Next() *wire.Batch {
	if len(e.queue) == 0 {
		return nil
	}
	return e.queue[0]
}

// First reports whether the core has yet to answer this boot.
func (e *Edge) First() bool { return e.first }

// Again makes the next request ask for everything, as the first one does.
func (e *Edge) Again() { e.first = true }

// Request is the next message to the core. The same batch goes again until it
// is acknowledged.
func (e *Edge) Request(side *wire.Side) *wire.SyncRequest {
	r := &wire.SyncRequest{
		Protocol: Protocol, Holder: e.holder, Boot: e.boot, BootOrdinal: e.ordinal,
		First: e.first, Seal: e.acked, Side: side,
	}
	if len(e.queue) > 0 {
		r.Batch = e.queue[0]
		r.Seal = r.Batch.GetSeal()
	}
	return r
}

// Course is what a reply makes of the holder.
type Course uint8

const (
	Proceed    Course = iota
	Withhold          // the core forgot: take no grants, go on with what is held
	Fence             // this holder's time is over: hand in and register anew
	Superseded        // a newer boot of this holder spoke: exit
)

// Step is what follows from a reply.
type Step struct {
	Course Course
	Reason string       // of a course other than Proceed
	Acked  *wire.Cursor // what the core has newly acknowledged; nil: nothing
}

// Reply takes the core's answer. Grants and foreign events of the reply may be
// used only where the course is Proceed.
func (e *Edge) Reply(r *wire.SyncResponse) Step {
	if r.GetStatus() == wire.SyncResponse_SUPERSEDED {
		return Step{Course: Superseded, Reason: "a newer boot of this holder has spoken"}
	}
	c := r.GetCursor()
	step := Step{}
	switch Compare(c, e.acked) {
	case Behind:
		step.Course, step.Reason = Withhold, fmt.Sprintf("the core is at %s, after it had acknowledged %s", Describe(c), Describe(e.acked))
	case Another:
		return Step{Course: Fence, Reason: fmt.Sprintf("the core is at %s, this journal at %s", Describe(c), Describe(e.acked))}
	case Ahead:
		n := e.find(c.GetBatch())
		if n < 0 {
			return Step{Course: Fence, Reason: fmt.Sprintf("the core is at %s, which this journal never sealed", Describe(c))}
		}
		if seal := e.queue[n].GetSeal(); Compare(c, seal) != Same {
			return Step{Course: Fence, Reason: fmt.Sprintf("the core is at %s, this journal sealed %s", Describe(c), Describe(seal))}
		}
		e.acked = e.queue[n].GetSeal()
		clear(e.queue[:n+1])
		e.queue = e.queue[n+1:]
		step.Acked = e.acked
	}
	switch r.GetStatus() {
	case wire.SyncResponse_OK:
	case wire.SyncResponse_FENCED:
		step.Course, step.Reason = Fence, "the core fenced this holder"
	case wire.SyncResponse_FORGOTTEN:
		step.Course, step.Reason = Withhold, "the core has lost history and waits for its recovery"
	default:
		step.Course, step.Reason = Withhold, fmt.Sprintf("the core answered with an unknown status %d", r.GetStatus())
	}
	if step.Course == Proceed {
		e.first = false
	}
	return step
}

func (e *Edge) find(batch uint64) int {
	for i, b := range e.queue {
		if b.GetSeal().GetBatch() == batch {
			return i
		}
	}
	return -1
}
