package keeper_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"nearside/edge/holder"
	"nearside/edge/journal"
	"nearside/edge/journal/faultfs"
	"nearside/edge/keeper"
	"nearside/edge/keeper/fakecore"
	"nearside/sync/exchange"
	"nearside/sync/token"
	"nearside/sync/wire"
)

// gate is a file system whose syncs of segments wait while it is shut.
type gate struct {
	*faultfs.FS
	mu   sync.Mutex
	shut chan struct{} // nil: open
}

type gated struct {
	journal.File
	g *gate
}

func (g *gate) Create(name string) (journal.File, error) {
	f, err := g.FS.Create(name)
	return gated{f, g}, err
}

func (g *gate) Open(name string) (journal.File, error) {
	f, err := g.FS.Open(name)
	return gated{f, g}, err
}

func (f gated) Sync() error {
	f.g.mu.Lock()
	shut := f.g.shut
	f.g.mu.Unlock()
	if shut != nil {
		<-shut
	}
	return f.File.Sync()
}

func (g *gate) close() (open func()) {
	c := make(chan struct{})
	g.mu.Lock()
	g.shut = c
	g.mu.Unlock()
	return func() {
		g.mu.Lock()
		g.shut = nil
		g.mu.Unlock()
		close(c)
	}
}

func TestI5NobodyIsAnsweredBeforeItIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{FS: faultfs.New(1)}
		e := newEdge(t, g)
		e.core.Sell(views, 1000)
		e.start()
		e.exchange(false)
		c := e.mustOffer()
		open := g.close()
		answers := make(chan keeper.Verdict, 3)
		send := func() {
			claims := *c
			v, err := e.View(context.Background(), &claims, e.clock.Now().UnixMilli())
			if err != nil {
				t.Error(err)
			}
			answers <- v
		}
		go send()
		synctest.Wait()
		go send() // the same view again, while the first is on its way to the disk
		go send()
		synctest.Wait()
		if n := len(answers); n > 0 {
			t.Errorf("%d answers while nothing is durable", n)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		claims := *c
		if v, err := e.View(ctx, &claims, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who stops waiting gets %v, %v", v, err)
		}
		cancel()
		open()
		got := map[keeper.Verdict]int{}
		for range 3 {
			got[<-answers]++
		}
		if got[holder.Billed] != 1 || got[holder.Duplicate] != 2 {
			t.Errorf("answers %v", got)
		}
		e.stop()
	})
}

func TestFirstWriteErrorEndsIt(t *testing.T) {
	disk := faultfs.New(1)
	e := newEdge(t, disk)
	e.core.Sell(views, 1000)
	e.start()
	e.exchange(false)
	c, d := e.mustOffer(), e.mustOffer()
	disk.FailAt(faultfs.Sync, 1, "seg-", faultfs.ErrIO)
	if v, err := e.View(context.Background(), c, e.clock.Now().UnixMilli()); err == nil {
		t.Fatalf("answered %v with nothing on disk", v)
	}
	select {
	case <-e.Keeper.Failed():
	default:
		t.Error("it goes on")
	}
	if _, err := e.View(context.Background(), d, e.clock.Now().UnixMilli()); err == nil || e.Err() == nil {
		t.Error("a view was taken after a write error")
	}
	if _, ok := e.offer(); ok {
		t.Error("offers go on after a write error")
	}
	if _, err := e.Prepare(context.Background()); err == nil {
		t.Error("a batch was prepared after a write error")
	}
	_ = e.Close()
	e.start()
	defer e.stop()
	if v := e.view(c); v != holder.Billed && v != holder.Duplicate {
		t.Errorf("after a restart: %v", v)
	}
	e.healthy()
}

func TestFullDiskPasses(t *testing.T) {
	disk := faultfs.New(1)
	e := newEdge(t, disk)
	e.core.Sell(views, 1_000_000)
	e.cfg.Journal.Every = time.Millisecond
	e.start()
	e.exchange(false)
	e.core.Largest = 0
	disk.Limit(disk.Used())
	full, answered := 0, 0
	for range 20_000 {
		c, ok := e.offer()
		if !ok {
			t.Fatal("no offer")
		}
		switch _, err := e.View(context.Background(), c, e.clock.Now().UnixMilli()); {
		case errors.Is(err, keeper.ErrFull):
			full++
		case err != nil:
			t.Fatal(err)
		default:
			answered++
		}
		if full == 3 {
			break
		}
	}
	if full != 3 || answered == 0 {
		t.Fatalf("%d answered, %d refused on a full disk", answered, full)
	}
	if req, err := e.Prepare(context.Background()); err != nil || req == nil {
		t.Errorf("an exchange on a full disk: %v", err)
	}
	waitFor(t, func() bool {
		if err := e.Tick(e.clock.Now().UnixMilli()); err != nil {
			t.Fatal(err)
		}
		return e.Status().PaidStopped
	})
	if left := e.Account(views).Left.Load(); left != 0 {
		t.Errorf("paid ads may spend %d on a full disk", left)
	}
	disk.Limit(0)
	c := e.mustOffer()
	waitFor(t, func() bool {
		_, err := e.View(context.Background(), c, e.clock.Now().UnixMilli())
		return err == nil
	})
	for range 3 {
		e.exchange(false)
	}
	// The first refused view had become a record that waited for room; the other
	// two were refused before anything was done.
	e.core.Do(func() {
		if got := e.core.Counts.Views; got != int64(answered)+2 {
			t.Errorf("%d answered and two more, the core counts %d", answered, got)
		}
	})
	e.healthy()
	e.stop()
	e.start()
	e.exchange(false)
	e.healthy()
	e.stop()
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for range 2000 {
		if ok() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("it did not come to pass in two seconds")
}

func TestRolledBackDiskFencesItself(t *testing.T) {
	disk := faultfs.New(1)
	e := newEdge(t, disk)
	e.core.Sell(views, 1000)
	e.start()
	e.exchange(false)
	early := e.mustOffer()
	e.view(early)
	e.stop()
	snapshot := disk.Snapshot()
	e.start()
	lost := e.mustOffer()
	e.view(lost)
	for range 3 {
		e.exchange(false)
	}
	e.stop()
	disk.Rollback(snapshot)
	// The core says boots were superseded before it says where it is; a rollback
	// by several boots looks the same to the holder as one by none.
	e.core.Do(func() { e.core.Holders[1].Ordinal = 0 })
	e.start()
	defer e.stop()
	disk1 := e.Disk()
	step := e.exchange(false)
	if step.Course != exchange.Fence || !strings.Contains(step.Reason, "never sealed") && !strings.Contains(step.Reason, "this journal") {
		t.Fatalf("course %d: %s", step.Course, step.Reason)
	}
	if err := e.Fence(context.Background(), step.Reason); err != nil {
		t.Fatal(err)
	}
	if e.Disk() == disk1 {
		t.Error("it registers as the same disk, which the core takes for the same holder")
	}
	e.enroll()
	if id, _, ok := e.Registered(); !ok || id != 2 {
		t.Errorf("registered as %d %v", id, ok)
	}
	e.core.Do(func() {
		if e.core.Holders[1].State != fakecore.Fenced {
			t.Error("the old holder is not fenced")
		}
	})
}

func TestDamagedJournalAsksForAnotherHolder(t *testing.T) {
	disk := faultfs.New(1)
	e := newEdge(t, disk)
	e.core.Sell(views, 1000)
	e.start()
	e.exchange(false)
	for range 5 {
		e.view(e.mustOffer())
		e.exchange(false)
	}
	e.stop()
	damaged := false
	names, err := disk.Names("/state/journal-1")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasPrefix(name, "seg-") && !damaged {
			damaged = true
			if err := disk.Flip("/state/journal-1/"+name, 512+70, 3); err != nil {
				t.Fatal(err)
			}
		}
	}
	e.start0()
	if _, _, ok := e.Registered(); ok || e.Status().Holder != 0 {
		t.Fatalf("it goes on from a damaged journal: %+v", e.Status())
	}
	if _, ok := e.offer(); ok {
		t.Error("it offers")
	}
	if _, err := e.View(context.Background(), new(token.Claims), 0); !errors.Is(err, keeper.ErrUnregistered) {
		t.Errorf("a view: %v", err)
	}
	e.enroll()
	e.catalog(1)
	e.exchange(false)
	if v := e.view(e.mustOffer()); v != holder.Billed {
		t.Errorf("the new holder's view: %v", v)
	}
	if names, _ := disk.Names("/state/journal-1"); len(names) == 0 {
		t.Error("the damaged journal is gone")
	}
	e.healthy()
	e.stop()
}

func TestSealsQueueWhileTheCoreIsAway(t *testing.T) {
	e := newEdge(t, faultfs.New(1))
	e.cfg.Journal.SegmentSize = 1 << 20
	e.core.Sell(views, 1000)
	e.start()
	e.exchange(false)
	mine := e.mustOffer()
	e.view(mine)
	e.exchange(true) // applied, the reply lost
	ctx := context.Background()
	const events = 15_000
	for i := range events {
		c := *mine
		c.Holder, c.Seq = 99, uint64(i)
		if i%256 != 0 {
			// Only every 256th waits for the disk.
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			if _, err := e.View(ctx, &c, e.clock.Now().UnixMilli()); err != nil && !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
		} else if v := e.view(&c); v != holder.Foreign {
			t.Fatal(v)
		}
		if i%100 == 0 {
			e.clock.pass(time.Second)
			if err := e.Tick(e.clock.Now().UnixMilli()); err != nil {
				t.Fatal(err)
			}
		}
	}
	largest := 0
	for round := 0; ; round++ {
		req, err := e.Prepare(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(req.GetBatch().GetForeign()); n > 0 {
			largest = max(largest, n)
		}
		if req.GetBatch() == nil && round > 3 {
			break
		}
		reply, err := e.core.Sync(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Heard(ctx, reply); err != nil {
			t.Fatal(err)
		}
		if round == 1 { // a crash in the middle
			e.stop()
			e.start()
		}
		if round > 20 {
			t.Fatal("it does not end")
		}
	}
	e.core.Do(func() {
		if e.core.Lost != events {
			t.Errorf("%d events of a holder that never was, want %d", e.core.Lost, events)
		}
		if e.core.Counts.Views != 1 {
			t.Errorf("the core counts %+v", e.core.Counts)
		}
	})
	if largest > exchange.MaxBatch/96+200 {
		t.Errorf("a batch of %d events", largest)
	}
	e.healthy()
	e.stop()
}

func TestForeignEventsComeHomeThroughTheCore(t *testing.T) {
	e := newEdge(t, faultfs.New(1))
	e.core.Sell(views, 1000)
	e.start()
	defer e.stop()
	e.exchange(false)
	c := e.mustOffer()
	event := holder.EventOf(exchange.View, c, e.clock.Now().UnixMilli())
	// Another holder received it and shipped it.
	other := &wire.RegisterRequest{Disk: "other"}
	e.core.Do(func() { e.core.Holders[1].State = fakecore.Fenced }) // one name only
	id := e.core.Register(other).GetHolder()
	e.core.Do(func() { e.core.Holders[1].State = fakecore.Open })
	ship := func(batch uint64, w *wire.Event) {
		cursor := &wire.Cursor{Batch: batch, Position: batch, Hash: []byte{1}}
		if _, err := e.core.Sync(&wire.SyncRequest{Holder: id, BootOrdinal: 1, Boot: 5, Batch: &wire.Batch{Seal: cursor, Foreign: []*wire.Event{w}}}); err != nil {
			t.Fatal(err)
		}
	}
	ship(1, event.Wire())
	for range 4 {
		e.exchange(false)
		if _, got, _ := e.Held(); e.Account(views).Left.Load() > got {
			t.Errorf("%d are offered of %d that are held: what was judged is offered until the next tick", e.Account(views).Left.Load(), got)
		}
	}
	if v := e.view(c); v != holder.Duplicate {
		t.Errorf("the view at its home: %v", v)
	}
	e.core.Do(func() {
		if e.core.Counts.Views != 1 || e.core.Verdicts[1] != uint32(exchange.Billed) || e.core.Holders[1].Ack != 1 {
			t.Errorf("the core counts %+v, verdicts %v", e.core.Counts, e.core.Verdicts)
		}
	})
	e.healthy()
}

func TestHandInOfBootsAfterTheCursorAndOfOthersEvents(t *testing.T) {
	e := newEdge(t, faultfs.New(1))
	e.core.Sell(views, 1000)
	e.start()
	e.exchange(false)
	first := e.mustOffer()
	e.view(first)
	e.exchange(true) // the last that the core hears
	e.stop()
	e.start()
	second := e.mustOffer() // of a boot that no batch tells of
	if v := e.view(second); v != holder.Billed {
		t.Fatal(v)
	}
	elsewhere := *first
	elsewhere.Holder, elsewhere.Seq = 77, 5
	if v := e.view(&elsewhere); v != holder.Foreign {
		t.Fatal(v)
	}
	e.stop()
	e.core.Fence(1)
	e.start()
	defer e.stop()
	step := e.exchange(false)
	if err := e.Fence(context.Background(), step.Reason); err != nil {
		t.Fatal(err)
	}
	e.enroll()
	e.catalog(2)
	if n := e.handIn(); n != 1 {
		t.Errorf("%d late events, want the second boot's view", n)
	}
	for range 3 {
		e.exchange(false)
	}
	e.core.Do(func() {
		if got := e.core.Counts; got.Views != 2 || e.core.Lost != 1 {
			t.Errorf("the core counts %+v, and %d events of a holder that never was (want 1)", got, e.core.Lost)
		}
	})
	e.healthy()
}

// Wherever the power goes while a holder fences itself: it comes back as a holder that
// does not know, or as none, and then it registers as another disk.
func TestThePowerGoesInTheMiddleOfAFence(t *testing.T) {
	fenced, not := 0, 0
	for seed := range uint64(8) { // what of a write survives differs
		for call := 1; ; call++ {
			disk := faultfs.New(seed<<32 | uint64(call))
			e := newEdge(t, disk)
			e.start()
			e.exchange(false)
			old := e.Disk()
			disk.CutAt(faultfs.Any, call)
			failed := e.Fence(context.Background(), "a test")
			_ = e.Close() // there is no power to do it well
			disk.Crash()
			e.start0()
			if _, _, ok := e.Registered(); ok {
				not++
			} else if fenced++; e.Disk() == old {
				t.Errorf("seed %d, cut at call %d: it is fenced, and registers as the disk for which the core knows a holder", seed, call)
			}
			e.stop()
			if failed == nil {
				break
			}
		}
	}
	if fenced <= 8 || not <= 8 { // each seed ends with a fence that nothing cuts
		t.Errorf("%d times it was fenced, %d times not", fenced, not)
	}
}

// A click that came before its view was answered, so it survives a crash and is
// billed when its view comes; the core gets it where its holder is fenced meanwhile.
func TestClickBeforeItsViewSurvives(t *testing.T) {
	click := func(e *edge, c *token.Claims) keeper.Verdict {
		v, err := e.Click(context.Background(), c, e.clock.Now().UnixMilli())
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	begin := func() (*edge, *token.Claims) {
		e := newEdge(t, faultfs.New(1))
		e.core.Sell(views, 1000)
		e.start()
		e.exchange(false)
		c := e.mustOffer()
		if v := click(e, c); v != holder.Held {
			t.Fatal(v)
		}
		if v := click(e, c); v != holder.Duplicate {
			t.Errorf("the same click: %v", v)
		}
		return e, c
	}
	counts := func(e *edge, views, clicks int64) {
		t.Helper()
		for range 3 {
			e.exchange(false)
		}
		e.core.Do(func() {
			if got := e.core.Counts; got.Views != views || got.Clicks != clicks {
				t.Errorf("the core counts %+v, want %d and %d", got, views, clicks)
			}
		})
		e.healthy()
	}
	t.Run("a start", func(t *testing.T) {
		e, c := begin()
		e.stop()
		e.start()
		defer e.stop()
		counts(e, 0, 0)
		if v := e.view(c); v != holder.Billed {
			t.Error(v)
		}
		if v := click(e, c); v != holder.Duplicate {
			t.Errorf("the click again: %v", v)
		}
		counts(e, 1, 1)
	})
	t.Run("a view by way of a node whose clock is hours ahead", func(t *testing.T) {
		e, c := begin()
		defer e.stop()
		e.clock.pass(time.Hour)
		e.exchange(false)
		other := e.mustOffer()
		click(e, other)
		ahead := other.Issued + holder.Life - 1 // half an hour after the first click's wait is over
		if v, err := e.View(context.Background(), other, ahead); v != holder.Billed || err != nil {
			t.Fatal(v, err)
		}
		e.exchange(false)
		if v := e.view(c); v != holder.Billed { // its click has waited on
			t.Error(v)
		}
		counts(e, 2, 2)
	})
	t.Run("a fence", func(t *testing.T) {
		e, c := begin()
		e.view(e.mustOffer())
		counts(e, 1, 0) // the core's cursor is behind the click
		e.core.Fence(1)
		step := e.exchange(false)
		if err := e.Fence(context.Background(), step.Reason); err != nil {
			t.Fatal(err)
		}
		if v := e.view(c); v != holder.Foreign {
			t.Error(v)
		}
		e.enroll()
		defer e.stop()
		e.catalog(2)
		if n := e.handIn(); n != 2 {
			t.Errorf("%d late events, want the click that waits and its view", n)
		}
		counts(e, 2, 1)
	})
}

func TestGrantInALostReplyIsToldAgain(t *testing.T) {
	e := newEdge(t, faultfs.New(1))
	e.start()
	defer e.stop()
	e.exchange(false)
	e.core.Sell(views, 1000)
	e.exchange(true) // no batch, only a want: the core grants, the reply is lost
	if _, got, _ := e.Held(); got != 0 {
		t.Fatalf("%d available", got)
	}
	e.core.Do(func() {
		e.core.Budgets[views].Unleased, e.core.Budgets[views].Limit = 0, e.core.Budgets[views].Outstanding
	})
	e.exchange(false)
	if _, got, _ := e.Held(); got == 0 {
		t.Error("what was granted in a lost reply is lost here")
	}
	e.healthy()
}
