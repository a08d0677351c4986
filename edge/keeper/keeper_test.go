package keeper_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"nearside/edge/holder"
	"nearside/edge/journal"
	"nearside/edge/journal/faultfs"
	"nearside/edge/keeper"
	"nearside/edge/keeper/fakecore"
	"nearside/sync/catalog"
	"nearside/sync/exchange"
	"nearside/sync/lease"
	"nearside/sync/token"
	"nearside/sync/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	flight    = 40
	publisher = 60
	price     = 2000
)

var views = lease.Of(lease.FlightViews, flight, 0)

// clock is a time that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// edge is one keeper and the core that it exchanges with.
type edge struct {
	testing.TB
	*keeper.Keeper
	core  *fakecore.Core
	clock *clock
	fs    journal.FS
	cfg   keeper.Config
}

func newEdge(t testing.TB, fsys journal.FS) *edge {
	e := &edge{TB: t, core: fakecore.New(), clock: &clock{now: time.Unix(1_800_000_000, 0)}, fs: fsys}
	e.cfg = keeper.Config{Dir: "/state", FS: fsys, Journal: journal.Options{SegmentSize: 1 << 16}, Now: e.clock.Now}
	return e
}

// start opens the keeper, registers it if needed and gives it the catalog.
func (e *edge) start() {
	e.Helper()
	k, err := keeper.Open(context.Background(), e.cfg)
	if err != nil {
		e.Fatal(err)
	}
	e.Keeper = k
	if _, _, ok := k.Registered(); !ok {
		e.enroll()
	}
	e.catalog(1)
}

func (e *edge) enroll() {
	e.Helper()
	if err := e.Enroll(context.Background(), e.core.Register(&wire.RegisterRequest{Disk: e.Disk()})); err != nil {
		e.Fatal(err)
	}
}

func (e *edge) catalog(version uint64) {
	e.Helper()
	if err := e.useCatalog(version, false); err != nil {
		e.Fatal(err)
	}
}

// useCatalog gives the keeper a catalog of one flight, which may sell clicks
// too.
func (e *edge) useCatalog(version uint64, sellsClicks bool) error {
	day := catalog.DayOf(e.clock.Now())
	s := &catalog.Snapshot{
		Version:   version,
		Campaigns: []catalog.Campaign{{ID: 1, Type: catalog.Paid}},
		Flights: []catalog.Flight{{
			ID: flight, Campaign: 1, Live: true, StartDate: day - 1, EndDate: day + 30, CPM: price * 1000, SoldViews: 1_000_000,
			Pacing: catalog.ASAP, PacingInterval: 3600,
		}},
		Publishers: []catalog.Publisher{{ID: publisher}},
	}
	if sellsClicks {
		s.Flights[0].CPC, s.Flights[0].SoldClicks = 300, 1_000_000
	}
	return e.UseCatalog(s, []byte("published"), e.clock.Now().UnixMilli())
}

// exchange is one round with the core; the reply is lost if lose is set.
func (e *edge) exchange(lose bool) exchange.Step {
	e.Helper()
	ctx := context.Background()
	req, err := e.Prepare(ctx)
	if err != nil {
		e.Fatal(err)
	}
	reply, err := e.core.Sync(req)
	if err != nil {
		e.Fatal(err)
	}
	if lose {
		e.Unheard()
		return exchange.Step{}
	}
	step, err := e.Heard(ctx, reply)
	if err != nil {
		e.Fatal(err)
	}
	return step
}

// offer makes an offer and gives the token that its beacons carry.
func (e *edge) offer() (*token.Claims, bool) {
	e.Helper()
	now := e.clock.Now()
	sealer, seq, ok := e.Offer(flight, publisher, price, now.UnixMilli())
	if !ok {
		return nil, false
	}
	c := &token.Claims{Seq: seq, Ad: 50, Flight: flight, Publisher: publisher, ViewPrice: price, Issued: now.UnixMilli(), Flags: token.FlagViews}
	opened := new(token.Claims)
	if err := e.Open(opened, sealer.Seal(nil, c), now); err != nil {
		e.Fatal(err)
	}
	return opened, true
}

func (e *edge) mustOffer() *token.Claims {
	e.Helper()
	c, ok := e.offer()
	if !ok {
		e.Fatal("no offer")
	}
	return c
}

func (e *edge) view(c *token.Claims) keeper.Verdict {
	e.Helper()
	v, err := e.View(context.Background(), c, e.clock.Now().UnixMilli())
	if err != nil {
		e.Fatal(err)
	}
	return v
}

func (e *edge) healthy() {
	e.Helper()
	for _, s := range e.core.Broken() {
		e.Error(s)
	}
}

func (e *edge) stop() {
	e.Helper()
	if err := e.Close(); err != nil {
		e.Error(err)
	}
}

func TestOfferViewExchange(t *testing.T) {
	e := newEdge(t, faultfs.New(1))
	e.core.Sell(views, 1000)
	e.start()
	defer e.stop()
	if got := e.Account(views).Left.Load(); got != 0 {
		t.Fatalf("%d left before anything was granted", got)
	}
	e.exchange(false)
	if e.Account(views).Left.Load() == 0 {
		t.Fatal("nothing was granted")
	}
	c := e.mustOffer()
	if got := e.Account(views).InFlight.Load(); got != 1 {
		t.Errorf("%d in flight after an offer", got)
	}
	if v := e.view(c); v != holder.Billed {
		t.Errorf("view: %v", v)
	}
	if v := e.view(c); v != holder.Duplicate {
		t.Errorf("the same view: %v", v)
	}
	if got := e.Account(views).InFlight.Load(); got != 0 {
		t.Errorf("%d in flight after the view", got)
	}
	if known, viewed, clicked := e.Peek(c); !known || !viewed || clicked {
		t.Errorf("peek: %v %v %v", known, viewed, clicked)
	}
	if !e.ViewTime(c, 5) || e.ViewTime(c, 5) || e.ViewTime(e.mustOffer(), 5) {
		t.Error("a view time counts once, and only after its view")
	}
	e.exchange(true) // the reply is lost: the same batch goes again
	e.exchange(false)
	e.exchange(false)
	e.core.Do(func() {
		if got := e.core.Counts; got != (fakecore.Counts{Views: 1, Micros: price}) {
			t.Errorf("the core counts %+v", got)
		}
		if got := e.core.Budgets[views].Settled; got != 1 {
			t.Errorf("settled %d", got)
		}
	})
	if got := e.Account(views).Settled.Load(); got != 1 {
		t.Errorf("settled here %d", got)
	}
	e.healthy()
}

func TestTwoHundredCopiesOfOneViewBillOne(t *testing.T) {
	e := newEdge(t, journal.OS())
	e.cfg.Dir = t.TempDir()
	e.core.Sell(views, 1000)
	e.start()
	defer e.stop()
	e.exchange(false)
	c := e.mustOffer()
	var wg sync.WaitGroup
	var got [holder.Verdicts]int
	var mu sync.Mutex
	for range 200 {
		wg.Go(func() {
			claims := *c
			v, err := e.View(context.Background(), &claims, e.clock.Now().UnixMilli())
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			got[v]++
			mu.Unlock()
		})
	}
	wg.Wait()
	if got[holder.Billed] != 1 || got[holder.Duplicate] != 199 {
		t.Errorf("verdicts: %v", got)
	}
	e.exchange(false)
	e.core.Do(func() {
		if e.core.Counts.Views != 1 || e.core.Budgets[views].Settled != 1 {
			t.Errorf("the core counts %+v", e.core.Counts)
		}
	})
	e.healthy()
}

func TestRestartContinues(t *testing.T) {
	e := newEdge(t, faultfs.New(1))
	e.core.Sell(views, 1000)
	e.start()
	e.exchange(false)
	before := e.mustOffer()
	viewed := e.mustOffer()
	for range 5 {
		e.view(viewed)
		viewed = e.mustOffer()
		e.exchange(false)
	}
	e.view(viewed)
	boot := e.Status().Boot
	e.stop()
	e.start()
	defer e.stop()
	if s := e.Status(); s.Boot == boot || s.Holder != 1 || s.Sealed > 1 {
		t.Errorf("after a restart: %+v", s)
	}
	if v := e.view(viewed); v != holder.Duplicate {
		t.Errorf("the earlier boot's view again: %v", v)
	}
	if v := e.view(before); v != holder.Billed {
		t.Errorf("the earlier boot's view: %v", v)
	}
	if _, ok := e.offer(); !ok {
		t.Error("no offers before the core was heard")
	}
	e.exchange(false)
	e.exchange(false)
	e.core.Do(func() {
		if e.core.Counts.Views != 7 {
			t.Errorf("the core counts %+v", e.core.Counts)
		}
	})
	e.healthy()
}

func TestDrainClosesTheHolder(t *testing.T) {
	e := newEdge(t, faultfs.New(1))
	e.core.Sell(views, 1000)
	e.start()
	e.exchange(false)
	seen, unseen := e.mustOffer(), e.mustOffer()
	e.view(seen)
	e.Drain()
	if _, ok := e.offer(); ok {
		t.Error("offered while draining")
	}
	e.exchange(false)
	e.Finish()
	e.exchange(true)
	if done, err := e.Drained(); done || err != nil {
		t.Fatalf("drained before the core's word: %v, %v", done, err)
	}
	e.stop() // and before it came: the next start sends the last batch again
	e.start0()
	e.exchange(false)
	if done, err := e.Drained(); !done || err != nil {
		t.Fatalf("drained: %v, %v", done, err)
	}
	e.core.Do(func() {
		h, b := e.core.Holders[1], e.core.Budgets[views]
		if h.State != fakecore.Closed || b.Outstanding != 0 || b.Settled != 1 {
			t.Errorf("holder %d, budget %+v", h.State, b)
		}
		w := h.Windows[seen.Boot]
		if w.GetNext() != 2 || len(w.GetBits()) != 1 || w.GetBits()[0] != 1 {
			t.Errorf("window handed in: %v", w)
		}
	})
	e.stop()
	e.start()
	defer e.stop()
	if e.Status().Holder != 2 {
		t.Errorf("after a drain: %+v", e.Status())
	}
	if v := e.view(unseen); v != holder.Foreign {
		t.Errorf("a view of the drained holder: %v", v)
	}
	e.healthy()
}

// start0 opens the keeper and does nothing else.
func (e *edge) start0() {
	e.Helper()
	k, err := keeper.Open(context.Background(), e.cfg)
	if err != nil {
		e.Fatal(err)
	}
	e.Keeper = k
}

func TestFencedHolderHandsInAndStartsAnew(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart=%v", restart), func(t *testing.T) {
			e := newEdge(t, faultfs.New(1))
			e.core.Sell(views, 1000)
			e.start()
			e.exchange(false)
			a, b, c, d := e.mustOffer(), e.mustOffer(), e.mustOffer(), e.mustOffer()
			e.view(a)
			e.exchange(true) // applied, the reply lost
			e.view(b)
			e.core.Fence(1)
			step := e.exchange(false)
			if step.Course != exchange.Fence {
				t.Fatalf("course %d", step.Course)
			}
			if err := e.Fence(context.Background(), step.Reason); err != nil {
				t.Fatal(err)
			}
			if _, ok := e.offer(); ok {
				t.Error("a fenced holder offers")
			}
			if v := e.view(c); v != holder.Foreign {
				t.Errorf("a view between two holders: %v", v)
			}
			if v := e.view(b); v != holder.Foreign { // the core will find it judged
				t.Errorf("a repeat between two holders: %v", v)
			}
			if restart {
				e.stop()
				e.start0()
			}
			e.enroll()
			e.catalog(2)
			if e.Status().Holder != 2 {
				t.Fatalf("status %+v", e.Status())
			}
			e.exchange(false)
			if _, ok := e.offer(); !ok {
				t.Error("the new holder does not offer")
			}
			if v := e.view(d); v != holder.Foreign {
				t.Errorf("a view of the former holder: %v", v)
			}
			e.exchange(false)
			if n := e.handIn(); n != 3 {
				t.Errorf("%d late events, want b twice and c", n)
			}
			e.core.Do(func() {
				if got := e.core.Counts; got.Views != 4 || got.Micros != 4*price {
					t.Errorf("the core counts %+v", got)
				}
				if h := e.core.Holders[1]; h.State != fakecore.Closed {
					t.Errorf("the former holder is %d", h.State)
				}
			})
			e.healthy()
			e.stop()
		})
	}
}

// TestHandsInAsOfItsStatement: what a statement has told is not late, though no batch
// has told it; events of others in those batches are still to be shipped.
func TestHandsInAsOfItsStatement(t *testing.T) {
	e := newEdge(t, faultfs.New(1))
	e.core.Sell(views, 1000)
	e.start()
	defer e.stop()
	ctx := context.Background()
	anew := func(id uint32) {
		e.core.Fence(id)
		step := e.exchange(false)
		if err := e.Fence(ctx, step.Reason); err != nil {
			t.Fatal(err)
		}
		e.enroll()
		e.catalog(uint64(id) + 1)
		e.exchange(false)
	}
	e.exchange(false)
	other := e.mustOffer()
	anew(1)
	e.handIn()

	told, since := e.mustOffer(), e.mustOffer()
	cursor, err := e.Statement(ctx)
	if err != nil {
		t.Fatal(err)
	}
	e.exchange(false)
	e.view(told)
	if v := e.view(other); v != holder.Foreign {
		t.Fatalf("a view of the first holder: %v", v)
	}
	stated, err := e.Statement(ctx)
	if err != nil {
		t.Fatal(err)
	}
	e.view(since)
	anew(2)
	var seqs []uint64
	var bits []byte
	err = e.HandIn(ctx, e.Former()[0], cursor.GetSealed(), stated.GetSealed().GetBatch(),
		func(w []*wire.Window) error { bits = w[0].GetBits(); return nil },
		func(l []*wire.Event) error {
			for _, x := range l {
				seqs = append(seqs, x.GetSeq())
			}
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
	if len(seqs) != 1 || seqs[0] != 1 || len(bits) != 1 || bits[0] != 1 {
		t.Errorf("late are %v, the windows' bits are %v; expected the second alone, and the first one's view", seqs, bits)
	}
	e.exchange(false)
	e.core.Do(func() {
		if got := e.core.Counts.Views; got != 1 {
			t.Errorf("%d views are counted, expected the one that the second holder took for the first", got)
		}
	})
	if err := e.HandIn(ctx, e.Former()[0], cursor.GetSealed(), stated.GetSealed().GetBatch()+10, nil, nil); !errors.Is(err, keeper.ErrBehind) {
		t.Errorf("a journal that ends before what was told: %v", err)
	}
}

// handIn hands in all former holders, and says how many late events that were.
func (e *edge) handIn() (late int) {
	e.Helper()
	for _, f := range e.Former() {
		seal, err := e.FormerSeal(f)
		if err != nil {
			e.Fatal(err)
		}
		send := func(r *wire.HandInRequest) *wire.Cursor {
			r.Holder, r.Seal = f.Holder, seal
			reply, err := e.core.HandIn(r)
			if err != nil {
				e.Fatal(err)
			}
			return reply.GetCursor()
		}
		err = e.HandIn(context.Background(), f, send(&wire.HandInRequest{}), 0,
			func(w []*wire.Window) error { send(&wire.HandInRequest{Windows: w}); return nil },
			func(l []*wire.Event) error { late += len(l); send(&wire.HandInRequest{Late: l}); return nil })
		if err != nil {
			e.Fatal(err)
		}
		send(&wire.HandInRequest{Last: true})
		if err := e.Forget(f, false); err != nil {
			e.Fatal(err)
		}
	}
	if n := len(e.Former()); n != 0 {
		e.Errorf("%d former holders left", n)
	}
	return late
}
