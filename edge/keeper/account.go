package keeper

import (
	"math"
	"sync/atomic"
	"time"

	"nearside/edge/decision"
	"nearside/edge/statedir"
	"nearside/sync/catalog"
	"nearside/sync/lease"
	"nearside/sync/pacing"
)

const (
	slotMillis = 500                      // of a reservation slot
	slots      = 64                       // a reservation lives for less than 32 s
	longest    = (slots - 8) * slotMillis // to be looked at in time

	// Before anything was measured: the view delay (milliseconds), and how many
	// offers are viewed and clicked (millionths).
	firstDelay  = 2000
	firstClicks = 50_000

	// measured is how many offers must have ended before a rate is believed,
	// and forget the part of old ones that each second leaves.
	measured = 100
	forget   = 0.998
)

// account is one budget here: what deciding reads of it, and what that is made
// from. But for its atomics it is guarded by Keeper.mu.
type account struct {
	*decision.Account

	budget   lease.Budget
	reserved [slots]atomic.Int64 // in the budget's unit, by slot of the offer
	offered  atomic.Int64        // since it was last measured, in the budget's unit
	lacked   atomic.Int64        // offers not made for want of a lease, the same

	expired  int64   // the last slot that was given back
	looked   int64   // when it was last measured, unix milliseconds
	plan     *plan   // what the catalog says; nil: nothing
	of       *flight // whose budget it is; nil: no flight's of the catalog
	small    bool    // the core leases it through brokers
	away     bool    // leased at another node of the region, as last looked
	velocity lease.Velocity
	begun    bool // velocity has been told what to expect
	ended    float64
	taken    float64 // of ended, viewed (clicked)
	used     int64   // when it was last offered or debited, unix milliseconds

	known    statedir.Amount
	interval int64 // the pacing interval that before belongs to
	before   int64 // delivered everywhere when it began

	said    said
	surplus int64 // when it was last looked for something to return
}

// said is what the core was last told of an account.
type said struct {
	target, velocity, at int64
}

// plan is what the catalog says of a budget.
type plan struct {
	schedule pacing.Schedule // of a flight's life; not used where sold is 0
	sold     int64           // units of a flight's life, 0 for a day's budget
	limit    int64           // micros of a day's budget
	unit     int64           // the most that one event debits
	paid     bool
	wanted   bool // may be offered by what the catalog says
	starts   int64
}

// unit is what one event debits at most.
func (a *account) unit() int64 {
	if a.plan != nil {
		return max(a.plan.unit, 1)
	}
	return 1
}

// reserve counts an offer made at now.
func (a *account) reserve(now, amount int64) {
	a.reserved[now/slotMillis&(slots-1)].Add(amount)
	a.InFlight.Add(amount)
	a.offered.Add(amount)
	a.Changed()
}

// release gives back the reservation of an offer that was viewed (clicked). An
// offer of a slot that has expired has none any more.
func (a *account) release(issued, amount int64) {
	a.taken += float64(amount)
	slot := issued / slotMillis
	if slot <= a.expired {
		return // it counted as ended when it expired
	}
	a.ended += float64(amount)
	if r := &a.reserved[slot&(slots-1)]; r.Load() >= amount {
		r.Add(-amount)
		a.InFlight.Add(-amount)
		a.Changed()
	}
}

// life is how long a reservation lasts now: 3 × the median view delay, and as
// long as can be counted where nothing may be left for a view that comes later
// than most. A click comes so rarely that nobody waits for it.
func (a *account) life(t lease.Totals, d *delay) int64 {
	if a.budget.Kind() != lease.FlightClicks && (a.away || a.endgame(t)) {
		return longest
	}
	return d.life()
}

// expire gives back what is still reserved of offers made up to a time.
func (a *account) expire(until int64) {
	from, to := a.expired, until/slotMillis
	a.expired = max(from, to)
	for slot := max(from+1, to-slots+1); slot <= to; slot++ {
		if n := a.reserved[slot&(slots-1)].Swap(0); n != 0 {
			a.InFlight.Add(-n)
			a.Changed()
			a.ended += float64(n)
		}
	}
}

// rho is the measured part of offers that are viewed (clicked), millionths.
func (a *account) rho() int64 {
	unit := float64(a.unit())
	if a.ended < measured*unit {
		if a.budget.Kind() == lease.FlightClicks {
			return firstClicks
		}
		return lease.Full
	}
	return int64(min(max(a.taken/a.ended*lease.Full, 1000), lease.Full))
}

// settled is what has been delivered everywhere: as last heard, and here
// since.
func (a *account) settled(t lease.Totals) int64 {
	return max(a.known.Settled+t.Spent-a.known.Here, t.Spent)
}

// endgame reports whether so little is left that leases are kept small.
func (a *account) endgame(t lease.Totals) bool {
	limit := a.known.Limit
	if limit == 0 && a.plan != nil {
		limit = max(a.plan.sold, a.plan.limit)
	}
	unit := a.unit()
	sum := max(a.known.Velocity, a.velocity.Milli())
	return limit > 0 && lease.Endgame((limit-a.settled(t))/unit, limit/unit, sum)
}

// refresh sets what deciding reads. stopped: paid ads are not offered now.
func (a *account) refresh(t lease.Totals, now int64, stopped bool) {
	settled := a.settled(t)
	left := t.Available()
	if p := a.plan; p != nil && left > 0 {
		if p.sold > 0 {
			left = min(left, a.released(settled, now))
		}
		if p.paid && stopped || a.away {
			left = 0
		}
	}
	left = max(left, 0)
	rho := a.rho()
	if a.endgame(t) {
		rho = lease.Full
	}
	a.show(left, settled, uint32(rho))
}

// show lets deciding know, which is told as seldom as possible: it would have to
// look again.
func (a *account) show(left, settled int64, rho uint32) {
	if a.Left.Load() == left && a.Settled.Load() == settled && a.Rho.Load() == rho {
		return
	}
	a.Left.Store(left)
	a.Settled.Store(settled)
	a.Rho.Store(rho)
	a.Changed()
}

// released is what pacing lets go here now: this node's share of what may have
// been delivered everywhere by now and has not been.
func (a *account) released(settled, now int64) int64 {
	s := &a.plan.schedule
	if s.Pacing == catalog.ASAP {
		return math.MaxInt64
	}
	if begin := s.IntervalStart(now); begin != a.interval {
		if a.interval != 0 && begin > a.interval {
			a.before = settled // it has been kept up to date until now
		} else {
			a.before = min(settled, s.Planned(a.plan.sold, begin))
		}
		a.interval = begin
	}
	open := s.Released(a.plan.sold, a.before, now) - settled
	if open <= 0 {
		return 0
	}
	mine, all := a.velocity.Milli(), a.known.Velocity
	if mine >= all {
		return open
	}
	// At least one: the first offer anywhere cannot wait for shares.
	return max(1, int64(math.Ceil(float64(open)*float64(mine)/float64(all))))
}

// rate is the pace that the plan asks of all nodes together, in units per
// second; ok is false where it asks for none in particular.
func (a *account) rate(settled, now int64) (perSecond float64, ok bool) {
	p := a.plan
	switch {
	case p == nil || now < p.starts:
		return 0, false
	case p.limit > 0:
		return float64(p.limit) / float64(p.unit) / (24 * 3600), false
	case p.sold == 0:
		return 0, false
	}
	s := &p.schedule
	need := s.Need(p.sold, settled, now)
	if s.Pacing == catalog.ASAP {
		return float64(need) / 3600, false
	}
	left := max(s.IntervalStart(now)+s.Interval-now, 1000)
	return float64(need) * 1000 / float64(left), true
}

// measure takes the demand since the last time into the velocity, and lets old
// rates fade. It is called about once a second.
func (a *account) measure(t lease.Totals, now int64) {
	offered, lacked := a.offered.Swap(0), a.lacked.Swap(0)
	if offered+lacked > 0 {
		a.used = now
	}
	rate, bounded := a.rate(a.settled(t), now)
	if !a.begun && a.plan != nil {
		a.begun = true
		a.velocity.Start(rate, now)
	}
	demand := float64(offered+lacked) * float64(a.rho()) / lease.Full / float64(a.unit())
	a.velocity.Add(demand, now)
	if bounded {
		// More demand than the plan can use is no reason to hold more.
		a.velocity.Limit(2 * rate)
	}
	a.ended *= forget
	a.taken *= forget
}

// demand is what the sizing of the account's lease goes by.
func (a *account) demand(t lease.Totals, interval, offline time.Duration) lease.Demand {
	return lease.Demand{
		Held: t.Available(), InFlight: a.InFlight.Load(), Rho: a.rho(), Velocity: a.velocity.Milli(), Unit: a.unit(),
		Interval: interval, Offline: offline, Endgame: a.endgame(t),
	}
}

// delay follows the median of the view delays, in milliseconds: it moves by
// one part in fifty towards each one.
type delay float64

func (d *delay) add(ms int64) {
	if float64(ms) > float64(*d) {
		*d *= 1.02
	} else {
		*d /= 1.02
	}
	*d = min(max(*d, 300), slots*slotMillis/3-slotMillis)
}

// life is how long a reservation lasts: 3 × the median view delay.
func (d *delay) life() int64 { return int64(3 * *d) }
