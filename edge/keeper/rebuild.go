package keeper

import (
	"fmt"

	"nearside/edge/holder"
	"nearside/edge/journal"
	"nearside/sync/wire"
)

// rebuilder makes sealed batches again from the journal, one after the other: it
// goes once from the newest checkpoint to the last of them. It takes the memory
// of a second state, and of a part of a segment.
type rebuilder struct {
	j    *journal.Journal
	st   *holder.State // as of at
	at   journal.Position
	hash journal.Hash
	next []journal.Frame // read, and not yet taken
}

// atOnce is about how much of the journal is kept while batches are rebuilt.
const atOnce = 1 << 20

func newRebuilder(b *book) (*rebuilder, error) {
	state, pos, hash, err := b.j.ReadCheckpoint()
	if err != nil {
		return nil, fmt.Errorf("rebuild batches: %w", err)
	}
	r := &rebuilder{j: b.j, st: holder.New(b.holder), at: pos, hash: hash}
	if pos == 0 {
		return r, nil
	}
	if r.st, err = holder.Decode(state); err != nil {
		return nil, fmt.Errorf("rebuild batches: %w: %w", holder.ErrHistory, err)
	}
	return r, nil
}

// batch is the one with a seal, which is durable, and not before that of the call
// before.
func (r *rebuilder) batch(seal *wire.Cursor) (*wire.Batch, error) {
	for r.at < journal.Position(seal.GetPosition()) {
		if len(r.next) == 0 {
			var err error
			if r.next, err = r.j.Frames(r.at, r.hash, atOnce); err != nil {
				return nil, fmt.Errorf("rebuild batch %d: %w", seal.GetBatch(), err)
			}
			if len(r.next) == 0 {
				break
			}
		}
		f := &r.next[0]
		err := f.Records(r.at, func(pos journal.Position, rec []byte) error {
			err := r.st.Replay(uint64(pos), rec)
			r.st.Acknowledge(&wire.Cursor{Batch: seal.GetBatch() - 1}) // what was sent is not kept
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("rebuild batch %d: %w", seal.GetBatch(), err)
		}
		r.at, r.hash, r.next = f.Last, f.Hash, r.next[1:]
	}
	for _, b := range r.st.Sealed() {
		if s := b.GetSeal(); s.GetBatch() == seal.GetBatch() && s.GetPosition() == seal.GetPosition() {
			return b, nil
		}
	}
	return nil, fmt.Errorf("rebuild batch %d: %w: its seal is not at position %d", seal.GetBatch(), holder.ErrHistory, seal.GetPosition())
}

// whole rebuilds the batch that is to be sent, where only its seal was kept.
func (k *Keeper) whole(b *book) error {
	k.mu.Lock()
	next, more := b.edge.Next(), b.edge.Outstanding() > 1
	k.mu.Unlock()
	if next == nil || !holder.Hollow(next) {
		if !more {
			b.rebuilt = nil
		}
		return nil
	}
	if b.rebuilt == nil {
		var err error
		if b.rebuilt, err = newRebuilder(b); err != nil {
			return err
		}
	}
	batch, err := b.rebuilt.batch(next.GetSeal())
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	holder.Fill(next, batch)
	return nil
}
