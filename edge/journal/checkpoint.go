package journal

import (
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// SaveCheckpoint makes state the journal's beginning: what the records up to
// pos amount to. (pos, hash) must be a durable boundary that HashAt still
// knows. Then it frees the segments that hold nothing above pos. Where the disk
// has no room it gives up a spare segment for it, else fails with ErrFull and
// the old checkpoint stands.
func (j *Journal) SaveCheckpoint(state []byte, pos Position, hash Hash) error {
	j.saving.Lock()
	defer j.saving.Unlock()
	start := time.Now()
	at := boundary{pos, hash}
	j.mu.Lock()
	b, ok := j.boundaryOf(pos)
	err := j.err
	j.mu.Unlock()
	switch {
	case err != nil:
		return err
	case !ok || b != at || pos < j.saved.pos:
		return fmt.Errorf("checkpoint at %d: %w as a boundary with that hash since the last checkpoint", pos, ErrPosition)
	}
	j.preparing.Lock()
	defer j.preparing.Unlock()
	head := checkpointHeader(j.id, at, len(state))
	sum := be.AppendUint32(nil, crc32.Update(checksum(head), castagnoli, state))
	tmp := j.path("checkpoint.tmp")
	err = writeFile(j.fs, tmp, head, state, sum)
	for Full(err) && j.dropSpare() {
		err = writeFile(j.fs, tmp, head, state, sum)
	}
	if Full(err) {
		return fmt.Errorf("checkpoint at %d: %w: %w", pos, ErrFull, errors.Join(err, j.fs.Remove(tmp)))
	}
	if err == nil {
		err = j.fs.Rename(tmp, j.path("checkpoint"))
	}
	if err == nil {
		err = j.fs.SyncDir(j.dir)
	}
	if err != nil {
		return j.poison(fmt.Errorf("checkpoint at %d: %w", pos, err))
	}
	j.saved = at
	j.mu.Lock()
	j.shown, j.checkpoint = at, int64(len(head)+len(state)+len(sum))
	j.mu.Unlock()
	j.stats.Checkpoints.Add(1)
	j.stats.CheckpointBytes.Add(uint64(len(head) + len(state) + len(sum)))
	j.stats.CheckpointNanos.Add(uint64(time.Since(start)))
	return j.recycle(pos)
}

// recycle turns segments wholly at or below pos into spares, as many as are
// wanted, and removes the others. The caller holds preparing. A crash may bring
// an old name back, even with the header of its next use; nobody reads segments
// before the checkpoint, which is durable by now.
func (j *Journal) recycle(pos Position) error {
	var freed []string
	for {
		j.mu.Lock()
		if len(j.segments) < 2 || j.segments[1].base.pos > pos {
			j.mu.Unlock()
			break
		}
		s := j.segments[0]
		j.segments = append(j.segments[:0], j.segments[1:]...)
		keep := s.size == j.opts.SegmentSize && len(j.spares)+len(freed) < j.opts.Spare
		spare := j.nextSpare()
		j.stats.Segments.Store(int64(len(j.segments)))
		j.mu.Unlock()
		var err error
		if keep {
			freed = append(freed, spare)
			err = j.fs.Rename(j.path(s.name), j.path(spare))
		} else {
			err = j.fs.Remove(j.path(s.name))
		}
		if err != nil {
			return j.poison(fmt.Errorf("recycle %s: %w", s.name, err))
		}
		j.stats.Recycled.Add(1)
	}
	j.lookAtFree()
	j.addSpares(freed...)
	j.wakePreparer() // what was removed may make room for those that are missing
	return nil
}

// nextSpare names a spare. The caller holds mu.
func (j *Journal) nextSpare() string {
	j.spareNext++
	return spareName(j.spareNext)
}

func (j *Journal) addSpares(names ...string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.spares = append(j.spares, names...)
	if len(names) > 0 {
		j.spareErr = nil
	}
	j.stats.Spares.Store(int64(len(j.spares)))
	j.room.Broadcast()
}

// dropSpare gives the room of a spare back to the disk, if what was appended
// fits without it. The caller holds preparing.
func (j *Journal) dropSpare() bool {
	j.mu.Lock()
	n := len(j.spares)
	if n == 0 {
		j.mu.Unlock()
		return false
	}
	name := j.spares[n-1]
	j.spares = j.spares[:n-1]
	if j.queued > j.space(last) {
		j.spares = j.spares[:n]
		j.mu.Unlock()
		return false
	}
	j.stats.Spares.Store(int64(len(j.spares)))
	j.mu.Unlock()
	return j.fs.Remove(j.path(name)) == nil
}

// Free is how many bytes the disk has left, as last looked at. Spare segments
// are not in it.
func (j *Journal) Free() int64 { return j.stats.Free.Load() }

// lookAtFree keeps the last figure where there is none to be had.
func (j *Journal) lookAtFree() {
	if free, err := j.fs.Free(j.dir); err == nil {
		j.stats.Free.Store(free)
	}
}

// wakePreparer has the spares looked after. The caller holds mu.
func (j *Journal) wakePreparer() {
	select {
	case j.prepare <- struct{}{}:
	default:
	}
}

// tend is the goroutine that makes spares and looks at free space.
func (j *Journal) tend() {
	tick := time.NewTicker(j.opts.Every)
	defer tick.Stop()
	for {
		select {
		case <-j.stop:
			return
		case <-tick.C:
		case <-j.prepare:
		}
		if j.makeSpares() != nil {
			return
		}
	}
}

// makeSpares makes as many spares as are wanted. It fails only where that
// poisons the journal.
func (j *Journal) makeSpares() error {
	j.preparing.Lock()
	defer j.preparing.Unlock()
	for {
		j.mu.Lock()
		wanted := j.err == nil && !j.closing && len(j.spares) < j.opts.Spare
		name := ""
		if wanted {
			name = j.nextSpare()
		}
		j.mu.Unlock()
		j.lookAtFree()
		if !wanted {
			return nil
		}
		switch err := j.makeSpare(name); {
		case Full(err):
			j.stats.SpareFailures.Add(1)
			j.mu.Lock()
			j.spareErr = err
			j.room.Broadcast()
			j.mu.Unlock()
			return nil
		case err != nil:
			return j.poison(err)
		}
		j.addSpares(name)
	}
}

// zeros are what spares are made of.
var zeros [1 << 20]byte

// makeSpare writes zeros, not merely reserves room: a sync that follows a later
// write then has no metadata to update.
func (j *Journal) makeSpare(name string) error {
	const tmp = "spare.tmp"
	var parts [][]byte
	for left := j.opts.SegmentSize; left > 0; left -= int64(len(zeros)) {
		parts = append(parts, zeros[:min(left, int64(len(zeros)))])
	}
	err := writeFile(j.fs, j.path(tmp), parts...)
	if err == nil {
		err = j.fs.Rename(j.path(tmp), j.path(name))
	}
	if err != nil {
		err = fmt.Errorf("make a spare segment: %w", err)
		if Full(err) {
			err = errors.Join(err, j.fs.Remove(j.path(tmp)))
		}
	}
	return err
}
