package uplink

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"

	"nearside/edge/holder"
	"nearside/edge/journal"
	"nearside/edge/keeper"
	"nearside/edge/statedir"
	"nearside/sync/wire"
)

// handInAgain is the pause after a hand-in that failed.
const handInAgain = 10 * time.Second

// handIn gives the core what fenced holders of this directory left: their
// windows as of the core's cursor, and every event after it.
func (u *Uplink) handIn(ctx context.Context) error {
	for ctx.Err() == nil {
		pending := false
		for _, f := range u.k.Former() {
			keep, err := u.handInOne(ctx, f)
			var line *lineError
			if ctx.Err() != nil {
				break
			}
			switch {
			case errors.As(err, &line):
				u.cfg.Log.Warn("a fenced holder is still to be handed in", "holder", f.Holder, "err", err)
				pending = true
				continue
			case err != nil:
				u.cfg.Log.Error("a fenced holder cannot be handed in; its journal is kept", "holder", f.Holder, "generation", f.Generation, "err", err)
			default:
				u.cfg.Log.Info("handed in", "holder", f.Holder)
			}
			if err := u.k.Forget(f, keep); err != nil {
				return err
			}
		}
		if pending {
			sleep(ctx, handInAgain, u.hand)
			continue
		}
		select {
		case <-ctx.Done():
		case <-u.hand:
		}
	}
	return nil
}

// handInOne hands one holder in. keep says that its journal must stay where it
// is, since the core did not get all of it.
func (u *Uplink) handInOne(ctx context.Context, f statedir.Former) (keep bool, err error) {
	ctx = as(ctx, f.Secret)
	send := func(r *wire.HandInRequest) (*wire.HandInResponse, error) {
		call, cancel := context.WithTimeout(ctx, u.cfg.Timeout)
		defer cancel()
		reply, err := u.core().HandIn(call, r)
		switch connect.CodeOf(err) {
		case connect.CodeInvalidArgument, connect.CodeOutOfRange, connect.CodeDataLoss, connect.CodeAborted:
			return nil, err // asking again would not help
		}
		if err != nil {
			return nil, &lineError{err}
		}
		return reply, nil
	}
	seal, err := u.k.FormerSeal(f)
	if err != nil {
		return true, lasting(err)
	}
	answer, err := send(&wire.HandInRequest{Holder: f.Holder, Seal: seal})
	if err != nil {
		return true, err
	}
	cursor, told := answer.GetCursor(), answer.GetTold()
	if max(cursor.GetBatch(), told) > seal.GetBatch() {
		return true, keeper.ErrBehind
	}
	err = u.k.HandIn(ctx, f, cursor, told,
		func(windows []*wire.Window) error {
			for _, w := range windows { // one may be megabytes
				if _, err := send(&wire.HandInRequest{Holder: f.Holder, Seal: seal, Told: told, Windows: []*wire.Window{w}}); err != nil {
					return err
				}
			}
			return nil
		},
		func(events []*wire.Event) error {
			_, err := send(&wire.HandInRequest{Holder: f.Holder, Seal: seal, Told: told, Late: events})
			return err
		})
	if err != nil {
		return true, lasting(fmt.Errorf("hand in holder %d: %w", f.Holder, err))
	}
	if _, err := send(&wire.HandInRequest{Holder: f.Holder, Seal: seal, Told: told, Last: true}); err != nil {
		return true, err
	}
	return false, nil
}

// lasting is err where trying again cannot help: the journal is damaged, is
// older than the core's cursor, or was refused for good. Whatever else keeps it
// from being read or adopted, a full disk for one, passes.
func lasting(err error) error {
	var refused *connect.Error
	switch {
	case errors.Is(err, journal.ErrCorrupt), errors.Is(err, holder.ErrHistory), errors.Is(err, keeper.ErrBehind), errors.As(err, &refused):
		return err
	}
	return &lineError{err}
}
