package ingest

import (
	"container/list"
	"math/rand/v2"
	"sync"

	"nearside/core/ledger"
	"nearside/sync/lease"
	"nearside/sync/wire"
)

// maxDelivered is how many budgets one reply tells of; the rest follows with
// the next.
const maxDelivered = 10_000

// counterBits of a version count changes; the bits above are random for each
// process, so that numbers of different processes are not compared.
const counterBits = 44

// feed holds what all holders together have settled of each budget, in the
// order in which this process heard of changes. Its methods are safe for
// concurrent use.
type feed struct {
	mu      sync.Mutex
	epoch   uint64
	counter uint64
	entries map[lease.Budget]*list.Element
	order   *list.List // of *entry, the last changed at the back
}

type entry struct {
	said    *wire.Delivered // never changed once it is here: replies share it
	changed int64           // ledger.Budget.Changed
	at      uint64          // counter
}

func newFeed() *feed {
	return &feed{
		epoch:   (rand.Uint64N(1<<(64-counterBits)-1) + 1) << counterBits,
		entries: map[lease.Budget]*list.Element{},
		order:   list.New(),
	}
}

// note takes budgets as they are, or were: of two states of one budget the one
// with the higher Changed is the later.
func (f *feed) note(budgets []ledger.Budget) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range budgets {
		if e := f.entries[b.ID]; e == nil || e.Value.(*entry).changed < b.Changed {
			f.put(b)
		}
	}
}

// mark is where the feed stands.
func (f *feed) mark() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counter
}

// read takes budgets that were read from the store after mark was taken. What
// nobody noted since is as the store says, also where that is an earlier
// state: the database may have been restored.
func (f *feed) read(budgets []ledger.Budget, mark uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range budgets {
		e := f.entries[b.ID]
		if e == nil || e.Value.(*entry).changed < b.Changed || e.Value.(*entry).changed > b.Changed && e.Value.(*entry).at <= mark {
			f.put(b)
		}
	}
}

func (f *feed) put(b ledger.Budget) {
	f.counter++
	next := &entry{
		said:    &wire.Delivered{Budget: int64(b.ID), Settled: b.Settled, Limit: b.Limit, Unleased: b.Unleased, VelocityMilli: b.Velocity, Brokered: b.Brokered, Refunded: b.Refunded},
		changed: b.Changed, at: f.counter,
	}
	if e := f.entries[b.ID]; e != nil {
		e.Value = next
		f.order.MoveToBack(e)
		return
	}
	f.entries[b.ID] = f.order.PushBack(next)
}

// forget drops budgets of days before oldest.
func (f *feed) forget(oldest int32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, e := range f.entries {
		if day := id.Day(); day != 0 && day < oldest {
			f.order.Remove(e)
			delete(f.entries, id)
		}
	}
}

func (f *feed) has(b lease.Budget) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.entries[b] != nil
}

// since is what changed after the version seen, the oldest first, and the
// version up to which that is. A version of another process stands for none.
func (f *feed) since(seen uint64) ([]*wire.Delivered, uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	from := uint64(0)
	if counter := seen - f.epoch; seen >= f.epoch && counter <= f.counter {
		from = counter
	}
	first := f.order.Back()
	if first == nil || first.Value.(*entry).at <= from {
		return nil, f.epoch + f.counter
	}
	n := 1
	for before := first.Prev(); before != nil && before.Value.(*entry).at > from; before = before.Prev() {
		first = before
		n++
	}
	said := make([]*wire.Delivered, 0, min(n, maxDelivered))
	at := f.counter
	for e := first; e != nil; e = e.Next() {
		if len(said) == maxDelivered {
			return said, f.epoch + at
		}
		at = e.Value.(*entry).at
		said = append(said, e.Value.(*entry).said)
	}
	return said, f.epoch + f.counter
}
