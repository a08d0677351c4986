package keeper

import (
	"context"
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
		seals, err := Seals(j, f.Holder)
		if err != nil {
			return err
		}
		seal = seals[len(seals)-1]
		return nil
	})
	return seal, err
}

// Seals are the last batch of a journal that its holder knew to be applied, and
// those sealed after it.
func Seals(j source, id uint32) ([]*wire.Cursor, error) {
	st, err := replay(j, id, nil, nil)
	if err != nil {
		return nil, err
	}
	list := []*wire.Cursor{st.Acked()}
	for _, b := range st.Sealed() {
		list = append(list, b.GetSeal())
	}
	return list, nil
}

// HandIn reads a former holder's journal: its windows as of the core's cursor, or
// of the batch up to which a statement has told, if that is later; then the clicks
// that waited there for their views and every event after it, some at a time. A
// boot that began after that has an empty window, since nothing of it was ever
// counted. Events of other homes since the cursor, which the former holder did not
// get to ship, become foreign events of the present one, and are durable when
// HandIn returns.
func (k *Keeper) HandIn(ctx context.Context, f statedir.Former, cursor *wire.Cursor, told uint64, windows func([]*wire.Window) error, late func([]*wire.Event) error) error {
	return k.readFormer(f, func(j *journal.Journal) error {
		return k.HandInFrom(ctx, j, f.Holder, cursor, told, windows, late)
	})
}

// HandInFrom reads a lost holder's journal, or the copy that a peer kept of it,
// as HandIn does.
func (k *Keeper) HandInFrom(ctx context.Context, j source, id uint32, cursor *wire.Cursor, told uint64, windows func([]*wire.Window) error, late func([]*wire.Event) error) error {
	h := handIn{k: k, holder: id, cursor: cursor.GetBatch(), from: max(cursor.GetBatch(), told), windows: windows, late: late}
	if _, err := replay(j, id, h.reached, h.record); err != nil {
		return err
	}
	if err := h.flush(); err != nil {
		return err
	}
	if h.adopted != nil {
		if _, err := k.wait(ctx, h.adopted, h.pos); err != nil {
			return err
		}
	}
	if !h.begun {
		return ErrBehind
	}
	return nil
}

// handIn is one reading of a lost holder's journal.
type handIn struct {
	k       *Keeper
	holder  uint32
	cursor  uint64 // batches: events of other homes are adopted after this one
	from    uint64 // and those of the holder handed in after this one
	windows func([]*wire.Window) error
	late    func([]*wire.Event) error

	begun   bool   // the windows were given
	boot    uint64 // the last one whose window was given
	events  []*wire.Event
	adopted *book // where events of other homes were journalled, up to pos
	pos     journal.Position
}

// reached gives the windows where the state is at the batch they are to be as of.
func (h *handIn) reached(st *holder.State) error {
	if h.begun || st.Batch() < h.from {
		return nil
	}
	if st.Batch() > h.from {
		// The core has lost batches since; what they told of stays judged.
		h.k.cfg.Log.Warn("handing in windows later than the core's cursor", "holder", h.holder, "batch", st.Batch(), "cursor", h.from)
	}
	h.begun = true
	h.boot, _ = st.Current()
	if err := h.windows(st.Windows(0)); err != nil {
		return err
	}
	for _, e := range st.Held() { // the core is to judge them; no batch has told of them
		h.events = append(h.events, e.Wire())
	}
	return nil
}

func (h *handIn) record(st *holder.State, rec []byte) error {
	if st.Batch() < h.cursor {
		return nil
	}
	begun := h.begun
	if err := h.reached(st); err != nil {
		return err
	}
	if boot, _ := st.Current(); begun && boot != h.boot {
		h.boot = boot
		if err := h.windows([]*wire.Window{{Boot: boot}}); err != nil {
			return err
		}
	}
	e, ok, err := holder.Late(rec)
	switch {
	case err != nil || !ok:
		return err
	case e.Holder != h.holder:
		h.adopted, h.pos, _, err = h.k.step(&e, false)
		return err
	case !begun:
		return nil
	}
	h.events = append(h.events, e.Wire())
	if len(h.events) < lateEvents {
		return nil
	}
	return h.flush()
}

func (h *handIn) flush() error {
	if len(h.events) == 0 {
		return nil
	}
	list := h.events
	h.events = nil
	return h.late(list)
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
