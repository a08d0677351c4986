package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"nearside/sync/exchange"
	"nearside/sync/wire"
)

// Why an operator's word or a hand-in was refused.
var (
	ErrNoHolder  = errors.New("no such holder")
	ErrNotOpen   = errors.New("the holder is not open")
	ErrNotFenced = errors.New("the holder is not fenced")
	ErrRetired   = errors.New("the holder was closed too long ago")
	ErrStranger  = errors.New("only the holder itself, or an open holder of its region, may hand it in")
	ErrForgotten = errors.New("the core has lost history and waits for its recovery")
	ErrBehind    = errors.New("this copy of the journal ends before the core's cursor, or is of another history")
)

// Fence ends a holder's right to spend. What it holds stays set aside.
func Fence(ctx context.Context, store Store, holder uint32, reason string, now int64) error {
	return store.Update(ctx, func(tx Tx) error {
		s, h, err := load(ctx, tx, Needs{Holders: []uint32{holder}}, holder, now)
		if err != nil {
			return err
		}
		if h.State != Open {
			return fmt.Errorf("fence holder %d, which is %s: %w", holder, h.State, ErrNotOpen)
		}
		h.fence(reason)
		s.holders[h.ID] = true
		return tx.Write(ctx, s.changes())
	})
}

// Close frees what a fenced holder held. Events of its that still come are
// judged by the windows it handed in; without windows they are home lost.
func Close(ctx context.Context, store Store, holder uint32, now int64) error {
	return store.Update(ctx, func(tx Tx) error {
		s, h, err := load(ctx, tx, Needs{Holders: []uint32{holder}, Release: []uint32{holder}}, holder, now)
		if err != nil {
			return err
		}
		if s.Forgotten {
			return fmt.Errorf("close holder %d: %w", h.ID, ErrForgotten)
		}
		if h.State != Fenced {
			return fmt.Errorf("close holder %d, which is %s: %w", holder, h.State, ErrNotFenced)
		}
		s.close(h, h.Reason)
		return tx.Write(ctx, s.changes())
	})
}

// expire is the fence-after policy: a holder not seen since before is fenced
// and closed in one transaction.
func expire(ctx context.Context, store Store, holder uint32, before, now int64) (bool, error) {
	done := false
	err := store.Update(ctx, func(tx Tx) error {
		done = false
		s, h, err := load(ctx, tx, Needs{Holders: []uint32{holder}, Release: []uint32{holder}}, holder, now)
		if err != nil {
			return err
		}
		if h.State != Open || h.SeenAt >= before || s.Forgotten {
			return nil
		}
		s.close(h, "silent for longer than fence-after")
		done = true
		return tx.Write(ctx, s.changes())
	})
	return done, err
}

func load(ctx context.Context, tx Tx, needs Needs, holder uint32, now int64) (*step, *Holder, error) {
	loaded := NewLoaded()
	if err := tx.Load(ctx, needs, loaded); err != nil {
		return nil, nil, err
	}
	h := loaded.Holders[holder]
	if h == nil {
		return nil, nil, fmt.Errorf("holder %d: %w", holder, ErrNoHolder)
	}
	return newStep(loaded, now, Rules{}), h, nil
}

// Swept says what Sweep did.
type Swept struct {
	Expired []uint32 // holders fenced and closed for their silence
	Judged  Judged
}

// Sweep does what is due: holders silent for FenceAfter are fenced and closed,
// and events of homes that are no longer open are judged. Its caller starts it
// only once it has been reachable for a while, so that a core that was away
// does not take its own silence for the edges'.
func Sweep(ctx context.Context, store Store, now int64, rules Rules) (Swept, error) {
	var swept Swept
	if rules.FenceAfter > 0 {
		before := now - rules.FenceAfter.Milliseconds()
		silent, err := store.Silent(ctx, before)
		if err != nil {
			return swept, err
		}
		for _, id := range silent {
			done, err := expire(ctx, store, id, before, now)
			if err != nil {
				return swept, fmt.Errorf("expire holder %d: %w", id, err)
			}
			if done {
				swept.Expired = append(swept.Expired, id)
			}
		}
	}
	homes, err := store.Unjudged(ctx)
	if err != nil {
		return swept, err
	}
	for _, home := range homes {
		for {
			j, err := Judge(ctx, store, home, now, rules)
			if err != nil {
				return swept, fmt.Errorf("judge events of holder %d: %w", home, err)
			}
			swept.Judged.Events += j.Events
			swept.Judged.Waiting += j.Waiting
			swept.Judged.Billed += j.Billed
			swept.Judged.Lost += j.Lost
			swept.Judged.Budgets = append(swept.Judged.Budgets, j.Budgets...)
			if j.Events == 0 || j.Events+j.Waiting < MaxDocket {
				break
			}
		}
	}
	return swept, nil
}

// Keep is how long what belonged to a closed holder is kept, and events that an
// open one has judged: many times the life of a token.
const Keep = 30 * 24 * time.Hour

// Tidy drops what nobody will ask for again: leases, windows and events of
// holders closed for longer than Keep, and events judged as long ago. What
// those holders spent stays in their budgets. It does a part of the work at a
// time and says how many holders and events it dropped; nothing: it is done.
func Tidy(ctx context.Context, store Store, now int64) (holders, events int, err error) {
	before := now - Keep.Milliseconds()
	stale, err := store.Stale(ctx, before)
	if err != nil {
		return 0, 0, err
	}
	for _, id := range stale {
		if err := retire(ctx, store, id, now); err != nil {
			return holders, 0, fmt.Errorf("retire holder %d: %w", id, err)
		}
		holders++
	}
	events, err = store.DropForeign(ctx, before)
	return holders, events, err
}

func retire(ctx context.Context, store Store, holder uint32, now int64) error {
	return store.Update(ctx, func(tx Tx) error {
		s, h, err := load(ctx, tx, Needs{Holders: []uint32{holder}, Release: []uint32{holder}}, holder, now)
		if err != nil {
			return err
		}
		if h.State != Closed || h.Retired || s.Forgotten {
			return nil
		}
		for _, l := range s.Leases {
			s.Budgets[l.Budget].Judged += l.Spent
			s.budgets[l.Budget] = true
		}
		h.Retired = true
		s.holders[h.ID] = true
		s.written.Retired = []uint32{h.ID}
		return tx.Write(ctx, s.changes())
	})
}

// ValidateHandIn says what of a hand-in no holder of ours could have sent.
func ValidateHandIn(r *wire.HandInRequest) error {
	if err := errors.Join(id(r.GetHolder(), 1, "holder"), cursor(r.GetSeal(), 0, "seal"), cursor(r.GetProof(), 0, "proof"), ordinal(r.GetTold(), 0, "told")); err != nil {
		return err
	}
	for i, e := range r.GetLate() {
		if err := event(e, r.GetHolder(), true); err != nil {
			return fmt.Errorf("late[%d].%w", i, err)
		}
	}
	return windows(r.GetWindows(), "windows")
}

// HandIn takes a part of a fenced or closed holder's journal: its windows as of
// the cursor and the events after it, which the core judges. Where a statement has
// told of later batches, and they have not come since, it is as of the last of
// these. Parts may repeat; the one with last set ends it. A copy that ends before
// that counts as none: ErrBehind.
func HandIn(ctx context.Context, store Store, r *wire.HandInRequest, now int64) (*wire.HandInResponse, error) {
	return HandInBy(ctx, store, r, r.GetHolder(), now)
}

// HandInBy is HandIn by another holder, which kept a copy of the journal. It must
// be open and of the same region: ErrStranger. What it hands in must come with a
// proof that the copy has the batch of the core's cursor; without content, it
// asks for that batch's number, or hears that the holder is open.
//
// Journal and copies may all be handed in, in any order: an event counts once,
// and a boot keeps the window that its holder gave, or else the first.
func HandInBy(ctx context.Context, store Store, r *wire.HandInRequest, by uint32, now int64) (*wire.HandInResponse, error) {
	var response *wire.HandInResponse
	peer := by != r.GetHolder()
	err := store.Update(ctx, func(tx Tx) error {
		needs := Needs{Holders: []uint32{r.GetHolder(), by}}
		for _, e := range r.GetLate() {
			needs.Events = append(needs.Events, keyOf(e))
		}
		if peer && len(r.GetWindows()) > 0 {
			needs.Docket = r.GetHolder()
		}
		needs.sort()
		s, h, err := load(ctx, tx, needs, r.GetHolder(), now)
		if err != nil {
			return err
		}
		if s.Forgotten {
			return fmt.Errorf("hand in holder %d: %w", h.ID, ErrForgotten)
		}
		if h.Retired {
			return fmt.Errorf("hand in holder %d: %w", h.ID, ErrRetired)
		}
		if peer {
			if response, err = s.handInOfPeer(h, by, r); response != nil || err != nil {
				return err
			}
		} else if err := handInOfHolder(h, r); err != nil {
			return err
		}
		if !asks(r) && r.GetTold() < h.toldBeyond() {
			return fmt.Errorf("hand in holder %d as of batch %d, its statement told of those up to %d: %w", h.ID, r.GetTold(), h.Recovered, ErrBehind)
		}
		response = &wire.HandInResponse{Cursor: h.Cursor(), Told: h.toldBeyond()}
		s.holders[h.ID] = true
		windows := r.GetWindows()
		if peer {
			windows = slices.DeleteFunc(slices.Clone(windows), func(w *wire.Window) bool { return s.Windows[w.GetBoot()] != nil })
		}
		s.keepWindows(h, windows)
		h.HandedIn = h.HandedIn || r.GetLast()
		for _, e := range r.GetLate() {
			s.foreign(h, e)
		}
		return tx.Write(ctx, s.changes())
	})
	return response, err
}

// asks says that a hand-in has no content.
func asks(r *wire.HandInRequest) bool {
	return len(r.GetWindows())+len(r.GetLate()) == 0 && !r.GetLast()
}

// handInOfHolder says why a holder's own word is not taken.
func handInOfHolder(h *Holder, r *wire.HandInRequest) error {
	if h.State == Open {
		return fmt.Errorf("hand in holder %d, which is open: %w", h.ID, ErrNotFenced)
	}
	switch exchange.Compare(r.GetSeal(), h.Cursor()) {
	case exchange.Behind, exchange.Another:
		return fmt.Errorf("hand in holder %d at %s, the core is at %s: %w", h.ID, exchange.Describe(r.GetSeal()), exchange.Describe(h.Cursor()), ErrBehind)
	}
	return nil
}

// handInOfPeer says why a peer's word is not taken, or what it is told without
// giving any.
func (s *step) handInOfPeer(h *Holder, by uint32, r *wire.HandInRequest) (*wire.HandInResponse, error) {
	sender := s.Holders[by]
	if sender == nil || sender.State != Open || sender.Region != h.Region {
		return nil, fmt.Errorf("hand in holder %d by holder %d: %w", h.ID, by, ErrStranger)
	}
	if h.State == Open || asks(r) {
		return &wire.HandInResponse{Cursor: &wire.Cursor{Batch: h.Batch}, Open: h.State == Open, Told: h.toldBeyond()}, nil
	}
	if exchange.Compare(r.GetProof(), h.Cursor()) != exchange.Same {
		return nil, fmt.Errorf("hand in holder %d by holder %d, whose copy has %s, the core is at %s: %w",
			h.ID, by, exchange.Describe(r.GetProof()), exchange.Describe(h.Cursor()), ErrBehind)
	}
	return nil, nil
}
