// Package publish turns what people edited into catalog versions and controls,
// and tells whoever streams them to edges the moment there are new ones.
//
// Every write of the admin API raises the catalog version in its transaction
// and notifies the channels nearside_catalog and, where a flight was paused,
// resumed or killed, nearside_control. Every core listens to both, so a write
// at one core is pushed by all. A notification is only a hint: the truth is
// looked at when listening starts, at every notification, and every five
// seconds besides.
//
// A version is built from one unmoving state of the database, encoded by
// sync/catalog, and stored in catalog_versions, where the first core to store
// a version decides its bytes. Many writes in a row become few versions: the
// next build starts no sooner than MinGap, and no sooner than the last build
// took, after the last one ended. Controls wait for no build.
//
// Where the database is away, what was published last stays current, and
// nothing newer appears until it is back. Versions are kept for Keep, the
// newest for ever. A version that does not encode is not published: the last
// good one stays, the error is logged, and Stats.Failed counts it.
//
// From catalog.DeltasFrom flights on, what changed since the version before is
// kept beside each version, for edges that have that one. It takes unpacking
// each version and the memory of one snapshot, which smaller catalogs are spared.
//
// The stream to the edges itself is core/ingest.
package publish

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"nearside/core/postgres"
	"nearside/core/postgres/query"
	"nearside/sync/catalog"
	"nearside/sync/wire"
)

const (
	// MinGap is the least time between two builds.
	MinGap = 100 * time.Millisecond
	// Keep is how long a published version stays in the database.
	Keep = 7 * 24 * time.Hour

	poll = 5 * time.Second // how often the database is looked at without a notification
)

var channels = []string{"nearside_catalog", "nearside_control"}

// Publisher holds what edges should have. Its methods are safe for concurrent
// use.
type Publisher struct {
	db  *postgres.DB
	log *slog.Logger

	// Each holds one token while there may be something new: controls do not
	// wait behind a build.
	wakeCatalog, wakeControls chan struct{}

	gap, poll time.Duration // MinGap and how often to look without a notification; tests change them

	mu          sync.RWMutex // guards what follows
	version     uint64
	bytes       []byte
	deltas      []step // that lead to version, the newest last; none where it is small
	publishedAt time.Time
	controls    map[uint32]*wire.Control // the newest of each flight
	newest      uint64                   // the highest control version
	subscribers map[chan struct{}]struct{}

	// snapshot is that of version, where it is large enough for deltas; only
	// refreshCatalog uses it.
	snapshot   *catalog.Snapshot
	deltasFrom int // catalog.DeltasFrom; tests change it

	stats Stats
}

// step is a delta as it travels.
type step struct {
	from, to uint64
	bytes    []byte
}

// maxSteps is how many deltas are kept.
const maxSteps = 64

// Stats count what a Publisher did.
type Stats struct {
	Built      atomic.Int64 // versions built here
	Failed     atomic.Int64 // builds and look-ups that failed
	BuildNanos atomic.Int64 // what the last build took
	Bytes      atomic.Int64 // published size of the current version
	DeltaBytes atomic.Int64 // size of the delta to the current version; 0: there is none
}

// New makes a publisher over db; it has nothing until Run has looked.
func New(db *postgres.DB, log *slog.Logger) *Publisher {
	return &Publisher{
		db: db, log: log,
		wakeCatalog: make(chan struct{}, 1), wakeControls: make(chan struct{}, 1),
		gap: MinGap, poll: poll, deltasFrom: catalog.DeltasFrom,
		controls:    map[uint32]*wire.Control{},
		subscribers: map[chan struct{}]struct{}{},
	}
}

// Stats are the publisher's counters.
func (p *Publisher) Stats() *Stats { return &p.stats }

// Current is the newest published version and its bytes, which the caller must
// not change; 0 and nil before the first.
func (p *Publisher) Current() (version uint64, bytes []byte) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.version, p.bytes
}

// Version is the newest published one; 0 before the first.
func (p *Publisher) Version() uint64 {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.version
}

// Newer is the newest published version, where that is above since: as
// published, or, if deltas may be used, as those that lead there from since,
// where they are at most half as large. The caller must not change them.
func (p *Publisher) Newer(since uint64, deltas bool) (version uint64, bytes []byte, steps [][]byte) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.version <= since {
		return p.version, nil, nil
	}
	if deltas {
		if steps := p.stepsFrom(since); steps != nil {
			return p.version, nil, steps
		}
	}
	return p.version, p.bytes, nil
}

// stepsFrom are the deltas from a version to the current one, nil where they
// are not all there or not worth it; mu is held.
func (p *Publisher) stepsFrom(since uint64) (steps [][]byte) {
	size := 0
	for i := range p.deltas {
		if d := &p.deltas[i]; len(steps) > 0 || d.from == since {
			steps = append(steps, d.bytes)
			size += len(d.bytes)
		}
	}
	if size > len(p.bytes)/2 {
		return nil
	}
	return steps
}

// PublishedAt is when the current version was published.
func (p *Publisher) PublishedAt() time.Time {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.publishedAt
}

// Controls are the controls in force whose version is above since, one for
// each flight that has any, by version. The caller must not change them.
func (p *Publisher) Controls(since uint64) []*wire.Control {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if since >= p.newest {
		return nil
	}
	var newer []*wire.Control
	for _, c := range p.controls {
		if c.Version > since {
			newer = append(newer, c)
		}
	}
	slices.SortFunc(newer, func(a, b *wire.Control) int {
		if a.Version < b.Version {
			return -1
		}
		return 1
	})
	return newer
}

// ControlVersion is the highest control version.
func (p *Publisher) ControlVersion() uint64 {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.newest
}

// Subscribe gives a channel that holds a token whenever Current or Controls
// may have changed since the last token was taken. It is forgotten when ctx
// ends; it is never closed.
func (p *Publisher) Subscribe(ctx context.Context) <-chan struct{} {
	changed := make(chan struct{}, 1)
	p.mu.Lock()
	p.subscribers[changed] = struct{}{}
	p.mu.Unlock()
	context.AfterFunc(ctx, func() {
		p.mu.Lock()
		delete(p.subscribers, changed)
		p.mu.Unlock()
	})
	return changed
}

// Wake says that something may have changed; it never waits.
func (p *Publisher) Wake() {
	for _, wake := range []chan struct{}{p.wakeControls, p.wakeCatalog} {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}

// Run keeps the publisher current until ctx ends, and then waits for what it
// started.
func (p *Publisher) Run(ctx context.Context) {
	var parts sync.WaitGroup
	parts.Go(func() { p.listen(ctx) })
	parts.Go(func() { p.forget(ctx) })
	parts.Go(func() { p.follow(ctx, "read controls", p.wakeControls, 0, p.refreshControls) })
	p.follow(ctx, "publish the catalog", p.wakeCatalog, p.gap, p.refreshCatalog)
	parts.Wait()
}

// Prime looks once, so that a core answers with what was published before it
// started. Run need not be running.
func (p *Publisher) Prime(ctx context.Context) error {
	if err := p.refreshControls(ctx); err != nil {
		return err
	}
	return p.refreshCatalog(ctx)
}

// follow refreshes at once, at every wake, and every now and then besides;
// gap, and what the last refresh took if there is a gap at all, is the least
// time between two.
func (p *Publisher) follow(ctx context.Context, doing string, wake <-chan struct{}, gap time.Duration, refresh func(context.Context) error) {
	tick := time.NewTicker(p.poll)
	defer tick.Stop()
	for ctx.Err() == nil {
		start := time.Now()
		if err := refresh(ctx); err != nil {
			p.failed(ctx, doing, err)
		}
		if gap > 0 {
			pause(ctx, max(gap, time.Since(start)))
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-wake:
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (p *Publisher) failed(ctx context.Context, doing string, err error) {
	if ctx.Err() != nil {
		return
	}
	p.stats.Failed.Add(1)
	p.log.Error(doing, "error", err)
}

// listen keeps listening, with a pause after a connection broke.
func (p *Publisher) listen(ctx context.Context) {
	for ctx.Err() == nil {
		err := p.db.Listen(ctx, channels, p.Wake, func(string) { p.Wake() })
		if ctx.Err() != nil {
			return
		}
		p.log.Warn("lost the notifications of the database; listening again", "error", err)
		pause(ctx, time.Second)
	}
}

// forget drops old versions, now and then.
func (p *Publisher) forget(ctx context.Context) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if err := p.forgetOnce(ctx, time.Now()); err != nil {
			p.failed(ctx, "forget old catalog versions", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// forgetOnce drops versions that are older than Keep, but for the newest.
func (p *Publisher) forgetOnce(ctx context.Context, now time.Time) error {
	_, err := p.db.Queries().ForgetCatalogs(ctx, now.Add(-Keep))
	return err
}

func (p *Publisher) refreshControls(ctx context.Context) error {
	rows, err := p.db.Queries().ControlsSince(ctx, int64(p.ControlVersion()))
	if err != nil || len(rows) == 0 {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, row := range rows {
		var state catalog.State
		if err := state.UnmarshalText([]byte(row.State)); err != nil {
			return err
		}
		version, flight := uint64(row.Version), uint32(row.Flight)
		if known := p.controls[flight]; known == nil || known.Version < version {
			p.controls[flight] = &wire.Control{Version: version, Flight: flight, State: uint32(state)}
		}
		p.newest = max(p.newest, version)
	}
	p.tell()
	return nil
}

// refreshCatalog builds and stores the newest version where nobody has, and
// makes the newest stored one current.
func (p *Publisher) refreshCatalog(ctx context.Context) error {
	wanted, err := p.db.Queries().CatalogVersion(ctx)
	if err != nil {
		return err
	}
	if current, _ := p.Current(); current == uint64(wanted) {
		return nil
	}
	stored, err := p.db.Queries().NewestCatalogVersion(ctx)
	if err != nil {
		return err
	}
	if stored < wanted {
		if err := p.build(ctx); err != nil {
			return err
		}
	}
	newest, err := p.db.Queries().NewestCatalog(ctx)
	if err != nil {
		return err
	}
	if current, _ := p.Current(); uint64(newest.Version) <= current {
		return nil
	}
	last, err := p.step(newest.Bytes, int(newest.Flights))
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.version, p.bytes, p.publishedAt = uint64(newest.Version), newest.Bytes, newest.PublishedAt
	switch {
	case last.bytes == nil:
		p.deltas = nil
	case len(p.deltas) == maxSteps:
		p.deltas = append(p.deltas[:0:0], p.deltas[1:]...)
		fallthrough
	default:
		p.deltas = append(p.deltas, last)
	}
	p.stats.DeltaBytes.Store(int64(len(last.bytes)))
	p.stats.Bytes.Store(int64(len(newest.Bytes)))
	p.tell()
	return nil
}

// step is the delta from the current version to a new one, with no bytes where
// either is too small. What is compared is what was published: another core may
// have built it.
func (p *Publisher) step(published []byte, flights int) (s step, err error) {
	before := p.snapshot
	p.snapshot = nil
	if flights < p.deltasFrom {
		return s, nil
	}
	if p.snapshot, err = catalog.Decode(published); err != nil {
		return s, err
	}
	if before == nil {
		return s, nil
	}
	delta, err := catalog.Diff(before, p.snapshot)
	if err != nil {
		return s, err
	}
	s.from, s.to = delta.Base, delta.Version
	s.bytes, err = delta.Encode()
	return s, err
}

// build stores the bytes of the database's present version.
func (p *Publisher) build(ctx context.Context) error {
	start := time.Now()
	var snapshot *catalog.Snapshot
	err := p.db.InSnapshot(ctx, func(q *query.Queries) (err error) {
		snapshot, err = Read(ctx, q, start)
		return err
	})
	if err != nil {
		return err
	}
	bytes, err := catalog.Encode(snapshot)
	if err != nil {
		return err
	}
	checksum, err := catalog.Checksum(bytes)
	if err != nil {
		return err
	}
	err = p.db.Queries().InsertCatalog(ctx, query.InsertCatalogParams{
		Version:     int64(snapshot.Version),
		PublishedAt: start,
		Bytes:       bytes,
		Checksum:    checksum[:],
		Flights:     int32(len(snapshot.Flights)),
	})
	if err != nil {
		return err
	}
	p.stats.Built.Add(1)
	p.stats.BuildNanos.Store(int64(time.Since(start)))
	p.log.Info("built a catalog version", "version", snapshot.Version, "flights", len(snapshot.Flights), "bytes", len(bytes))
	return nil
}

// tell wakes the subscribers; mu is held.
func (p *Publisher) tell() {
	for changed := range p.subscribers {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
}
