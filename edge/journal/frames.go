package journal

import (
	"bytes"
	"fmt"
	"slices"
	"sort"
)

// Frame is one group of records as a replica takes it: onto the boundary that it
// was chained to, and onto no other.
type Frame struct {
	Last Position // of the records in it
	Hash Hash     // of the boundary that it ends
	Body []byte
}

// Follows reports whether the frame is whole and chained onto a boundary.
func (f *Frame) Follows(pos Position, hash Hash) bool {
	return f.Last > pos && f.Hash == hashOf(hash, f.Last, f.Body) && holds(f.Body, uint64(f.Last-pos))
}

// Records calls take for each record of a frame that Follows the boundary at
// before. rec is valid as long as the frame.
func (f *Frame) Records(before Position, take func(pos Position, rec []byte) error) error {
	body := f.Body
	for pos := before + 1; pos <= f.Last; pos++ {
		n := be.Uint32(body)
		if err := take(pos, body[recordHeader:recordHeader+n]); err != nil {
			return err
		}
		body = body[recordHeader+n:]
	}
	return nil
}

// tail is the newest frames, the one being written included, for Frames.
type tail struct {
	frames []Frame
	before boundary // of the first
	bytes  int
}

// remember adds a frame that is about to be written. The caller holds mu.
func (j *Journal) remember(before boundary, f Frame) {
	if len(j.tail.frames) == 0 {
		j.tail.before = before
	}
	j.tail.frames = append(j.tail.frames, f)
	j.tail.bytes += len(f.Body) + frameHeader
	n := 0
	for n < len(j.tail.frames)-1 && j.tail.bytes > j.opts.Tail {
		j.tail.before = boundary{j.tail.frames[n].Last, j.tail.frames[n].Hash}
		j.tail.bytes -= len(j.tail.frames[n].Body) + frameHeader
		n++
	}
	j.tail.frames = slices.Delete(j.tail.frames, 0, n)
}

// Frames returns what follows the boundary (pos, hash), oldest first: frames of
// about most bytes, at least one where there is one. The newest of them may not
// be durable yet. ErrPosition: no boundary that this journal still has is there.
// The bodies must not be changed.
func (j *Journal) Frames(pos Position, hash Hash, most int) ([]Frame, error) {
	at := boundary{pos, hash}
	j.mu.Lock()
	frames, ok := j.tail.after(at, most)
	if !ok && at == j.durable() {
		ok = true // and nothing is being written, or the tail would know
	}
	j.mu.Unlock()
	if ok {
		return frames, nil
	}
	return j.framesOnDisk(at, most)
}

func (t *tail) after(at boundary, most int) ([]Frame, bool) {
	first := 0
	if at != t.before || len(t.frames) == 0 {
		i := sort.Search(len(t.frames), func(i int) bool { return t.frames[i].Last >= at.pos })
		if i == len(t.frames) || t.frames[i].Last != at.pos || t.frames[i].Hash != at.hash {
			return nil, false
		}
		first = i + 1
	}
	end, size := first, 0
	for end < len(t.frames) && (end == first || size+len(t.frames[end].Body) <= most) {
		size += len(t.frames[end].Body)
		end++
	}
	return slices.Clone(t.frames[first:end]), true
}

// framesOnDisk reads one segment. No checkpoint is taken meanwhile, so that it
// is not recycled.
func (j *Journal) framesOnDisk(at boundary, most int) ([]Frame, error) {
	j.saving.Lock()
	defer j.saving.Unlock()
	unknown := fmt.Errorf("frames after %d: %w as a boundary with that hash", at.pos, ErrPosition)
	j.mu.Lock()
	if j.err != nil {
		defer j.mu.Unlock()
		return nil, j.err
	}
	i := sort.Search(len(j.segments), func(i int) bool { return j.segments[i].base.pos > at.pos }) - 1
	if i < 0 {
		j.mu.Unlock()
		return nil, unknown
	}
	s := j.segments[i]
	j.mu.Unlock()
	data, err := readFile(j.fs, j.path(s.name))
	if err != nil {
		return nil, fmt.Errorf("frames after %d: %w", at.pos, err)
	}
	var frames []Frame
	size, found := 0, s.base == at
	_, _, _, err = readFrames(data, s.seed, s.base, func(_, after boundary, body []byte) error {
		switch {
		case after.pos == at.pos:
			found = after == at
		case after.pos > at.pos && found && (len(frames) == 0 || size+len(body) <= most):
			frames = append(frames, Frame{after.pos, after.hash, bytes.Clone(body)})
			size += len(body)
		case after.pos > at.pos:
			return errEnough
		}
		return nil
	})
	if !found || err != nil && err != errEnough { //nolint:errorlint // it is ours, unwrapped
		return nil, unknown
	}
	return frames, nil
}

var errEnough = fmt.Errorf("enough")

// End is the newest durable boundary.
func (j *Journal) End() (Position, Hash) {
	j.mu.Lock()
	defer j.mu.Unlock()
	end := j.durable()
	return end.pos, end.hash
}

// Saved is the boundary of the newest checkpoint, position 0 before the first.
func (j *Journal) Saved() (Position, Hash) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.shown.pos, j.shown.hash
}

// ReadCheckpoint reads the newest checkpoint back; at position 0 there is none,
// and the state is nil.
func (j *Journal) ReadCheckpoint() (state []byte, pos Position, hash Hash, err error) {
	j.saving.Lock()
	defer j.saving.Unlock()
	if j.saved.pos == 0 {
		return nil, 0, j.id, nil
	}
	b, err := readFile(j.fs, j.path("checkpoint"))
	if err != nil {
		return nil, 0, Hash{}, fmt.Errorf("read the checkpoint: %w", err)
	}
	at, state, reason := readCheckpoint(b, j.id)
	if reason != "" {
		return nil, 0, Hash{}, &CorruptError{"checkpoint", 0, reason}
	}
	return state, at.pos, at.hash, nil
}
