package simulation

import "iter"

// routine is one thread of a process: a coroutine that runs until it waits for
// time, for a message or for the disk. Only one runs at a time, and the seed
// decides when each goes on.
type routine struct {
	n     *node
	life  int
	next  func() (int64, bool)
	stop  func()
	yield func(int64) bool
	over  bool
}

// parked is what a routine yields that waits to be woken.
const parked = -1

// run begins a routine of the process that is up now.
func (n *node) run(do func()) {
	r := &routine{n: n, life: n.life}
	r.next, r.stop = iter.Pull(func(yield func(int64) bool) {
		r.yield = yield
		do()
	})
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
	wait, more := r.step()
	w.running = before
	switch {
	case !more:
		r.over = true
	case wait != parked:
		w.after(wait, r.resume)
	}
	n.look()
}

func (r *routine) step() (wait int64, more bool) {
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(died); !ok {
				panic(p)
			}
			more = false
		}
	}()
	return r.next()
}

// pause lets the world go on for a while.
func (w *World) pause(delay int64) {
	if !w.running.yield(max(delay, 0)) {
		panic(died{})
	}
}

// park waits until somebody resumes the routine.
func (w *World) park() {
	if !w.running.yield(parked) {
		panic(died{})
	}
}

// abandon unwinds a routine of a process that is gone.
func (r *routine) abandon() {
	if r.over {
		return
	}
	r.over = true
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(died); !ok {
				panic(p)
			}
		}
	}()
	r.stop()
}
