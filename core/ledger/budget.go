package ledger

import (
	"fmt"
	"math/bits"

	"nearside/sync/lease"
)

// Budget is one account. Amounts are events or micros, as its ID says.
type Budget struct {
	ID          lease.Budget
	Asked       int64 // the limit that was asked for
	Limit       int64 // the limit in force; above Asked only while more than that is out or settled
	Unleased    int64
	Outstanding int64
	Settled     int64
	Refunded    int64
	Judged      int64 // part of Settled that is in no lease: judged by the core from Unleased, or of retired holders
	Unit        int64 // the most that one event debits; 1 for events
	Velocity    int64 // Σ over its leases, thousandths of a unit per second
	Tight       bool  // leases are being recalled
	Brokered    bool  // little remains: one node of each region leases it
	Changed     int64 // counts the changes of this row
}

// NewBudget is a budget nobody has leased from yet.
func NewBudget(id lease.Budget, limit, unit int64) Budget {
	return Budget{ID: id, Asked: limit, Limit: limit, Unleased: limit, Unit: max(unit, 1)}
}

// Ask changes the limit. What cannot be taken back now, because it is leased
// or settled, stays in force until it comes back.
func (b *Budget) Ask(limit int64) {
	b.Asked = limit
	if limit >= b.Limit {
		b.Unleased += limit - b.Limit
		b.Limit = limit
	} else {
		back := min(b.Limit-limit, b.Unleased)
		b.Limit -= back
		b.Unleased -= back
	}
	b.Tight = b.Limit > b.Asked && b.Outstanding > 0
}

// broker says whether only brokers lease b from now on, by what remains of it
// and how many holders are open: each of them keeps a unit of every flight that
// it may offer. A publisher's budget is shared by many flights and has no broker.
func (b *Budget) broker(open int) {
	if b.ID.Kind() == lease.PublisherDay {
		return
	}
	left := min(b.Limit, b.Asked) + b.Refunded - b.Settled
	b.Brokered = lease.Small(b.Brokered, left/b.Unit, open)
}

func (b *Budget) grant(n int64) {
	b.Unleased -= n
	b.Outstanding += n
}

func (b *Budget) settle(n int64) {
	b.Outstanding -= n
	b.Settled += n
}

// giveBack takes n out of leases. While the limit is above what was asked, it
// falls first.
func (b *Budget) giveBack(n int64) {
	b.Outstanding -= n
	lower := min(n, b.Limit-b.Asked)
	b.Limit -= lower
	b.Unleased += n - lower
	if lower > 0 && b.Limit == b.Asked {
		b.Tight = false // until somebody starves
	}
}

// judge settles n out of what nobody has leased.
func (b *Budget) judge(n int64) {
	b.Unleased -= n
	b.Settled += n
	b.Judged += n
}

// Refund takes n back of what was settled: it is not charged, and may be billed
// again, but where the limit is to fall. false: that much is not settled and
// charged.
func (b *Budget) Refund(n int64) bool {
	if n <= 0 || n > b.Settled-b.Refunded {
		return false
	}
	b.Refunded += n
	lower := min(n, b.Limit-b.Asked)
	b.Limit -= lower
	b.Unleased += n - lower
	return true
}

// Check is I1 and I10, as the constraints of the table have them.
func (b *Budget) Check() error {
	for _, v := range [...]int64{b.Asked, b.Limit, b.Unleased, b.Outstanding, b.Settled, b.Refunded, b.Judged, b.Velocity} {
		if v < 0 {
			return fmt.Errorf("budget %d: negative amount in %+v", b.ID, *b)
		}
	}
	switch {
	case b.Refunded > b.Settled || b.Judged > b.Settled || b.Unit < 1:
		return fmt.Errorf("budget %d: %+v", b.ID, *b)
	case b.Limit+b.Refunded != b.Unleased+b.Outstanding+b.Settled:
		return fmt.Errorf("budget %d: I1: %+v", b.ID, *b)
	case b.Settled-b.Refunded > b.Limit:
		return fmt.Errorf("budget %d: I10: %+v", b.ID, *b)
	}
	return nil
}

// Lease is what one holder may spend of one budget.
type Lease struct {
	Holder uint32
	Budget lease.Budget
	lease.Totals
	Velocity int64 // as last heard, thousandths of a unit per second
}

// Check is the constraint lease_covered.
func (l *Lease) Check() error {
	if l.Granted < 0 || l.Spent < 0 || l.Returned < 0 || l.Velocity < 0 || l.Spent+l.Returned > l.Granted {
		return fmt.Errorf("lease of budget %d by holder %d is not covered: %+v", l.Budget, l.Holder, l.Totals)
	}
	return nil
}

// share is ⌊a·n/d⌋ without overflow; a where n ≥ d.
func share(a, n, d int64) int64 {
	if a <= 0 || n <= 0 || d <= 0 {
		return 0
	}
	if n >= d {
		return a
	}
	hi, lo := bits.Mul64(uint64(a), uint64(n))
	q, _ := bits.Div64(hi, lo, uint64(d))
	return int64(q)
}
