package replica

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sort"
	"sync"
	"time"

	"nearside/edge/journal"
	"nearside/sync/wire"
)

// Why a peer does not keep, or go on keeping, a copy.
var (
	ErrNoRoom     = errors.New("no room for the copy here")
	ErrSession    = errors.New("the copy is followed in another session")
	ErrRolledBack = errors.New("this copy is ahead of what the journal's own disk has: that was rolled back")
	ErrUnknown    = errors.New("no such copy here")
)

const (
	// known is how many boundaries of a copy are remembered.
	known = 1 << 16
	// maxState bounds a checkpoint that is being put together.
	maxState = 256 << 20
	// maxFrames bounds the frames of one Append.
	maxFrames = 1 << 16
)

// StoreConfig is what a Store is opened with. Zero values are the defaults.
type StoreConfig struct {
	Dir     string
	FS      journal.FS       // journal.OS()
	Journal journal.Options  // of each copy; FS is taken from above
	Most    int              // copies kept; 16
	Reserve int64            // bytes of the disk that copies leave free; 256 MiB
	Now     func() time.Time // the clock
	Session func() uint64    // names a session; random
	Log     *slog.Logger
}

func (c *StoreConfig) defaults() {
	if c.FS == nil {
		c.FS = journal.OS()
	}
	c.Journal.FS = c.FS
	if c.Journal.SegmentSize == 0 {
		c.Journal.SegmentSize = 16 << 20
	}
	if c.Journal.MaxBatch == 0 { // room for a frame that is as large as it may be at its holder
		c.Journal.MaxBatch = int(c.Journal.SegmentSize / 8)
	}
	if c.Journal.Spare == 0 {
		c.Journal.Spare = 1
	}
	if c.Most == 0 {
		c.Most = 16
	}
	if c.Reserve == 0 {
		c.Reserve = 256 << 20
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Session == nil {
		c.Session = rand.Uint64
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// Store keeps copies of other holders' journals. Its methods may be called from
// any goroutine.
type Store struct {
	cfg StoreConfig

	mu     sync.Mutex
	copies map[ID]*kept
}

// kept is one copy.
type kept struct {
	id ID

	mu      sync.Mutex       // around one Follow, Append or Drop
	j       *journal.Journal // nil: to be opened
	gone    bool             // dropped; nobody may use it any more
	busy    bool             // it is being read
	session uint64
	turn    uint64 // of the last Append in it
	base    mark   // of its checkpoint; of no use where have is not set
	have    bool   // it holds something
	marks   []mark // boundaries, the newest last; the first may be base
	durable uint64 // what its holder had on its own disk
	touched time.Time
	parts   *assembly
}

// mark is a boundary of the holder's journal, and the record of the copy that
// brought it.
type mark struct {
	boundary
	own journal.Position
}

// assembly is a checkpoint of which not all parts have come.
type assembly struct {
	at     boundary
	afresh bool
	size   uint64
	state  []byte
}

// OpenStore takes up the copies in the directory.
func OpenStore(cfg StoreConfig) (*Store, error) {
	cfg.defaults()
	s := &Store{cfg: cfg, copies: map[ID]*kept{}}
	if err := cfg.FS.MkdirAll(cfg.Dir); err != nil {
		return nil, fmt.Errorf("open copies: %w", err)
	}
	names, err := cfg.FS.Names(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("open copies: %w", err)
	}
	for _, name := range names {
		id, ok := parseID(name)
		if !ok {
			continue
		}
		c := &kept{id: id, touched: cfg.Now()}
		switch err := s.open(c); {
		case damaged(err):
			cfg.Log.Error("a copy of another node's journal is damaged and is dropped", "copy", name, "err", err)
			if err := s.remove(id); err != nil {
				return nil, errors.Join(err, s.Close())
			}
			continue
		case err != nil:
			return nil, errors.Join(err, s.Close())
		}
		s.copies[id] = c
	}
	return s, nil
}

func (s *Store) path(id ID) string { return filepath.Join(s.cfg.Dir, id.String()) }

// open reads what the copy has. The caller holds c.mu, or is the only one that
// knows c.
func (s *Store) open(c *kept) error {
	j, err := journal.Open(s.path(c.id), s.cfg.Journal)
	if err != nil {
		return fmt.Errorf("open the copy %v: %w", c.id, err)
	}
	c.have, c.marks, c.durable, c.parts = false, nil, 0, nil
	if state, pos, _ := j.Checkpoint(); pos > 0 {
		at, durable, _, err := readCheckpoint(state, c.id)
		if err != nil {
			return errors.Join(fmt.Errorf("open the copy %v: %w", c.id, err), j.Close())
		}
		c.begin(at, pos, durable)
	}
	err = j.Replay(func(pos journal.Position, rec []byte) error {
		e, err := readEntry(rec)
		if err != nil {
			return err
		}
		switch e.kind {
		case kindFrame:
			c.add(e.at, pos)
			c.durable = max(c.durable, e.durable)
		case kindCut:
			c.cut(e.at)
		}
		return nil
	}, func(journal.Position, journal.Hash) error { return nil })
	if err != nil {
		return errors.Join(fmt.Errorf("open the copy %v: %w", c.id, err), j.Close())
	}
	c.j = j
	return nil
}

func (c *kept) begin(at boundary, own journal.Position, durable uint64) {
	c.have, c.base, c.durable = true, mark{at, own}, durable
	c.marks = append(c.marks[:0], c.base)
}

func (c *kept) add(at boundary, own journal.Position) {
	if len(c.marks) >= 2*known {
		c.marks = slices.Delete(c.marks, 0, known)
	}
	c.marks = append(c.marks, mark{at, own})
}

// cut drops what follows a boundary.
func (c *kept) cut(at boundary) {
	if i := c.find(at); i >= 0 {
		c.marks = c.marks[:i+1]
	}
}

// find is the index of a boundary, -1 where the copy does not have it.
func (c *kept) find(at boundary) int {
	i := sort.Search(len(c.marks), func(i int) bool { return c.marks[i].pos >= at.pos })
	if i == len(c.marks) || c.marks[i].boundary != at {
		return -1
	}
	return i
}

func (c *kept) newest() boundary { return c.marks[len(c.marks)-1].boundary }

// Follow opens a session of the holder whose journal the copy is of.
func (s *Store) Follow(_ context.Context, r *wire.FollowRequest) (*wire.FollowResponse, error) {
	id, err := idOf(r.GetHolder(), r.GetJournal())
	if err != nil {
		return nil, err
	}
	end, err := boundaryOf(r.GetEnd(), "end")
	if err != nil {
		return nil, err
	}
	c, err := s.find(id, true)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := s.usable(c); err != nil {
		return nil, err
	}
	if uint64(end.pos) < c.durable {
		return nil, fmt.Errorf("follow %v at %d, durable was %d: %w", id, end.pos, c.durable, ErrRolledBack)
	}
	c.session, c.turn, c.touched, c.parts = s.cfg.Session(), 0, s.cfg.Now(), nil
	answer := &wire.FollowResponse{Session: c.session}
	switch {
	case !c.have:
	case c.find(end) >= 0:
		answer.At = end.wire()
	default:
		answer.At = c.newest().wire()
	}
	return answer, nil
}

// find returns a copy, or begins one.
func (s *Store) find(id ID, begin bool) (*kept, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.copies[id]
	switch {
	case c != nil:
		return c, nil
	case !begin:
		return nil, fmt.Errorf("%v: %w", id, ErrUnknown)
	case len(s.copies) >= s.cfg.Most:
		return nil, fmt.Errorf("%d copies are kept: %w", len(s.copies), ErrNoRoom)
	}
	if free, err := s.cfg.FS.Free(s.cfg.Dir); err == nil && free < s.cfg.Reserve {
		return nil, fmt.Errorf("%d bytes are free: %w", free, ErrNoRoom)
	}
	c = &kept{id: id, touched: s.cfg.Now()}
	s.copies[id] = c
	return c, nil
}

// usable sees to it that the copy is open. The caller holds c.mu.
func (s *Store) usable(c *kept) error {
	switch {
	case c.gone:
		return fmt.Errorf("%v: %w", c.id, ErrUnknown)
	case c.busy:
		return fmt.Errorf("%v is being handed in: %w", c.id, ErrNoRoom)
	case c.j != nil:
		return nil
	}
	err := s.open(c)
	if damaged(err) {
		s.cfg.Log.Error("a copy of another node's journal is damaged and is dropped", "copy", c.id, "err", err)
		if err = s.remove(c.id); err == nil {
			err = s.open(c)
		}
	}
	if err != nil {
		return err
	}
	return s.cfg.FS.SyncDir(s.cfg.Dir)
}

func damaged(err error) bool {
	return errors.Is(err, journal.ErrCorrupt) || errors.Is(err, errFormat) || errors.Is(err, journal.ErrCopied)
}

// Append adds frames, or a part of a checkpoint, to a copy. It returns when that
// is durable.
func (s *Store) Append(ctx context.Context, r *wire.AppendRequest) (*wire.AppendResponse, error) {
	id, err := idOf(r.GetHolder(), r.GetJournal())
	if err != nil {
		return nil, err
	}
	c, err := s.find(id, false)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := s.usable(c); err != nil {
		return nil, err
	}
	if c.session == 0 || r.GetSession() != c.session {
		return nil, fmt.Errorf("append to %v: %w", id, ErrSession)
	}
	if r.GetTurn() <= c.turn {
		return nil, fmt.Errorf("append to %v: turn %d after %d: %w", id, r.GetTurn(), c.turn, ErrSession)
	}
	c.turn, c.touched = r.GetTurn(), s.cfg.Now()
	if r.GetForget() {
		return &wire.AppendResponse{Taken: true}, s.drop(c)
	}
	answer, err := s.append(ctx, c, r)
	if err != nil {
		if c.j.Err() != nil { // its disk failed: what it has is read anew
			_ = c.j.Close() // it is poisoned, which was told
			c.j = nil
		}
		return nil, fmt.Errorf("append to %v: %w", id, err)
	}
	return answer, nil
}

func (s *Store) append(ctx context.Context, c *kept, r *wire.AppendRequest) (*wire.AppendResponse, error) {
	if len(r.GetFrames()) > 0 {
		taken, err := s.take(ctx, c, r)
		if err != nil {
			return nil, err
		}
		if !taken {
			return c.answer(false), nil
		}
	} else if before, err := boundaryOf(r.GetBefore(), "before"); err == nil && c.have && c.find(before) < 0 && r.GetCheckpoint() == nil {
		return c.answer(false), nil
	}
	if p := r.GetCheckpoint(); p != nil {
		if err := s.part(ctx, c, p); err != nil {
			return nil, err
		}
	}
	return c.answer(true), nil
}

func (c *kept) answer(taken bool) *wire.AppendResponse {
	a := &wire.AppendResponse{Taken: taken}
	if c.have {
		a.At = c.newest().wire()
	} else {
		a.Taken = taken && c.parts != nil
	}
	return a
}

// take appends the frames that the copy does not have.
func (s *Store) take(ctx context.Context, c *kept, r *wire.AppendRequest) (taken bool, err error) {
	if len(r.GetFrames()) > maxFrames {
		return false, fmt.Errorf("frames: %d, expected at most %d", len(r.GetFrames()), maxFrames)
	}
	at, err := boundaryOf(r.GetBefore(), "before")
	if err != nil {
		return false, err
	}
	i := c.find(at)
	if !c.have || i < 0 {
		return false, nil
	}
	frames := make([]journal.Frame, len(r.GetFrames()))
	before := at
	for n, w := range r.GetFrames() {
		end, err := boundaryOf(w.GetEnd(), fmt.Sprintf("frames[%d].end", n))
		if err != nil {
			return false, err
		}
		frames[n] = journal.Frame{Last: end.pos, Hash: end.hash, Body: w.GetBody()}
		if !frames[n].Follows(before.pos, before.hash) {
			return false, fmt.Errorf("frames[%d]: does not follow the boundary at %d", n, before.pos)
		}
		before = end
	}
	for len(frames) > 0 && i+1 < len(c.marks) && c.marks[i+1].boundary == (boundary{frames[0].Last, frames[0].Hash}) {
		i++
		frames = frames[1:]
	}
	if len(frames) == 0 {
		return true, nil
	}
	if free := c.j.Free(); free > 0 && free < s.cfg.Reserve {
		return false, fmt.Errorf("%d bytes are free: %w", free, ErrNoRoom)
	}
	var last journal.Position
	if i+1 < len(c.marks) { // the holder lost what follows, and went on from here
		at = c.marks[i].boundary
		if last, err = c.j.Append(cutRecord(at)); err != nil {
			return false, noRoom(err)
		}
		c.cut(at)
	}
	var buf []byte
	for n := range frames {
		buf = appendFrame(buf[:0], &frames[n], r.GetDurable())
		if last, err = c.j.Append(buf); err != nil {
			if n == 0 {
				return false, noRoom(err)
			}
			break // the rest comes again
		}
		c.add(boundary{frames[n].Last, frames[n].Hash}, last)
	}
	c.durable = max(c.durable, r.GetDurable())
	c.j.Cut() // a checkpoint may come for a boundary that ended a request
	if _, wait := c.j.Wait(ctx, last); wait != nil {
		return false, wait
	}
	return err == nil, nil
}

func noRoom(err error) error {
	if errors.Is(err, journal.ErrFull) || errors.Is(err, journal.ErrTooLarge) {
		return fmt.Errorf("%w: %w", ErrNoRoom, err)
	}
	return err
}

// part adds a piece of a checkpoint, and takes it when it is whole.
func (s *Store) part(ctx context.Context, c *kept, p *wire.CheckpointPart) error {
	at, err := boundaryOf(p.GetAt(), "checkpoint.at")
	if err != nil {
		return err
	}
	if p.GetSize() > maxState {
		return fmt.Errorf("checkpoint.size: %d, expected at most %d", p.GetSize(), maxState)
	}
	if p.GetOffset() == 0 {
		c.parts = &assembly{at: at, afresh: p.GetAfresh(), size: p.GetSize()}
	}
	a := c.parts
	if a == nil || a.at != at || a.size != p.GetSize() || a.afresh != p.GetAfresh() || uint64(len(a.state)) != p.GetOffset() ||
		uint64(len(p.GetPart())) > a.size-p.GetOffset() {
		c.parts = nil
		return fmt.Errorf("checkpoint.offset: %d does not continue what came before", p.GetOffset())
	}
	a.state = append(a.state, p.GetPart()...)
	if uint64(len(a.state)) < a.size {
		return nil
	}
	c.parts = nil
	return s.saveCheckpoint(ctx, c, a)
}

func (s *Store) saveCheckpoint(ctx context.Context, c *kept, a *assembly) error {
	state := checkpointState(c.id, a.at, c.durable, a.state)
	if a.afresh {
		pos, err := c.j.Append(markRecord())
		if err != nil {
			return noRoom(err)
		}
		hash, err := c.j.Wait(ctx, pos)
		if err != nil {
			return err
		}
		if err := c.j.SaveCheckpoint(state, pos, hash); err != nil {
			return noRoom(err)
		}
		c.begin(a.at, pos, c.durable)
		return nil
	}
	i := c.find(a.at)
	if i < 0 {
		return nil // cut off meanwhile, or too long ago: the next one will do
	}
	own := c.marks[i].own
	end, hash, ok := c.j.HashAt(own)
	if !ok || end != own {
		return nil // in the middle of a group, where nothing can be cut off
	}
	if err := c.j.SaveCheckpoint(state, own, hash); err != nil {
		if errors.Is(err, journal.ErrFull) || errors.Is(err, journal.ErrPosition) {
			return nil // the copy keeps growing for now
		}
		return err
	}
	c.base = c.marks[i]
	c.marks = slices.Delete(c.marks, 0, i)
	return nil
}

// Copies are how many are kept.
func (s *Store) Copies() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.copies)
}

// Silent are the copies whose holders have sent nothing for a time, by their
// names.
func (s *Store) Silent(d time.Duration) []ID {
	s.mu.Lock()
	all := make([]*kept, 0, len(s.copies))
	for _, c := range s.copies {
		all = append(all, c)
	}
	s.mu.Unlock()
	before := s.cfg.Now().Add(-d)
	var list []ID
	for _, c := range all {
		c.mu.Lock()
		if !c.gone && !c.busy && !c.touched.After(before) {
			list = append(list, c.id)
		}
		c.mu.Unlock()
	}
	slices.SortFunc(list, func(a, b ID) int { return slices.Compare([]byte(a.String()), []byte(b.String())) })
	return list
}

// Drop deletes a copy, unless its holder has come back within the time.
func (s *Store) Drop(id ID, silent time.Duration) error {
	c, err := s.find(id, false)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone || c.busy || c.touched.After(s.cfg.Now().Add(-silent)) {
		return nil
	}
	return s.drop(c)
}

// drop deletes a copy. The caller holds c.mu.
func (s *Store) drop(c *kept) error {
	c.gone = true
	var err error
	if c.j != nil {
		err = c.j.Close()
		c.j = nil
	}
	s.mu.Lock()
	delete(s.copies, c.id)
	s.mu.Unlock()
	return errors.Join(err, s.remove(c.id))
}

func (s *Store) remove(id ID) error {
	dir := s.path(id)
	names, err := s.cfg.FS.Names(dir)
	if err == nil {
		// The identity goes last: without it, what is left is no journal.
		slices.SortStableFunc(names, func(a, b string) int {
			switch {
			case a == "identity" && b != "identity":
				return 1
			case b == "identity" && a != "identity":
				return -1
			}
			return 0
		})
		for _, name := range names {
			if err := s.cfg.FS.Remove(filepath.Join(dir, name)); err != nil {
				return fmt.Errorf("drop the copy %v: %w", id, err)
			}
		}
		if err := s.cfg.FS.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("drop the copy %v: %w", id, err)
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("drop the copy %v: %w", id, err)
	}
	return s.cfg.FS.SyncDir(s.cfg.Dir)
}

// Source is a copy read back, as the journal itself would be.
type Source interface {
	Checkpoint() (state []byte, pos journal.Position, hash journal.Hash)
	Replay(record func(pos journal.Position, rec []byte) error, commit func(pos journal.Position, hash journal.Hash) error) error
}

// Read gives a copy to read. Its holder cannot append to it meanwhile. A copy
// that holds nothing is ErrUnknown.
func (s *Store) Read(id ID, read func(Source) error) error {
	c, err := s.find(id, false)
	if err != nil {
		return err
	}
	if err := s.lend(c); err != nil {
		return err
	}
	err = s.read(id, read)
	c.mu.Lock()
	c.busy = false
	c.mu.Unlock()
	return err
}

func (s *Store) lend(c *kept) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := s.usable(c); err != nil {
		return err
	}
	if !c.have {
		return fmt.Errorf("%v: %w", c.id, ErrUnknown)
	}
	c.busy = true
	err := c.j.Close()
	c.j = nil
	return err
}

func (s *Store) read(id ID, read func(Source) error) error {
	cuts, err := s.cuts(id)
	if err != nil {
		return err
	}
	j, err := journal.Open(s.path(id), s.cfg.Journal)
	if err != nil {
		return fmt.Errorf("read the copy %v: %w", id, err)
	}
	state, _, _ := j.Checkpoint()
	at, _, state, err := readCheckpoint(state, id)
	if err == nil {
		err = read(&source{j: j, at: at, state: state, cuts: cuts})
	}
	if err = errors.Join(err, j.Close()); err != nil {
		return fmt.Errorf("read the copy %v: %w", id, err)
	}
	return nil
}

// cuts finds the frames that were cut off again, as ranges of the copy's own
// records.
func (s *Store) cuts(id ID) (list []span, err error) {
	j, err := journal.Open(s.path(id), s.cfg.Journal)
	if err != nil {
		return nil, fmt.Errorf("read the copy %v: %w", id, err)
	}
	var marks []mark
	err = j.Replay(func(pos journal.Position, rec []byte) error {
		e, err := readEntry(rec)
		if err != nil {
			return err
		}
		switch e.kind {
		case kindFrame:
			marks = append(marks, mark{e.at, pos})
		case kindCut:
			n := len(marks)
			for n > 0 && marks[n-1].pos > e.at.pos {
				n--
			}
			if n < len(marks) {
				list = append(list, span{marks[n].own, pos})
				marks = marks[:n]
			}
		}
		return nil
	}, func(journal.Position, journal.Hash) error { return nil })
	if err = errors.Join(err, j.Close()); err != nil {
		return nil, fmt.Errorf("read the copy %v: %w", id, err)
	}
	return list, nil
}

// span is a range of records, the last one included.
type span struct{ first, last journal.Position }

// source replays a copy without what was cut off.
type source struct {
	j     *journal.Journal
	at    boundary
	state []byte
	cuts  []span
}

func (s *source) Checkpoint() (state []byte, pos journal.Position, hash journal.Hash) {
	return s.state, s.at.pos, s.at.hash
}

func (s *source) Replay(record func(pos journal.Position, rec []byte) error, commit func(pos journal.Position, hash journal.Hash) error) error {
	at := s.at
	return s.j.Replay(func(own journal.Position, rec []byte) error {
		e, err := readEntry(rec)
		if err != nil || e.kind != kindFrame || slices.ContainsFunc(s.cuts, func(c span) bool { return c.first <= own && own <= c.last }) {
			return err
		}
		f := journal.Frame{Last: e.at.pos, Hash: e.at.hash, Body: e.body}
		if !f.Follows(at.pos, at.hash) {
			return &journal.CorruptError{File: "copy", Offset: int64(own), Reason: fmt.Sprintf("a frame does not follow the boundary at %d", at.pos)}
		}
		if err := f.Records(at.pos, record); err != nil {
			return err
		}
		at = e.at
		return commit(at.pos, at.hash)
	}, func(journal.Position, journal.Hash) error { return nil })
}

// Close lets go of all copies; they stay where they are.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, c := range s.copies {
		c.mu.Lock()
		if c.j != nil {
			errs = append(errs, c.j.Close())
			c.j = nil
		}
		c.gone = true
		c.mu.Unlock()
	}
	clear(s.copies)
	return errors.Join(errs...)
}
