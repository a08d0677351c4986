package replica

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"nearside/edge/journal"
	"nearside/sync/wire"
)

// ErrMoved says that the journal of a record is not the holder's any more.
var ErrMoved = errors.New("the holder has begun another journal")

const (
	framesMost = 1 << 20 // bytes of one Append, about
	partMost   = 1 << 20 // of a checkpoint
	// again is how long a peer that failed is passed over.
	again = 5 * time.Second
)

// Peer is another node of the region.
type Peer struct {
	Name   string
	Addr   string
	Holder uint32
}

// Caller asks peers.
type Caller interface {
	Follow(ctx context.Context, p Peer, r *wire.FollowRequest) (*wire.FollowResponse, error)
	Append(ctx context.Context, p Peer, r *wire.AppendRequest) (*wire.AppendResponse, error)
}

// LineConfig is what a Line is made with. Zero values are the defaults.
type LineConfig struct {
	Peers    func() []Peer // the region's live nodes, without this one
	Call     Caller
	Patience time.Duration // how long a record waits for a peer; 1 s
	Beat     time.Duration // how long nothing is said; 250 ms
	Limit    time.Duration // of one call; 2 s
	Now      func() time.Time
	Log      *slog.Logger
}

func (c *LineConfig) defaults() {
	if c.Patience == 0 {
		c.Patience = time.Second
	}
	if c.Beat == 0 {
		c.Beat = 250 * time.Millisecond
	}
	if c.Limit == 0 {
		c.Limit = 2 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// Stats count since the Line was made.
type Stats struct {
	Appends     atomic.Uint64 // answered
	Frames      atomic.Uint64
	Bytes       atomic.Uint64
	Nanos       atomic.Uint64 // from asking to the answer
	Checkpoints atomic.Uint64 // brought to a peer
	Afresh      atomic.Uint64 // of these, those with which a copy began
	Failures    atomic.Uint64 // peers given up
	Alones      atomic.Uint64 // times that the holder became alone
}

// Line brings one journal to one peer. Use, Wait and what reads may be called
// from any goroutine; Step, or Run, from one.
type Line struct {
	cfg   LineConfig
	stats Stats
	wake  chan struct{} // capacity 1: there is something to bring

	mu      sync.Mutex
	id      ID
	j       *journal.Journal // nil: none
	covered journal.Position // the peer has everything up to it
	alone   bool
	heard   time.Time     // from the peer, or when there was last nothing to hear
	changed chan struct{} // closed when any of the above changes
	name    string        // of the peer that is followed; "": none

	// Of Step alone.
	of        *journal.Journal // what the rest is about
	peer      Peer
	session   uint64 // 0: no peer follows
	turn      uint64 // of the last Append in it
	at        boundary
	saved     boundary // of the newest checkpoint that the peer has
	sending   *sending
	afresh    bool                 // the peer needs a checkpoint first
	caughtUp  bool                 // the peer has had everything once
	said      time.Time            // when the peer was last asked
	failed    map[string]time.Time // by address
	notBefore time.Time            // no peer is tried before
	former    []former
}

// sending is a checkpoint on its way.
type sending struct {
	at    boundary
	state []byte
	done  int
}

// former is a peer that has a copy which is of no use once another has one.
type former struct {
	peer    Peer
	id      ID
	session uint64
	turn    uint64
}

// NewLine makes a line that is not in use.
func NewLine(cfg LineConfig) *Line {
	cfg.defaults()
	return &Line{cfg: cfg, wake: make(chan struct{}, 1), changed: make(chan struct{}), failed: map[string]time.Time{}}
}

// Stats are the line's counters, live.
func (l *Line) Stats() *Stats { return &l.stats }

// Use says which journal is to be brought; nil for none.
func (l *Line) Use(holder uint32, j *journal.Journal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.j, l.covered, l.alone, l.heard = j, 0, false, l.cfg.Now()
	if j != nil {
		l.id = ID{holder, j.ID()}
	}
	l.tell()
	l.Nudge()
}

// tell wakes who waits. mu is held.
func (l *Line) tell() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// Nudge says that there is something to bring.
func (l *Line) Nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Alone reports whether what is journalled is on one disk only.
func (l *Line) Alone() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.alone
}

// Following is the name of the peer that has the copy, "" while there is none.
func (l *Line) Following() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.name
}

// Covered reports whether a record need not be waited for: a peer has it, or the
// holder is alone. ErrMoved: j is not in use.
func (l *Line) Covered(j *journal.Journal, pos journal.Position) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.isCovered(j, pos)
}

func (l *Line) isCovered(j *journal.Journal, pos journal.Position) (bool, error) {
	if l.j != j {
		return false, ErrMoved
	}
	return l.alone || pos <= l.covered, nil
}

// Despair makes the holder alone, where a record is still not covered: it has
// waited for Patience.
func (l *Line) Despair(j *journal.Journal, pos journal.Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ok, err := l.isCovered(j, pos); err == nil && !ok {
		l.beAlone()
	}
}

func (l *Line) beAlone() {
	l.alone = true
	l.stats.Alones.Add(1)
	l.cfg.Log.Warn("no peer keeps this holder's journal: it goes on alone", "holder", l.id.Holder)
	l.tell()
}

// Wait returns when the record at pos is covered. ctx ends only the waiting.
func (l *Line) Wait(ctx context.Context, j *journal.Journal, pos journal.Position) error {
	var timer *time.Timer
	for {
		l.mu.Lock()
		ok, err := l.isCovered(j, pos)
		changed := l.changed
		l.mu.Unlock()
		if ok || err != nil {
			return err
		}
		if timer == nil {
			timer = time.NewTimer(l.cfg.Patience)
			defer timer.Stop()
		}
		select {
		case <-changed:
		case <-timer.C:
			l.Despair(j, pos)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Run brings what there is until ctx ends.
func (l *Line) Run(ctx context.Context) {
	timer := time.NewTimer(l.cfg.Beat)
	defer timer.Stop()
	for ctx.Err() == nil {
		if l.Step(ctx) {
			continue
		}
		timer.Reset(l.cfg.Beat)
		select {
		case <-ctx.Done():
		case <-l.wake:
		case <-timer.C:
		}
	}
}

// Step does the next thing, which may be a call. It reports whether there may be
// more to do at once.
func (l *Line) Step(ctx context.Context) (more bool) {
	l.mu.Lock()
	j, id := l.j, l.id
	l.mu.Unlock()
	if l.of != j {
		l.lose(id, false)
		l.of, l.former, l.notBefore = j, nil, time.Time{}
	}
	if j == nil {
		return false
	}
	if l.session == 0 {
		return l.follow(ctx, j, id)
	}
	if !l.here() {
		l.cfg.Log.Warn("the peer that keeps the journal has left the region", "peer", l.peer.Name)
		l.lose(id, true)
		return true
	}
	return l.bring(ctx, j, id)
}

// here reports whether the peer is a live node of the region still.
func (l *Line) here() bool {
	for _, p := range l.cfg.Peers() {
		if p == l.peer {
			return true
		}
	}
	return false
}

// lose gives the peer up.
func (l *Line) lose(id ID, keep bool) {
	if keep && l.session != 0 && l.caughtUp {
		l.former = append(l.former, former{l.peer, id, l.session, l.turn})
	}
	l.session, l.sending, l.afresh, l.caughtUp, l.at, l.saved = 0, nil, false, false, boundary{}, boundary{}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.covered, l.name = 0, ""
}

// choose picks the peer: the first by rendezvous of those that did not fail a
// moment ago.
func (l *Line) choose(id ID) (best Peer, ok bool) {
	now := l.cfg.Now()
	var most [sha256.Size]byte
	for _, p := range l.cfg.Peers() {
		if at, failed := l.failed[p.Addr]; failed && now.Sub(at) < again && now.Sub(at) >= 0 {
			continue
		}
		weight := sha256.Sum256(append(append([]byte(nil), id.Journal[:]...), p.Name...))
		if !ok || string(weight[:]) > string(most[:]) {
			best, most, ok = p, weight, true
		}
	}
	return best, ok
}

// follow has a peer follow.
func (l *Line) follow(ctx context.Context, j *journal.Journal, id ID) (more bool) {
	l.despairOf(j)
	now := l.cfg.Now()
	if now.Before(l.notBefore) && now.Add(l.cfg.Beat).After(l.notBefore) {
		return false
	}
	l.notBefore = now.Add(l.cfg.Beat)
	peer, ok := l.choose(id)
	if !ok {
		return false
	}
	pos, hash := j.End()
	call, cancel := context.WithTimeout(ctx, l.cfg.Limit)
	defer cancel()
	answer, err := l.cfg.Call.Follow(call, peer, &wire.FollowRequest{Holder: id.Holder, Journal: id.Journal[:], End: boundary{pos, hash}.wire()})
	if err != nil || answer.GetSession() == 0 {
		l.fail(ctx, peer, err)
		return true
	}
	delete(l.failed, peer.Addr)
	l.peer, l.session, l.turn, l.said, l.notBefore = peer, answer.GetSession(), 0, l.cfg.Now(), time.Time{}
	l.at, err = boundaryOf(answer.GetAt(), "at")
	if err == nil {
		_, err = j.Frames(l.at.pos, l.at.hash, 1)
	}
	l.afresh = err != nil // it has nothing, or nothing in common with this journal
	return true
}

// fail notes that a peer did not do.
func (l *Line) fail(ctx context.Context, peer Peer, err error) {
	if ctx.Err() != nil {
		return
	}
	l.stats.Failures.Add(1)
	if len(l.failed) > 1024 {
		clear(l.failed)
	}
	l.failed[peer.Addr] = l.cfg.Now()
	l.notBefore = time.Time{} // the next one at once
	l.cfg.Log.Warn("a peer does not keep the journal", "peer", peer.Name, "err", err)
}

// despairOf makes the holder alone where no peer has been heard of for Patience,
// also while nothing waits.
func (l *Line) despairOf(j *journal.Journal) {
	now := l.cfg.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.j == j && !l.alone && now.Sub(l.heard) >= l.cfg.Patience {
		l.beAlone()
	}
}

// bring sends what the peer does not have.
func (l *Line) bring(ctx context.Context, j *journal.Journal, id ID) (more bool) {
	r := &wire.AppendRequest{Holder: id.Holder, Journal: id.Journal[:], Session: l.session, Before: l.at.wire()}
	end, _ := j.End()
	r.Durable = uint64(end)
	var frames []journal.Frame
	var err error
	if !l.afresh {
		if frames, err = j.Frames(l.at.pos, l.at.hash, framesMost); errors.Is(err, journal.ErrPosition) {
			l.afresh, l.sending = true, nil // a checkpoint has passed it
		} else if err != nil {
			return false // the journal has failed, or is closed: the process ends
		}
	}
	if err := l.checkpoint(j); err != nil {
		l.cfg.Log.Error("the checkpoint cannot be read for the peer", "err", err)
		return false
	}
	for i := range frames {
		r.Frames = append(r.Frames, &wire.Frame{End: boundary{frames[i].Last, frames[i].Hash}.wire(), Body: frames[i].Body})
	}
	if s := l.sending; s != nil {
		n := min(len(s.state)-s.done, partMost)
		r.Checkpoint = &wire.CheckpointPart{At: s.at.wire(), Offset: uint64(s.done), Size: uint64(len(s.state)), Part: s.state[s.done : s.done+n], Afresh: l.afresh}
	}
	now := l.cfg.Now()
	if len(frames) == 0 && r.Checkpoint == nil && now.Sub(l.said) < l.cfg.Beat && now.Sub(l.said) >= 0 && l.caughtUp {
		return l.forget(ctx)
	}
	l.said = now
	l.turn++
	r.Turn = l.turn
	call, cancel := context.WithTimeout(ctx, l.cfg.Limit)
	defer cancel()
	answer, err := l.cfg.Call.Append(call, l.peer, r)
	if errors.Is(err, ErrSession) && ctx.Err() == nil { // it was started again
		l.lose(id, false)
		l.notBefore = time.Time{}
		return true
	}
	if err != nil {
		l.fail(ctx, l.peer, err)
		l.lose(id, true)
		return true
	}
	l.stats.Appends.Add(1)
	l.stats.Nanos.Add(uint64(max(0, l.cfg.Now().Sub(now))))
	if !answer.GetTaken() {
		l.session = 0 // it says anew what it has
		return true
	}
	if s := l.sending; s != nil {
		if s.done += len(r.GetCheckpoint().GetPart()); s.done == len(s.state) {
			l.stats.Checkpoints.Add(1)
			if l.afresh {
				l.stats.Afresh.Add(1)
				l.at, l.afresh = s.at, false
			}
			l.saved, l.sending = s.at, nil
		}
		if l.afresh {
			return true
		}
	}
	for i := range frames {
		l.stats.Frames.Add(1)
		l.stats.Bytes.Add(uint64(len(frames[i].Body)))
		l.at = boundary{frames[i].Last, frames[i].Hash}
	}
	l.cover(j, end)
	return true
}

// checkpoint begins to send a newer checkpoint, or the one with which a copy
// begins.
func (l *Line) checkpoint(j *journal.Journal) error {
	if l.sending != nil {
		return nil
	}
	pos, hash := j.Saved()
	if !l.afresh && (pos == 0 || pos > l.at.pos || boundary{pos, hash} == l.saved) {
		return nil
	}
	state, pos, hash, err := j.ReadCheckpoint()
	if err != nil {
		return err
	}
	if !l.afresh && pos > l.at.pos {
		return nil
	}
	l.sending = &sending{at: boundary{pos, hash}, state: state}
	return nil
}

// cover notes how far the peer is. end is what was durable here when it was
// asked: a peer that has that has the tail.
func (l *Line) cover(j *journal.Journal, end journal.Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.j != j {
		return
	}
	l.covered, l.heard, l.name = l.at.pos, l.cfg.Now(), l.peer.Name
	if l.at.pos >= end {
		l.caughtUp = true
		if l.alone {
			l.alone = false
			l.cfg.Log.Info("a peer keeps this holder's journal again", "holder", l.id.Holder, "peer", l.peer.Name)
		}
	}
	l.tell()
}

// forget tells one former peer that its copy is not needed any more.
func (l *Line) forget(ctx context.Context) (more bool) {
	if len(l.former) == 0 {
		return false
	}
	f := l.former[0]
	l.former = l.former[1:]
	if f.peer == l.peer {
		return true
	}
	call, cancel := context.WithTimeout(ctx, l.cfg.Limit)
	defer cancel()
	_, err := l.cfg.Call.Append(call, f.peer, &wire.AppendRequest{Holder: f.id.Holder, Journal: f.id.Journal[:], Session: f.session, Turn: f.turn + 1, Forget: true})
	if err != nil {
		// It is gone, or finds out by itself once the core is ahead of its copy.
		l.cfg.Log.Info("a former peer was not told to drop its copy", "peer", f.peer.Name, "err", err)
	}
	return true
}
