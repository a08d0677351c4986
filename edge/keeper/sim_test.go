package keeper_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"nearside/edge/holder"
	"nearside/edge/journal/faultfs"
	"nearside/edge/keeper"
	"nearside/edge/keeper/fakecore"
	"nearside/sync/exchange"
	"nearside/sync/lease"
	"nearside/sync/token"
	"nearside/sync/wire"
)

var (
	seeds     = flag.Uint64("seeds", 150, "how many seeds TestSimulation runs")
	firstSeed = flag.Uint64("seed", 0, "the first seed")
)

var clicks = lease.Of(lease.FlightClicks, flight, 0)

// sim is one edge's life under a seed: its disk fails at any call, its power
// goes, the line loses, repeats and delays, the core fences it. In the end
// everything heals and every beacon is sent once more: then each of them must
// have been counted exactly once.
type sim struct {
	*edge
	rand    *rand.Rand
	disk    *faultfs.FS
	offers  []*token.Claims
	viewed  map[*token.Claims]bool // sent at least once
	clicked map[*token.Claims]bool
	// answered views; only these are clicked
	answered map[*token.Claims]bool
	waiting  []*wire.SyncResponse // replies that come late
	log      []string
	fences   int
}

func (s *sim) note(format string, args ...any) { s.log = append(s.log, fmt.Sprintf(format, args...)) }

func TestSimulation(t *testing.T) {
	for seed := *firstSeed; seed < *firstSeed+*seeds; seed++ {
		simulate(t, seed)
		if t.Failed() {
			return
		}
	}
}

func simulate(t *testing.T, seed uint64) {
	disk := faultfs.New(seed)
	s := &sim{
		edge: newEdge(t, disk), rand: rand.New(rand.NewPCG(seed, 7)), disk: disk,
		viewed: map[*token.Claims]bool{}, clicked: map[*token.Claims]bool{}, answered: map[*token.Claims]bool{},
	}
	s.cfg.Journal.Inline = true
	s.cfg.Rand = newRandom(seed)
	s.cfg.Journal.Rand = newRandom(seed + 1)
	s.core.Sell(views, int64(20+s.rand.IntN(300)))
	s.core.Sell(clicks, int64(s.rand.IntN(40)))
	s.core.Largest = int64(s.rand.IntN(30))
	defer func() {
		if t.Failed() {
			t.Logf("seed %d:\n%s", seed, strings.Join(s.log, "\n"))
		}
	}()
	s.up()
	for range 250 {
		s.step()
		for _, bad := range s.core.Broken() {
			t.Errorf("seed %d: %s", seed, bad)
		}
		if t.Failed() {
			return
		}
	}
	s.heal(seed)
}

// random is a seeded stream of bytes.
type random struct{ *rand.Rand }

func newRandom(seed uint64) random { return random{rand.New(rand.NewPCG(seed, 3))} }

func (r random) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return len(b), nil
}

// up starts the edge until it stands; the disk may fail while it starts.
func (s *sim) up() {
	for try := 0; ; try++ {
		k, err := keeper.Open(context.Background(), s.cfg)
		if err == nil {
			s.Keeper = k
			if _, _, ok := k.Registered(); !ok {
				err = k.Enroll(context.Background(), s.core.Register(&wire.RegisterRequest{Disk: k.Disk()}))
			}
			if err == nil {
				s.catalogClicks()
				s.note("up: %+v", k.Status())
				return
			}
			s.note("enroll: %v", err)
			s.crash()
			continue
		}
		s.note("open: %v", err)
		if try > 3 {
			s.Fatalf("cannot start: %v", err)
		}
		s.disk.Crash()
	}
}

// catalogClicks tells the keeper of the flight; it sells views and clicks.
func (s *sim) catalogClicks() {
	if s.Err() == nil {
		_ = s.useCatalog(1, true)
	}
}

// crash ends the process: with the machine, or alone.
func (s *sim) crash() {
	s.waiting = nil
	if s.rand.IntN(2) == 0 {
		s.note("power cut")
		s.disk.PowerOff()
		_ = s.Close()
		s.disk.Crash()
	} else {
		s.note("killed")
		s.disk.Kill()
		_ = s.Close()
		s.disk.Kill()
	}
}

func (s *sim) step() {
	ctx := context.Background()
	s.clock.pass(time.Duration(s.rand.IntN(1500)) * time.Millisecond)
	switch n := s.rand.IntN(100); {
	case n < 30:
		if c, ok := s.offer(); ok {
			c.ClickPrice, c.Flags = 300, c.Flags|token.FlagClicks
			s.offers = append(s.offers, c)
		}
	case n < 60 && len(s.offers) > 0:
		c := s.offers[len(s.offers)-1-s.rand.IntN(min(len(s.offers), 12))]
		s.viewed[c] = true
		v, err := s.View(ctx, c, s.clock.Now().UnixMilli())
		s.note("view %x/%d: %v %v", c.Boot, c.Seq, v, err)
		s.legal(v, err, false)
		s.answered[c] = s.answered[c] || err == nil
		s.after(err)
	case n < 68 && len(s.offers) > 0:
		c := s.offers[s.rand.IntN(len(s.offers))]
		if !s.answered[c] {
			return // a click before its view: the table tests have those
		}
		s.clicked[c] = true
		v, err := s.Click(ctx, c, s.clock.Now().UnixMilli())
		s.note("click %x/%d: %v %v", c.Boot, c.Seq, v, err)
		s.legal(v, err, true)
		s.after(err)
	case n < 72:
		s.after(s.Tick(s.clock.Now().UnixMilli()))
	case n < 92:
		s.round()
	case n < 94 && len(s.waiting) > 0:
		reply := s.waiting[0]
		s.waiting = s.waiting[1:]
		s.note("a late reply")
		s.hear(reply)
	case n < 97:
		call := 1 + s.rand.IntN(12)
		s.note("the power will go at call %d", call)
		s.disk.CutAt(faultfs.Any, call)
	case n < 98:
		s.crash()
		s.up()
	case n < 99:
		s.note("a sync will fail")
		s.disk.FailAt(faultfs.Sync, 1+s.rand.IntN(3), "seg-", faultfs.ErrIO)
	default:
		if id, _, ok := s.Registered(); ok && s.fences < 3 {
			s.fences++
			s.note("the core fences %d", id)
			s.core.Fence(id)
		}
	}
}

// legal checks that an answer is one that a beacon of this simulation can get.
func (s *sim) legal(v keeper.Verdict, err error, click bool) {
	if err != nil {
		return
	}
	switch v {
	case holder.Billed, holder.Exhausted, holder.Duplicate, holder.Foreign:
	default:
		s.Errorf("an answer that nothing here calls for: %v (click: %v)", v, click)
	}
}

// after starts the edge again where an error ended it.
func (s *sim) after(err error) {
	if err == nil {
		return
	}
	s.note("failed: %v", err)
	s.crash()
	s.up()
}

// round is one exchange over the line.
func (s *sim) round() {
	ctx := context.Background()
	if _, _, ok := s.Registered(); !ok {
		if err := s.Enroll(ctx, s.core.Register(&wire.RegisterRequest{Disk: s.Disk()})); err != nil {
			s.after(err)
		} else {
			s.catalogClicks()
		}
		return
	}
	req, err := s.Prepare(ctx)
	if err != nil {
		s.after(err)
		return
	}
	line := s.rand.IntN(8)
	s.note("exchange %s first=%v line=%d", exchange.Describe(req.GetBatch().GetSeal()), req.GetFirst(), line)
	if line == 0 { // lost
		s.Unheard()
		return
	}
	reply, err := s.core.Sync(req)
	if line == 1 && err == nil {
		reply, err = s.core.Sync(req)
	}
	if err != nil {
		s.Fatal(err)
	}
	switch line {
	case 2: // the reply is lost
		s.Unheard()
	case 3:
		s.Unheard()
		s.waiting = append(s.waiting, reply)
	default:
		s.hear(reply)
	}
}

func (s *sim) hear(reply *wire.SyncResponse) {
	ctx := context.Background()
	step, err := s.Heard(ctx, reply)
	if err != nil {
		s.after(err)
		return
	}
	switch step.Course {
	case exchange.Superseded:
		s.Errorf("superseded: %s", step.Reason)
	case exchange.Fence:
		s.note("fenced: %s", step.Reason)
		if err := s.Fence(ctx, step.Reason); err != nil {
			s.after(err)
		}
		s.waiting = nil
	}
}

// heal ends all faults, sends every beacon once more, and compares.
func (s *sim) heal(seed uint64) {
	s.note("heal")
	s.crash()
	s.disk.Crash()
	s.up()
	ctx := context.Background()
	exchanges := func() {
		for range 6 {
			s.clock.pass(time.Second)
			for i := range 2 {
				if _, _, ok := s.Registered(); ok || i > 0 {
					break
				}
				s.enroll()
				s.catalogClicks()
			}
			req, err := s.Prepare(ctx)
			if err != nil {
				s.Fatalf("seed %d: %v", seed, err)
			}
			reply, err := s.core.Sync(req)
			if err != nil {
				s.Fatalf("seed %d: %v", seed, err)
			}
			s.hear(reply)
			s.edge.handIn()
		}
	}
	exchanges()
	send := func(c *token.Claims, click bool) {
		f := s.View
		if click {
			f = s.Click
		}
		v, err := f(ctx, c, s.clock.Now().UnixMilli())
		if err != nil {
			s.Fatalf("seed %d: %v", seed, err)
		}
		s.note("at last, %x/%d click=%v: %v", c.Boot, c.Seq, click, v)
		s.legal(v, nil, click)
	}
	nViews, nClicks := int64(0), int64(0)
	for _, c := range s.offers {
		if s.viewed[c] {
			nViews++
			send(c, false)
		}
	}
	exchanges()
	for _, c := range s.offers {
		if s.clicked[c] {
			nClicks++
			send(c, true)
		}
	}
	exchanges()
	s.Finish()
	exchanges2 := 0
	for done := false; !done; exchanges2++ {
		req, err := s.Prepare(ctx)
		if err != nil {
			s.Fatalf("seed %d: %v", seed, err)
		}
		reply, err := s.core.Sync(req)
		if err != nil {
			s.Fatalf("seed %d: %v", seed, err)
		}
		s.hear(reply)
		if done, err = s.Drained(); err != nil || exchanges2 > 5 {
			s.Fatalf("seed %d: not drained: %v", seed, err)
		}
	}
	s.stop()
	s.core.Do(func() {
		c := s.core.Counts
		if c.Views+c.UnbilledViews != nViews || c.Clicks+c.UnbilledClicks != nClicks || s.core.Lost != 0 {
			s.Errorf("seed %d: %d views and %d clicks were answered, the core counts %+v and %d lost", seed, nViews, nClicks, c, s.core.Lost)
		}
		v, k := s.core.Budgets[views], s.core.Budgets[clicks]
		if v.Settled != c.Views || k.Settled != c.Clicks || c.Micros != c.Views*price+c.Clicks*300 {
			s.Errorf("seed %d: settled %d views and %d clicks, counted %+v", seed, v.Settled, k.Settled, c)
		}
		if v.Outstanding != 0 || k.Outstanding != 0 {
			s.Errorf("seed %d: stranded: %+v %+v", seed, *v, *k)
		}
		for id, h := range s.core.Holders {
			if h.State != fakecore.Closed {
				s.Errorf("seed %d: holder %d is %d in the end", seed, id, h.State)
			}
		}
	})
	for _, bad := range s.core.Broken() {
		s.Errorf("seed %d: %s", seed, bad)
	}
}
