package simulation

import (
	"bytes"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"nearside/edge/holder"
	"nearside/edge/journal"
	"nearside/edge/journal/faultfs"
	"nearside/sync/exchange"
	"nearside/sync/lease"
	"nearside/sync/token"
	"nearside/sync/wire"
)

// node is one edge node: a machine with a disk, and the process on it. What a
// process knows is lost when it dies; life numbers processes, so that what was
// meant for an earlier one finds nobody.
type node struct {
	w      *World
	index  int
	region string
	name   string
	fs     *faultfs.FS
	skew   int64 // of its clock, milliseconds
	life   int
	up     bool
	broken bool // the disk was rolled back, flipped or lost: what it held proves nothing

	id       identity
	book     *book
	draining bool
	finish   bool // the next batch is the last
	drained  bool
	failures int
	calls    int   // to the core, ever
	waiting  int   // the call whose reply is waited for, 0: none
	deadline int64 // of that call
}

// book is one holder with its journal, as in edge/keeper.
type book struct {
	h     *history
	st    *holder.State
	j     *journal.Journal
	edge  *exchange.Edge
	live  bool
	boot  uint64
	next  uint64
	open  []uint64 // seals that are not durable yet
	waits []wait   // answers that wait for the disk
	save  *checkpoint
	saved uint64 // bytes journalled by the last checkpoint
	flush bool   // a group commit is due
}

type wait struct {
	pos    uint64
	answer func()
}

// checkpoint is the state as of a seal, to be saved when the core has
// acknowledged that seal.
type checkpoint struct {
	batch uint64
	pos   journal.Position
	state []byte
}

const segment = 16 << 10 // small, so that segments are recycled all the time

func newNode(w *World, i int) *node {
	n := &node{w: w, index: i, region: fmt.Sprintf("region-%d", i%w.plan.regions), name: fmt.Sprintf("node-%d", i)}
	n.fs = faultfs.New(w.rng.Uint64())
	n.skew = w.between(-400, 400)
	if w.plan.skewed && i == 0 {
		n.skew = w.between(-3*hour, 3*hour)
	}
	return n
}

func (n *node) place() int   { return n.index + 1 }
func (n *node) clock() int64 { return n.w.now + n.skew }

// start is the process's beginning, after a while.
func (n *node) start(delay int64) {
	life := n.life
	n.w.after(delay, func() {
		if n.up || n.life != life {
			return
		}
		n.open()
		n.tick()
	})
}

// die is the process's end, at a write error, a kill or a power cut.
func (n *node) die(why string, powerless bool) {
	n.end(why, powerless)
	n.start(n.w.between(200, 15*second))
}

func (n *node) end(why string, powerless bool) {
	n.w.say("died", "%s %s", n.name, why)
	n.up, n.book, n.waiting = false, nil, 0
	n.life++
	if powerless {
		n.fs.Crash()
	} else {
		n.fs.Kill()
	}
}

// exit ends the process from within a step: nothing of the step goes on.
func (n *node) exit(why string, err error) {
	n.die(fmt.Sprintf("%s: %v", why, err), errors.Is(err, faultfs.ErrPower) || n.w.chance(0.5))
	panic(died{n})
}

// open reads what the disk holds, and begins a boot.
func (n *node) open() {
	n.up, n.draining, n.finish, n.failures = true, n.w.ending, n.w.ending, 0
	if n.w.chance(0.1) {
		n.skew += n.w.between(-2000, 2000)
	}
	id, ok, err := loadIdentity(n.fs)
	if err == nil && !ok {
		id = identity{Disk: randomHex(n.w.rng, 16), Generation: 1}
		err = id.save(n.fs)
	}
	if err != nil {
		n.exit("identity", err)
	}
	n.id = id
	if id.Holder == 0 {
		n.w.say("started", "%s without a holder", n.name)
		return
	}
	b, err := n.openBook(id.Holder, id.Generation)
	if errors.Is(err, journal.ErrCorrupt) || errors.Is(err, holder.ErrHistory) {
		if !n.broken {
			n.w.fail("I5", "%s: %v", n.name, err)
		}
		n.abandon(err)
		return
	}
	if err != nil {
		n.exit("open", err)
	}
	n.book = b
	n.w.say("started", "%s as holder %d at position %d", n.name, id.Holder, b.st.Position())
	if !b.st.Fenced() && !b.st.Closed() {
		n.boot(b)
	}
}

// abandon leaves a journal that cannot be trusted, and asks for a new holder.
func (n *node) abandon(why error) {
	n.w.say("abandoned", "%s: %v", n.name, why)
	n.w.books.lost(n.id.Holder)
	n.id.Disk, n.id.Holder = randomHex(n.w.rng, 16), 0
	n.id.Generation++
	if err := n.id.save(n.fs); err != nil {
		n.exit("identity", err)
	}
}

func (n *node) openJournal(generation uint64) (*journal.Journal, error) {
	return journal.Open(journalDir(generation), journal.Options{
		FS: n.fs, SegmentSize: segment, Inline: true, Rand: random{n.w.rng},
	})
}

// openBook replays the journal of a generation.
func (n *node) openBook(id uint32, generation uint64) (*book, error) {
	j, err := n.openJournal(generation)
	if err != nil {
		return nil, err
	}
	h := n.w.books.history(id)
	if !n.broken && j.Last() < journal.Position(h.answered) {
		n.w.fail("I5", "%s: the journal of holder %d ends at %d, position %d was answered for", n.name, id, j.Last(), h.answered)
	}
	h.cut(uint64(j.Last()))
	st, err := replay(j, id, nil, func(st *holder.State, rec []byte) error {
		return h.same(st.Position(), rec)
	})
	if err != nil {
		return nil, errors.Join(err, j.Close())
	}
	boot, ordinal := st.Current()
	b := &book{h: h, st: st, j: j, saved: j.Stats().Bytes.Load()}
	b.edge = exchange.NewEdge(id, boot, ordinal, st.Acked(), st.Sealed())
	n.w.books.replayed(n, b)
	return b, nil
}

// replay rebuilds a holder's state as edge/keeper does. begun sees the state
// that the log begins with, each what every record makes of it.
func replay(j *journal.Journal, id uint32, begun func(*holder.State), each func(*holder.State, []byte) error) (*holder.State, error) {
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
	if begun != nil {
		begun(st)
	}
	err := j.Replay(func(pos journal.Position, rec []byte) error {
		if err := st.Replay(uint64(pos), rec); err != nil {
			return err
		}
		return each(st, rec)
	}, func(pos journal.Position, hash journal.Hash) error {
		st.Covered(uint64(pos), hash[:])
		return nil
	})
	return st, err
}

// boot begins a boot, durable before anything is offered.
func (n *node) boot(b *book) {
	boot := n.w.rng.Uint64() | 1
	_, ordinal := b.st.Current()
	n.put(b, b.st.Boot(nil, boot, ordinal+1, n.clock()))
	n.commit(b)
	b.edge = exchange.NewEdge(b.h.holder, boot, ordinal+1, b.st.Acked(), b.st.Sealed())
	b.boot, b.next, b.live = boot, 0, true
}

// put gives the journal what a step returned, before the next step is taken.
func (n *node) put(b *book, rec []byte) uint64 {
	if len(rec) == 0 {
		return 0
	}
	pos, err := b.j.Append(rec)
	if err != nil {
		n.exit("append", err)
	}
	if uint64(pos) != b.st.Position() {
		n.w.fail("I6", "%s: the journal is at %d, its state at %d", n.name, pos, b.st.Position())
	}
	n.w.books.recorded(n, b, rec)
	if !b.flush {
		b.flush = true
		life := n.life
		n.w.after(n.w.between(1, 25), func() {
			if n.life == life {
				b.flush = false
				n.commit(b)
			}
		})
	}
	return uint64(pos)
}

// commit is one group commit, and what waited for it.
func (n *node) commit(b *book) {
	if err := b.j.Flush(); err != nil {
		n.exit("flush", err)
	}
	durable := uint64(b.j.Durable())
	b.h.durable = max(b.h.durable, durable)
	for len(b.open) > 0 && b.open[0] <= durable {
		_, hash, ok := b.j.HashAt(journal.Position(b.open[0]))
		if !ok {
			n.w.fail("I7", "%s: no boundary at the seal of position %d", n.name, b.open[0])
		}
		for _, batch := range b.st.Covered(b.open[0], hash[:]) {
			b.edge.Sealed(batch)
		}
		b.open = b.open[1:]
	}
	waits := b.waits
	b.waits = nil
	for _, x := range waits {
		if x.pos <= durable {
			x.answer()
		} else {
			b.waits = append(b.waits, x)
		}
	}
}

// offer makes an offer of a flight, where there seems to be room for it.
func (n *node) offer(f *flight, s *site) (holder.Event, bool) {
	b := n.book
	if b == nil || !b.live || n.draining || b.st.ControlOf(f.id).State != 0 {
		return holder.Event{}, false
	}
	now := n.clock()
	e := holder.Event{
		Holder: b.h.holder, Boot: b.boot, Seq: b.next, Ad: f.id * 10, Flight: f.id, Publisher: s.id, Country: [2]byte{'D', 'E'},
		ViewPrice: f.view, ClickPrice: f.click, Issued: now, Flags: f.flagsOn(exchange.Day(now), s),
	}
	sold := e
	sold.Kind = exchange.View
	if f.flags&token.FlagClicks != 0 {
		sold.Kind = exchange.Click
	}
	for _, d := range owes(&sold) {
		if t, _ := b.st.Lease(d.budget); t.Available() < d.amount && !n.w.chance(0.05) {
			return holder.Event{}, false
		}
	}
	b.next++
	return e, true
}

// beacon takes a view or a click; answer is called when it may be answered.
func (n *node) beacon(e holder.Event, answer func(holder.Verdict)) {
	b := n.book
	if b == nil || b.st.Closed() {
		return // 503
	}
	e.At = n.clock()
	home := n.w.home(e.Holder)
	if e.Holder != b.h.holder && home != nil && home != n && home.region == n.region && !n.w.chance(0.2) {
		n.askHome(home, e, answer)
		return
	}
	n.judge(b, &e, answer)
}

// askHome has a peer judge an event of its own. Where no answer comes, the
// event is kept here.
func (n *node) askHome(home *node, e holder.Event, answer func(holder.Verdict)) {
	life, settled := n.life, false
	n.w.say("peer", "%s asks %s", n.name, home.name)
	n.w.net.send(n.place(), home.place(), func() {
		b := home.book
		if !home.up || b == nil || b.h.holder != e.Holder || b.st.Fenced() || b.st.Closed() {
			return
		}
		home.judge(b, &e, func(v holder.Verdict) {
			if v == holder.HomeLost || v == holder.Expired {
				return
			}
			n.w.net.send(home.place(), n.place(), func() {
				if n.life == life && !settled {
					settled = true
					answer(v)
				}
			})
		})
	})
	n.w.after(400, func() {
		if n.life == life && !settled && n.book != nil && !n.book.st.Closed() {
			settled = true
			n.judge(n.book, &e, answer)
		}
	})
}

func (n *node) judge(b *book, e *holder.Event, answer func(holder.Verdict)) {
	rec, v := b.st.Judge(nil, e)
	pos := n.put(b, rec)
	if v == holder.Duplicate {
		pos = uint64(b.j.Last())
	}
	n.w.say(v.String(), "%s holder %d boot %04x seq %d kind %d", n.name, e.Holder, e.Boot>>48, e.Seq, e.Kind)
	if pos <= uint64(b.j.Durable()) {
		answer(v)
		return
	}
	b.waits = append(b.waits, wait{pos, func() { answer(v) }})
}

// home is the node that is a holder now.
func (w *World) home(id uint32) *node {
	for _, n := range w.nodes {
		if n.up && n.book != nil && n.book.h.holder == id {
			return n
		}
	}
	return nil
}

// tick is the exchange's shell: every second, or later where it fails.
func (n *node) tick() {
	if !n.up {
		return
	}
	life := n.life
	n.w.after(min(second<<min(n.failures, 5), 30*second)+n.w.between(-100, 100), func() {
		if n.life == life {
			n.tick()
		}
	})
	if n.waiting != 0 {
		if n.w.now < n.deadline {
			return
		}
		n.waiting = 0
		n.failures++
		if n.book != nil {
			n.book.edge.Again()
		}
	}
	b := n.book
	switch {
	case b == nil || b.st.Fenced() || b.st.Closed() && b.edge.Outstanding() == 0 && len(b.open) == 0:
		n.register()
	case len(n.id.Former) > 0 && n.w.chance(0.5):
		n.handIn(n.id.Former[0])
	default:
		n.prepare(b)
	}
}

// call sends a message to the core; heard gets the reply, if one comes.
func call[Q, R proto.Message](n *node, request Q, serve func(Q, func(R)), heard func(R)) {
	n.calls++
	number, life := n.calls, n.life
	n.waiting, n.deadline = number, n.w.now+3*second
	sent := marshal(request)
	n.w.net.send(n.place(), 0, func() {
		q := request.ProtoReflect().New().Interface().(Q)
		unmarshal(n.w, sent, q)
		serve(q, func(r R) {
			reply := marshal(r)
			n.w.net.send(0, n.place(), func() {
				late := n.waiting != number
				if n.life != life || late && n.w.chance(0.5) {
					return
				}
				if !late {
					n.waiting, n.failures = 0, 0
				}
				fresh := r.ProtoReflect().New().Interface().(R)
				unmarshal(n.w, reply, fresh)
				heard(fresh)
			})
		})
	})
}

func marshal(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(&Violation{Invariant: "protocol", Detail: err.Error()})
	}
	return b
}

func unmarshal(w *World, b []byte, m proto.Message) {
	if err := proto.Unmarshal(b, m); err != nil {
		w.fail("protocol", "%v", err)
	}
}

// prepare is keeper's Prepare: settle, give back, seal; then send, once what
// was sealed is durable.
func (n *node) prepare(b *book) {
	now := n.clock()
	if !b.st.Closed() {
		for b.st.Waits() {
			rec := b.st.Settle(nil, now)
			if len(rec) == 0 {
				break
			}
			n.put(b, rec)
		}
		if n.w.chance(0.1) || n.draining {
			n.giveBack(b)
		}
		for _, boot := range b.st.Dropped(now) {
			n.put(b, b.st.Floor(nil, boot, holder.Gone))
		}
		free := b.edge.Outstanding() == 0 && len(b.open) == 0
		early := n.w.chance(0.05) && !n.finish // a batch that has grown large does not wait
		if (free || early) && (n.finish && free || !b.st.Said()) {
			n.seal(b, now, n.finish)
		}
	}
	life := n.life
	n.w.after(n.w.between(0, 30), func() {
		if n.life == life && n.book == b && n.waiting == 0 {
			n.commit(b)
			n.sync(b)
		}
	})
}

func (n *node) giveBack(b *book) {
	for _, id := range n.w.budgets(n.clock()) {
		if t, ok := b.st.Lease(id); ok && t.Available() > 0 && n.w.chance(0.5) {
			n.put(b, b.st.Return(nil, id, n.w.between(1, t.Available())))
		}
	}
}

func (n *node) seal(b *book, now int64, closing bool) {
	pos := n.put(b, b.st.Seal(nil, now, closing, b.next))
	b.open = append(b.open, pos)
	at := b.j.Cut()
	sealed := b.st.Sealed()
	if bytes := b.j.Stats().Bytes.Load(); b.save == nil && bytes-b.saved >= segment/2 {
		b.save = &checkpoint{batch: sealed[len(sealed)-1].GetSeal().GetBatch(), pos: at, state: b.st.Encode(nil)}
		b.saved = bytes
	}
	if closing {
		b.live = false
		n.w.say("closing", "%s holder %d", n.name, b.h.holder)
	}
}

func (n *node) sync(b *book) {
	side := &wire.Side{}
	_, side.AppliedControl = b.st.Controls(^uint64(0))
	if !n.draining && n.w.chance(0.7) {
		for _, id := range n.w.budgets(n.clock()) {
			want := &wire.Want{Budget: int64(id), Target: n.w.between(0, 12), VelocityMilli: n.w.between(0, 4000)}
			if id.Micros() {
				want.Target *= 3000
			}
			side.Wants = append(side.Wants, want)
		}
	}
	request := b.edge.Request(side)
	n.w.books.said(n, b, request)
	n.w.say("sync", "%s holder %d %s", n.name, b.h.holder, exchange.Describe(request.GetSeal()))
	call(n, request, n.w.core.exchange, func(r *wire.SyncResponse) {
		if n.book == b {
			n.heard(b, r)
		}
	})
}

// heard is keeper's Heard.
func (n *node) heard(b *book, r *wire.SyncResponse) {
	step := b.edge.Reply(r)
	n.w.say("heard", "%s holder %d status %v course %d %s", n.name, b.h.holder, r.GetStatus(), step.Course, exchange.Describe(r.GetCursor()))
	if step.Acked != nil {
		b.st.Acknowledge(step.Acked)
	}
	if b.save != nil && b.save.batch <= step.Acked.GetBatch() {
		n.checkpoint(b)
	}
	if step.Course == exchange.Superseded {
		n.exit("superseded", errors.New(step.Reason))
	}
	for _, c := range r.GetControls() {
		n.put(b, b.st.Control(nil, holder.Control{Version: c.GetVersion(), Flight: c.GetFlight(), State: uint8(c.GetState())}))
	}
	switch {
	case step.Course == exchange.Fence:
		n.fence(b, step.Reason)
		return
	case step.Course != exchange.Proceed || b.st.Closed():
		if b.st.Closed() && b.edge.Outstanding() == 0 && len(b.open) == 0 && n.finish {
			n.depart(b)
		}
		return
	}
	for _, g := range r.GetLeases() {
		id := lease.Budget(g.GetBudget())
		if reason := b.st.Contradicts(g); reason != "" {
			n.fence(b, reason)
			return
		}
		n.put(b, b.st.Grant(nil, id, g.GetGranted()))
		if to := g.GetRecallTo(); to >= 0 {
			t, _ := b.st.Lease(id)
			n.put(b, b.st.Return(nil, id, lease.Recall(t.Available(), to, n.w.between(0, 3), lease.Full)))
		}
	}
	for _, x := range r.GetForeignIn() {
		e, err := holder.EventFrom(x)
		if err != nil || e.Holder != b.h.holder || x.GetPosition() == 0 {
			n.w.fail("protocol", "%s was passed %v: %v", n.name, x, err)
		}
		n.put(b, b.st.ForeignIn(nil, x.GetPosition(), &e, n.clock()))
	}
}

// checkpoint makes the journal begin at a seal that the core acknowledged.
func (n *node) checkpoint(b *book) {
	c := b.save
	b.save = nil
	_, hash, ok := b.j.HashAt(c.pos)
	if !ok {
		return
	}
	if err := b.j.SaveCheckpoint(c.state, c.pos, hash); err != nil {
		n.exit("checkpoint", err)
	}
	n.w.say("checkpoint", "%s holder %d at %d", n.name, b.h.holder, c.pos)
}

// fence leaves judging to the core, and makes the directory a new disk.
func (n *node) fence(b *book, reason string) {
	if b.st.Fenced() || b.st.Closed() && b.edge.Outstanding() == 0 && len(b.open) == 0 {
		return
	}
	n.w.say("fence", "%s holder %d: %s", n.name, b.h.holder, reason)
	b.live = false
	n.put(b, b.st.Fence(nil, n.clock()))
	n.commit(b)
	n.id.Disk = randomHex(n.w.rng, 16)
	if err := n.id.save(n.fs); err != nil {
		n.exit("identity", err)
	}
}

// depart is the end of a drain.
func (n *node) depart(b *book) {
	n.w.say("drained", "%s holder %d", n.name, b.h.holder)
	n.id.Holder = 0
	n.id.Generation++
	if err := n.id.save(n.fs); err != nil {
		n.exit("identity", err)
	}
	if err := b.j.Close(); err != nil {
		n.exit("close", err)
	}
	if err := removeJournal(n.fs, n.id.Generation-1); err != nil {
		n.exit("remove", err)
	}
	if n.w.ending && len(n.id.Former) == 0 {
		n.drained = true
		n.end("drained", false)
		return
	}
	n.die("drained", false)
}

// register asks for a holder.
func (n *node) register() {
	request := &wire.RegisterRequest{Protocol: exchange.Protocol, Region: n.region, Node: n.name, Disk: n.id.Disk}
	if n.w.ending && n.book == nil && len(n.id.Former) == 0 {
		n.drained = true
		n.end("nothing to do", false)
		return
	}
	call(n, request, n.w.core.register, func(r *wire.RegisterResponse) {
		if b := n.book; b == nil || b.st.Fenced() || b.st.Closed() {
			n.enroll(r)
		}
	})
}

// enroll binds the directory to a holder, and begins its first boot.
func (n *node) enroll(r *wire.RegisterResponse) {
	old := n.book
	if n.id.Holder == r.GetHolder() || old == nil && n.id.Holder != 0 {
		return // an old reply
	}
	id := n.id
	id.Former = append([]former(nil), id.Former...)
	if old != nil {
		if old.st.Fenced() {
			id.Former = append(id.Former, former{Generation: id.Generation, Holder: id.Holder})
		}
		id.Generation++
	}
	id.Holder = r.GetHolder()
	b, err := n.openBook(id.Holder, id.Generation)
	if err != nil {
		n.exit("open", err)
	}
	if old != nil {
		controls, _ := old.st.Controls(0)
		for _, c := range controls {
			n.put(b, b.st.Control(nil, c))
		}
	}
	if err := id.save(n.fs); err != nil {
		n.exit("identity", err)
	}
	n.id, n.book = id, b
	n.w.say("enrolled", "%s as holder %d", n.name, id.Holder)
	n.boot(b)
	if old == nil {
		return
	}
	if err := old.j.Close(); err != nil {
		n.exit("close", err)
	}
	old.h.durable = max(old.h.durable, uint64(old.j.Durable()))
	waits := old.waits
	old.waits = nil
	for _, x := range waits {
		x.answer()
	}
	if !old.st.Fenced() {
		if err := removeJournal(n.fs, id.Generation-1); err != nil {
			n.exit("remove", err)
		}
	}
}

// handIn delivers a fenced holder's journal: first it asks how far the core
// got, then it sends the windows as of there and every event after.
func (n *node) handIn(f former) {
	seal, _, _, err := n.readFormer(f, nil)
	if err != nil {
		n.unreadable(f, err)
		return
	}
	probe := &wire.HandInRequest{Holder: f.Holder, Seal: seal}
	call(n, probe, n.w.core.handIn, func(r *wire.HandInResponse) {
		if r == nil || r.GetCursor() == nil {
			n.forget(f, "the core has no use for its journal")
			return
		}
		n.deliver(f, r.GetCursor())
	})
}

func (n *node) unreadable(f former, err error) {
	if !errors.Is(err, journal.ErrCorrupt) && !errors.Is(err, holder.ErrHistory) {
		n.exit("read former", err)
	}
	if !n.broken {
		n.w.fail("I5", "%s: former holder %d: %v", n.name, f.Holder, err)
	}
	n.w.books.lost(f.Holder)
	n.forget(f, err.Error())
}

func (n *node) deliver(f former, cursor *wire.Cursor) {
	if len(n.id.Former) == 0 || n.id.Former[0] != f || n.book == nil || n.book.st.Closed() {
		return
	}
	seal, windows, late, err := n.readFormer(f, cursor)
	if err != nil {
		n.unreadable(f, err)
		return
	}
	request := &wire.HandInRequest{Holder: f.Holder, Seal: seal, Windows: windows, Last: true}
	for i := range late {
		if late[i].Holder == f.Holder {
			request.Late = append(request.Late, late[i].Wire())
			continue
		}
		n.judge(n.book, &late[i], func(holder.Verdict) {})
	}
	n.commit(n.book)
	if k := len(request.Late); k > 1 && n.w.chance(0.5) { // in parts
		part := proto.CloneOf(request)
		part.Late, part.Last = part.Late[:k/2], false
		call(n, part, n.w.core.handIn, func(*wire.HandInResponse) {})
	}
	n.w.say("handin", "%s holder %d: %d boots, %d late", n.name, f.Holder, len(windows), len(request.Late))
	call(n, request, n.w.core.handIn, func(*wire.HandInResponse) { n.forget(f, "handed in") })
}

// readFormer reads a former holder's journal, its windows as of a cursor with
// every boot that began later, and the events after it.
func (n *node) readFormer(f former, cursor *wire.Cursor) (seal *wire.Cursor, windows []*wire.Window, late []holder.Event, err error) {
	j, err := n.openJournal(f.Generation)
	if err != nil {
		return nil, nil, nil, err
	}
	found := cursor == nil
	reached := func(st *holder.State) {
		if !found && lastBatch(st) >= cursor.GetBatch() {
			found = true
			windows = st.Windows(0)
		}
	}
	st, err := replay(j, f.Holder, reached, func(st *holder.State, rec []byte) error {
		if !found {
			reached(st)
			return nil
		}
		e, ok, err := holder.Late(rec)
		if ok {
			late = append(late, e)
		}
		return err
	})
	if err = errors.Join(err, j.Close()); err != nil {
		return nil, nil, nil, err
	}
	seal = st.Acked()
	if sealed := st.Sealed(); len(sealed) > 0 {
		seal = sealed[len(sealed)-1].GetSeal()
	}
	for _, x := range st.Windows(0) {
		known := false
		for _, y := range windows {
			known = known || y.GetBoot() == x.GetBoot()
		}
		if !known {
			windows = append(windows, &wire.Window{Boot: x.GetBoot(), Floor: x.GetFloor(), Next: x.GetNext()})
		}
	}
	return seal, windows, late, nil
}

func lastBatch(st *holder.State) uint64 {
	if sealed := st.Sealed(); len(sealed) > 0 {
		return sealed[len(sealed)-1].GetSeal().GetBatch()
	}
	return st.Acked().GetBatch()
}

func (n *node) forget(f former, why string) {
	for i, x := range n.id.Former {
		if x != f {
			continue
		}
		id := n.id
		id.Former = append(append([]former(nil), id.Former[:i]...), id.Former[i+1:]...)
		if err := id.save(n.fs); err != nil {
			n.exit("identity", err)
		}
		n.id = id
		n.w.say("forgot", "%s former holder %d: %s", n.name, f.Holder, why)
		if err := removeJournal(n.fs, f.Generation); err != nil {
			n.exit("remove", err)
		}
		return
	}
}

// budgets lists what nodes ask for: of every flight, and of the days around now.
func (w *World) budgets(now int64) []lease.Budget {
	var list []lease.Budget
	today := exchange.Day(now)
	for i := range w.plan.flights {
		f := &w.plan.flights[i]
		list = append(list, f.budget())
		for d := today; d <= today+1; d++ {
			if f.cap > 0 && d >= f.from {
				list = append(list, lease.Of(lease.FlightDay, f.id, d))
			}
		}
	}
	for _, s := range w.plan.sites {
		for d := today; d <= today+1; d++ {
			if s.cap > 0 && d >= s.from {
				list = append(list, lease.Of(lease.PublisherDay, s.id, d))
			}
		}
	}
	return list
}

// gossip brings one node's controls to another.
func (n *node) gossip(to *node) {
	if n.book == nil {
		return
	}
	controls, _ := n.book.st.Controls(0)
	n.w.net.send(n.place(), to.place(), func() {
		b := to.book
		if !to.up || b == nil {
			return
		}
		before := b.leases()
		for _, c := range controls {
			to.put(b, b.st.Control(nil, c))
		}
		if after := b.leases(); !bytes.Equal(before, after) {
			n.w.fail("I12", "%s: gossip changed leases", to.name)
		}
	})
}

// leases are the totals in a form that compares.
func (b *book) leases() []byte {
	sums := map[lease.Budget]lease.Totals{}
	b.st.Leases(func(id lease.Budget, t lease.Totals) { sums[id] = t })
	return fmt.Appendf(nil, "%v", sums)
}
