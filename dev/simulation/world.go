package simulation

import (
	"container/heap"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime/debug"
)

// Violation says which invariant a run broke, and how.
type Violation struct {
	Invariant string // I1 … I12, "sum" (the end's account), "protocol", "panic"
	Detail    string
	Stack     string // of a panic
}

// Error makes a Violation an error.
func (v *Violation) Error() string { return v.Invariant + ": " + v.Detail }

// Result is what came of one run.
type Result struct {
	Seed   uint64
	Hash   uint64         // of the order and the time of all that happened
	Events int            // simulated
	Count  map[string]int // what happened how often
	Failed *Violation     // nil: every invariant held
}

// World is one run: nodes, a core, a network, readers, a clock and a seed that
// decides everything.
type World struct {
	seed    uint64
	rng     *rand.Rand
	now     int64 // unix milliseconds
	events  queue
	order   uint64
	log     eventLog
	count   map[string]int
	done    int
	ending  bool // faults are over
	closing bool // nodes drain as soon as they have started

	restored bool // Postgres was, from the past
	begun    bool // and its operator said so at once
	leftOut  int  // holders that a recovery went on without

	plan    plan
	net     network
	core    *core
	nodes   []*node
	running *routine // the one that runs now
	free    []*coroutine
	books   *oracle
}

// Run plays the seed to its end. trace, where it is not nil, gets the event log.
func Run(seed uint64, trace io.Writer) (r Result) {
	w := &World{
		seed:  seed,
		rng:   rand.New(rand.NewPCG(seed, 0x6e656172)),
		log:   eventLog{out: trace},
		count: map[string]int{},
	}
	defer func() {
		p := recover()
		for _, n := range w.nodes {
			n.life++
			for _, x := range n.routines {
				x.abandon(w)
			}
		}
		for _, c := range w.free {
			c.stop()
		}
		r = Result{Seed: seed, Hash: w.log.sum, Events: w.done, Count: w.count}
		switch p := p.(type) {
		case nil:
		case *Violation:
			r.Failed = p
		default:
			r.Failed = &Violation{"panic", fmt.Sprint(p), string(debug.Stack())}
		}
		if r.Failed != nil {
			w.log.line(w.now, "FAILED %v", r.Failed)
		}
	}()
	w.plan = newPlan(w.rng)
	w.plan.copies = seed%3 == 1
	w.now = w.plan.start
	w.net = network{w: w}
	w.books = newOracle(w)
	w.core = newCore(w)
	for i := range w.plan.nodes {
		w.nodes = append(w.nodes, newNode(w, i))
	}
	w.play()
	w.heal()
	w.books.settle()
	return r
}

// fail ends the run.
func (w *World) fail(invariant, format string, args ...any) {
	panic(&Violation{Invariant: invariant, Detail: fmt.Sprintf(format, args...)})
}

// play lets the world live through its plan.
func (w *World) play() {
	for _, n := range w.nodes {
		n.start(w.between(0, 3000))
	}
	w.core.sweep()
	w.readers()
	w.restores()
	w.faults()
	w.operators()
	w.until(w.plan.start + w.plan.lasts)
}

// until runs events up to a time.
func (w *World) until(end int64) {
	for len(w.events) > 0 && w.events[0].at <= end {
		e := heap.Pop(&w.events).(*event)
		w.now = e.at
		w.log.mix(e.at, e.order)
		e.do()
		w.done++
		w.books.check()
	}
	w.now = max(w.now, end)
}

// died is what a process ends with where its shell would exit.
type died struct{}

type event struct {
	at    int64
	order uint64
	do    func()
}

// after does something once, delay milliseconds from now.
func (w *World) after(delay int64, do func()) {
	w.order++
	heap.Push(&w.events, &event{at: w.now + max(delay, 0), order: w.order, do: do})
}

// queue is a heap by time, then by the order of asking.
type queue []*event

func (q *queue) Len() int { return len(*q) }
func (q *queue) Less(i, j int) bool {
	a, b := (*q)[i], (*q)[j]
	return a.at < b.at || a.at == b.at && a.order < b.order
}
func (q *queue) Swap(i, j int) { (*q)[i], (*q)[j] = (*q)[j], (*q)[i] }
func (q *queue) Push(x any)    { *q = append(*q, x.(*event)) }
func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return e
}

// chance and its kin draw from the run's seed.
func (w *World) chance(p float64) bool { return w.rng.Float64() < p }

func (w *World) between(from, to int64) int64 {
	if to <= from {
		return from
	}
	return from + w.rng.Int64N(to-from+1)
}

// about is an exponentially distributed delay.
func (w *World) about(mean float64) int64 { return int64(w.rng.ExpFloat64() * mean) }

// say writes an event to the log, and counts it under its first word.
func (w *World) say(what, format string, args ...any) {
	w.count[what]++
	w.log.mix(w.now, uint64(len(what)))
	w.log.line(w.now, what+" "+format, args...)
}

// eventLog is what happened, in words where somebody reads them, and as a sum by
// which two runs can be compared.
type eventLog struct {
	sum uint64
	out io.Writer // nil: nobody reads
	buf []byte
}

// mix adds to the sum, by a step of FNV-1a for each word.
func (l *eventLog) mix(at int64, what uint64) {
	const prime = 1099511628211
	l.sum = (l.sum ^ uint64(at)) * prime
	l.sum = (l.sum ^ what) * prime
}

func (l *eventLog) line(now int64, format string, args ...any) {
	if l.out == nil {
		return
	}
	l.buf = fmt.Appendf(l.buf[:0], "%d.%03d ", now/1000%100000, now%1000)
	l.buf = fmt.Appendf(l.buf, format, args...)
	l.buf = append(l.buf, '\n')
	_, _ = l.out.Write(l.buf)
}

// String is one line of a report.
func (r Result) String() string {
	if r.Failed == nil {
		return fmt.Sprintf("seed %d: %d events, sum %016x", r.Seed, r.Events, r.Hash)
	}
	return fmt.Sprintf("seed %d: %v", r.Seed, r.Failed)
}

func fill(rng *rand.Rand, b []byte) {
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
}

// random is an io.Reader of the run's seed.
type random struct{ rng *rand.Rand }

func (r random) Read(p []byte) (int, error) {
	fill(r.rng, p)
	return len(p), nil
}
