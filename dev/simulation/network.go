package simulation

// network carries messages between places, or loses, repeats, delays and
// reorders them. Place 0 is the core, place i+1 the node i.
type network struct {
	w   *World
	cut map[[2]int]int64 // until when two places do not hear each other
}

func (n *network) sever(a, b int, until int64) {
	if n.cut == nil {
		n.cut = map[[2]int]int64{}
	}
	n.cut[[2]int{a, b}] = until
	n.cut[[2]int{b, a}] = until
}

func (n *network) severed(a, b int) bool { return n.cut[[2]int{a, b}] > n.w.now }

// send does arrive at the other place: once, never, or more than once.
func (n *network) send(from, to int, arrive func()) {
	w := n.w
	if w.ending {
		w.after(w.between(1, 20), arrive)
		return
	}
	if n.severed(from, to) || w.chance(w.plan.loss) {
		w.count["lost message"]++
		return
	}
	copies := 1
	if w.chance(w.plan.twice) {
		w.count["repeated message"]++
		copies = 2
	}
	for range copies {
		delay := w.between(1, 80)
		if w.chance(w.plan.slow) {
			w.count["slow message"]++
			delay = w.between(100, 12*second)
		}
		w.after(delay, func() {
			if !w.ending && n.severed(from, to) {
				w.count["lost message"]++
				return
			}
			arrive()
		})
	}
}
