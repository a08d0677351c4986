package keeper

import (
	"slices"
	"time"

	"nearside/edge/holder"
	"nearside/sync/exchange"
	"nearside/sync/lease"
)

// perTurn is how many accounts one Tick looks at, so that it never holds the
// lock for long; below that many flights every Tick looks at all.
const perTurn = 4096

// aloneAfter is how long after the core was last heard what it said of others
// is taken for old, in milliseconds.
const aloneAfter = 15_000

// lowDisk is how many segments must fit on the disk for paid ads to be offered.
const lowDisk = 4

// Tick lets reservations end, pacing release and floors rise. It wants to be
// called every 100 ms. now is unix milliseconds.
func (k *Keeper) Tick(now int64) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failure != nil {
		return k.failure
	}
	if b := k.book; b != nil {
		if err := k.check(b.j.Err()); err != nil {
			return err
		}
		if err := ignoreFull(k.tend(b, now)); err != nil {
			return err
		}
		if !b.known && b.booted > 0 {
			if err := k.goLive(b); err != nil {
				return err
			}
		}
	}
	if exchange.Day(now+k.cfg.MaxOffline.Milliseconds()) > k.planned {
		k.planDays(now)
	}
	k.accounts.RLock()
	list := k.list
	k.accounts.RUnlock()
	if k.turn >= len(list) {
		k.turn = 0
	}
	end := min(k.turn+perTurn, len(list))
	for _, a := range list[k.turn:end] {
		k.refresh(a, now)
	}
	k.turn = end
	return nil
}

func (k *Keeper) refreshAll(now int64) {
	k.accounts.RLock()
	list := k.list
	k.accounts.RUnlock()
	for _, a := range list {
		k.refresh(a, now)
	}
}

func (k *Keeper) refresh(a *account, now int64) {
	var t lease.Totals
	if b := k.book; b != nil && !b.st.Fenced() && !b.st.Closed() {
		t, _ = b.st.Lease(a.budget)
	}
	a.expire(now - a.life(t, &k.delay))
	if now-a.looked >= 1000 || now < a.looked || !a.begun && a.plan != nil {
		a.looked = now
		a.measure(t, now, k.cfg.MaxOffline)
	}
	if away := k.elsewhere(a, now); away != a.away {
		a.away = away
		a.Elsewhere.Store(away)
		a.Changed()
		a.begun = a.begun && away // a new broker expects the plan's demand
	}
	a.refresh(t, now, k.offline || k.tight, now-k.heardAt.Load() > aloneAfter)
}

// silent reports whether the core has not been heard for so long that it may
// soon close this holder; nobody knows when the core was heard that never was.
func (k *Keeper) silent(now int64) bool {
	fence := k.cfg.FenceAfter
	return now-k.heardAt.Load() > (fence - min(time.Hour, fence/2)).Milliseconds()
}

// tend does what is due for the book itself.
func (k *Keeper) tend(b *book, now int64) error {
	k.offline = k.silent(now)
	k.tight = b.j.Free() < lowDisk*k.cfg.Journal.SegmentSize
	if b.st.Fenced() || b.st.Closed() {
		return nil
	}
	if b.st.Size() > exchange.MaxBatch {
		if err := k.seal(b, now, false); err != nil {
			return err
		}
	}
	floor, end := b.st.Span()
	next := b.next.Load()
	if next > end-holder.MaxSpan/4 { // it offers faster than windows can hold
		if err := k.raise(b, max(floor, next-holder.MaxSpan/2)); err != nil {
			return err
		}
	}
	if minute := now / 60_000; minute != k.minute {
		k.minute = minute
		b.marks = append(b.marks, mark{now, next})
		old := 0
		for old < len(b.marks) && b.marks[old].at < now-holder.Keep {
			old++
		}
		if err := k.settleWaiting(b, now); err != nil { // before any bits go
			return err
		}
		if old > 0 {
			if err := k.raise(b, b.marks[old-1].next); err != nil {
				return err
			}
			b.marks = slices.Delete(b.marks, 0, old)
		}
		for _, boot := range b.st.Dropped(now) {
			if err := k.check(b.clear()); err != nil {
				return err
			}
			if err := k.keep(b, b.st.Floor(b.buf, boot, holder.Gone)); err != nil {
				return err
			}
		}
		k.dropDays(now)
	}
	return nil
}

func (k *Keeper) raise(b *book, floor uint64) error {
	if err := k.check(b.clear()); err != nil {
		return err
	}
	boot, _ := b.st.Current()
	if err := k.keep(b, b.st.Floor(b.buf, boot, floor)); err != nil {
		return err
	}
	_, end := b.st.Span()
	b.end.Store(end)
	return nil
}

// dropDays forgets the accounts of days that are long past; no catalog points
// to them any more.
func (k *Keeper) dropDays(now int64) {
	k.accounts.Lock()
	defer k.accounts.Unlock()
	k.list = slices.DeleteFunc(slices.Clone(k.list), func(a *account) bool {
		if !holder.Dead(a.budget, now) {
			return false
		}
		delete(k.byBudget, a.budget)
		return true
	})
}
