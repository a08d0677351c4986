package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"sync"
	"time"
)

// Position counts the records of a journal, from its first on; 0 is before it.
type Position uint64

// Hash identifies everything up to a boundary.
type Hash [16]byte

// What Append, Wait and Open fail with, besides CorruptError.
var (
	ErrPoisoned    = errors.New("journal is poisoned by an earlier write error")
	ErrFull        = errors.New("journal has no room on disk")
	ErrClosed      = errors.New("journal is closed")
	ErrTooLarge    = errors.New("record is larger than a group may be")
	ErrLocked      = errors.New("journal is held by another process")
	ErrCopied      = errors.New("journal was copied from elsewhere")
	ErrNotReplayed = errors.New("journal has not been replayed")
	ErrPosition    = errors.New("position is not one that this journal knows")
)

// Options are what Open may be told. The zero value is good for production.
type Options struct {
	FS          FS    // nil: OS()
	SegmentSize int64 // bytes, a multiple of 512; default 16 MiB
	Spare       int   // preallocated segments kept ready; default 2
	MaxBatch    int   // bytes of records in one group; default 1 MiB, at most an eighth of a segment
	// Machine overrides FS.Machine, for places where that changes with each
	// start, as it may in a container.
	Machine string
	// Inline starts no goroutine: Flush does the writing, on its caller's
	// goroutine, and so does Wait. It is for simulation, where order must repeat.
	Inline bool
	// Gather is called by the Wait of an Inline journal before it writes, without
	// a lock: others may append to the group meanwhile. nil: nothing.
	Gather func()
	// Tail is how many bytes of the newest frames are kept in memory for Frames,
	// and Written is called, without a lock, before each is written: a replica
	// can then be as far as the disk is. 0: none.
	Tail    int
	Written func()
	// Rand names a new journal; default crypto/rand.
	Rand io.Reader
	// Every is how often free space is looked at; default 1 s.
	Every time.Duration
}

// padding fills the last sector of a frame.
var padding [sector]byte

// known is how many boundaries HashAt and SaveCheckpoint can look back.
const known = 1 << 16

// Journal is an open journal. All methods may be called from many goroutines,
// but for the order of records: that is the order of the calls to Append.
type Journal struct {
	dir   string
	opts  Options
	fs    FS
	id    [16]byte
	lock  io.Closer
	stats Stats

	// Set by Open.
	state     []byte
	recovered boundary  // of the checkpoint; at position 0 where there is none
	replay    []segment // what Replay reads

	committing sync.Mutex // held by whoever writes groups; guards cur's content
	preparing  sync.Mutex // held by whoever makes spares or a checkpoint
	saving     sync.Mutex // held by SaveCheckpoint; guards saved
	saved      boundary   // of the newest checkpoint

	mu         sync.Mutex // guards everything below
	work       sync.Cond  // queue or closing changed: the writer looks
	room       sync.Cond  // space came or went, or err: Append looks
	err        error      // why the journal takes nothing more
	failed     chan struct{}
	replayed   bool
	closing    bool
	queue      []*group // oldest first
	writing    *group
	queued     int64      // bytes that queue and writing will take on disk
	free       []byte     // a buffer to use again
	last       Position   // of the last record appended
	boundaries []boundary // the newest, ascending; the last one is durable
	cur        segment    // the open segment
	segments   []segment  // with those before it, ascending; the last is cur
	tail       tail       // the newest frames, where Options.Tail asks for them
	shown      boundary   // saved, for those who do not want to wait for a checkpoint
	spares     []string   // ready to become segments
	spareNext  uint64     // number for the next spare's name
	spareErr   error      // why the last try to make a spare failed
	checkpoint int64      // bytes of the newest checkpoint, as far as known

	prepare chan struct{} // capacity 1: look for spares to make
	stop    chan struct{}
	done    sync.WaitGroup
}

// segment is one file of the log.
type segment struct {
	name   string
	number uint64
	seed   uint32 // of its frames' CRCs
	base   boundary
	size   int64
	file   File  // of the open segment
	end    int64 // of its last frame, rounded up to a sector
}

// group is the records that become durable together.
type group struct {
	buf  []byte // frame header, then records
	last Position
	cut  bool          // takes no more records
	done chan struct{} // closed when hash and err are set
	hash Hash
	err  error
}

func (g *group) size() int64 { return int64(align(len(g.buf))) }

// ID is the journal's own, random since it was made.
func (j *Journal) ID() [16]byte { return j.id }

// Stats are the journal's counters, live.
func (j *Journal) Stats() *Stats { return &j.stats }

// Checkpoint is what Open recovered; at position 0 there was none. The state is
// handed over: a second call returns nil for it.
func (j *Journal) Checkpoint() (state []byte, pos Position, hash Hash) {
	j.mu.Lock()
	defer j.mu.Unlock()
	state, j.state = j.state, nil
	return state, j.recovered.pos, j.recovered.hash
}

// Append puts a copy of rec into the next group and returns its position. It
// does no I/O. It blocks while two groups' worth of records wait for the disk.
func (j *Journal) Append(rec []byte) (Position, error) { return j.append(rec, whenRoom) }

// AppendLate is Append for the few records that should survive also where the
// journal is full: it may use half of what Append leaves free at the end of the open
// segment.
func (j *Journal) AppendLate(rec []byte) (Position, error) { return j.append(rec, late) }

// AppendLast is Append for the few records without which a full journal could not
// be emptied: it may use the open segment to its last sector, and then the last
// spare, if a checkpoint has room beside it.
func (j *Journal) AppendLast(rec []byte) (Position, error) { return j.append(rec, last) }

// urgency is how much of a full journal an append may use.
type urgency uint8

const (
	whenRoom urgency = iota
	late
	last
)

func (j *Journal) append(rec []byte, u urgency) (Position, error) {
	if len(rec) > j.opts.MaxBatch-recordHeader {
		return 0, fmt.Errorf("append %d bytes: %w of %d", len(rec), ErrTooLarge, j.opts.MaxBatch-recordHeader)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for {
		switch {
		case j.err != nil:
			return 0, j.err
		case j.closing:
			return 0, ErrClosed
		case !j.replayed:
			return 0, ErrNotReplayed
		}
		g, more := j.groupFor(len(rec))
		space := j.space(u)
		if j.queued+more <= space && (j.queued == 0 || j.queued+more <= 2*int64(j.frameMost())) {
			if g == nil {
				g = &group{buf: append(j.free, padding[:frameHeader]...), done: make(chan struct{})}
				j.free = nil
				j.queue = append(j.queue, g)
			}
			g.buf = be.AppendUint32(g.buf, uint32(len(rec)))
			g.buf = append(g.buf, rec...)
			j.queued += more
			j.last++
			g.last = j.last
			j.stats.Appends.Add(1)
			j.work.Signal()
			return j.last, nil
		}
		if j.queued+more > space && j.spareErr != nil && j.queued == 0 {
			j.stats.Refused.Add(1)
			return 0, fmt.Errorf("%w: %w", ErrFull, j.spareErr)
		}
		j.wakePreparer()
		if !j.opts.Inline {
			j.room.Wait()
			continue
		}
		j.mu.Unlock()
		_ = j.Flush() // what failed is in err or spareErr now
		j.mu.Lock()
	}
}

// groupFor returns the group that a record of n bytes would join, nil for a new
// one, and by how much the queue would grow on disk.
func (j *Journal) groupFor(n int) (*group, int64) {
	if len(j.queue) > 0 {
		g := j.queue[len(j.queue)-1]
		if !g.cut && len(g.buf)-frameHeader+recordHeader+n <= j.opts.MaxBatch {
			return g, int64(align(len(g.buf)+recordHeader+n)) - g.size()
		}
	}
	return nil, int64(align(frameHeader + recordHeader + n))
}

// frameMost is the largest size of a frame on disk.
func (j *Journal) frameMost() int { return align(frameHeader + j.opts.MaxBatch) }

// space is how much the queue may take on disk and be sure to fit: either all of it
// in what the open segment has left, of which the less urgent leaves some; or so that
// of each segment up to one group is wasted, since a group does not span two.
func (j *Journal) space(u urgency) int64 {
	left, most, spares := j.cur.size-j.cur.end, int64(j.frameMost()), len(j.spares)
	if spares > 0 && j.keepsSpare() && (u < last || j.stats.Free.Load() < max(2*j.checkpoint, most)) {
		spares--
	}
	inOpen := left - [...]int64{whenRoom: most, late: most / 2, last: 0}[u]
	return max(inOpen, max(0, left-most)+int64(spares)*(j.opts.SegmentSize-sector-most))
}

// keepsSpare reports whether the last spare is left alone, for a checkpoint to be
// written in its room: where the disk will have less than half a segment to itself
// once the spares that are missing are made.
func (j *Journal) keepsSpare() bool {
	free := j.stats.Free.Load()
	for missing := j.opts.Spare - len(j.spares); missing > 0 && free >= j.opts.SegmentSize; missing-- {
		free -= j.opts.SegmentSize
	}
	return j.opts.Spare > 1 && free < j.opts.SegmentSize/2
}

// Cut ends the current group, so that Last, which it returns, becomes a
// boundary: the place for a checkpoint of what the caller knows now.
func (j *Journal) Cut() Position {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.queue) > 0 {
		j.queue[len(j.queue)-1].cut = true
	}
	return j.last
}

// Last is the position of the last record appended.
func (j *Journal) Last() Position {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.last
}

// Durable is the position of the newest boundary on disk.
func (j *Journal) Durable() Position {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.durable().pos
}

// durable is the newest boundary on disk. The caller holds mu.
func (j *Journal) durable() boundary { return j.boundaries[len(j.boundaries)-1] }

// Wait returns when the record at pos is durable, with the hash of the boundary
// that ends its group; the hash is zero for a record older than HashAt knows.
// ctx ends only the waiting. An error other than ctx's says that the record may
// be lost.
func (j *Journal) Wait(ctx context.Context, pos Position) (Hash, error) {
	j.mu.Lock()
	if j.err != nil && !errors.Is(j.err, ErrClosed) {
		defer j.mu.Unlock()
		return Hash{}, j.err
	}
	if pos <= j.durable().pos {
		defer j.mu.Unlock()
		b, _ := j.boundaryOf(pos)
		return b.hash, nil
	}
	var g *group
	if j.writing != nil && pos <= j.writing.last {
		g = j.writing
	}
	for i := 0; g == nil && i < len(j.queue); i++ {
		if pos <= j.queue[i].last {
			g = j.queue[i]
		}
	}
	j.mu.Unlock()
	if g == nil {
		return Hash{}, fmt.Errorf("wait for %d: %w", pos, ErrPosition)
	}
	if j.opts.Inline {
		if j.opts.Gather != nil {
			j.opts.Gather()
		}
		_ = j.Flush() // what failed is told through the group
	}
	select {
	case <-g.done:
		return g.hash, g.err
	case <-ctx.Done():
		return Hash{}, ctx.Err()
	}
}

// HashAt returns the boundary that ends the group of the record at pos, if it
// is durable and among the last 65 536.
func (j *Journal) HashAt(pos Position) (end Position, hash Hash, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	b, ok := j.boundaryOf(pos)
	return b.pos, b.hash, ok
}

func (j *Journal) boundaryOf(pos Position) (boundary, bool) {
	i := sort.Search(len(j.boundaries), func(i int) bool { return j.boundaries[i].pos >= pos })
	if i == len(j.boundaries) || i == 0 && j.boundaries[0].pos != pos {
		return boundary{}, false
	}
	return j.boundaries[i], true
}

func (j *Journal) addBoundary(b boundary) {
	if len(j.boundaries) >= 2*known {
		j.boundaries = append(j.boundaries[:0], j.boundaries[known+1:]...)
	}
	j.boundaries = append(j.boundaries, b)
}

// write is the writer's goroutine.
func (j *Journal) write() {
	for {
		j.mu.Lock()
		for len(j.queue) == 0 && !j.closing && j.err == nil {
			j.work.Wait()
		}
		end := len(j.queue) == 0
		j.mu.Unlock()
		if end || j.commit() != nil {
			return
		}
	}
}

// Flush makes durable what was appended, and tends to the spares. It is for
// journals opened Inline.
func (j *Journal) Flush() error {
	for {
		j.mu.Lock()
		idle := len(j.queue) == 0
		j.mu.Unlock()
		if idle {
			break
		}
		if err := j.commit(); err != nil {
			return err
		}
	}
	return j.makeSpares()
}

// commit writes the oldest group and wakes those who wait for it.
func (j *Journal) commit() error {
	j.committing.Lock()
	defer j.committing.Unlock()
	j.mu.Lock()
	if j.err != nil || len(j.queue) == 0 {
		defer j.mu.Unlock()
		return j.err
	}
	g := j.queue[0]
	j.queue = append(j.queue[:0], j.queue[1:]...)
	j.writing = g
	before := j.durable()
	j.mu.Unlock()

	size := g.size()
	if j.cur.size-j.cur.end < size {
		if err := j.roll(before); err != nil {
			return j.poison(err)
		}
	}
	hash := finishFrame(g.buf, j.cur.seed, before.hash, g.last)
	if j.opts.Tail > 0 {
		body := bytes.Clone(g.buf[frameHeader:])
		j.mu.Lock()
		j.remember(before, Frame{g.last, hash, body})
		j.mu.Unlock()
		if j.opts.Written != nil {
			j.opts.Written()
		}
	}
	g.buf = append(g.buf, padding[:int(size)-len(g.buf)]...)
	if _, err := j.cur.file.WriteAt(g.buf, j.cur.end); err != nil {
		return j.poison(fmt.Errorf("write %s at %d: %w", j.cur.name, j.cur.end, err))
	}
	if err := j.sync(j.cur.file); err != nil {
		return j.poison(fmt.Errorf("sync %s: %w", j.cur.name, err))
	}

	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil { // poisoned elsewhere meanwhile; g has been told
		return j.err
	}
	j.cur.end += size
	j.queued -= size
	j.writing = nil
	j.addBoundary(boundary{g.last, hash})
	j.stats.Commits.Add(1)
	j.stats.Bytes.Add(uint64(size))
	if cap(g.buf) > cap(j.free) {
		j.free = g.buf[:0]
	}
	g.buf, g.hash = nil, hash
	close(g.done)
	j.room.Broadcast()
	return nil
}

func (j *Journal) sync(f File) error {
	start := time.Now()
	err := f.Sync()
	j.stats.Syncs.Add(1)
	j.stats.SyncNanos.Add(uint64(time.Since(start)))
	return err
}

// roll makes a spare the open segment. Its header proves that everything before
// it is durable, so it is called only where that is so.
func (j *Journal) roll(base boundary) error {
	j.mu.Lock()
	if len(j.spares) == 0 {
		j.mu.Unlock()
		return fmt.Errorf("segment %d: %w", j.cur.number+1, ErrFull) // space() rules this out
	}
	spare := j.spares[0]
	j.spares = append(j.spares[:0], j.spares[1:]...)
	old := j.cur.file
	number := j.cur.number + 1
	j.mu.Unlock()

	next, err := j.begin(spare, number, base)
	if err != nil {
		return err
	}
	j.mu.Lock()
	j.cur = next
	j.segments = append(j.segments, next)
	j.stats.Segments.Store(int64(len(j.segments)))
	j.stats.Spares.Store(int64(len(j.spares)))
	j.wakePreparer()
	j.mu.Unlock()
	return old.Close()
}

// begin turns a spare into the segment with that number, durably.
func (j *Journal) begin(spare string, number uint64, base boundary) (segment, error) {
	s := segment{name: segmentName(number), number: number, seed: seedOf(j.id, number), base: base, size: j.opts.SegmentSize, end: sector}
	f, err := j.fs.Open(j.path(spare))
	if err != nil {
		return s, fmt.Errorf("begin segment: %w", err)
	}
	s.file = f
	_, err = f.WriteAt(appendSegmentHeader(nil, j.id, number, base), 0)
	if err == nil {
		err = j.sync(f)
	}
	if err == nil {
		err = j.fs.Rename(j.path(spare), j.path(s.name))
	}
	if err == nil {
		err = j.fs.SyncDir(j.dir)
	}
	if err != nil {
		return s, errors.Join(fmt.Errorf("begin segment %s: %w", s.name, err), f.Close())
	}
	return s, nil
}

// poison ends the journal: everybody who waits or ever will is told.
func (j *Journal) poison(cause error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil && !errors.Is(j.err, ErrClosed) {
		return j.err
	}
	j.err = fmt.Errorf("%w: %w", ErrPoisoned, cause)
	j.stats.Poisoned.Store(1)
	close(j.failed)
	groups := j.queue
	if j.writing != nil {
		groups = append([]*group{j.writing}, groups...)
	}
	for _, g := range groups {
		g.err = j.err
		close(g.done)
	}
	j.writing, j.queue = nil, nil
	j.work.Broadcast()
	j.room.Broadcast()
	return j.err
}

// Failed is closed when the journal is poisoned; the process should exit.
func (j *Journal) Failed() <-chan struct{} { return j.failed }

// Err is why the journal takes nothing more, nil while it does.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// Close writes what was appended, proves it whole by the header of a further
// segment, and lets go of the directory. Later calls do nothing.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.closing {
		j.mu.Unlock()
		return nil
	}
	j.closing = true
	j.work.Broadcast()
	j.room.Broadcast()
	j.mu.Unlock()
	close(j.stop)
	j.done.Wait()

	var err error
	if j.opts.Inline {
		err = j.Flush()
	}
	j.saving.Lock() // let a running checkpoint end
	defer j.saving.Unlock()
	j.committing.Lock()
	defer j.committing.Unlock()
	j.mu.Lock()
	if j.err == nil {
		j.err = ErrClosed
	}
	whole := errors.Is(j.err, ErrClosed)
	used := j.cur.end > sector && len(j.spares) > 0
	at := j.durable()
	j.room.Broadcast()
	j.mu.Unlock()
	if whole && used {
		err = errors.Join(err, j.roll(at))
	}
	return errors.Join(err, j.cur.file.Close(), j.lock.Close())
}
