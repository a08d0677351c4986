package simulation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"nearside/edge/holder"
	"nearside/edge/journal"
	"nearside/edge/journal/faultfs"
	"nearside/edge/keeper"
	"nearside/edge/statedir"
	"nearside/sync/catalog"
	"nearside/sync/exchange"
	"nearside/sync/lease"
	"nearside/sync/token"
	"nearside/sync/wire"
)

// node is one edge node: a machine with a disk, and the process on it, which is
// a keeper and what edge/uplink does with one. What a process knows is lost
// when it dies; life numbers processes, so that what was meant for an earlier
// one finds nobody.
type node struct {
	w        *World
	index    int
	region   string
	name     string
	disk     *tap
	skew     int64 // of its clock, milliseconds
	life     int
	up       bool
	routines []*routine
	dying    string // why the process is about to end
	power    bool   // so that the machine loses what was not synced

	k       *keeper.Keeper
	catalog uint64
	leaving bool                   // it was told to drain
	drained bool                   // for good
	damaged bool                   // bits of its disk were flipped
	idle    *routine               // that hands in, while it has nothing to do
	nudged  bool                   // there is something
	peers   []string               // of its region, as it was last told
	heard   int64                  // when an answer of the core last reached a process on this disk, by the node's clock; 0: never
	left    map[lease.Budget]int64 // since when a budget is left to another node, with nothing in flight
	copies  *copies                // nil: journals are kept once
	alone   bool                   // as its last process was, when it ended
	harmed  int64                  // when its disk last lost, or lied about, what it had
}

const segment = 16 << 10 // small, so that segments are recycled

func newNode(w *World, i int) *node {
	n := &node{w: w, index: i, region: fmt.Sprintf("region-%d", i%w.plan.regions), name: fmt.Sprintf("node-%d", i)}
	n.newDisk()
	n.skew = w.between(-400, 400)
	if w.plan.skewed && i == 0 {
		n.skew = w.between(-3*hour, 3*hour)
	}
	return n
}

func (n *node) newDisk() {
	n.damaged, n.heard = false, 0
	n.disk = &tap{FS: faultfs.New(n.w.rng.Uint64()), o: n.w.books, n: n, known: map[string]*history{}, files: map[string]*tapped{}}
}

func (n *node) place() int     { return n.index + 1 }
func (n *node) clock() int64   { return n.w.now + n.skew }
func (n *node) Now() time.Time { return time.UnixMilli(n.clock()) }

// start is the process's beginning, after a while.
func (n *node) start(delay int64) {
	life := n.life
	n.w.after(delay, func() {
		if n.up || n.life != life || n.drained {
			return
		}
		n.up, n.leaving, n.catalog, n.peers, n.left = true, n.w.closing, 0, nil, map[lease.Budget]int64{}
		if n.w.chance(0.1) {
			n.skew += n.w.between(-2000, 2000)
		}
		n.run(n.main)
	})
}

// die is the process's end from outside, and a new beginning.
func (n *node) die(why string, power bool) {
	n.end(why, power)
	n.start(n.w.between(200, 15*second))
}

func (n *node) end(why string, power bool) {
	n.w.say("died", "%s %s", n.name, why)
	n.alone = n.isAlone()
	for _, h := range n.disk.known {
		h.alone = h.alone || h.gone && n.alone
	}
	n.up = false
	if n.copies != nil {
		n.copies.last()
	}
	n.k, n.dying, n.idle, n.nudged, n.copies = nil, "", nil, false, nil
	n.life++
	if power {
		n.disk.Crash()
	} else {
		n.disk.Kill()
	}
	routines := n.routines
	n.routines = nil
	for _, r := range routines {
		r.abandon(n.w)
	}
}

// exit ends the process from within one of its routines.
func (n *node) exit(why string, err error) {
	n.fail(why, err)
	panic(died{})
}

func (n *node) fail(why string, err error) {
	if n.dying == "" {
		n.dying = fmt.Sprintf("%s: %v", why, err)
		n.power = errors.Is(err, faultfs.ErrPower) || n.w.chance(0.5)
	}
}

// look ends the process where it has failed. A process that has lost its
// journal may live on for a moment.
func (n *node) look() {
	n.routines = slices.DeleteFunc(n.routines, func(r *routine) bool { return r.over })
	if !n.up {
		return
	}
	if n.dying != "" {
		n.die(n.dying, n.power)
		return
	}
	if n.k != nil && n.k.Err() != nil {
		err, life := n.k.Err(), n.life
		n.w.after(n.w.between(0, 50), func() {
			if n.life == life {
				n.fail("journal", err)
				n.look()
			}
		})
	}
}

// main is edge/cmd/nearside-edge without its ports.
func (n *node) main() {
	gather := false
	config := keeper.Config{
		Dir: "state", FS: n.disk, Now: n.Now, Rand: random{n.w.rng}, Log: slog.New(&listener{n: n}), Home: n.askHome,
		Interval: time.Duration(n.w.plan.every) * time.Millisecond, MaxOffline: n.w.plan.rules.MaxOffline, FenceAfter: n.w.plan.rules.FenceAfter,
		Journal: journal.Options{SegmentSize: segment, Inline: true, Rand: random{n.w.rng}, Gather: func() {
			if gather {
				n.w.pause(n.w.between(1, 25))
			}
		}},
	}
	if n.w.plan.copies {
		n.openCopies()
		config.Replica, config.Journal.Tail, config.Journal.Written = n.copies, 4<<10, n.copies.written
	}
	k, err := keeper.Open(context.Background(), config)
	if err != nil {
		n.exit("open", err)
	}
	n.k = k
	if n.copies != nil {
		if n.w.chance(0.8) { // else it hears a tick later who is there
			n.members()
		}
		n.run(n.copies.bring)
		n.run(n.copies.handIns)
	}
	for _, id := range n.w.budgets(n.w.plan.start, n.w.plan.start+4*day) {
		k.Account(id) // in one order, whatever is heard first
	}
	gather = true
	id, _, _ := k.Registered()
	n.w.say("started", "%s as holder %d", n.name, id)
	n.w.books.opened(n, id)
	n.useCatalog()
	n.tick()
	n.run(n.handIns)
	n.exchange(&gather)
}

// listener hears what a keeper logs.
type listener struct{ n *node }

func (l *listener) Enabled(context.Context, slog.Level) bool { return true }
func (l *listener) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *listener) WithGroup(string) slog.Handler            { return l }
func (l *listener) Handle(_ context.Context, r slog.Record) error {
	l.n.w.say("logged", "%s: %s", l.n.name, logged{&r})
	if r.Level >= slog.LevelError && !l.n.damaged {
		l.n.w.fail("I5", "%s: %s", l.n.name, logged{&r})
	}
	return nil
}

// logged is a line of a keeper's log, put into words when it is read.
type logged struct{ r *slog.Record }

func (l logged) String() string {
	text := l.r.Message
	l.r.Attrs(func(a slog.Attr) bool {
		text += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		return true
	})
	return text
}

// described is a cursor, put into words when it is read.
type described struct{ c *wire.Cursor }

func (d described) String() string { return exchange.Describe(d.c) }

func (n *node) useCatalog() {
	if n.catalog == n.w.core.catalog {
		return
	}
	n.catalog = n.w.core.catalog
	if err := n.k.UseCatalog(n.w.snapshot(), nil, n.clock()); err != nil && !errors.Is(err, journal.ErrFull) {
		n.exit("catalog", err)
	}
}

func (n *node) tick() {
	life := n.life
	every := int64(500)
	if n.w.plan.lasts > hour || n.w.ending {
		every = 10 * second
	}
	n.w.after(every, func() {
		if n.life != life {
			return
		}
		if err := n.k.Tick(n.clock()); err != nil && !errors.Is(err, journal.ErrFull) {
			n.fail("tick", err)
			n.look()
			return
		}
		n.members()
		n.tick()
	})
}

// errLine is a failure of the line or the core: it passes.
var errLine = errors.New("simulated: no answer")

// ask sends a message to the core and waits for the reply.
func ask[Q, R proto.Message](n *node, request Q, serve func(Q, func(R))) (reply R, err error) {
	w, r := n.w, n.w.running
	sent, over, got := marshal(request), false, false
	w.net.send(n.place(), 0, func() {
		q := request.ProtoReflect().New().Interface().(Q)
		unmarshal(w, sent, q)
		serve(q, func(x R) {
			answer := marshal(x)
			w.net.send(0, n.place(), func() {
				if over || n.life != r.life {
					return
				}
				reply = x.ProtoReflect().New().Interface().(R)
				unmarshal(w, answer, reply)
				got, over = true, true
				r.resume()
			})
		})
	})
	w.after(3*second, func() {
		if !over {
			over = true
			r.resume()
		}
	})
	w.park()
	if !got {
		return reply, errLine
	}
	return reply, nil
}

// exchange is uplink's loop: register where that is needed, exchange every
// interval, and drain in the end.
func (n *node) exchange(gather *bool) {
	w, failures := n.w, 0
	for !n.leaving || w.ending && n.owes() {
		if err := n.once(gather); err == nil {
			failures = 0
		} else {
			failures++
		}
		w.pause(max(n.every(), min(second<<min(failures, 5), 30*second)) + w.between(-100, 100))
	}
	n.k.Drain()
	landing := w.now
	n.drained = w.ending && n.k.Status().Holder == 0
	for n.registered() && n.k.InFlight() > 0 && w.now-landing < 10*second {
		_ = n.once(gather)
		w.pause(200)
	}
	n.k.Finish()
	for !n.drained && (w.ending || w.now-landing < 20*second) {
		_ = n.once(gather)
		done, err := n.k.Drained()
		if err != nil {
			n.exit("drained", err)
		}
		if done {
			w.say("drained", "%s", n.name)
			n.drained = w.ending
			break
		}
		if !n.registered() {
			break // fenced meanwhile: the next start registers anew
		}
		w.pause(100)
	}
	if err := n.k.Close(); err != nil {
		n.exit("close", err)
	}
	n.exit("done", errors.New("it was told to"))
}

// every is how long a node waits between exchanges.
func (n *node) every() int64 {
	if n.w.ending {
		return second
	}
	return n.w.plan.every
}

// owes says that a fenced holder of the directory is still to be handed in.
func (n *node) owes() bool { return len(n.k.Former()) > 0 || n.k.Status().Fenced }

func (n *node) registered() bool {
	_, _, ok := n.k.Registered()
	return ok
}

// once is uplink's: one exchange, after a registration where one is needed.
func (n *node) once(gather *bool) error {
	w, ctx := n.w, context.Background()
	if !n.registered() {
		if n.leaving && !(w.ending && n.owes()) {
			return errLine
		}
		if err := n.register(gather); err != nil {
			return err
		}
	}
	request, err := n.k.Prepare(ctx)
	if err != nil {
		n.exit("prepare", err)
	}
	if !n.leaving && w.chance(0.3) { // what is asked for is nobody's truth
		request.Side.Wants = nil
		for _, id := range w.budgets(n.clock(), n.clock()+day) {
			want := &wire.Want{Budget: int64(id), Target: w.between(0, 12), VelocityMilli: w.between(0, 4000)}
			if id.Micros() {
				want.Target *= 3000
			}
			request.Side.Wants = append(request.Side.Wants, want)
		}
	}
	w.books.said(n, request)
	w.say("sync", "%s holder %d %s", n.name, request.GetHolder(), described{request.GetSeal()})
	reply, err := ask(n, request, w.core.exchange)
	if err != nil {
		n.k.Unheard()
		return err
	}
	if reply.GetStatus() == unauthenticated {
		n.k.Unheard()
		if err := n.state(); err != nil {
			return err
		}
		return errLine
	}
	if s := reply.GetStatus(); s != wire.SyncResponse_FENCED && s != wire.SyncResponse_SUPERSEDED {
		// The core counts its silence from here, whatever becomes of the reply: a
		// process that ends in Heard may have left word of it on the disk.
		n.heard = n.clock()
	}
	step, err := n.k.Heard(ctx, reply)
	w.say("heard", "%s holder %d %v course %d %s", n.name, request.GetHolder(), reply.GetStatus(), step.Course, described{reply.GetCursor()})
	if err != nil {
		n.exit("heard", err)
	}
	switch step.Course {
	case exchange.Superseded:
		n.exit("superseded", errors.New(step.Reason))
	case exchange.Fence:
		w.say("fence", "%s holder %d: %s", n.name, request.GetHolder(), step.Reason)
		if err := n.k.Fence(ctx, step.Reason); err != nil {
			n.exit("fence", err)
		}
	case exchange.Withhold:
		if reply.GetStateWanted() {
			if err := n.state(); err != nil {
				return err
			}
		}
	}
	n.useCatalog()
	return nil
}

func (n *node) register(gather *bool) error {
	reply, err := ask(n, &wire.RegisterRequest{
		Protocol: exchange.Protocol, Region: n.region, Node: n.name, Disk: n.k.Disk(),
	}, n.w.core.register)
	if err != nil {
		return err
	}
	*gather = false // it holds the lock while it waits for the disk
	err = n.k.Enroll(context.Background(), reply)
	*gather = true
	if err != nil {
		n.exit("enroll", err)
	}
	n.heard = n.clock()
	n.w.say("enrolled", "%s as holder %d", n.name, reply.GetHolder())
	n.nudged = true
	if n.idle != nil {
		n.w.after(0, n.idle.resume)
		n.idle = nil
	}
	return nil
}

// handIns is uplink's loop over the journals of former holders.
func (n *node) handIns() {
	for {
		pending := false
		n.nudged = false
		for _, f := range n.k.Former() {
			keep, err := n.handIn(f)
			if errors.Is(err, errLine) {
				pending = true
				continue
			}
			if err != nil {
				n.w.say("handin-failed", "%s holder %d: %v", n.name, f.Holder, err)
				if !errors.Is(err, keeper.ErrBehind) && !n.w.books.isLost(f.Holder) {
					n.w.fail("I5", "%s: former holder %d cannot be handed in: %v", n.name, f.Holder, err)
				}
			}
			if err := n.k.Forget(f, keep); err != nil {
				n.exit("forget", err)
			}
			n.w.say("forgot", "%s former holder %d", n.name, f.Holder)
		}
		switch {
		case pending:
			n.w.pause(10 * second)
		case !n.nudged:
			n.idle = n.w.running
			n.w.park()
		}
	}
}

// handIn is uplink's handInOne.
func (n *node) handIn(f statedir.Former) (keep bool, err error) {
	send := func(r *wire.HandInRequest) (*wire.HandInResponse, error) {
		reply, err := ask(n, r, n.w.core.handIn)
		if err == nil && reply.GetCursor() == nil {
			err = keeper.ErrBehind
		}
		return reply, err
	}
	seal, err := n.k.FormerSeal(f)
	if err != nil {
		return true, n.lasting(err)
	}
	answer, err := send(&wire.HandInRequest{Holder: f.Holder, Seal: seal})
	if err != nil {
		return true, err
	}
	cursor, told := answer.GetCursor(), answer.GetTold()
	if max(cursor.GetBatch(), told) > seal.GetBatch() {
		return true, keeper.ErrBehind
	}
	err = n.k.HandIn(context.Background(), f, cursor, told,
		func(windows []*wire.Window) error {
			for _, x := range windows {
				if _, err := send(&wire.HandInRequest{Holder: f.Holder, Seal: seal, Told: told, Windows: []*wire.Window{x}}); err != nil {
					return err
				}
			}
			return nil
		},
		func(events []*wire.Event) error {
			n.w.say("late", "%s hands in %d events of holder %d", n.name, len(events), f.Holder)
			_, err := send(&wire.HandInRequest{Holder: f.Holder, Seal: seal, Told: told, Late: events})
			return err
		})
	if err != nil {
		return true, n.lasting(err)
	}
	if _, err := send(&wire.HandInRequest{Holder: f.Holder, Seal: seal, Told: told, Last: true}); err != nil {
		return true, err
	}
	n.w.say("handin", "%s holder %d", n.name, f.Holder)
	return false, nil
}

// lasting is err where asking again cannot help, else a failure that passes.
func (n *node) lasting(err error) error {
	switch {
	case errors.Is(err, keeper.ErrBehind), errors.Is(err, errLine), errors.Is(err, journal.ErrCorrupt), errors.Is(err, holder.ErrHistory):
		return err
	}
	n.w.say("handin-put-off", "%s: %v", n.name, err)
	return errLine
}

// offered is an offer as its reader has it.
type offered struct {
	text  []byte
	click bool // whether the flight sells clicks
}

// offer makes an offer of a flight, where there seems to be room for it.
func (n *node) offer(f *flight, s *site) (o offered, ok bool) {
	if n.k == nil || n.k.Switch(f.id).State.Load() != uint32(catalog.Run) {
		return o, false
	}
	now := n.clock()
	c := token.Claims{
		Ad: f.id * 10, Flight: f.id, Publisher: s.id, Country: [2]byte{'D', 'E'},
		ViewPrice: f.view, ClickPrice: f.click, Issued: now, Flags: f.flagsOn(exchange.Day(now), s),
	}
	e := holder.EventOf(exchange.View, &c, now)
	if f.flags&token.FlagClicks != 0 {
		e.Kind = exchange.Click
	}
	heedless := n.w.chance(0.08) // it offers whatever its accounts say, as one that looked too early
	for _, d := range owes(&e) {
		a := n.k.Account(d.budget)
		rho := int64(a.Rho.Load())
		if a.Elsewhere.Load() && !heedless {
			n.w.count["left to its broker"]++
			return o, false
		}
		if a.Left.Load()*lease.Full-a.InFlight.Load()*rho < d.amount*rho && !heedless {
			n.k.Lacked(f.id, 1)
			return o, false
		}
	}
	if !heedless && f.view+f.click > 0 {
		n.w.books.maySell(n)
	}
	sealer, seq, ok := n.k.Offer(f.id, s.id, f.view, now)
	if !ok {
		return o, false
	}
	if len(n.peers) > 1 && n.w.core.mem.Truth.Budgets[f.budget()].Brokered {
		n.w.count["offered by its broker"]++
	}
	c.Seq, c.Topics = seq, pageTopics(seq)
	n.w.books.offered(n.k.Status().Boot, seq, now)
	return offered{sealer.Seal(nil, &c), f.flags&token.FlagClicks != 0}, true
}

// pageTopics are those of an offer's page: everyPage, and one of three.
func pageTopics(seq uint64) []uint16 { return []uint16{everyPage, uint16(2 + seq%3)} }

const everyPage = 1

// beacon takes a view or a click; answer is called with its verdict.
func (n *node) beacon(o offered, kind exchange.Kind, answer func(*holder.Event, holder.Verdict)) {
	var c token.Claims
	if n.k == nil || n.k.Open(&c, o.text, n.Now()) != nil {
		return
	}
	judge := n.k.View
	if kind == exchange.Click {
		judge = n.k.Click
	}
	v, err := judge(context.Background(), &c, n.clock())
	e := holder.EventOf(kind, &c, n.clock())
	if err != nil {
		n.w.say("unanswered", "%s: %v", n.name, err)
		return
	}
	n.w.say(v.String(), "%s holder %d boot %04x seq %d kind %d", n.name, e.Holder, e.Boot>>48, e.Seq, e.Kind)
	answer(&e, v)
}

var errNoPeer = errors.New("simulated: the peer does not answer")

// askHome has the event's home, a peer of the region, judge it.
func (n *node) askHome(_ context.Context, e *wire.Event) (outcome uint32, err error) {
	w, r := n.w, n.w.running
	home := w.home(e.GetHolder())
	if home == nil || home == n || home.region != n.region || w.chance(0.2) {
		return 0, errNoPeer
	}
	w.say("peer", "%s asks %s", n.name, home.name)
	over := false
	err = errNoPeer
	w.net.send(n.place(), home.place(), func() {
		if !home.up || home.k == nil {
			return
		}
		home.run(func() {
			got, fault := home.k.Judge(context.Background(), proto.CloneOf(e))
			if fault != nil {
				return
			}
			w.net.send(home.place(), n.place(), func() {
				if !over {
					over = true
					outcome, err = got, nil
					r.resume()
				}
			})
		})
	})
	w.after(400, func() {
		if !over {
			over = true
			r.resume()
		}
	})
	w.park()
	return outcome, err
}

// home is the node that is a holder now.
func (w *World) home(id uint32) *node {
	for _, n := range w.nodes {
		if n.up && n.k != nil && n.k.Status().Holder == id {
			return n
		}
	}
	return nil
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

// budgets lists all that there are for a time: of every flight, and of the days.
func (w *World) budgets(from, to int64) []lease.Budget {
	var list []lease.Budget
	for i := range w.plan.flights {
		f := &w.plan.flights[i]
		list = append(list, f.budget())
		for d := exchange.Day(from); d <= exchange.Day(to); d++ {
			if f.cap > 0 && d >= f.from {
				list = append(list, lease.Of(lease.FlightDay, f.id, d))
			}
		}
	}
	for _, s := range w.plan.sites {
		for d := exchange.Day(from); d <= exchange.Day(to); d++ {
			if s.cap > 0 && d >= s.from {
				list = append(list, lease.Of(lease.PublisherDay, s.id, d))
			}
		}
	}
	return list
}

// snapshot is the catalog in force.
func (w *World) snapshot() *catalog.Snapshot {
	today := catalog.DayOfMillis(w.plan.start)
	s := &catalog.Snapshot{
		Version:   w.core.catalog,
		Campaigns: []catalog.Campaign{{ID: 1, Type: catalog.Paid}, {ID: 2, Type: catalog.House}},
	}
	for i := range w.plan.flights {
		f := &w.plan.flights[i]
		x := catalog.Flight{
			ID: f.id, Campaign: 1, Live: true, StartDate: today - 1, EndDate: today + 30, Pacing: catalog.ASAP, PacingInterval: 3600,
			CPM: catalog.Micros(f.view * 1000), CPC: catalog.Micros(f.click), DailyCap: catalog.Micros(f.cap), DailyCapFrom: catalog.Day(f.from),
		}
		if f.view+f.click == 0 {
			x.Campaign = 2
		}
		if f.even {
			x.Pacing, x.EndDate, x.PacingInterval = catalog.Even, today+1, 300
		}
		sold := w.core.mem.Truth.Budgets[f.budget()].Asked
		if f.flags&token.FlagClicks != 0 {
			x.SoldClicks = sold
		} else {
			x.SoldViews = sold
		}
		s.Flights = append(s.Flights, x)
	}
	for _, p := range w.plan.sites {
		s.Publishers = append(s.Publishers, catalog.Publisher{ID: p.id, DailyCap: catalog.Micros(p.cap), DailyCapFrom: catalog.Day(p.from)})
	}
	return s
}
