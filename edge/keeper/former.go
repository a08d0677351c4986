package keeper

import (
	"errors"
	"fmt"
	"slices"

	"nearside/edge/holder"
	"nearside/edge/journal"
	"nearside/edge/statedir"
	"nearside/sync/wire"
)

// ErrBehind says that a former holder's journal ends before the core's cursor.
var ErrBehind = errors.New("the journal ends before the core's cursor")

// lateEvents is how many events are handed in at once.
const lateEvents = 5000

// Former lists the fenced holders of this directory whose journals are still
// to be handed in.
func (k *Keeper) Former() []statedir.Former {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.identity.Former)
}

// FormerSeal is the last batch that a former holder sealed.
func (k *Keeper) FormerSeal(f statedir.Former) (seal *wire.Cursor, err error) {
	err = k.readFormer(f, func(j *journal.Journal) error {
		st, err := replay(j, f.Holder, nil, nil)
		if err != nil {
			return err
		}
		seal = st.Acked()
		if sealed := st.Sealed(); len(sealed) > 0 {
			seal = sealed[len(sealed)-1].GetSeal()
		}
		return nil
	})
	return seal, err
}

// HandIn reads a former holder's journal: its windows as of the core's cursor,
// and then every event after it, some at a time.
func (k *Keeper) HandIn(f statedir.Former, cursor *wire.Cursor, windows func([]*wire.Window) error, late func([]*wire.Event) error) error {
	return k.readFormer(f, func(j *journal.Journal) error {
		found := false
		reached := func(st *holder.State) error {
			if found || st.Batch() < cursor.GetBatch() {
				return nil
			}
			if st.Batch() > cursor.GetBatch() {
				// The core has lost batches since; what they told of stays judged.
				k.cfg.Log.Warn("handing in windows later than the core's cursor", "holder", f.Holder, "batch", st.Batch(), "cursor", cursor.GetBatch())
			}
			found = true
			return windows(st.Windows(0))
		}
		var events []*wire.Event
		flush := func() error {
			if len(events) == 0 {
				return nil
			}
			list := events
			events = nil
			return late(list)
		}
		_, err := replay(j, f.Holder, reached, func(st *holder.State, rec []byte) error {
			if !found {
				return reached(st)
			}
			e, ok, err := holder.Late(rec)
			if err != nil || !ok {
				return err
			}
			events = append(events, e.Wire())
			if len(events) < lateEvents {
				return nil
			}
			return flush()
		})
		if err != nil {
			return err
		}
		if !found {
			return ErrBehind
		}
		return flush()
	})
}

func (k *Keeper) readFormer(f statedir.Former, read func(*journal.Journal) error) error {
	j, err := journal.Open(k.dir.Journal(f.Generation), k.cfg.Journal)
	if err != nil {
		return fmt.Errorf("open the journal of former holder %d: %w", f.Holder, err)
	}
	if err := errors.Join(read(j), j.Close()); err != nil {
		return fmt.Errorf("read the journal of former holder %d: %w", f.Holder, err)
	}
	return nil
}

// Forget drops a former holder. Its journal is deleted, or kept for an
// operator to look at.
func (k *Keeper) Forget(f statedir.Former, keep bool) error {
	k.mu.Lock()
	id := k.identity
	id.Former = slices.DeleteFunc(slices.Clone(id.Former), func(o statedir.Former) bool { return o == f })
	k.mu.Unlock()
	if err := k.dir.SaveIdentity(id); err != nil {
		return err
	}
	k.mu.Lock()
	k.identity = id
	k.mu.Unlock()
	if keep {
		return nil
	}
	return k.dir.RemoveJournal(f.Generation)
}
