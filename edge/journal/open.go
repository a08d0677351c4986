package journal

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func segmentName(number uint64) string { return fmt.Sprintf("seg-%016x", number) }
func spareName(number uint64) string   { return fmt.Sprintf("spare-%016x", number) }

// numberIn reads the number of a name as the two functions above make it.
func numberIn(name, prefix string) (number uint64, ok bool) {
	hex, ok := strings.CutPrefix(name, prefix)
	if !ok || len(hex) != 16 {
		return 0, false
	}
	if _, err := fmt.Sscanf(hex, "%016x", &number); err != nil {
		return 0, false
	}
	return number, prefix+fmt.Sprintf("%016x", number) == name
}

func (j *Journal) path(name string) string { return filepath.Join(j.dir, name) }

// Open opens the journal in dir, or makes one there. It verifies all that Replay
// will give, drops a torn last group, and has made what remains durable anew
// when it returns.
func Open(dir string, opts Options) (*Journal, error) {
	if opts.FS == nil {
		opts.FS = OS()
	}
	if opts.SegmentSize == 0 {
		opts.SegmentSize = 16 << 20
	}
	if opts.Spare == 0 {
		opts.Spare = 2
	}
	if opts.MaxBatch == 0 {
		opts.MaxBatch = int(min(1<<20, opts.SegmentSize/8))
	}
	if opts.Rand == nil {
		opts.Rand = rand.Reader
	}
	if opts.Every == 0 {
		opts.Every = time.Second
	}
	j := &Journal{
		dir: dir, opts: opts, fs: opts.FS,
		failed: make(chan struct{}), stop: make(chan struct{}), prepare: make(chan struct{}, 1),
	}
	j.work.L, j.room.L = &j.mu, &j.mu
	switch {
	case opts.SegmentSize%sector != 0 || opts.SegmentSize < 8*sector || opts.SegmentSize > 1<<30:
		return nil, fmt.Errorf("open journal: segment size %d, expected a multiple of %d from %d to %d", opts.SegmentSize, sector, 8*sector, 1<<30)
	case opts.Spare < 1:
		return nil, fmt.Errorf("open journal: %d spare segments, expected at least 1", opts.Spare)
	case opts.MaxBatch <= recordHeader || int64(j.frameMost()) > opts.SegmentSize/4:
		return nil, fmt.Errorf("open journal: groups of %d bytes, expected from %d to a quarter of a segment", opts.MaxBatch, recordHeader+1)
	}
	if err := j.fs.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	lock, err := j.fs.Lock(j.path("lock"))
	if err != nil {
		return nil, fmt.Errorf("open journal %s: %w", dir, err)
	}
	j.lock = lock
	if err := j.recover(); err != nil {
		if j.cur.file != nil {
			err = errors.Join(err, j.cur.file.Close())
		}
		return nil, errors.Join(fmt.Errorf("open journal %s: %w", dir, err), lock.Close())
	}
	if !opts.Inline {
		j.done.Go(j.write)
		j.done.Go(j.tend)
	}
	return j, nil
}

func (j *Journal) recover() error {
	names, err := j.fs.Names(j.dir)
	if err != nil {
		return err
	}
	fresh, err := j.identify(names)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".tmp") && (!fresh || name != "identity.tmp") {
			if err := j.fs.Remove(j.path(name)); err != nil {
				return err
			}
		}
		if n, ok := numberIn(name, "seg-"); ok {
			j.segments = append(j.segments, segment{name: name, number: n, seed: seedOf(j.id, n)})
		}
		if n, ok := numberIn(name, "spare-"); ok {
			j.spareNext = max(j.spareNext, n)
			if err := j.takeSpare(name); err != nil {
				return err
			}
		}
	}
	j.recovered.hash = j.id
	if slices.Contains(names, "checkpoint") {
		b, err := readFile(j.fs, j.path("checkpoint"))
		if err != nil {
			return err
		}
		at, state, reason := readCheckpoint(b, j.id)
		if reason != "" {
			return &CorruptError{"checkpoint", 0, reason}
		}
		j.recovered, j.state, j.checkpoint = at, state, int64(len(b))
	}
	j.saved, j.shown = j.recovered, j.recovered
	end, data, err := j.verify()
	if err != nil {
		return err
	}
	return j.resume(end, data)
}

// takeSpare keeps a spare that was found, if it still fits and is wanted.
func (j *Journal) takeSpare(name string) error {
	f, err := j.fs.Open(j.path(name))
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if size != j.opts.SegmentSize || len(j.spares) >= j.opts.Spare {
		return j.fs.Remove(j.path(name))
	}
	j.spares = append(j.spares, name)
	return nil
}

// verify reads the log from the checkpoint on. It returns the newest boundary
// and the valid content of the last segment, and leaves in segments those that
// exist, in replay those that hold what comes after the checkpoint.
func (j *Journal) verify() (end boundary, data []byte, err error) {
	if len(j.segments) == 0 {
		if j.recovered.pos > 0 {
			return end, nil, &CorruptError{"checkpoint", 0, "all segments after it are missing"}
		}
		return j.recovered, nil, nil
	}
	slices.SortFunc(j.segments, func(a, b segment) int { return cmp.Compare(a.number, b.number) })
	first, err := j.readBases()
	if err != nil {
		return end, nil, err
	}
	end = j.segments[first].base
	seen := end == j.recovered
	if seen {
		j.boundaries = append(j.boundaries, end)
	}
	for i := first; i < len(j.segments); i++ {
		s := &j.segments[i]
		if data, err = readFile(j.fs, j.path(s.name)); err != nil {
			return end, nil, err
		}
		stop, at, reason, _ := readFrames(data, s.seed, s.base, func(_, after boundary, _ []byte) error {
			if after.pos == j.recovered.pos {
				seen = after == j.recovered
			}
			if seen {
				j.addBoundary(after)
			}
			return nil
		})
		end = at
		if i+1 < len(j.segments) {
			if end != j.segments[i+1].base {
				return end, nil, &CorruptError{s.name, int64(stop), reason}
			}
			continue
		}
		if provenSynced(data, stop, s.seed, at) {
			return end, nil, &CorruptError{s.name, int64(stop), reason}
		}
		j.stats.Torn.Store(uint64(tornBytes(data[min(stop, len(data)):], s.seed)))
		data = data[:min(stop, len(data))]
	}
	if !seen {
		return end, nil, &CorruptError{"checkpoint", 0, fmt.Sprintf("no boundary of the log is at its position %d with its hash; the log ends at %d", j.recovered.pos, end.pos)}
	}
	j.replay = slices.Clone(j.segments[first:])
	j.stats.Recovered.Store(uint64(end.pos - j.recovered.pos))
	return end, data, nil
}

// readBases reads the headers of the segments that are needed, from the newest
// to the one that holds what follows the checkpoint, and returns that one.
func (j *Journal) readBases() (first int, err error) {
	for i := len(j.segments) - 1; i >= 0; i-- {
		s := &j.segments[i]
		if i+1 < len(j.segments) && s.number+1 != j.segments[i+1].number {
			return 0, &CorruptError{segmentName(s.number + 1), 0, "segment is missing"}
		}
		f, err := j.fs.Open(j.path(s.name))
		if err != nil {
			return 0, err
		}
		head := make([]byte, sector)
		s.size, err = f.Size()
		if err == nil && s.size >= sector {
			_, err = f.ReadAt(head, 0)
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return 0, err
		}
		base, reason := readSegmentHeader(head[:min(s.size, sector)], j.id, s.number)
		if reason != "" {
			return 0, &CorruptError{s.name, 0, reason}
		}
		s.base = base
		if base.pos <= j.recovered.pos {
			return i, nil
		}
	}
	return 0, &CorruptError{segmentName(j.segments[0].number - 1), 0, "segment is missing"}
}

// tornBytes is how much of a group was begun at the start of b.
func tornBytes(b []byte, seed uint32) int {
	if !isHeader(b, seed) {
		return 0
	}
	return min(len(b), align(frameHeader+int(be.Uint32(b[4:]))))
}

// resume makes durable, in a new file, what the last segment holds, since after
// a failed sync only memory may have held it, and opens the segment to write to.
func (j *Journal) resume(end boundary, data []byte) error {
	j.last = end.pos
	if len(j.boundaries) == 0 {
		j.boundaries = append(j.boundaries, end)
	}
	number, empty := uint64(1), segment{}
	if n := len(j.segments); n > 0 {
		last := &j.segments[n-1]
		number = last.number
		if len(data) > sector {
			number++
			last.size = int64(len(data))
			const tmp = "rewrite.tmp"
			err := writeFile(j.fs, j.path(tmp), data)
			if Full(err) && len(j.spares) > 0 { // the segment's own room, free after this, is enough for another
				spare := j.spares[len(j.spares)-1]
				j.spares = j.spares[:len(j.spares)-1]
				if err = j.fs.Remove(j.path(spare)); err == nil {
					err = writeFile(j.fs, j.path(tmp), data)
				}
			}
			if err == nil {
				err = j.fs.Rename(j.path(tmp), j.path(last.name))
			}
			if err == nil {
				err = j.fs.SyncDir(j.dir)
			}
			if err != nil {
				return fmt.Errorf("rewrite %s: %w", last.name, err)
			}
		} else {
			j.segments, empty = j.segments[:n-1], *last // begin replaces it
		}
	}
	if len(j.spares) == 0 {
		name := j.nextSpare()
		err := j.makeSpare(name)
		if Full(err) && empty.size == j.opts.SegmentSize {
			if err = j.wipe(&empty); err == nil {
				j.goOn(empty)
				return nil
			}
		}
		if err != nil {
			return err
		}
		j.spares = append(j.spares, name)
	}
	cur, err := j.begin(j.spares[0], number, end)
	if err != nil {
		return err
	}
	j.spares = j.spares[1:]
	j.goOn(cur)
	return nil
}

// goOn makes a segment the open one.
func (j *Journal) goOn(cur segment) {
	j.cur = cur
	j.segments = append(j.segments, cur)
	j.stats.Segments.Store(int64(len(j.segments)))
	j.stats.Spares.Store(int64(len(j.spares)))
	j.lookAtFree()
	j.wakePreparer()
}

// wipe makes zeros of all but the header of a segment, in its place, and opens it:
// what was torn there is not to be read behind what will be written. The header is
// durable since the segment has its name. Like begin it makes the directory durable,
// whose last change may be one that could not be synced, a checkpoint's name.
func (j *Journal) wipe(s *segment) error {
	f, err := j.fs.Open(j.path(s.name))
	if err != nil {
		return fmt.Errorf("wipe %s: %w", s.name, err)
	}
	zeros := make([]byte, min(j.opts.SegmentSize-sector, 1<<20))
	for at := int64(sector); at < j.opts.SegmentSize && err == nil; at += int64(len(zeros)) {
		_, err = f.WriteAt(zeros[:min(int64(len(zeros)), j.opts.SegmentSize-at)], at)
	}
	if err == nil {
		err = j.sync(f)
	}
	if err == nil {
		err = j.fs.SyncDir(j.dir)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("wipe %s: %w", s.name, err), f.Close())
	}
	s.file, s.end = f, sector
	return nil
}

// Replay gives every record after the checkpoint to record and every boundary
// to commit, in order. rec is valid during the call. It must be called once,
// before Append; an error of one of the two is final.
func (j *Journal) Replay(record func(pos Position, rec []byte) error, commit func(pos Position, hash Hash) error) error {
	j.mu.Lock()
	segments, again := j.replay, j.replayed
	j.replay, j.replayed = nil, true
	j.mu.Unlock()
	if again {
		return errors.New("replay: journal has been replayed before")
	}
	for _, s := range segments {
		data, err := readFile(j.fs, j.path(s.name))
		if err != nil {
			return j.poison(fmt.Errorf("replay: %w", err))
		}
		_, _, _, err = readFrames(data, s.seed, s.base, func(at, after boundary, body []byte) error {
			if after.pos <= j.recovered.pos {
				return nil
			}
			for pos := at.pos + 1; pos <= after.pos; pos++ {
				n := be.Uint32(body)
				if err := record(pos, body[recordHeader:recordHeader+n]); err != nil {
					return fmt.Errorf("replay record %d: %w", pos, err)
				}
				body = body[recordHeader+n:]
			}
			if err := commit(after.pos, after.hash); err != nil {
				return fmt.Errorf("replay boundary %d: %w", after.pos, err)
			}
			return nil
		})
		if err != nil {
			return j.poison(err)
		}
	}
	return nil
}

// identify reads who the journal is, or makes that up, and refuses a copy.
func (j *Journal) identify(names []string) (fresh bool, err error) {
	machine := j.opts.Machine
	if machine == "" {
		if machine, err = j.fs.Machine(); err != nil {
			return false, err
		}
	}
	if machine != "" { // the id itself is confidential, by machine-id(5)
		sum := sha256.Sum256([]byte("nearside journal " + machine))
		machine = fmt.Sprintf("%x", sum[:8])
	}
	b, err := readFile(j.fs, j.path("identity"))
	if errors.Is(err, fs.ErrNotExist) {
		for _, name := range names {
			if _, ok := numberIn(name, "seg-"); ok || name == "checkpoint" {
				return false, &CorruptError{"identity", 0, "missing"}
			}
		}
		return true, j.beIdentified(machine)
	}
	if err != nil {
		return false, err
	}
	id, was, reason := readIdentity(b)
	if reason != "" {
		return false, &CorruptError{"identity", 0, reason}
	}
	inode, err := j.fs.Inode(j.path("identity"))
	if err != nil {
		return false, err
	}
	if was.inode != inode || was.machine != machine {
		return false, fmt.Errorf("%w: made as inode %d on machine %q, found as inode %d on machine %q", ErrCopied, was.inode, was.machine, inode, machine)
	}
	j.id = id
	return false, nil
}

func (j *Journal) beIdentified(machine string) error {
	if _, err := io.ReadFull(j.opts.Rand, j.id[:]); err != nil {
		return err
	}
	tmp := j.path("identity.tmp")
	if err := writeFile(j.fs, tmp); err != nil {
		return err
	}
	inode, err := j.fs.Inode(tmp)
	if err != nil {
		return err
	}
	if err := writeFile(j.fs, tmp, encodeIdentity(j.id, place{inode, machine})); err != nil {
		return err
	}
	if err := j.fs.Rename(tmp, j.path("identity")); err != nil {
		return err
	}
	return j.fs.SyncDir(j.dir)
}

// place is where a journal was made.
type place struct {
	inode   uint64
	machine string
}

func encodeIdentity(id [16]byte, p place) []byte {
	b := fmt.Appendf(nil, "nearside journal %d\nid %x\ninode %d\nmachine %s\n", version, id, p.inode, p.machine)
	return fmt.Appendf(b, "crc %08x\n", checksum(b))
}

func readIdentity(b []byte) (id [16]byte, p place, reason string) {
	i := bytes.LastIndex(b, []byte("crc "))
	if i < 0 || string(b[i:]) != fmt.Sprintf("crc %08x\n", checksum(b[:i])) {
		return id, p, "checksum differs"
	}
	lines := strings.Split(string(b[:i]), "\n")
	if len(lines) != 5 || lines[0] != fmt.Sprintf("nearside journal %d", version) {
		return id, p, fmt.Sprintf("starts with %.40q, expected version %d", lines[0], version)
	}
	var hex []byte
	if _, err := fmt.Sscanf(lines[1], "id %x", &hex); err != nil || copy(id[:], hex) != len(id) {
		return id, p, "no id"
	}
	if _, err := fmt.Sscanf(lines[2], "inode %d", &p.inode); err != nil {
		return id, p, "no inode"
	}
	machine, ok := strings.CutPrefix(lines[3], "machine ")
	if !ok {
		return id, p, "no machine"
	}
	p.machine = machine
	if !bytes.Equal(encodeIdentity(id, p), b) { // "inode 007", say
		return id, p, "is not as it is written"
	}
	return id, p, ""
}
