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
	"nearside/edge/replica"
	"nearside/sync/wire"
)

// Copies are other holders' journals, kept here: edge/replica's Store.
type Copies interface {
	Silent(d time.Duration) []replica.ID
	Read(id replica.ID, read func(replica.Source) error) error
	Drop(id replica.ID, silent time.Duration) error
}

const (
	// silentFor is how long a holder has sent nothing before the core is asked
	// about it.
	silentFor  = 5 * time.Second
	copiesEach = 2 * time.Second // how often that is looked at
	openAgain  = 15 * time.Second
)

// silentCopy is what is known of a copy while its holder is silent.
type silentCopy struct {
	asked time.Time // when the core was last asked
	seals []*wire.Cursor
}

// handInCopies sees to copies whose holders have fallen silent: where the core
// has fenced or closed one, its copy is handed in, and dropped; so is a copy that
// ends before the cursor of a holder that lives.
func (u *Uplink) handInCopies(ctx context.Context) error {
	known := map[replica.ID]*silentCopy{}
	for ctx.Err() == nil {
		silent := map[replica.ID]*silentCopy{}
		for _, id := range u.cfg.Copies.Silent(silentFor) {
			c := known[id]
			if c == nil {
				c = &silentCopy{}
			}
			silent[id] = c
			if time.Since(c.asked) < openAgain {
				continue
			}
			c.asked = time.Now()
			done, err := u.handInCopy(ctx, id, c)
			if err != nil && ctx.Err() == nil {
				u.cfg.Log.Warn("a peer's journal is still to be handed in", "holder", id.Holder, "err", err)
			}
			if !done {
				continue
			}
			if err := u.cfg.Copies.Drop(id, silentFor); err != nil {
				u.cfg.Log.Error("a copy cannot be dropped", "holder", id.Holder, "err", err)
			}
		}
		known = silent
		sleep(ctx, copiesEach, nil)
	}
	return nil
}

// handInCopy hands one copy in. done says that it is of no use any more.
func (u *Uplink) handInCopy(ctx context.Context, id replica.ID, c *silentCopy) (done bool, err error) {
	_, secret, ok := u.k.Registered()
	if !ok {
		return false, errors.New("this node has no holder that could hand it in")
	}
	ctx = as(ctx, secret)
	send := func(r *wire.HandInRequest) (*wire.HandInResponse, error) {
		call, cancel := context.WithTimeout(ctx, u.cfg.Timeout)
		defer cancel()
		r.Holder = id.Holder
		reply, err := u.core().HandIn(call, r)
		switch connect.CodeOf(err) {
		case connect.CodeInvalidArgument, connect.CodeOutOfRange, connect.CodeNotFound:
			return nil, err
		}
		if err != nil {
			return nil, &lineError{err}
		}
		return reply, nil
	}
	answer, err := send(&wire.HandInRequest{})
	if err == nil && c.seals == nil {
		err = u.cfg.Copies.Read(id, func(src replica.Source) (err error) {
			c.seals, err = keeper.Seals(src, id.Holder)
			return err
		})
	}
	switch {
	case err != nil:
	case answer.GetOpen(): // behind once is behind for ever
		return c.seals[len(c.seals)-1].GetBatch() < answer.GetCursor().GetBatch(), nil
	default:
		err = u.handInRead(ctx, id, c.seals, answer, send)
	}
	var refused *connect.Error
	switch {
	case err == nil:
		u.stats.Copies.Add(1)
		u.cfg.Log.Info("handed in a peer's journal", "holder", id.Holder)
		return true, nil
	case errors.Is(err, replica.ErrUnknown): // it never came to anything
		return true, nil
	case !fatal(err):
		return false, err
	case errors.Is(err, keeper.ErrBehind), errors.As(err, &refused), errors.Is(err, journal.ErrCorrupt), errors.Is(err, holder.ErrHistory):
		u.cfg.Log.Warn("a copy counts as none", "holder", id.Holder, "err", err)
		return true, nil
	}
	return false, err
}

// handInRead reads a copy to the core, as it has answered.
func (u *Uplink) handInRead(ctx context.Context, id replica.ID, seals []*wire.Cursor, answer *wire.HandInResponse, send func(*wire.HandInRequest) (*wire.HandInResponse, error)) error {
	last, batch, told := seals[len(seals)-1], answer.GetCursor().GetBatch(), answer.GetTold()
	var proof *wire.Cursor
	for _, c := range seals {
		if c.GetBatch() == batch {
			proof = c
		}
	}
	if proof == nil {
		return fmt.Errorf("the core is at batch %d, the copy has %d to %d: %w", batch, seals[0].GetBatch(), last.GetBatch(), keeper.ErrBehind)
	}
	err := u.cfg.Copies.Read(id, func(src replica.Source) error {
		return u.k.HandInFrom(ctx, src, id.Holder, proof, told,
			func(windows []*wire.Window) error {
				for _, w := range windows { // one may be megabytes
					if _, err := send(&wire.HandInRequest{Seal: last, Proof: proof, Told: told, Windows: []*wire.Window{w}}); err != nil {
						return err
					}
				}
				return nil
			},
			func(events []*wire.Event) error {
				_, err := send(&wire.HandInRequest{Seal: last, Proof: proof, Told: told, Late: events})
				return err
			})
	})
	if err == nil {
		_, err = send(&wire.HandInRequest{Seal: last, Proof: proof, Told: told, Last: true})
	}
	return err
}
