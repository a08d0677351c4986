package keeper

import (
	"context"
	"errors"
	"fmt"
	"time"

	"nearside/edge/holder"
	"nearside/edge/journal"
	"nearside/edge/peer"
	"nearside/sync/exchange"
	"nearside/sync/lease"
	"nearside/sync/token"
	"nearside/sync/wire"
)

// Verdict is what became of a view or a click.
type Verdict = holder.Verdict

// Offer reserves room for one offer and numbers it. The sealer belongs to the
// number. viewPrice is 0 where a view costs nothing; now is in unix
// milliseconds. It is not ok while no offers are to be made.
func (k *Keeper) Offer(flight, publisher uint32, viewPrice, now int64) (sealer *token.Sealer, seq uint64, ok bool) {
	l := k.live.Load()
	if l == nil {
		return nil, 0, false
	}
	seq = l.next.Add(1) - 1
	if seq >= l.end.Load() {
		return nil, 0, false
	}
	f := k.flights.Load().of(flight)
	if f == nil {
		return l.sealer, seq, true
	}
	if f.views != nil {
		f.views.reserve(now, 1)
	}
	if f.clicks != nil {
		f.clicks.reserve(now, 1)
	}
	price := viewPrice
	if price == 0 {
		price = f.price
	}
	if price > 0 {
		day := exchange.Day(now)
		if a := f.day.on(k, day); a != nil {
			a.reserve(now, price)
		}
		if s := (*k.sites.Load())[publisher]; s != nil && f.paid {
			if a := s.day.on(k, day); a != nil {
				a.reserve(now, price)
			}
		}
	}
	return l.sealer, seq, true
}

// Open reads a token of any node. While the core is away keys do not expire.
func (k *Keeper) Open(c *token.Claims, nonce []byte, now time.Time) error {
	ring := k.ring.Load()
	if ring == nil {
		return ErrNoKeys
	}
	if heard := k.heardAt.Load(); heard > 0 && now.UnixMilli()-heard > time.Minute.Milliseconds() {
		now = time.UnixMilli(heard)
	}
	return ring.Open(c, nonce, now)
}

// Peek says what is known here of an offer, from memory: nothing where its
// home is elsewhere. An answer about money must go through View or Click.
func (k *Keeper) Peek(c *token.Claims) (known, viewed, clicked bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.book == nil {
		return false, false, false
	}
	return k.book.st.Has(c.Holder, c.Boot, c.Seq)
}

// View judges a view and returns once the verdict is durable. at is unix
// milliseconds. An error says that it cannot be kept.
func (k *Keeper) View(ctx context.Context, c *token.Claims, at int64) (Verdict, error) {
	e := holder.EventOf(exchange.View, c, at)
	return k.event(ctx, &e)
}

// Click judges a click as View judges a view.
func (k *Keeper) Click(ctx context.Context, c *token.Claims, at int64) (Verdict, error) {
	e := holder.EventOf(exchange.Click, c, at)
	return k.event(ctx, &e)
}

func (k *Keeper) event(ctx context.Context, e *holder.Event) (Verdict, error) {
	v, err := k.judge(ctx, e, k.cfg.Home != nil)
	if errors.Is(err, errAway) {
		outcome, away := k.cfg.Home(ctx, e.Wire())
		if away == nil {
			v := verdictOf(exchange.Outcome(outcome))
			k.verdicts[v].Add(1)
			return v, nil
		}
		k.stray(away)
		v, err = k.judge(ctx, e, false)
	}
	if err == nil {
		k.verdicts[v].Add(1)
	}
	return v, err
}

func verdictOf(o exchange.Outcome) Verdict {
	switch o {
	case exchange.Billed:
		return holder.Billed
	case exchange.Duplicate:
		return holder.Duplicate
	case exchange.NotViewed:
		return holder.NotViewed
	case exchange.Held:
		return holder.Held
	}
	return holder.Exhausted
}

// errAway says that an event's home is another holder, which is to be asked.
var errAway = errors.New("the event's home is elsewhere")

// judge takes the step and waits for its record, or for what it repeats. With
// ours it leaves alone what is another holder's (errAway).
func (k *Keeper) judge(ctx context.Context, e *holder.Event, ours bool) (Verdict, error) {
	b, pos, v, err := k.step(e, ours)
	if err != nil {
		return v, err
	}
	if pos > 0 {
		if _, err := k.wait(ctx, b, pos); err != nil {
			return v, fmt.Errorf("keep %s: %w", what(e.Kind), err)
		}
	}
	return v, nil
}

func what(kind exchange.Kind) string {
	if kind == exchange.Click {
		return "a click"
	}
	return "a view"
}

func (k *Keeper) step(e *holder.Event, ours bool) (b *book, pos journal.Position, v Verdict, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	b = k.book
	switch {
	case ours && b != nil && b.holder != e.Holder:
		return nil, 0, 0, errAway
	case k.failure != nil:
		return nil, 0, 0, fmt.Errorf("keep %s: %w", what(e.Kind), k.failure)
	case b == nil:
		return nil, 0, 0, ErrUnregistered
	case b.st.Closed():
		return nil, 0, 0, ErrClosed
	}
	if err := k.check(b.clear()); err != nil {
		return nil, 0, 0, fmt.Errorf("keep %s: %w", what(e.Kind), err)
	}
	rec, v := b.st.Judge(b.buf, e)
	if len(rec) > 0 {
		b.buf = rec[:0]
		pos, err = b.put(rec)
		err = k.check(err)
	} else if v == holder.Duplicate {
		pos = b.j.Last()
	}
	k.settle(b, e, v)
	if err == nil && b.st.Ready() { // a click of the same offer has waited for this view
		err = ignoreFull(k.settleWaiting(b, k.cfg.Now().UnixMilli()))
	}
	if err != nil {
		return nil, 0, 0, fmt.Errorf("keep %s: %w", what(e.Kind), err)
	}
	return b, pos, v, nil
}

// settle brings the accounts up to date after an event.
func (k *Keeper) settle(b *book, e *holder.Event, v Verdict) {
	switch v {
	case holder.Billed, holder.Counted, holder.Exhausted, holder.Killed:
	default:
		return
	}
	boot, _ := b.st.Current()
	mine := e.Boot == boot
	if e.Kind == exchange.View && mine && e.At > e.Issued {
		k.delay.add(e.At - e.Issued)
	}
	debits, n := exchange.Debits(e.Kind, e.Flags, e.Flight, e.Publisher, e.Issued, e.Price())
	for _, d := range debits[:n] {
		a := k.find(d.Budget)
		if a == nil {
			continue
		}
		if mine {
			a.release(e.Issued, d.Amount)
		}
		if v == holder.Billed {
			a.used = e.At
			a.Settled.Add(d.Amount)
			if a.Left.Add(-d.Amount) < 0 {
				a.Left.Store(0)
			}
			a.Changed()
		}
	}
}

// Judge judges an event of this holder that a peer received. It returns
// peer.ErrNotHome for another holder's, or one whose window is gone: the core
// then sees to it.
func (k *Keeper) Judge(ctx context.Context, w *wire.Event) (uint32, error) {
	e, err := holder.EventFrom(w)
	if err != nil {
		return 0, err
	}
	k.mu.Lock()
	home := k.book != nil && k.book.holder == e.Holder && !k.book.st.Fenced() && !k.book.st.Closed()
	k.mu.Unlock()
	if !home {
		return 0, peer.ErrNotHome
	}
	v, err := k.judge(ctx, &e, false)
	if err != nil {
		return 0, err
	}
	k.verdicts[v].Add(1)
	switch v {
	case holder.Billed, holder.Counted:
		return uint32(exchange.Billed), nil
	case holder.Duplicate:
		return uint32(exchange.Duplicate), nil
	case holder.NotViewed:
		return uint32(exchange.NotViewed), nil
	case holder.Held:
		return uint32(exchange.Held), nil
	case holder.Exhausted, holder.Killed:
		return uint32(exchange.Unbilled), nil
	}
	return 0, peer.ErrNotHome
}

// ViewTime reports whether the offer's view was counted here and had no view
// time yet. It is kept in memory only.
func (k *Keeper) ViewTime(c *token.Claims, seconds int) bool {
	if seconds < 0 {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.book == nil {
		return false
	}
	if _, viewed, _ := k.book.st.Has(c.Holder, c.Boot, c.Seq); !viewed {
		return false
	}
	return k.timed.add(offerKey{c.Boot, c.Seq})
}

type offerKey struct{ boot, seq uint64 }

// timed remembers offers that had their view time: the last 262 144 at least,
// and never more than twice as many.
type timed struct{ now, before map[offerKey]struct{} }

const maxTimed = 1 << 18

func (t *timed) add(key offerKey) bool {
	if _, ok := t.now[key]; ok {
		return false
	}
	if _, ok := t.before[key]; ok {
		return false
	}
	if t.now == nil || len(t.now) >= maxTimed {
		t.now, t.before = map[offerKey]struct{}{}, t.now
	}
	t.now[key] = struct{}{}
	return true
}

// Lacked counts offers that were not made for want of room: of a lease, or of
// what pacing lets go of it. It is the demand that shares are cut by.
func (k *Keeper) Lacked(flight uint32, n int64) {
	f := k.flights.Load().of(flight)
	if f == nil {
		return
	}
	for _, a := range []*account{f.views, f.clicks} {
		if a != nil {
			a.lacked.Add(n)
		}
	}
}

func (k *Keeper) find(b lease.Budget) *account {
	k.accounts.RLock()
	defer k.accounts.RUnlock()
	return k.byBudget[b]
}
