package simulation

import (
	"context"
	"errors"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"nearside/core/ledger"
	"nearside/edge/holder"
	"nearside/edge/journal"
	"nearside/edge/journal/faultfs"
	"nearside/edge/keeper"
	"nearside/edge/replica"
	"nearside/sync/wire"
)

// copies is a process's part in keeping journals twice: the line to the peer
// that keeps its own, and those that it keeps for others.
type copies struct {
	n     *node
	line  *replica.Line
	store *replica.Store
	wake  func()   // the line, while it sleeps
	due   *routine // the line's, once it is woken and until it goes on
}

// openCopies is the process's beginning.
func (n *node) openCopies() {
	w := n.w
	c := &copies{n: n}
	c.line = replica.NewLine(replica.LineConfig{Peers: c.peers, Call: c, Now: n.Now, Beat: time.Duration(w.beat()) * time.Millisecond})
	var err error
	c.store, err = replica.OpenStore(replica.StoreConfig{
		Dir: "state/copies", FS: n.disk, Reserve: 1, Now: n.Now, Session: func() uint64 { return w.rng.Uint64() | 1 },
		Journal: journal.Options{SegmentSize: 2 * segment, Inline: true, Rand: random{w.rng}},
	})
	if err != nil {
		n.exit("open copies", err)
	}
	n.copies = c
}

// beat is how often a line says something, in milliseconds.
func (w *World) beat() int64 {
	if w.plan.lasts > hour && !w.ending {
		return minute
	}
	return 500
}

// written is told of every group before it goes to the disk.
func (c *copies) written() {
	if c.wake != nil {
		c.wake()
	}
}

// bring is the line's routine.
func (c *copies) bring() {
	w := c.n.w
	for {
		if c.line.Step(context.Background()) {
			continue
		}
		r, woken := w.running, false
		c.wake = func() {
			if !woken {
				woken, c.due = true, r
				w.after(0, r.resume)
			}
		}
		w.after(w.beat(), c.wake)
		w.park()
		c.wake, c.due = nil, nil
	}
}

// last is the end of the process, which may have come with a group on its way to
// the disk: it was on its way to the peer, too.
func (c *copies) last() {
	if c.due != nil {
		c.due.resume()
	}
}

// peers are the others of the region, as gossip has told.
func (c *copies) peers() (list []replica.Peer) {
	for _, m := range c.n.w.nodes {
		if m != c.n && slices.Contains(c.n.peers, m.name) {
			list = append(list, replica.Peer{Name: m.name, Addr: m.name})
		}
	}
	return list
}

// The methods of keeper.Replica.

func (c *copies) Use(holder uint32, j *journal.Journal) { c.line.Use(holder, j) }

func (c *copies) Alone() bool { return c.line.Alone() }

func (c *copies) Covered(j *journal.Journal, pos journal.Position) (bool, error) {
	return c.line.Covered(j, pos)
}

func (c *copies) Wait(_ context.Context, j *journal.Journal, pos journal.Position) error {
	w := c.n.w
	for until, most := w.now+second, int64(30); ; most = min(2*most, 240) {
		if ok, err := c.line.Covered(j, pos); ok || err != nil {
			if err == nil {
				w.books.covered(c.n, uint64(pos))
			}
			return err
		}
		if w.now >= until {
			c.line.Despair(j, pos)
		}
		w.pause(w.between(1, most))
	}
}

// Follow and Append are replica.Caller.

func (c *copies) Follow(_ context.Context, p replica.Peer, r *wire.FollowRequest) (*wire.FollowResponse, error) {
	return askPeer(c.n, p, r, func(to *node, r *wire.FollowRequest) (*wire.FollowResponse, error) {
		answer, err := to.copies.store.Follow(context.Background(), r)
		if err == nil {
			to.w.books.follows(copyOf{to.disk, r.GetHolder(), string(r.GetJournal())}, r.GetEnd(), answer.GetAt())
		}
		return answer, err
	})
}

func (c *copies) Append(_ context.Context, p replica.Peer, r *wire.AppendRequest) (*wire.AppendResponse, error) {
	books, life := c.n.w.books, c.n.life
	answer, err := askPeer(c.n, p, r, func(to *node, r *wire.AppendRequest) (*wire.AppendResponse, error) {
		books.brings(copyOf{to.disk, r.GetHolder(), string(r.GetJournal())}, r)
		answer, err := to.copies.store.Append(context.Background(), r)
		// What an earlier process left on its way may be of another past.
		if err == nil && answer.GetTaken() && c.n.life == life {
			books.kept[r.GetHolder()] = max(books.kept[r.GetHolder()], answer.GetAt().GetPosition())
		}
		return answer, err
	})
	if err == nil {
		c.n.w.count["copied"]++
	}
	if err == nil && answer.GetTaken() {
		books.copied[r.GetHolder()] = max(books.copied[r.GetHolder()], answer.GetAt().GetPosition())
	}
	return answer, err
}

func askPeer[Q, R proto.Message](n *node, p replica.Peer, request Q, serve func(*node, Q) (R, error)) (reply R, err error) {
	w, r := n.w, n.w.running
	i := slices.IndexFunc(w.nodes, func(m *node) bool { return m.name == p.Name })
	to, sent, over := w.nodes[i], marshal(request), false
	err = errNoPeer
	w.net.send(n.place(), to.place(), func() {
		if !to.up || to.copies == nil {
			return
		}
		to.run(func() {
			q := request.ProtoReflect().New().Interface().(Q)
			unmarshal(w, sent, q)
			got, fault := serve(to, q)
			if errors.Is(fault, faultfs.ErrPower) {
				to.exit("copy", fault)
			}
			w.net.send(to.place(), n.place(), func() {
				if over || n.life != r.life {
					return
				}
				over, reply, err = true, got, fault
				r.resume()
			})
		})
	})
	w.after(2*second, func() {
		if !over {
			over = true
			r.resume()
		}
	})
	w.park()
	return reply, err
}

// handIns is uplink's loop over copies whose holders are silent.
func (c *copies) handIns() {
	w := c.n.w
	for {
		w.pause(10*w.beat() + w.between(0, second))
		c.pass()
	}
}

// pass looks at every silent copy once.
func (c *copies) pass() {
	const silent = 5 * time.Second
	for _, id := range c.store.Silent(silent) {
		done, err := c.handIn(id)
		if errors.Is(err, faultfs.ErrPower) {
			c.n.exit("copy", err)
		}
		if err != nil {
			c.n.w.say("copy-waits", "%s holder %d: %v", c.n.name, id.Holder, err)
		}
		if !done {
			continue
		}
		if err := c.store.Drop(id, silent); err != nil {
			c.n.exit("drop a copy", err)
		}
		c.n.w.say("copy-dropped", "%s holder %d", c.n.name, id.Holder)
	}
}

// handIn is uplink's handInCopy.
func (c *copies) handIn(id replica.ID) (done bool, err error) {
	w, n := c.n.w, c.n
	me, _, ok := n.k.Registered()
	if !ok {
		return false, errNoPeer
	}
	send := func(r *wire.HandInRequest) (*wire.HandInResponse, error) {
		r.Holder = id.Holder
		reply, err := ask(n, r, func(q *wire.HandInRequest, reply func(*wire.HandInResponse)) { w.core.handInBy(q, me, reply) })
		if err == nil && reply.GetCursor() == nil {
			err = keeper.ErrBehind
		}
		return reply, err
	}
	answer, err := send(&wire.HandInRequest{})
	var seals []*wire.Cursor
	if err == nil {
		err = c.store.Read(id, func(src replica.Source) (err error) {
			seals, err = keeper.Seals(src, id.Holder)
			return err
		})
	}
	switch {
	case err != nil:
	case answer.GetOpen():
		return seals[len(seals)-1].GetBatch() < answer.GetCursor().GetBatch(), nil
	default:
		err = c.handInRead(id, seals, answer, send)
	}
	switch {
	case err == nil:
		w.say("copy-handed-in", "%s holder %d", n.name, id.Holder)
		return true, nil
	case errors.Is(err, replica.ErrUnknown):
		return true, nil
	case errors.Is(err, keeper.ErrBehind):
		w.say("copy-behind", "%s holder %d: %v", n.name, id.Holder, err)
		return true, nil
	case errors.Is(err, holder.ErrHistory), errors.Is(err, journal.ErrCorrupt):
		w.fail("I6", "%s: the copy of holder %d is none: %v", n.name, id.Holder, err)
	}
	return false, err
}

func (c *copies) handInRead(id replica.ID, seals []*wire.Cursor, answer *wire.HandInResponse, send func(*wire.HandInRequest) (*wire.HandInResponse, error)) error {
	i := slices.IndexFunc(seals, func(x *wire.Cursor) bool { return x.GetBatch() == answer.GetCursor().GetBatch() })
	if i < 0 {
		return keeper.ErrBehind
	}
	part := func(r *wire.HandInRequest) error {
		r.Seal, r.Proof, r.Told = seals[len(seals)-1], seals[i], answer.GetTold()
		_, err := send(r)
		return err
	}
	err := c.store.Read(id, func(src replica.Source) error {
		return c.n.k.HandInFrom(context.Background(), src, id.Holder, seals[i], answer.GetTold(),
			func(windows []*wire.Window) error { return part(&wire.HandInRequest{Windows: windows}) },
			func(events []*wire.Event) error { return part(&wire.HandInRequest{Late: events}) })
	})
	if err != nil {
		return err
	}
	return part(&wire.HandInRequest{Last: true})
}

// handInBy answers without a cursor where the copy is of no use.
func (c *core) handInBy(r *wire.HandInRequest, by uint32, reply func(*wire.HandInResponse)) {
	if !c.up {
		return
	}
	if err := ledger.ValidateHandIn(r); err != nil {
		c.w.fail("protocol", "hand-in of holder %d by holder %d: %v", r.GetHolder(), by, err)
	}
	answer, err := ledger.HandInBy(context.Background(), c.store, r, by, c.w.now)
	switch {
	case errors.Is(err, ledger.ErrBehind), errors.Is(err, ledger.ErrRetired):
		reply(&wire.HandInResponse{})
	case err != nil:
		c.w.say("handin-refused", "holder %d by holder %d: %v", r.GetHolder(), by, err)
	default:
		reply(answer)
	}
}

// copyOf is a journal as one disk of its region has it.
type copyOf struct {
	disk    *tap
	holder  uint32
	journal string
}

// brings is told of what comes to a copy, taken or not.
func (o *oracle) brings(c copyOf, r *wire.AppendRequest) {
	had := o.brought[c]
	if had == nil {
		had = map[uint64][]string{}
		o.brought[c] = had
	}
	add := func(b *wire.Boundary) {
		if hash := string(b.GetHash()); !slices.Contains(had[b.GetPosition()], hash) {
			had[b.GetPosition()] = append(had[b.GetPosition()], hash)
		}
	}
	for _, f := range r.GetFrames() {
		add(f.GetEnd())
	}
	if r.GetCheckpoint() != nil {
		add(r.GetCheckpoint().GetAt())
	}
}

// follows holds what a peer says that its copy has against what was ever brought to it.
func (o *oracle) follows(c copyOf, end, at *wire.Boundary) {
	had := o.brought[c]
	if list := had[end.GetPosition()]; at != nil && len(list) > 0 && !slices.Contains(list, string(end.GetHash())) {
		o.w.count["followed by another past"]++
	}
	if at != nil && !slices.Contains(had[at.GetPosition()], string(at.GetHash())) {
		o.w.fail("I5", "%s says that its copy of holder %d has the boundary %x at %d, which nobody has brought", c.disk.n.name, c.holder, at.GetHash(), at.GetPosition())
	}
}

// promise is when a reader was answered for something that should be on two
// disks, and by whom.
type promise struct {
	at int64
	by *node
}

// promise notes an answer, unless the node that gave it, or the home of the
// event, says that it is alone.
func (o *oracle) promise(n *node, e *holder.Event) {
	home := o.histories[e.Holder]
	if !o.w.plan.copies || home == nil || n.isAlone() || home.n.isAlone() {
		return
	}
	if id, _, ok := home.n.k.Registered(); !ok || id != e.Holder {
		return // its time is over
	}
	o.w.count["answered by two disks"]++
	o.promised[keyOf(e)] = promise{o.w.now, n}
}

// covered is told that a node may answer for its journal up to a position: a peer
// has said that it is on its disk, too, or the node says that it is alone.
func (o *oracle) covered(n *node, pos uint64) {
	id, _, ok := n.k.Registered()
	if !ok {
		return
	}
	if !n.isAlone() && pos > o.copied[id] && !o.isLost(id) {
		o.w.fail("I5", "%s: position %d is covered, the peers of holder %d have up to %d", n.name, pos, id, o.copied[id])
	}
	if pos > o.copied[id] {
		o.single[id] = max(o.single[id], pos)
	}
	o.waited[id] = max(o.waited[id], pos)
}

// keptTwice says that a node has asked, before it answered, whether a record is on
// two disks. Of a record in another node's journal, or in one that is a holder's no
// more, that is for others to look at.
func (o *oracle) keptTwice(n *node, p place) bool {
	if !o.w.plan.copies || n.k == nil || p.h.n != n || p.h.gone {
		return true
	}
	id, _, ok := n.k.Registered()
	return !ok || id != p.h.holder || p.pos <= o.waited[id]
}

func (n *node) isAlone() bool { return n.copies == nil || n.k == nil || n.copies.line.Alone() }

// isPromised says that an answer must be found though these histories' disks are
// gone: no other disk of their regions was harmed since it was given.
func (o *oracle) isPromised(p promise, gone []*history) bool {
	if p.by == nil {
		return false
	}
	for _, h := range gone {
		if h.rolled {
			return false
		}
		for _, n := range o.w.nodes {
			if n != h.n && n.region == h.n.region && n.harmed >= p.at {
				return false
			}
		}
	}
	return true
}
