package keeper

import (
	"slices"

	"nearside/sync/exchange"
	"nearside/sync/lease"
	"nearside/sync/pacing"
)

// members are the nodes that share a region's brokered flights.
type members struct {
	self  string
	nodes []string
	turn  uint64 // which list of them this is
}

// Members says which nodes of the region may be brokers, this one among them
// under its own name. Nodes that disagree for a moment offer a flight twice or
// not at all; nothing is overspent, since each spends its own lease. Before the
// first call this node is alone, and the broker of every flight.
func (k *Keeper) Members(self string, nodes []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if self == k.members.self && slices.Equal(nodes, k.members.nodes) {
		return
	}
	k.members = members{self, slices.Clone(nodes), k.members.turn + 1}
}

// brokered reports whether the core leases the flight through brokers on a day:
// all of its budgets, where any of them is small.
func (f *flight) brokered(k *Keeper, day int32) bool {
	if f.views != nil && f.views.small || f.clicks != nil && f.clicks.small {
		return true
	}
	a := f.day.on(k, day)
	return a != nil && a.small
}

// pace is the units per second, in thousandths, that all holders together use
// up of a flight now.
func (f *flight) pace(now int64) (milliUnits int64) {
	for _, a := range [...]*account{f.views, f.clicks} {
		switch {
		case a == nil:
		case a.paced():
			s := &a.plan.schedule
			milliUnits += milli(s.Pace(a.plan.sold, float64(a.Settled.Load()), now, pacing.Horizon))
		default:
			milliUnits += max(a.known.Velocity, a.velocity.Milli())
		}
	}
	return milliUnits
}

// elsewhere reports whether an account is leased at another node of the region.
func (k *Keeper) elsewhere(a *account, now int64) bool {
	f := a.of
	if f == nil || len(k.members.nodes) == 0 {
		return false
	}
	day := exchange.Day(now)
	if a.budget.Day() != 0 {
		day = a.budget.Day()
	}
	if !f.brokered(k, day) || lease.Quick(!a.away, f.pace(now), k.holders) {
		return false
	}
	if f.turn != k.members.turn {
		i := lease.Broker(a.budget.Owner(), k.members.nodes)
		f.broker, f.turn = k.members.nodes[i] == k.members.self, k.members.turn
	}
	return !f.broker
}

// leave gives back what is leased of a flight that another node of the region
// offers now, but for what its last offers here may still need.
func (k *Keeper) leave(b *book, a *account, held, now int64) error {
	return k.giveBackAmount(b, a, lease.Recall(held, 0, a.InFlight.Load(), lease.Full), now)
}
