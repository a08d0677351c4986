package decision

import (
	"sync/atomic"

	"nearside/sync/catalog"
	"nearside/sync/pacing"
)

// A flight's standing is what of weighing it is the same for every request: why
// it may not be offered now, or the base of its weight. Most of the time it is
// also the same as for the request before, so it is kept in 8 bytes, and a
// decision reads those instead of schedule, controls and accounts. They lie side
// by side in the order of the catalog's candidates, beside the flight's factor:
// four flights to a cache line. A standing is good
//
//   - for one second: starts, ends, days and pacing intervals begin with a
//     second, so that nothing else happens within one;
//   - until an account of the flight, or its switch, has Changed.
//
// From the lowest bit on: the base, the reason, a count of changes, and a tag
// that is another one for every second.
const (
	baseBits   = 32
	reasonBits = 6
	changeBits = 5
	tagBits    = 64 - changesEnd

	reasonAt   = baseBits
	changesAt  = reasonAt + reasonBits
	changesEnd = changesAt + changeBits

	baseMask    = 1<<baseBits - 1
	reasonMask  = 1<<reasonBits - 1
	changesMask = (1<<changeBits - 1) << changesAt
	tagMask     = (1<<tagBits - 1) << changesEnd

	// unfit in place of a reason says that the flight has to be weighed each
	// time: it is overdue, or needs more than fits.
	unfit = reasonMask
)

// There must be a number left that is no reason.
var _ [unfit - reasons]struct{}

// Changed tells deciding that the switch, or an account of its flight, was written.
func (s *Switch) Changed() {
	for i := range s.standings {
		if kept := s.standings[i].Load(); kept != nil {
			outdate(kept)
		}
	}
}

func outdate(standing *atomic.Uint64) {
	for {
		old := standing.Load()
		if standing.CompareAndSwap(old, (old+1<<changesAt)&changesMask) {
			return
		}
	}
}

// keeps gives the switch the place where a new catalog keeps its flight's
// standing. The catalog before is told of changes too, since requests go by it
// until the new one is in force; that before it no longer is.
func (s *Switch) keeps(standing *atomic.Uint64) {
	s.standings[1].Store(s.standings[0].Load())
	s.standings[0].Store(standing)
}

// tag is that of the second of now. It is never 0: nothing kept has that.
func tag(now int64) uint64 {
	return (uint64(now/1000)%(1<<tagBits-1) + 1) << changesEnd
}

// stands finds a flight's standing and keeps it, unless something has changed
// meanwhile.
func (f *Flight) stands(m moment, tag uint64) uint64 {
	old := f.standing.Load()
	base, overdue, reason := f.stand(m)
	if overdue != 1 || base > baseMask {
		base, reason = 0, unfit
	}
	s := tag | old&changesMask | uint64(reason)<<reasonAt | base
	f.standing.CompareAndSwap(old, s)
	return s
}

// stand is why the flight may not be offered, or the base of its weight and
// what being overdue multiplies it by. Reasons are found in their order.
func (f *Flight) stand(m moment) (base uint64, overdue int64, reason Reason) {
	if reason := f.stopped(m); reason != None {
		return 0, 1, reason
	}
	views, clicks := f.needs(m.now)
	if base = pacing.Base(views, clicks); base == 0 || f.factor == 0 {
		return 0, 1, f.whyNoNeed(m.now)
	}
	if reason := f.refusesMoney(views, clicks, m.day); reason != None {
		return 0, 1, reason
	}
	overdue = 1
	if m.now >= f.schedule.End {
		overdue = pacing.OverdueFactor(f.schedule.Overdue(m.now))
	}
	return base, overdue, None
}

// weigh is the weight of a flight whose factor and priority are known, or the
// first reason why it may not be offered among those that change from moment to
// moment, in their order.
func (f *Flight) weigh(factor, priority int64, r *Request, p *Publisher, m moment) (int64, Reason) {
	capped := f.paid && p.capped(m.day)
	if capped && p.earned(m.day) {
		return 0, PublisherDailyCap
	}
	base, overdue, reason := f.stand(m)
	if reason != None {
		return 0, reason
	}
	if capped && !p.affords(f.price, m.day) {
		return 0, Lease
	}
	if r.restricted() {
		if reason := f.refusesClient(r); reason != None {
			return 0, reason
		}
	}
	return pacing.WeightOf(base, factor, overdue, priority), None
}

// addUp weighs candidates from one on whose factors are their own and whose priority
// is the same, and notes the weights up to each. It stops at the first that takes
// more than that: whose standing is not good any more or says why not, or is so large
// that something could overflow. It is apart from choose since nearly all of deciding
// is this loop, whose values then stay in registers.
func addUp(heads []head, positions []uint32, upTo []int64, from int, total int64, tag uint64, priority int64) (to int, _ int64) {
	for i := from; i < len(positions) && i < len(upTo); i++ {
		h := &heads[positions[i]]
		standing := h.standing.Load()
		if standing&(tagMask|reasonMask<<reasonAt) != tag || uint64(h.factor) >= 1<<31 {
			return i, total
		}
		// pacing.WeightOf where nothing overflows.
		weight := int64(min((standing&baseMask)*uint64(h.factor)/pacing.MicrosPerUnit, pacing.MaxWeight))
		if priority != 1 {
			weight = min(weight*priority, pacing.MaxWeight)
		}
		total += weight
		upTo[i] = total
	}
	return len(positions), total
}

// choose draws one of a tier's candidates by weight, those of the list between
// from and to, and reports whether there was one to draw.
func (c *Catalog) choose(l *list, from, to int, tier catalog.CampaignType, r *Request, s *Scratch, m moment, seed uint64, out *Outcome) bool {
	n := to - from
	if n == 0 {
		return false
	}
	if cap(s.upTo) < n {
		s.upTo = make([]int64, n, 2*n)
	}
	upTo := s.upTo[:n] // the weights of the candidates up to each
	positions := l.positions[from:to]
	p := s.query.publisher
	// What one request or publisher has more to say, standings do not know.
	each := r.restricted() || tier == catalog.Paid && p.capped(m.day)
	x, tag := &c.index, tag(m.now)
	total, priority := int64(0), l.priority
	plain := !each && len(l.factors) == 0 && len(l.priorities) == 0
	for i := 0; i < n; i++ {
		if plain {
			if i, total = addUp(x.heads, positions, upTo, i, total, tag, priority); i == n {
				break
			}
		}
		position := positions[i]
		h := &x.heads[position]
		standing := h.standing.Load()
		if standing&tagMask != tag {
			standing = x.flights[position].stands(m, tag)
		}
		factor := h.factor
		if len(l.factors) > 0 {
			factor = l.factors[from+i]
		}
		if len(l.priorities) > 0 {
			priority = int64(l.priorities[from+i])
		}
		weight, reason := int64(0), Reason(standing>>reasonAt&reasonMask)
		switch {
		case each || reason == unfit:
			weight, reason = x.flights[position].weigh(factor, priority, r, p, m)
		case reason == None:
			weight = pacing.WeightOf(standing&baseMask, factor, 1, priority)
		}
		if reason != None {
			s.refused = append(s.refused, Refusal{x.flights[position], reason})
		}
		total += weight
		upTo[i] = total
	}
	if total == 0 {
		return false
	}
	drawn := draw(seed, flightDraw, total)
	// The first whose weights up to it are more than what was drawn; without a
	// branch that could not be foreseen.
	low := 0
	for left := n; left > 1; {
		half := left / 2
		if upTo[low+half-1] <= drawn {
			low += half
		}
		left -= half
	}
	out.Flight = c.index.flights[positions[low]]
	out.Total = total
	out.Weight = upTo[low]
	if low > 0 {
		out.Weight -= upTo[low-1]
	}
	return true
}
