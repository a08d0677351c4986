package keeper

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"nearside/edge/decision"
	"nearside/edge/holder"
	"nearside/edge/journal"
	"nearside/edge/peer"
	"nearside/edge/statedir"
	"nearside/sync/exchange"
	"nearside/sync/lease"
	"nearside/sync/token"
	"nearside/sync/wire"
)

var (
	// ErrUnregistered: the directory has no holder yet, or not any more.
	ErrUnregistered = errors.New("no holder: the core has not registered this edge yet")
	// ErrClosed: the last batch is sealed; nothing more is taken.
	ErrClosed = errors.New("the holder is closing")
	// ErrNoKeys: no token key is known yet.
	ErrNoKeys = errors.New("no token keys yet")
	// ErrFull: the disk has no room for the record.
	ErrFull = journal.ErrFull
)

// Config is what a Keeper is opened with. Zero values are the defaults.
type Config struct {
	Dir        string           // the state directory
	FS         journal.FS       // journal.OS()
	Journal    journal.Options  // of each journal; FS is taken from above
	Interval   time.Duration    // between exchanges; 1 s
	MaxOffline time.Duration    // how long leases should last without the core; 4 h
	FenceAfter time.Duration    // the core's fence-after; 24 h
	Now        func() time.Time // the clock
	Rand       io.Reader        // of boots and disk ids; crypto/rand
	Log        *slog.Logger
	// Home asks the peer that is an event's home to judge it. An error leaves
	// the event to go through the core. nil: this region has one node.
	Home func(context.Context, *wire.Event) (outcome uint32, err error)
	// Replica keeps what is journalled on a second disk; nil: there is none.
	Replica Replica
}

// Replica is the keeper's line to the peer that keeps a copy of its journal:
// edge/replica's Line.
type Replica interface {
	// Use says which journal is the holder's now; nil: none.
	Use(holder uint32, j *journal.Journal)
	// Wait returns when the record at pos is durable at the peer, or the holder
	// is alone.
	Wait(ctx context.Context, j *journal.Journal, pos journal.Position) error
	// Covered reports whether Wait would return at once.
	Covered(j *journal.Journal, pos journal.Position) (bool, error)
	// Alone reports whether the journal is on one disk only.
	Alone() bool
}

func (c *Config) defaults() {
	if c.FS == nil {
		c.FS = journal.OS()
	}
	c.Journal.FS = c.FS
	if c.Journal.SegmentSize == 0 {
		c.Journal.SegmentSize = 16 << 20
	}
	if c.Interval == 0 {
		c.Interval = time.Second
	}
	if c.MaxOffline == 0 {
		c.MaxOffline = 4 * time.Hour
	}
	if c.FenceAfter == 0 {
		c.FenceAfter = 24 * time.Hour
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// Keeper is the one owner of a state directory. Its methods may be called from
// any goroutine, except that those of the exchange (Prepare, Heard, Fence,
// Enroll, Former, Drain's end) belong to one.
type Keeper struct {
	cfg Config
	dir *statedir.Dir

	mu       sync.Mutex // around each step and its append
	book     *book      // nil: not registered
	identity statedir.Identity
	delay    delay
	timed    timed
	offline  bool  // too long without the core: no paid offers
	tight    bool  // the disk is nearly full: no paid offers
	planned  int32 // the last day for which accounts of daily caps are prepared
	turn     int   // the next of list that Tick looks at
	minute   int64 // the last one in which floors were looked at
	closing  bool  // Drain has ended: the next batch is the last
	members  members
	holders  int    // that the core last said are open; 0: not known
	asked    uint64 // requests so far
	answered uint64 // the last of them that the core has answered: what was said since may be lost
	failure  error
	failed   chan struct{}

	heard   int64       // what At of Heard was last saved; only the exchange uses it
	unsaved []token.Key // that the disk had no room for; only the exchange uses it

	draining atomic.Bool
	live     atomic.Pointer[live]
	ring     atomic.Pointer[token.Ring]
	heardAt  atomic.Int64 // unix milliseconds
	skew     atomic.Int64 // this clock less the core's, milliseconds
	flights  atomic.Pointer[flightTable]
	sites    atomic.Pointer[map[uint32]*site]
	news     atomic.Pointer[news]
	verdicts [holder.Verdicts]atomic.Uint64
	strayed  [3]atomic.Uint64 // events of other homes that no peer judged, by why

	accounts sync.RWMutex // around the rest, not what it holds; taken after mu
	byBudget map[lease.Budget]*account
	list     []*account // the same
	bySwitch map[uint32]*decision.Switch
	shown    slab[decision.Account]
	switches slab[decision.Switch]
}

// live is what Offer needs.
type live struct {
	sealer *token.Sealer
	next   *atomic.Uint64 // the first sequence number that was not offered
	end    *atomic.Uint64 // the first one that no window could hold
}

// book is one holder with its journal.
type book struct {
	holder  uint32
	st      *holder.State
	j       *journal.Journal
	edge    *exchange.Edge
	next    atomic.Uint64
	end     atomic.Uint64
	booted  journal.Position // of the present boot's record; 0: none began
	known   bool             // the peer has that record too, or need not
	marks   []mark           // by time, for floors
	buf     []byte
	pending []byte                    // a record of a step that was taken, for which there was no room
	urgency urgency                   // of what is put: how much of a full journal it may use
	unkept  map[uint32]holder.Control // in force, without room until now, by flight
	open    []*wire.Batch             // sealed, not yet known to be durable
	rebuilt *rebuilder                // of batches that are hollow; nil: there were none
	save    *checkpoint
	saved   time.Time
	bytes   uint64 // journalled when the last checkpoint was taken
	refused uint64 // by a full journal until then

	delivered uint64 // the version of what all holders have delivered, as last heard
	stamp     *wire.Stamp
}

// urgency is what a record may use of the room that a full journal keeps.
type urgency uint8

const (
	plain urgency = iota
	late          // it should survive, but will be told again
	last          // it empties the journal, or ends it
)

type mark struct {
	at   int64
	next uint64
}

// checkpoint is the state as of a seal, to be saved when the core has
// acknowledged that seal.
type checkpoint struct {
	batch uint64
	pos   journal.Position
	state []byte
}

// Open takes the state directory and, where it has a holder, begins a boot.
func Open(ctx context.Context, cfg Config) (*Keeper, error) {
	cfg.defaults()
	dir, err := statedir.Open(cfg.FS, cfg.Dir)
	if err != nil {
		return nil, err
	}
	k := &Keeper{
		cfg: cfg, dir: dir, delay: firstDelay, failed: make(chan struct{}),
		byBudget: map[lease.Budget]*account{}, bySwitch: map[uint32]*decision.Switch{},
	}
	k.flights.Store(tableOf(nil))
	k.sites.Store(&map[uint32]*site{})
	if err := k.open(ctx); err != nil {
		if k.book != nil {
			err = errors.Join(err, k.book.j.Close())
		}
		return nil, errors.Join(err, dir.Close())
	}
	return k, nil
}

func (k *Keeper) open(ctx context.Context) error {
	id, ok, err := k.dir.Identity()
	if err != nil {
		return err
	}
	if !ok {
		if id.Disk, err = k.newDisk(); err != nil {
			return err
		}
		id.Generation = 1
		if err := k.dir.SaveIdentity(id); err != nil {
			return err
		}
	}
	k.identity = id
	keys, err := k.dir.Keys()
	if err != nil {
		return err
	}
	if err := k.useKeys(keys); err != nil {
		return err
	}
	heard, err := k.dir.Heard()
	if err != nil {
		return err
	}
	k.heardAt.Store(heard.At)
	for _, b := range slices.Sorted(maps.Keys(heard.Delivered)) { // in an order that repeats
		k.account(lease.Budget(b)).known = heard.Delivered[b]
	}
	if id.Holder == 0 {
		return nil
	}
	now := k.cfg.Now()
	b, err := k.openBook(id.Holder, id.Generation, now)
	switch {
	case errors.Is(err, journal.ErrCorrupt) || errors.Is(err, holder.ErrHistory):
		k.cfg.Log.Error("the journal cannot be trusted: asking for a new holder", "journal", k.dir.Journal(id.Generation), "err", err)
		return k.abandon()
	case err != nil:
		return err
	}
	if x := heard.Stamp; x != nil && x.Holder == id.Holder {
		b.stamp = &wire.Stamp{At: x.At, Mac: x.MAC}
	}
	k.book = b
	k.offline = k.silent(now.UnixMilli())
	k.replicate(b)
	k.tellSwitches()
	if b.st.Fenced() || b.st.Closed() {
		return nil
	}
	return k.boot(ctx, b, now)
}

func (k *Keeper) newDisk() (string, error) {
	var id [16]byte
	if _, err := io.ReadFull(k.cfg.Rand, id[:]); err != nil {
		return "", fmt.Errorf("make a disk id: %w", err)
	}
	return hex.EncodeToString(id[:]), nil
}

// abandon leaves a journal where it is, for an operator to look at, and makes
// the directory a new disk: the core fences its old holder when it registers.
func (k *Keeper) abandon() error {
	disk, err := k.newDisk()
	if err != nil {
		return err
	}
	id := k.identity
	id.Disk, id.Holder, id.Secret = disk, 0, ""
	id.Generation++
	if err := k.dir.SaveIdentity(id); err != nil {
		return err
	}
	k.identity = id
	return nil
}

// openBook replays the journal of a generation.
func (k *Keeper) openBook(id uint32, generation uint64, now time.Time) (*book, error) {
	j, err := journal.Open(k.dir.Journal(generation), k.cfg.Journal)
	if err != nil {
		return nil, fmt.Errorf("open the journal of holder %d: %w", id, err)
	}
	st, err := replay(j, id, nil, nil)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("replay the journal of holder %d: %w", id, err), j.Close())
	}
	boot, ordinal := st.Current()
	b := &book{holder: id, st: st, j: j, saved: now, bytes: j.Stats().Bytes.Load()}
	b.edge = exchange.NewEdge(id, boot, ordinal, st.Acked(), st.Sealed())
	return b, nil
}

// source is a journal to be replayed: one's own, or the copy of a peer's.
type source interface {
	Checkpoint() (state []byte, pos journal.Position, hash journal.Hash)
	Replay(record func(pos journal.Position, rec []byte) error, commit func(pos journal.Position, hash journal.Hash) error) error
}

// replay rebuilds a holder's state. begin, if not nil, sees it as the
// checkpoint had it, and each sees every record after the state has taken it.
func replay(j source, id uint32, begin func(*holder.State) error, each func(st *holder.State, rec []byte) error) (*holder.State, error) {
	st := holder.New(id)
	if state, pos, hash := j.Checkpoint(); pos > 0 {
		var err error
		if st, err = holder.Decode(state); err != nil {
			return nil, fmt.Errorf("%w: %w", holder.ErrHistory, err)
		}
		if st.Holder() != id || st.Position() != uint64(pos) {
			return nil, fmt.Errorf("%w: a checkpoint of holder %d at %d, expected %d at %d", holder.ErrHistory, st.Holder(), st.Position(), id, pos)
		}
		st.Covered(uint64(pos), hash[:])
	}
	if begin != nil {
		if err := begin(st); err != nil {
			return nil, err
		}
	}
	err := j.Replay(func(pos journal.Position, rec []byte) error {
		if err := st.Replay(uint64(pos), rec); err != nil {
			return err
		}
		if each != nil {
			return each(st, rec)
		}
		return nil
	}, func(pos journal.Position, hash journal.Hash) error {
		st.Covered(uint64(pos), hash[:])
		return nil
	})
	return st, err
}

// boot begins a boot of b, which is durable when it returns, and lets offers
// begin.
func (k *Keeper) boot(ctx context.Context, b *book, now time.Time) error {
	var random [8]byte
	for binary.BigEndian.Uint64(random[:]) == 0 {
		if _, err := io.ReadFull(k.cfg.Rand, random[:]); err != nil {
			return fmt.Errorf("begin a boot: %w", err)
		}
	}
	boot := binary.BigEndian.Uint64(random[:])
	_, ordinal := b.st.Current()
	pos, err := b.put(b.st.Boot(nil, boot, ordinal+1, now.UnixMilli()))
	if err == nil {
		_, err = b.j.Wait(ctx, pos)
	}
	if err != nil {
		return fmt.Errorf("begin a boot: %w", err)
	}
	b.edge = exchange.NewEdge(b.holder, boot, ordinal+1, b.st.Acked(), b.st.Sealed())
	_, end := b.st.Span()
	b.end.Store(end)
	b.booted = pos
	return k.goLive(b)
}

// goLive gives Offer the book's boot, sealed with the keys in force. Where the
// peer does not have the boot's record yet, Tick tries again: of a boot that only
// a lost disk knew, no event would count.
func (k *Keeper) goLive(b *book) error {
	if !b.known && k.cfg.Replica != nil {
		if ok, err := k.cfg.Replica.Covered(b.j, b.booted); !ok || err != nil {
			return nil //nolint:nilerr // it is about another journal: this one's turn is over
		}
	}
	b.known = true
	ring := k.ring.Load()
	if ring == nil || k.draining.Load() || b.st.Fenced() || b.st.Closed() {
		k.live.Store(nil)
		return nil
	}
	boot, _ := b.st.Current()
	sealer, err := ring.Sealer(b.holder, boot)
	if err != nil {
		return fmt.Errorf("seal tokens: %w", err)
	}
	k.live.Store(&live{sealer, &b.next, &b.end})
	return nil
}

// put appends a record of a step that the state has taken.
func (b *book) put(rec []byte) (journal.Position, error) {
	var pos journal.Position
	var err error
	switch b.urgency {
	case last:
		pos, err = b.j.AppendLast(rec)
	case late:
		pos, err = b.j.AppendLate(rec)
	default:
		pos, err = b.j.Append(rec)
	}
	if errors.Is(err, journal.ErrFull) {
		b.pending = bytes.Clone(rec)
		return 0, err
	}
	if err == nil && uint64(pos) != b.st.Position() {
		return 0, fmt.Errorf("journal is at position %d, its state at %d", pos, b.st.Position())
	}
	return pos, err
}

// clear makes sure that the record of the step before this one is in the
// journal. It must be called before each step.
func (b *book) clear() error {
	if b.pending == nil {
		return nil
	}
	rec := b.pending
	b.pending = nil
	_, err := b.put(rec)
	return err
}

// keep appends a step's record, if it made one. mu is held.
func (k *Keeper) keep(b *book, rec []byte) error {
	b.buf = rec[:0]
	if len(rec) == 0 {
		return nil
	}
	_, err := b.put(rec)
	return k.check(err)
}

// check ends the keeper on errors that a journal does not recover from. mu is
// held.
func (k *Keeper) check(err error) error {
	if err == nil || errors.Is(err, journal.ErrFull) {
		return err
	}
	if k.failure == nil {
		k.failure = err
		k.live.Store(nil)
		close(k.failed)
	}
	return err
}

// wait returns when the record at pos is durable: here, and at the peer that
// keeps a copy, or here alone where the holder says so.
func (k *Keeper) wait(ctx context.Context, b *book, pos journal.Position) (journal.Hash, error) {
	hash, err := b.j.Wait(ctx, pos)
	if err != nil && ctx.Err() == nil {
		k.mu.Lock()
		err = k.check(err)
		k.mu.Unlock()
	}
	if err == nil && k.cfg.Replica != nil {
		err = k.cfg.Replica.Wait(ctx, b.j, pos)
	}
	return hash, err
}

// replicate says whose journal is to be copied; nil: nobody's.
func (k *Keeper) replicate(b *book) {
	switch {
	case k.cfg.Replica == nil:
	case b == nil:
		k.cfg.Replica.Use(0, nil)
	default:
		k.cfg.Replica.Use(b.holder, b.j)
	}
}

// Failed is closed when nothing can be kept any more: the process should exit.
func (k *Keeper) Failed() <-chan struct{} { return k.failed }

// Err says why, nil while all is well.
func (k *Keeper) Err() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failure
}

// Close writes what is left and lets go of the directory. What is not settled
// with the core stays for the next start.
func (k *Keeper) Close() error {
	k.live.Store(nil)
	var err error
	if k.Err() == nil && k.heardAt.Load() > 0 {
		err = k.saveHeard()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.book != nil {
		k.replicate(nil)
		err = errors.Join(err, k.book.j.Close())
		k.book = nil
	}
	return errors.Join(err, k.dir.Close())
}

// UseKeys takes the token keys that the core gave out, and keeps them.
func (k *Keeper) UseKeys(keys []*wire.TokenKey) error {
	list := make([]token.Key, len(keys))
	for i, w := range keys {
		if w.GetId() > 1<<16-1 || len(w.GetSecret()) != len(list[i].Secret) {
			return fmt.Errorf("token keys: key %d: expected an id of 16 bits and %d bytes", w.GetId(), len(list[i].Secret))
		}
		list[i] = token.Key{ID: uint16(w.GetId()), SealFrom: w.GetSealFrom(), SealUntil: w.GetSealUntil(), VerifyUntil: w.GetVerifyUntil()}
		copy(list[i].Secret[:], w.GetSecret())
	}
	if len(list) == 0 {
		return nil
	}
	if _, err := token.NewRing(list); err != nil { // a start would refuse them too, once they are kept
		return fmt.Errorf("token keys: %w", err)
	}
	if err := k.saveKeys(list); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.useKeys(list); err != nil {
		return err
	}
	if k.book == nil || k.book.edge == nil {
		return nil
	}
	return k.goLive(k.book)
}

// saveKeys keeps the token keys for a start without the core. Where the disk has
// no room they are used all the same, and kept later: until then such a start
// refuses their tokens.
func (k *Keeper) saveKeys(keys []token.Key) error {
	err := k.dir.SaveKeys(keys)
	if errors.Is(err, journal.ErrFull) {
		k.cfg.Log.Warn("the token keys could not be kept", "err", err)
		k.unsaved = keys
		return nil
	}
	if err == nil {
		k.unsaved = nil
	}
	return err
}

func (k *Keeper) useKeys(keys []token.Key) error {
	if len(keys) == 0 {
		return nil
	}
	ring, err := token.NewRing(keys)
	if err != nil {
		return fmt.Errorf("token keys: %w", err)
	}
	k.ring.Store(ring)
	return nil
}

// Ring opens the tokens of any node; nil before the first keys.
func (k *Keeper) Ring() *token.Ring { return k.ring.Load() }

// Status is what an operator asks of an edge.
type Status struct {
	Holder      uint32 // 0: not registered
	Boot        uint64
	Keys        bool
	Offering    bool
	Draining    bool
	Fenced      bool
	Catalog     uint64
	Control     uint64
	HeardAt     int64 // from the core, unix milliseconds; 0: never
	Skew        int64 // this clock less the core's, milliseconds
	PaidStopped bool  // too long without the core, or the disk is nearly full
	DiskFree    int64
	Sealed      int // batches that the core has not acknowledged
	Former      int // journals still to be handed in
}

// Status looks at the keeper now.
func (k *Keeper) Status() Status {
	s := Status{
		Keys: k.ring.Load() != nil, Offering: k.live.Load() != nil, Draining: k.draining.Load(),
		HeardAt: k.heardAt.Load(), Skew: k.skew.Load(),
	}
	if n := k.news.Load(); n != nil {
		s.Catalog = n.version
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	s.PaidStopped = k.offline || k.tight
	s.Former = len(k.identity.Former)
	b := k.book
	if b == nil {
		return s
	}
	s.Holder, s.Fenced, s.DiskFree = b.holder, b.st.Fenced(), b.j.Free()
	s.Boot, _ = b.st.Current()
	_, s.Control = b.st.Controls(^uint64(0))
	s.Sealed = b.edge.Outstanding()
	return s
}

// Held is what all leases here come to: how many there are, and of those in
// events what may still be debited and what has been.
func (k *Keeper) Held() (leases int, available, spent int64) {
	k.accounts.RLock()
	list := k.list
	k.accounts.RUnlock()
	for part := range slices.Chunk(list, perTurn) { // so that views wait for none of it for long
		k.mu.Lock()
		for _, a := range part {
			if k.book == nil {
				break
			}
			t, ok := k.book.st.Lease(a.budget)
			if !ok {
				continue
			}
			leases++
			if !a.budget.Micros() {
				available += t.Available()
				spent += t.Spent
			}
		}
		k.mu.Unlock()
	}
	return leases, available, spent
}

// Journal is the counters of the journal in use, nil before the first holder.
func (k *Keeper) Journal() *journal.Stats {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.book == nil {
		return nil
	}
	return k.book.j.Stats()
}

// EachStrayed calls f with how many events of other homes went by way of the
// core, by why no peer judged them.
func (k *Keeper) EachStrayed(f func(why string, n uint64)) {
	for i, why := range [...]string{"unknown home", "timed out", "refused"} {
		f(why, k.strayed[i].Load())
	}
}

// stray notes why a peer did not judge an event.
func (k *Keeper) stray(err error) {
	why := 2
	switch {
	case errors.Is(err, peer.ErrNotHome):
		why = 0
	case errors.Is(err, context.DeadlineExceeded):
		why = 1
	}
	k.strayed[why].Add(1)
}

// EachVerdict calls f with how often each verdict was given.
func (k *Keeper) EachVerdict(f func(Verdict, uint64)) {
	for v := range k.verdicts {
		f(Verdict(v), k.verdicts[v].Load())
	}
}
