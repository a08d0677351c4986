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
	offered  atomic.Int64        // since it was last measured, in the budget's unit; beside the pointer, as both are used for each offer
	lacked   atomic.Int64        // offers not made for want of a lease, the same
	reserved [slots]atomic.Int64 // in the budget's unit, by slot of the offer

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

	known  statedir.Amount
	reach  reach
	share  float64 // of all demand, the part that is met here
	valve  pacing.Release
	credit float64 // what it let go when it was last asked
	pace   int64   // that the plan needs from here, of all holders, thousandths of a unit per second

	said    said
	surplus int64 // when it was last looked for something to return
}

// said is what the core was last told of an account, and by which request.
type said struct {
	target, velocity, at int64
	asked                uint64
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
	a.offered.Add(amount)
	a.underWay(amount)
}

// underWay changes what is reserved in all. What an event of a day's budget
// debits differs, so deciding is told of each change of one.
func (a *account) underWay(amount int64) {
	if !a.budget.Micros() {
		a.Reserve(amount)
		return
	}
	a.InFlight.Add(amount)
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
		a.underWay(-amount)
	}
}

// life is how long a reservation lasts now: 3 × the median view delay, and as
// long as can be counted where nothing may be left for a view that comes later
// than most: near the end, and where leases are a unit or two. A click comes so
// rarely that nobody waits for it.
func (a *account) life(t lease.Totals, d *delay) int64 {
	if a.budget.Kind() != lease.FlightClicks && (a.away || a.small || a.endgame(t)) {
		return longest
	}
	return d.life()
}

// least is the smallest lease that is kept, so that one rare request does not find
// it empty. Of a small budget that is paced it is a unit more than what is out, for
// a view that comes when its place has been given to another: the plan offers no
// more for it.
func (a *account) least(d lease.Demand) int64 {
	if a.small && a.paced() && !d.Endgame {
		return lease.Reserved(d.InFlight, d.Rho) + 2*a.unit()
	}
	return a.unit()
}

// expire gives back what is still reserved of offers made up to a time.
func (a *account) expire(until int64) {
	from, to := a.expired, until/slotMillis
	a.expired = max(from, to)
	for slot := max(from+1, to-slots+1); slot <= to; slot++ {
		if n := a.reserved[slot&(slots-1)].Swap(0); n != 0 {
			a.underWay(-n)
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

// settled is what has been delivered everywhere, as last heard, and here since;
// without what was refunded, which is to be delivered again.
func (a *account) settled(t lease.Totals) int64 {
	return max(a.known.Settled+t.Spent-a.known.Here, t.Spent) - a.known.Refunded
}

// paced reports whether what is leased is let go along a plan.
func (a *account) paced() bool {
	return a.plan != nil && a.plan.sold > 0 && a.plan.schedule.Pacing != catalog.ASAP
}

// endgame reports whether so little is left that leases are kept small. A paced
// budget is used up at its pace, however many would take it.
func (a *account) endgame(t lease.Totals) bool {
	limit := a.known.Limit
	if limit == 0 && a.plan != nil {
		limit = max(a.plan.sold, a.plan.limit)
	}
	unit := a.unit()
	sum := max(a.known.Velocity, a.velocity.Milli())
	if a.paced() {
		sum = min(sum, a.pace)
	}
	return limit > 0 && lease.Endgame((limit-a.settled(t))/unit, limit/unit, sum)
}

// refresh sets what deciding reads. stopped: paid ads are not offered now; alone:
// the core has not been heard.
func (a *account) refresh(t lease.Totals, now int64, stopped, alone bool) {
	settled := a.settled(t)
	left := t.Available()
	rho := a.rho()
	credit := math.Inf(1)
	if a.paced() && !a.away {
		credit = a.let(t, settled, rho, now, alone)
		a.credit = credit
	}
	awaited := (a.known.Limit == 0 || a.known.Unleased >= a.unit()) && !a.away
	offers := rho // what an offer counts in Room
	if a.endgame(t) {
		offers = lease.Full
	}
	held := false
	if credit < float64(left) {
		// In the endgame the lease is kept for all that is out; the plan still
		// expects no more than usual of it.
		paced := int64(max(credit, 0) * float64(offers) / float64(rho))
		held, left = paced < left, min(left, paced)
	}
	if p := a.plan; p != nil && p.paid && stopped || a.away {
		left, held = 0, false
	}
	a.show(max(left, 0), settled, uint32(offers), held, awaited && !held)
}

// show lets deciding know, which is told as seldom as possible: it would have to
// look again.
func (a *account) show(left, settled int64, rho uint32, held, awaited bool) {
	if a.Left.Load() == left && a.Settled.Load() == settled && a.Rho.Load() == rho && a.Held.Load() == held && a.Awaited.Load() == awaited {
		return
	}
	a.Left.Store(left)
	a.Settled.Store(settled)
	a.Rho.Store(rho)
	a.Held.Store(held)
	a.Awaited.Store(awaited)
	a.Changed()
}

// let is what pacing lets go here now. While the core is not heard, others are
// taken to deliver in proportion to what is delivered here: the share stays as
// it was.
func (a *account) let(t lease.Totals, settled, rho, now int64, alone bool) float64 {
	if a.known.Limit == 0 || a.share == 0 && t.Available() == 0 {
		return 1 // what others have delivered, and are to, is not known yet
	}
	if a.valve.Stale(now) {
		if !alone || a.share == 0 {
			a.share = a.shareOf(t)
		}
		everywhere := float64(settled)
		if since := t.Spent - a.known.Here; since > 0 {
			everywhere += float64(since) * (1/a.share - 1)
		}
		a.pace = milli(a.plan.schedule.Pace(a.plan.sold, everywhere, now, pacing.Horizon))
		a.valve.Steer(a.share*a.plan.schedule.Aim(a.plan.sold, everywhere, now), t.Spent, now)
	}
	return a.valve.Grow(float64(a.InFlight.Load())*float64(rho)/lease.Full, t.Spent, now)
}

// leastShare is the part that a holder believes it has where it knows of no
// demand of its own.
const leastShare = 0.01

// shareOf is the part of all demand that is met here: as measured here, and as
// the core last told of the others.
// Before both are known it is the part that is leased here of what is leased.
func (a *account) shareOf(t lease.Totals) float64 {
	mine := a.reach.perSecond()
	others := float64(max(a.known.Velocity-a.said.velocity, 0)) / 1000
	if mine <= 0 || others <= 0 {
		mine = float64(t.Available())
		others = float64(a.known.Limit+a.known.Refunded-a.known.Settled-a.known.Unleased) - mine
	}
	if others <= 0 {
		return 1
	}
	return max(mine/(mine+others), leastShare)
}

// needs is the units per second that the plan asks of all nodes together from
// here on, for as long as a lease is to last; ok is false where it asks for none
// in particular.
func (a *account) needs(settled, now int64, ahead time.Duration) (perSecond float64, ok bool) {
	p := a.plan
	switch {
	case p == nil || now < p.starts:
		return 0, false
	case p.limit > 0:
		return float64(p.limit) / float64(p.unit) / (24 * 3600), false
	case p.sold == 0:
		return 0, false
	case p.schedule.Pacing == catalog.ASAP:
		return float64(p.schedule.Need(p.sold, settled, now)) / 3600, false
	}
	return p.schedule.Pace(p.sold, float64(settled), now, ahead.Milliseconds()), true
}

// measure takes the demand since the last time, and lets old rates fade. It is
// called about once a second.
func (a *account) measure(t lease.Totals, now int64, ahead time.Duration) {
	offered, lacked := a.offered.Swap(0), a.lacked.Swap(0)
	if offered+lacked > 0 {
		a.used = now
	}
	demand := float64(offered+lacked) * float64(a.rho()) / lease.Full / float64(a.unit())
	if !a.begun && a.plan != nil {
		a.begun = true
		perSecond, _ := a.needs(a.settled(t), now, ahead)
		a.velocity.Start(perSecond, now)
	}
	a.velocity.Add(demand, now)
	a.reach.add(demand, now)
	a.ended *= forget
	a.taken *= forget
}

// reach is how much a holder could deliver of a flight if it were let, per
// second. It changes slowly: shares are cut by it.
type reach struct {
	units, seconds float64
	at             int64 // unix milliseconds
}

// reachTau is the time in which reach forgets all but 1/e of what it knew.
const reachTau = 300.0 // seconds

func (r *reach) add(units float64, now int64) {
	if r.at == 0 {
		r.at = now
		return
	}
	passed := min(max(float64(now-r.at)/1000, 0), reachTau)
	keep := max(0, 1-passed/reachTau)
	r.units, r.seconds, r.at = r.units*keep+units, r.seconds*keep+passed, now
}

func (r *reach) perSecond() float64 {
	if r.seconds <= 0 {
		return 0
	}
	return r.units / r.seconds
}

func milli(perSecond float64) int64 { return int64(min(max(perSecond, 0)*1000, math.MaxInt64/4)) }

// room is how much more than its share of the plan a lease is made for, since
// shares and paces change.
const room = 1.25

// demand is what the sizing of the account's lease goes by.
func (a *account) demand(t lease.Totals, now int64, interval, offline time.Duration) lease.Demand {
	velocity := a.velocity.Milli()
	if pace, bounded := a.needs(a.settled(t), now, offline); bounded {
		// More demand than the plan can use is no reason to hold more.
		velocity = min(velocity, milli(room*a.shareOf(t)*pace))
	}
	return lease.Demand{
		Held: t.Available(), InFlight: a.InFlight.Load(), Rho: a.rho(), Velocity: velocity, Unit: a.unit(),
		Interval: interval, Offline: offline, Endgame: a.endgame(t),
	}
}

// wish is the demand that the core is told of, thousandths of a unit per second:
// what could be delivered here, whatever the plan lets.
func (a *account) wish() int64 {
	if a.paced() {
		return milli(a.reach.perSecond())
	}
	return a.velocity.Milli()
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
