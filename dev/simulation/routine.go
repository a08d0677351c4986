package simulation

import "iter"

// routine is one thread of a process: a coroutine that runs until it waits for
// time, for a message or for the disk. Only one runs at a time, and the seed
// decides when each goes on.
type routine struct {
	n    *node
	life int
	on   *coroutine // nil: it has not begun, or is over
	over bool
}

// coroutine carries one routine after another, so that a beacon does not have a
// stack of its own to grow.
type coroutine struct {
	next  func() (int64, bool)
	stop  func()
	yield func(int64) bool
	do    func()
	ended bool // the routine on it has been abandoned: it is to unwind
}

// What a coroutine yields besides a delay.
const (
	parked   = -1 // waits to be woken
	finished = -2 // its routine is over
)

// coroutine is one that is free.
func (w *World) coroutine() *coroutine {
	if n := len(w.free); n > 0 {
		c := w.free[n-1]
		w.free = w.free[:n-1]
		return c
	}
	c := &coroutine{}
	c.next, c.stop = iter.Pull(func(yield func(int64) bool) {
		c.yield = yield
		for c.play(); yield(finished); {
			c.play()
		}
	})
	return c
}

// play runs a routine to its end, wherever in it that comes.
func (c *coroutine) play() {
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(died); !ok {
				panic(p)
			}
		}
	}()
	c.do()
}

// step goes on with the routine until it waits again; more says that it does.
func (r *routine) step(w *World) (wait int64, more bool) {
	c := r.on
	wait, alive := c.next()
	if !alive { // a violation has ended it: it is no use any more
		r.on = nil
		return 0, false
	}
	if wait != finished {
		return wait, true
	}
	c.do, c.ended, r.on = nil, false, nil
	w.free = append(w.free, c)
	return 0, false
}

// run begins a routine of the process that is up now.
func (n *node) run(do func()) {
	r := &routine{n: n, life: n.life, on: n.w.coroutine()}
	r.on.do = do
	n.routines = append(n.routines, r)
	r.resume()
}

// resume goes on with a routine until it waits again. The end of the process,
// wherever in the routine it came, is carried out here.
func (r *routine) resume() {
	n, w := r.n, r.n.w
	if r.over || n.life != r.life {
		return
	}
	before := w.running
	w.running = r
	wait, more := r.step(w)
	w.running = before
	switch {
	case !more:
		r.over = true
	case wait != parked:
		w.after(wait, r.resume)
	}
	n.look()
}

// pause lets the world go on for a while.
func (w *World) pause(delay int64) { w.wait(max(delay, 0)) }

// park waits until somebody resumes the routine.
func (w *World) park() { w.wait(parked) }

func (w *World) wait(what int64) {
	if c := w.running.on; !c.yield(what) || c.ended {
		panic(died{})
	}
}

// abandon unwinds a routine of a process that is gone.
func (r *routine) abandon(w *World) {
	if r.over {
		return
	}
	r.over = true
	r.on.ended = true
	for _, more := r.step(w); more; {
		_, more = r.step(w)
	}
}
