package simulation

import (
	"nearside/edge/holder"
	"nearside/sync/exchange"
)

// readers open pages from now on: an offer each, and what comes of it.
func (w *World) readers() {
	w.after(1+w.about(w.plan.pageEvery), func() {
		if w.ending {
			return
		}
		if n := w.nodes[w.rng.IntN(len(w.nodes))]; n.up {
			f := &w.plan.flights[w.rng.IntN(len(w.plan.flights))]
			s := &w.plan.sites[w.rng.IntN(len(w.plan.sites))]
			if o, ok := n.offer(f, s); ok {
				w.count["offer"]++
				w.follow(n, o)
			}
		}
		w.readers()
	})
}

// follow is what a reader does with an offer: a view, a click, both early and
// late, twice, and wherever their requests end up.
func (w *World) follow(n *node, o offered) {
	wait := func() int64 {
		switch {
		case w.chance(0.02):
			return w.about(float64(hour)) // a page left open
		case w.chance(0.1):
			return w.about(float64(20 * second))
		}
		return w.about(float64(1500))
	}
	viewed := wait()
	if w.chance(0.9) {
		w.beacons(n, o, exchange.View, viewed)
	}
	if w.chance(0.35) {
		at := viewed + w.about(1000)
		if w.chance(0.1) {
			at = w.about(500)
		}
		w.beacons(n, o, exchange.Click, at)
	}
}

// beacons are the requests for one event: mostly one, to a node nearby.
func (w *World) beacons(n *node, o offered, kind exchange.Kind, delay int64) {
	for range 1 + w.rng.IntN(5)/3 {
		to := n
		if w.chance(0.3) {
			to = w.nodes[w.rng.IntN(len(w.nodes))]
		}
		w.after(delay, func() { w.beacon(to, o, kind, 2) })
		delay += w.about(float64(400))
		if w.chance(0.1) {
			delay += w.about(float64(minute))
		}
	}
}

// beacon sends one request, and again where no answer came.
func (w *World) beacon(to *node, o offered, kind exchange.Kind, tries int) {
	if w.ending {
		return
	}
	answered := false
	arrive := func() {
		if !to.up {
			return
		}
		to.run(func() {
			to.beacon(o, kind, func(e *holder.Event, v holder.Verdict) {
				answered = true
				w.books.answered(to, e, v)
			})
		})
	}
	delay := w.between(1, 40)
	w.after(delay, arrive)
	if w.chance(w.plan.twice) {
		w.after(delay+w.between(0, 30), arrive)
	}
	if tries > 1 {
		w.after(3*second, func() {
			if !answered {
				w.beacon(w.nodes[w.rng.IntN(len(w.nodes))], o, kind, tries-1)
			}
		})
	}
}
