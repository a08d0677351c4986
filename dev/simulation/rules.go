package simulation

// maySell is asked of every paid offer that the accounts of a node allow. Where
// the operators' policy is to close who is silent for long, an edge that has
// not heard the core for nearly as long stops by itself.
func (o *oracle) maySell(n *node) {
	fence := o.w.plan.rules.FenceAfter.Milliseconds()
	ticks := 10*second + o.w.plan.every // its clock is looked at that often
	if silent := n.clock() - n.heard; n.heard > 0 && silent > fence-min(hour, fence/2)+ticks {
		o.w.fail("I8", "%s sells, and has not heard the core for %d s; who is silent for %d s is closed", n.name, silent/second, fence/second)
	}
}

// idle is how long a node may keep what it leased of a flight that it leaves to
// another one.
func (w *World) idle() int64 { return max(2*minute, 6*w.plan.every) }

// leaves holds a node to giving back what it leaves to a broker.
func (h *history) leaves(n *node) {
	w := h.o.w
	if h.gone || n.leaving || n.k.Status().PaidStopped {
		clear(n.left)
		return
	}
	for i := range w.plan.flights {
		b := w.plan.flights[i].budget()
		a := n.k.Account(b)
		held := h.leases[b].Available()
		if !a.Elsewhere.Load() || a.InFlight.Load() > 0 || held <= 0 {
			delete(n.left, b)
			continue
		}
		since, known := n.left[b]
		if !known {
			n.left[b] = w.now
		}
		if known && w.now-since > w.idle() {
			w.fail("broker", "%s keeps %d of budget %x, which it leaves to another node, for %d s", n.name, held, int64(b), (w.now-since)/second)
		}
	}
}
