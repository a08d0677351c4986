package keeper

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"nearside/edge/holder"
	"nearside/edge/journal"
	"nearside/edge/statedir"
	"nearside/sync/exchange"
	"nearside/sync/lease"
	"nearside/sync/wire"
)

const (
	// A checkpoint is taken at the next seal once this much was journalled
	// since the last one, or this long after it.
	checkpointBytes = 8 << 20
	checkpointEvery = time.Minute

	// checkpointFull is the time instead where the journal has refused something
	// since: a checkpoint may empty it.
	checkpointFull = 5 * time.Second

	saveHeardEvery = 30 * 1000 // milliseconds

	// surplusEvery is how often a lease is looked at for what to return, and
	// sayEvery how long the core goes by an old word about demand.
	surplusEvery = 10 * 1000
	sayEvery     = 60 * 1000
)

// Registered says which holder this is, and whether the directory needs
// another: it has none, or its own is fenced, or drained.
func (k *Keeper) Registered() (id uint32, secret string, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	b := k.book
	if b == nil || b.st.Fenced() || b.st.Closed() && b.edge.Outstanding() == 0 {
		return 0, "", false
	}
	return k.identity.Holder, k.identity.Secret, true
}

// UseSecret replaces the credential of this directory's holder, durably.
func (k *Keeper) UseSecret(secret string) error {
	k.mu.Lock()
	id := k.identity
	k.mu.Unlock()
	if number, _, ok := strings.Cut(secret, "."); !ok || number != strconv.FormatUint(uint64(id.Holder), 10) {
		return errors.New("renew: the core gave no secret of this holder")
	}
	id.Secret = secret
	if err := k.dir.SaveIdentity(id); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.identity = id
	return nil
}

// StoredCertificate is what this node shows other machines, as it was kept.
func (k *Keeper) StoredCertificate() (statedir.Certificate, error) { return k.dir.Certificate() }

// StoreCertificate keeps it.
func (k *Keeper) StoreCertificate(c statedir.Certificate) error { return k.dir.SaveCertificate(c) }

// Disk is the id under which this directory registers.
func (k *Keeper) Disk() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.identity.Disk
}

// Enroll binds the directory to a holder that the core has registered, and
// begins its first boot.
func (k *Keeper) Enroll(ctx context.Context, r *wire.RegisterResponse) error {
	if r.GetHolder() == 0 || r.GetSecret() == "" {
		return errors.New("register: the core gave no holder or no secret")
	}
	if err := k.UseKeys(r.GetKeys()); err != nil {
		return err
	}
	k.mu.Lock()
	old, id := k.book, k.identity
	k.mu.Unlock()
	if old != nil {
		// The old journal stays until it has been handed in; one that was closed
		// by its last batch has nothing left to say.
		if old.st.Fenced() {
			id.Former = append(id.Former[:len(id.Former):len(id.Former)], statedir.Former{Generation: id.Generation, Holder: id.Holder, Secret: id.Secret})
		}
		id.Generation++
	}
	id.Holder, id.Secret = r.GetHolder(), r.GetSecret()
	now := k.cfg.Now()
	b, err := k.openBook(id.Holder, id.Generation, now)
	if err != nil {
		return err
	}
	if old != nil {
		controls, _ := old.st.Controls(0)
		for _, c := range controls {
			if rec := b.st.Control(b.buf, c); len(rec) > 0 {
				if _, err := b.put(rec); err != nil {
					return errors.Join(fmt.Errorf("enroll holder %d: %w", id.Holder, err), b.j.Close())
				}
			}
		}
	}
	if err := k.dir.SaveIdentity(id); err != nil {
		return errors.Join(err, b.j.Close())
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.identity = id
	k.accounts.RLock()
	for _, a := range k.list {
		a.known.Here, a.said = 0, said{}
	}
	k.accounts.RUnlock()
	b.stamp = r.GetStamp()
	k.heard = 0 // the next word of the core is saved, and this stamp with it
	k.book = b
	k.replicate(b)
	if err := k.boot(ctx, b, now); err != nil {
		return k.check(err)
	}
	k.heardAt.Store(now.UnixMilli())
	k.refreshAll(now.UnixMilli())
	if old == nil {
		return nil
	}
	if err := old.j.Close(); err != nil {
		return fmt.Errorf("close the journal of holder %d: %w", old.holder, err)
	}
	if !old.st.Fenced() {
		return k.dir.RemoveJournal(id.Generation - 1)
	}
	return nil
}

// Prepare gives back what is not needed, cuts a batch if the core has heard
// the last one, and says what to send. Nothing in it is not yet durable. What a
// full disk has no room for waits for a later call; the batch does not wait for
// it, since it is what may empty the disk.
func (k *Keeper) Prepare(ctx context.Context) (*wire.SyncRequest, error) {
	now := k.cfg.Now().UnixMilli()
	k.mu.Lock()
	b := k.book
	if b == nil {
		k.mu.Unlock()
		return nil, ErrUnregistered
	}
	k.asked++
	side := &wire.Side{Alone: k.cfg.Replica != nil && k.cfg.Replica.Alone()}
	err := ignoreFull(k.settleWaiting(b, now))
	k.mu.Unlock()
	if err == nil {
		side.Wants, err = k.size(b, now)
	}
	if err == nil {
		err = ignoreFull(k.cut(b, side, now))
	}
	if err != nil {
		return nil, err
	}
	if err := k.cover(ctx, b); err != nil {
		return nil, err
	}
	if err := k.settled(ctx, b); err != nil {
		return nil, err
	}
	if err := k.whole(b); err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	r := b.edge.Request(side)
	r.Stamp = b.stamp
	return r, nil
}

// settled waits until the peer has the seal of the batch that is to be sent,
// which may have been made before a restart: a copy that ends before the core's
// cursor is worth nothing.
func (k *Keeper) settled(ctx context.Context, b *book) error {
	if k.cfg.Replica == nil {
		return nil
	}
	k.mu.Lock()
	pos := b.edge.Position()
	k.mu.Unlock()
	if err := k.cfg.Replica.Wait(ctx, b.j, journal.Position(pos)); err != nil {
		return fmt.Errorf("send a batch: %w", err)
	}
	return nil
}

// settleWaiting judges the clicks that can be judged by now. mu is held.
func (k *Keeper) settleWaiting(b *book, now int64) error {
	if k.failure != nil {
		return k.failure
	}
	for b.st.Waits() && !b.st.Closed() && !b.st.Fenced() {
		if err := k.check(b.clear()); err != nil {
			return err
		}
		rec, e, v, held := b.st.Settle(b.buf, now)
		if len(rec) == 0 {
			break
		}
		if held {
			k.verdicts[v].Add(1)
		}
		if err := k.keep(b, rec); err != nil {
			return err
		}
		k.reread(&e, now)
	}
	return nil
}

// reread brings the accounts that an event debits up to date with their leases, at
// once: what it took is not to be offered.
func (k *Keeper) reread(e *holder.Event, now int64) {
	debits, n := exchange.Debits(e.Kind, e.Flags, e.Flight, e.Publisher, e.Issued, e.Price())
	for _, d := range debits[:n] {
		if a := k.find(d.Budget); a != nil {
			k.refresh(a, now)
		}
	}
}

// cut says what is in force here, and cuts a batch if one may be sent.
func (k *Keeper) cut(b *book, side *wire.Side, now int64) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failure != nil {
		return k.failure
	}
	if n := k.news.Load(); n != nil {
		side.AppliedCatalog = n.version
	}
	side.DeliveredSeen = b.delivered
	_, side.AppliedControl = b.st.Controls(^uint64(0))
	if b.edge.Outstanding() > 0 || len(b.open) > 0 || b.st.Closed() || b.st.Fenced() {
		return nil
	}
	if k.closing || !b.st.Said() || b.pending != nil { // what waits for room may be nothing that a batch says
		return k.seal(b, now, k.closing)
	}
	return nil
}

// size says what the holder wants of each budget, and returns what is too much.
// It lets go of the lock now and then, for those who wait to be judged.
func (k *Keeper) size(b *book, now int64) (wants []*wire.Want, err error) {
	k.accounts.RLock()
	list := k.list
	k.accounts.RUnlock()
	for part := range slices.Chunk(list, perTurn) {
		if wants, err = k.sizePart(b, part, wants, now); err != nil {
			return nil, err
		}
	}
	return wants, nil
}

func (k *Keeper) sizePart(b *book, part []*account, wants []*wire.Want, now int64) ([]*wire.Want, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failure != nil || b.st.Closed() || b.st.Fenced() {
		return wants, k.failure
	}
	for _, a := range part {
		t, leased := b.st.Lease(a.budget)
		if a.plan == nil && !leased {
			continue
		}
		d := a.demand(t, now, k.cfg.Interval, k.cfg.MaxOffline)
		if a.used == 0 || a.used > now {
			a.used = now // idle is counted from when it was first seen
		}
		idle := time.Duration(now-a.used) * time.Millisecond
		target, velocity := int64(0), int64(0)
		switch {
		case !k.wanted(a, now) || k.draining.Load() || a.away:
		case idle < lease.Idle:
			target, velocity = max(lease.Target(d), a.least(d)), a.wish()
		case !d.Endgame:
			target = a.least(d)
		}
		if err := ignoreFull(k.giveBack(b, a, d, target, idle, now)); err != nil {
			return nil, err
		}
		short := d.Held < target-target/10
		old := target == a.said.target || now-a.said.at < sayEvery && near(target, a.said.target) && near(velocity, a.said.velocity)
		if old && !short && a.said.asked <= k.answered {
			continue
		}
		a.said = said{target, velocity, now, k.asked}
		wants = append(wants, &wire.Want{Budget: int64(a.budget), Target: target, VelocityMilli: velocity})
	}
	return wants, nil
}

// near reports whether a differs from b by less than a fifth.
func near(a, b int64) bool {
	if (a == 0) != (b == 0) {
		return false
	}
	return max(a-b, b-a) <= b/5
}

// wanted reports whether an account's budget may still be offered.
func (k *Keeper) wanted(a *account, now int64) bool {
	p := a.plan
	if p == nil || !p.wanted || now < p.starts-k.cfg.MaxOffline.Milliseconds() {
		return false
	}
	if a.budget.Micros() {
		return now < p.starts+millisPerDay
	}
	if c := k.Switch(a.budget.Owner()); c.State.Load() == 2 { // killed
		return false
	}
	return now < p.schedule.End || !p.schedule.HardStop
}

// giveBack returns what a lease has too much of. A lease that is not wanted
// any more is kept while its last offers may still be viewed, and that of a day
// until the day's tokens are dead.
func (k *Keeper) giveBack(b *book, a *account, d lease.Demand, target int64, idle time.Duration, now int64) error {
	every := int64(surplusEvery)
	if d.Endgame {
		every = 0
	}
	if a.away {
		return k.leave(b, a, d.Held, now)
	}
	if d.Held == 0 || now-a.surplus < every && now >= a.surplus {
		return nil
	}
	a.surplus = now
	n := int64(0)
	switch {
	case target > 0:
		n = lease.Surplus(d, target, 0)
	case a.budget.Micros() && a.plan != nil && now < a.plan.starts+millisPerDay+holder.Keep:
	default:
		if idle >= lease.Idle {
			n = lease.Surplus(d, 0, idle)
		}
	}
	return k.giveBackAmount(b, a, n, now)
}

// giveBackAmount returns n in whole units, which are no longer offered from then on.
func (k *Keeper) giveBackAmount(b *book, a *account, n, now int64) error {
	unit := a.unit()
	if n -= n % unit; n <= 0 {
		return nil
	}
	if err := k.check(b.clear()); err != nil {
		return err
	}
	if err := k.keep(b, b.st.Return(b.buf, a.budget, n)); err != nil {
		return err
	}
	k.refresh(a, now)
	return nil
}

// seal cuts a batch. mu is held. A full journal has room for the seals that may
// empty it: those of a checkpoint, and the last of all.
func (k *Keeper) seal(b *book, now int64, closing bool) error {
	at, bytes, every := k.cfg.Now(), b.j.Stats().Bytes.Load(), checkpointEvery
	refused := b.j.Stats().Refused.Load()
	if refused > b.refused {
		every = checkpointFull
	}
	due := b.save == nil && b.st.Whole() && (bytes-b.bytes >= checkpointBytes || at.Sub(b.saved) >= every)
	defer func() { b.urgency = plain }()
	if due || closing {
		b.urgency = last
	}
	if err := k.check(b.clear()); err != nil {
		return err
	}
	b.urgency = last
	err := k.keep(b, b.st.Seal(b.buf, now, closing, b.next.Load()))
	if err != nil && !errors.Is(err, journal.ErrFull) {
		return err
	}
	sealed := b.st.Sealed()
	batch := sealed[len(sealed)-1]
	b.open = append(b.open, batch) // also where its record still waits for room
	if err != nil {
		return err
	}
	pos := b.j.Cut()
	if due {
		b.save = &checkpoint{batch: batch.GetSeal().GetBatch(), pos: pos, state: b.st.Encode(nil)}
		b.saved, b.bytes, b.refused = at, bytes, refused
	}
	return nil
}

// cover waits for the seals that were written to be durable, and queues their
// batches, whatever waits for room meanwhile.
func (k *Keeper) cover(ctx context.Context, b *book) error {
	for {
		k.mu.Lock()
		if len(b.open) == 0 {
			k.mu.Unlock()
			return nil
		}
		pos := journal.Position(b.open[0].GetSeal().GetPosition())
		if pos > b.j.Last() { // what waits for room is this seal
			b.urgency = last
			err := k.check(b.clear())
			b.urgency = plain
			if err != nil {
				k.mu.Unlock()
				return ignoreFull(err)
			}
		}
		k.mu.Unlock()
		hash, err := k.wait(ctx, b, pos)
		if err != nil {
			return fmt.Errorf("seal a batch: %w", err)
		}
		k.mu.Lock()
		for _, batch := range b.st.Covered(uint64(pos), hash[:]) {
			b.edge.Sealed(batch)
			b.open = b.open[1:]
		}
		k.mu.Unlock()
	}
}

// Unheard says that a request got no reply. What the core told in it, grants
// above all, is not told again unless it is asked for everything.
func (k *Keeper) Unheard() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.book != nil {
		k.book.edge.Again()
	}
}

// Heard takes the core's reply to what Prepare gave. A course of Fence wants a
// call of Fence; Superseded the end of the process.
func (k *Keeper) Heard(ctx context.Context, r *wire.SyncResponse) (exchange.Step, error) {
	now := k.cfg.Now().UnixMilli()
	k.mu.Lock()
	b := k.book
	if b == nil {
		k.mu.Unlock()
		return exchange.Step{}, ErrUnregistered
	}
	step, save, err := k.hear(b, r, now)
	k.mu.Unlock()
	if save != nil {
		if err := k.saveCheckpoint(ctx, b, save); err != nil {
			return step, err
		}
	}
	if err != nil {
		return step, err
	}
	if len(r.GetKeys()) > 0 && step.Course == exchange.Proceed {
		if err := k.UseKeys(r.GetKeys()); err != nil {
			return step, err
		}
	}
	if now-k.heard >= saveHeardEvery {
		return step, k.saveHeard()
	}
	return step, nil
}

func (k *Keeper) hear(b *book, r *wire.SyncResponse, now int64) (step exchange.Step, save *checkpoint, err error) {
	if k.failure != nil {
		return step, nil, k.failure
	}
	sent := b.st.Sealed()
	step = b.edge.Reply(r)
	if step.Acked != nil {
		for _, batch := range sent {
			if batch.GetSeal().GetBatch() <= step.Acked.GetBatch() {
				k.heardTotals(batch.GetTotals())
			}
		}
		b.st.Acknowledge(step.Acked)
		if b.save != nil && b.save.batch <= step.Acked.GetBatch() {
			save, b.save = b.save, nil
		}
	}
	if step.Course == exchange.Superseded {
		return step, save, nil
	}
	if r.GetStamp().GetAt() > b.stamp.GetAt() {
		b.stamp = r.GetStamp()
	}
	if _, err := k.control(r.GetControls()); err != nil && !errors.Is(err, journal.ErrFull) {
		return step, save, err
	}
	if step.Course != exchange.Fence {
		k.heardAt.Store(now)
		if core := r.GetNowMs(); core > 0 {
			k.skew.Store(now - core)
		}
	}
	if step.Course != exchange.Proceed || b.st.Closed() {
		return step, save, nil
	}
	k.answered = k.asked
	if n := r.GetHolders(); n > 0 {
		k.holders = int(min(n, math.MaxInt32))
	}
	for _, d := range r.GetDelivered() {
		a := k.account(lease.Budget(d.GetBudget()))
		a.known.Settled, a.known.Limit, a.known.Unleased = d.GetSettled(), d.GetLimit(), d.GetUnleased()
		a.known.Velocity, a.known.Refunded = d.GetVelocityMilli(), d.GetRefunded()
		a.small = d.GetBrokered()
	}
	if r.GetDeliveredVersion() > 0 {
		b.delivered = r.GetDeliveredVersion()
	}
	for _, g := range r.GetLeases() {
		id := lease.Budget(g.GetBudget())
		if holder.Dead(id, now) {
			continue
		}
		if reason := b.st.Contradicts(g); reason != "" {
			return exchange.Step{Course: exchange.Fence, Reason: reason, Acked: step.Acked}, save, nil
		}
		if err := k.granted(b, id, g, now); err != nil {
			b.edge.Again() // what there was no room for is to be told again
			return step, save, ignoreFull(err)
		}
	}
	for _, w := range r.GetForeignIn() {
		e, err := holder.EventFrom(w)
		if err != nil || e.Holder != b.holder || w.GetPosition() == 0 {
			k.cfg.Log.Warn("the core passed on an event that is none of this holder", "position", w.GetPosition(), "holder", w.GetHolder(), "err", err)
			continue
		}
		if err := k.check(b.clear()); err != nil {
			return step, save, ignoreFull(err)
		}
		if err := k.keep(b, b.st.ForeignIn(b.buf, w.GetPosition(), &e, now)); err != nil {
			return step, save, ignoreFull(err)
		}
		k.reread(&e, now)
	}
	return step, save, nil
}

// ignoreFull lets a full disk pass: what could not be kept will be said or tried
// again.
func ignoreFull(err error) error {
	if errors.Is(err, journal.ErrFull) {
		return nil
	}
	return err
}

func (k *Keeper) granted(b *book, id lease.Budget, g *wire.Grant, now int64) error {
	a := k.account(id)
	a.known.Here = max(a.known.Here, g.GetSpent())
	if err := k.check(b.clear()); err != nil {
		return err
	}
	if err := k.keep(b, b.st.Grant(b.buf, id, g.GetGranted())); err != nil {
		return err
	}
	if g.GetRecallTo() >= 0 {
		t, _ := b.st.Lease(id)
		n := lease.Recall(t.Available(), g.GetRecallTo(), a.InFlight.Load(), a.rho())
		if err := k.giveBackAmount(b, a, n, now); err != nil {
			return err
		}
	}
	k.refresh(a, now)
	return nil
}

// heardTotals notes what the core has settled of this holder by now.
func (k *Keeper) heardTotals(t *wire.Totals) {
	for i, id := range t.GetBudget() {
		if a := k.find(lease.Budget(id)); a != nil {
			a.known.Here = max(a.known.Here, t.GetSpent()[i])
		}
	}
}

// saveCheckpoint makes the journal begin at a seal that the core acknowledged.
func (k *Keeper) saveCheckpoint(ctx context.Context, b *book, c *checkpoint) error {
	hash, err := k.wait(ctx, b, c.pos)
	if err == nil {
		err = b.j.SaveCheckpoint(c.state, c.pos, hash)
	}
	if errors.Is(err, journal.ErrFull) || errors.Is(err, journal.ErrPosition) {
		k.cfg.Log.Warn("no checkpoint: the journal keeps growing", "position", c.pos, "err", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("save a checkpoint: %w", err)
	}
	return nil
}

// saveHeard keeps what the core last said for a start without it, and the token
// keys where there was no room for them. Where there is none now either, a later
// call does it.
func (k *Keeper) saveHeard() error {
	var err error
	if len(k.unsaved) > 0 {
		err = k.saveKeys(k.unsaved)
	}
	if err == nil {
		err = k.writeHeard()
	}
	if errors.Is(err, journal.ErrFull) {
		k.cfg.Log.Warn("what the core said could not be kept", "err", err)
		return nil
	}
	return err
}

func (k *Keeper) writeHeard() error {
	h := statedir.Heard{At: k.heardAt.Load(), Delivered: map[int64]statedir.Amount{}}
	k.accounts.RLock()
	list := k.list
	k.accounts.RUnlock()
	for part := range slices.Chunk(list, perTurn) {
		k.mu.Lock()
		for _, a := range part {
			if a.known != (statedir.Amount{}) {
				h.Delivered[int64(a.budget)] = a.known
			}
		}
		k.mu.Unlock()
	}
	k.mu.Lock()
	if b := k.book; b != nil && b.stamp != nil {
		h.Stamp = &statedir.Stamp{Holder: b.holder, At: b.stamp.GetAt(), MAC: b.stamp.GetMac()}
	}
	k.mu.Unlock()
	k.heard = h.At
	return k.dir.SaveHeard(h)
}

// Versions are the holder, 0 while there is none that is open, and the catalog
// and control in force: what others of the region want to know.
func (k *Keeper) Versions() (holder uint32, catalog, control uint64) {
	catalog, _ = k.Catalog()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.book == nil {
		return 0, catalog, 0
	}
	_, control = k.book.st.Controls(^uint64(0))
	if !k.book.st.Fenced() {
		holder = k.book.holder
	}
	return holder, catalog, control
}

// Outstanding is how many sealed batches the core has not acknowledged.
func (k *Keeper) Outstanding() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.book == nil {
		return 0
	}
	return k.book.edge.Outstanding()
}

// StoredCatalog is the newest catalog that was kept on disk, nil if there is
// none.
func (k *Keeper) StoredCatalog() ([]byte, error) { return k.dir.Catalog() }

// StoreCatalog keeps a catalog's published bytes for a start without the core.
func (k *Keeper) StoreCatalog(published []byte) error { return k.dir.SaveCatalog(published) }

// Fence leaves judging to the core. Beacons are taken as foreign until Enroll
// has brought another holder.
//
// The directory is a new disk before its journal says that it is fenced: in the
// other order a crash between the two would leave a fenced journal and the old disk,
// for which the core knows a holder already, and gives it once more.
func (k *Keeper) Fence(ctx context.Context, reason string) error {
	k.live.Store(nil)
	k.mu.Lock()
	b, id := k.book, k.identity
	done := b == nil || b.st.Fenced() || b.st.Closed() && b.edge.Outstanding() == 0 // closed: it was drained, and has nothing to hand in
	k.mu.Unlock()
	if done {
		return nil
	}
	k.cfg.Log.Warn("fenced", "holder", b.holder, "reason", reason)
	var err error
	if id.Disk, err = k.newDisk(); err != nil {
		return err
	}
	if err := k.dir.SaveIdentity(id); err != nil {
		return err
	}
	k.mu.Lock()
	k.identity = id
	b.urgency = last
	err = k.check(b.clear())
	var pos journal.Position
	if err == nil {
		pos, err = b.put(b.st.Fence(nil, k.cfg.Now().UnixMilli()))
		err = k.check(err)
	}
	b.urgency = plain
	k.mu.Unlock()
	if err == nil {
		_, err = k.wait(ctx, b, pos)
	}
	if err != nil {
		return fmt.Errorf("fence holder %d: %w", b.holder, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refreshAll(k.cfg.Now().UnixMilli())
	return nil
}

// Drain stops offers for good.
func (k *Keeper) Drain() {
	k.draining.Store(true)
	k.live.Store(nil)
}

// Draining reports whether Drain was called.
func (k *Keeper) Draining() bool { return k.draining.Load() }

// InFlight is how many offers (of views) may still be viewed.
func (k *Keeper) InFlight() int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := int64(0)
	k.accounts.RLock()
	defer k.accounts.RUnlock()
	for _, a := range k.list {
		if a.budget.Kind() == lease.FlightViews {
			n += a.InFlight.Load()
		}
	}
	return n
}

// Finish makes the next batch the last one, which closes the holder. It
// returns once that is to be sent; Drained says when the core has heard it.
func (k *Keeper) Finish() {
	k.Drain()
	k.mu.Lock()
	k.closing = true
	k.mu.Unlock()
}

// Drained reports whether the core has closed the drained holder, and then
// makes the directory ready for another.
func (k *Keeper) Drained() (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	b := k.book
	if b == nil {
		return true, nil
	}
	if !b.st.Closed() || b.edge.Outstanding() > 0 || b.st.Fenced() {
		return false, nil
	}
	id := k.identity
	id.Holder, id.Secret = 0, ""
	id.Generation++
	if err := k.dir.SaveIdentity(id); err != nil {
		return false, err
	}
	k.identity, k.book = id, nil
	k.replicate(nil)
	if err := b.j.Close(); err != nil {
		return true, fmt.Errorf("close the journal of holder %d: %w", b.holder, err)
	}
	return true, k.dir.RemoveJournal(id.Generation - 1)
}
