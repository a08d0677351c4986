package lease

import (
	"math"
	"time"
)

// Full is a rate of one in millionths: every offer is viewed.
const Full = 1_000_000

// Demand is what a holder knows when it sizes one lease. Amounts are in the
// budget's own unit (events or micros), except Velocity.
type Demand struct {
	Held     int64         // available now
	InFlight int64         // offered and not yet viewed (clicked)
	Rho      int64         // measured view (click) rate, millionths
	Velocity int64         // paced demand, thousandths of a unit per second
	Unit     int64         // what one event debits at most; 1 for events
	Interval time.Duration // between exchanges
	Offline  time.Duration // how long the holder must do without the core
	Endgame  bool          // little is left of the budget
}

// Target is what the holder wants to have available. With v the velocity and
// I the exchange interval (budgets.md, "Sizing a lease"):
//
//	hot    = 2·(2vI) + 2·√(2vI)                in the endgame vI + √(vI)
//	target = ⌈in_flight·ρ + hot + v·offline⌉   in the endgame without v·offline
//
// at least one unit, in whole units.
func Target(d Demand) int64 {
	unit := max(d.Unit, 1)
	rho := float64(min(max(d.Rho, 0), Full)) / Full
	if d.Endgame {
		rho = 1
	}
	v := float64(max(d.Velocity, 0)) / 1000
	units := float64(max(d.InFlight, 0))/float64(unit)*rho + hot(v, d.Interval, d.Endgame)
	if !d.Endgame {
		units += v * d.Offline.Seconds()
	}
	units = math.Ceil(units)
	if units >= float64(math.MaxInt64/2)/float64(unit) {
		return math.MaxInt64 / 2 / unit * unit
	}
	return max(int64(units), 1) * unit
}

// hot is the supply, in units, for the time until a grant that is asked for
// now has arrived, with room for chance.
func hot(v float64, interval time.Duration, endgame bool) float64 {
	n := v * interval.Seconds()
	if endgame {
		return n + math.Sqrt(n)
	}
	return 2*2*n + 2*math.Sqrt(2*n)
}

// Grant is what the core gives to a holder that asks, in whole units:
//
//	⌊min(target − held, max(1 unit, ½·U·v/Σv), U)⌋
//
// Where nobody has any velocity yet, holders are the number of holders that
// ask, and each gets an equal share.
func Grant(target, held, unleased, velocity, sum int64, holders int, unit int64) int64 {
	unit = max(unit, 1)
	want := target - held
	if want <= 0 || unleased <= 0 {
		return 0
	}
	var share float64
	if sum > 0 {
		share = float64(unleased) / 2 * float64(max(velocity, 0)) / float64(sum)
	} else {
		share = float64(unleased) / 2 / float64(max(holders, 1))
	}
	g := min(want, unleased)
	if share < float64(g) {
		g = min(g, max(unit, int64(share)))
	}
	return g / unit * unit
}

// Idle is how long a lease may lie without an event or an offer before all of
// it goes back.
const Idle = 300 * time.Second

// Surplus is what of held goes back to the core: all but what is in flight
// when nothing was offered for Idle; else what exceeds the target by more
// than a fifth; in the endgame whatever exceeds it.
func Surplus(d Demand, target int64, idle time.Duration) int64 {
	keep := target
	switch {
	case idle >= Idle:
		keep = Reserved(d.InFlight, d.Rho)
	case d.Endgame:
	default:
		if d.Held-target <= target/5 {
			return 0
		}
	}
	return max(d.Held-keep, 0)
}

// Recall is what of held goes back when the core asks to go down to to: what
// is reserved for offers in flight stays.
func Recall(held, to, inFlight, rho int64) int64 {
	return max(held-max(to, Reserved(inFlight, rho)), 0)
}

// Reserved is ⌈in_flight·ρ⌉.
func Reserved(inFlight, rho int64) int64 {
	inFlight = max(inFlight, 0)
	rho = min(max(rho, 0), Full)
	whole, rest := inFlight/Full, inFlight%Full
	return whole*rho + (rest*rho+Full-1)/Full
}

// Endgame reports whether so little is left of a budget that leases are kept
// as small as they can be: less than 1 % of the limit, or less than what all
// holders together use up in 120 s.
func Endgame(left, limit, sumVelocity int64) bool {
	return left < limit/100 || float64(left) < float64(max(sumVelocity, 0))/1000*120
}

// Velocity is an exponentially weighted rate in units per second.
type Velocity struct {
	rate float64
	at   int64 // unix milliseconds of the last update
}

// Tau is the time in which a Velocity forgets all but 1/e of what it knew.
const Tau = 30 * time.Second

// Start sets what is believed before anything was measured.
func (v *Velocity) Start(perSecond float64, now int64) { v.rate, v.at = max(perSecond, 0), now }

// Add counts units of demand since the last Add. now is in unix milliseconds;
// a clock that steps back counts as no time.
func (v *Velocity) Add(units float64, now int64) {
	if v.at == 0 {
		v.at = now
		return
	}
	dt := float64(now-v.at) / 1000
	if dt <= 0 {
		v.rate += units / Tau.Seconds()
		return
	}
	keep := math.Exp(-dt / Tau.Seconds())
	v.rate = v.rate*keep + units/dt*(1-keep)
	v.at = now
}

// Milli is the rate in thousandths of a unit per second.
func (v *Velocity) Milli() int64 {
	if v.rate > math.MaxInt64/4000 {
		return math.MaxInt64 / 4
	}
	return int64(v.rate * 1000)
}

// Limit lowers the rate to at most perSecond.
func (v *Velocity) Limit(perSecond float64) { v.rate = min(v.rate, max(perSecond, 0)) }
