package keeper_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"nearside/edge/holder"
	"nearside/edge/journal"
	"nearside/edge/journal/faultfs"
	"nearside/sync/catalog"
	"nearside/sync/exchange"
	"nearside/sync/lease"
	"nearside/sync/token"
	"nearside/sync/wire"
)

// ticks lets d pass with a tick every 100 ms, and an exchange every second if
// exchanging.
func (e *edge) ticks(d time.Duration, exchanging bool) {
	e.Helper()
	for n := 1; d > 0; n++ {
		e.clock.pass(100 * time.Millisecond)
		d -= 100 * time.Millisecond
		if err := e.Tick(e.clock.Now().UnixMilli()); err != nil {
			e.Fatal(err)
		}
		if exchanging && n%10 == 0 {
			e.exchange(false)
		}
	}
}

func TestReservationsEnd(t *testing.T) {
	e := newEdge(t, faultfs.New(1))
	e.core.Sell(views, 1_000_000)
	e.start()
	defer e.stop()
	e.exchange(false)
	e.ticks(time.Second, false)
	account := e.Account(views)
	for range 10 {
		e.mustOffer()
	}
	c := e.mustOffer()
	if got := account.InFlight.Load(); got != 11 {
		t.Errorf("%d in flight after 11 offers", got)
	}
	e.view(c)
	if got := account.InFlight.Load(); got != 10 {
		t.Errorf("%d in flight after a view", got)
	}
	e.ticks(5*time.Second, false)
	if got := account.InFlight.Load(); got != 10 {
		t.Errorf("%d in flight after 5 s; the median delay is not measured, so they last 6 s", got)
	}
	e.ticks(2*time.Second, false)
	if got := account.InFlight.Load(); got != 0 {
		t.Errorf("%d in flight after 7 s", got)
	}
	if v := e.view(c); v != holder.Duplicate || account.InFlight.Load() != 0 {
		t.Errorf("%v, %d in flight", v, account.InFlight.Load())
	}
}

// Near the end of a budget a view that comes later than most finds nothing
// left, unless it was kept for it.
func TestReservationsLastLongerNearTheEnd(t *testing.T) {
	e := newEdge(t, faultfs.New(1))
	e.core.Sell(views, 5)
	e.start()
	defer e.stop()
	for range 10 {
		e.ticks(time.Second, true)
	}
	late := e.mustOffer()
	e.ticks(25*time.Second, true)
	if got := e.Account(views).InFlight.Load(); got != 1 {
		t.Errorf("%d in flight after 25 s", got)
	}
	if v := e.view(late); v != holder.Billed {
		t.Errorf("a view after 25 s: %v", v)
	}
	e.mustOffer()
	e.ticks(30*time.Second, true)
	if got := e.Account(views).InFlight.Load(); got != 0 {
		t.Errorf("%d in flight after 30 s", got)
	}
}

func TestReservationsFollowTheMedianViewDelay(t *testing.T) {
	e := newEdge(t, faultfs.New(1))
	e.core.Sell(views, 100_000)
	e.start()
	defer e.stop()
	e.exchange(false)
	for range 300 { // everything is viewed after half a second
		c := e.mustOffer()
		e.clock.pass(500 * time.Millisecond)
		e.view(c)
	}
	e.ticks(100*time.Millisecond, false)
	e.mustOffer()
	e.ticks(1200*time.Millisecond, false)
	if got := e.Account(views).InFlight.Load(); got != 1 {
		t.Errorf("%d in flight after 1.2 s, want 1", got)
	}
	e.ticks(1500*time.Millisecond, false)
	if got := e.Account(views).InFlight.Load(); got != 0 {
		t.Errorf("%d in flight after 2.7 s, more than 3 × 0.5 s and a slot", got)
	}
}

func TestViewRateIsMeasured(t *testing.T) {
	e := newEdge(t, faultfs.New(1))
	e.core.Sell(views, 1_000_000)
	e.start()
	defer e.stop()
	e.exchange(false)
	e.ticks(time.Second, true)
	if got := e.Account(views).Rho.Load(); got != lease.Full {
		t.Errorf("ρ is %d before anything was measured", got)
	}
	for i := range 600 {
		c := e.mustOffer()
		if i%4 == 0 {
			e.view(c)
		}
		e.ticks(100*time.Millisecond, false)
	}
	e.ticks(10*time.Second, false)
	if got := e.Account(views).Rho.Load(); got < 200_000 || got > 300_000 {
		t.Errorf("ρ is %d millionths where every fourth offer is viewed", got)
	}
}

// even gives the keeper a flight that is paced evenly over 30 days, half of
// which are over, and a day's cap.
func (e *edge) even(sold int64) {
	e.Helper()
	day := catalog.DayOf(e.clock.Now())
	err := e.UseCatalog(&catalog.Snapshot{
		Version:   2,
		Campaigns: []catalog.Campaign{{ID: 1, Type: catalog.Paid}},
		Flights: []catalog.Flight{{
			ID: flight, Campaign: 1, Live: true, StartDate: day - 15, EndDate: day + 14, CPM: price * 1000, SoldViews: sold,
			Pacing: catalog.Even, PacingInterval: 3600, DailyCap: 1_000_000,
		}},
		Publishers: []catalog.Publisher{{ID: publisher, DailyCap: 500_000}},
	}, nil, e.clock.Now().UnixMilli())
	if err != nil {
		e.Fatal(err)
	}
}

func TestEvenPacingReleasesInsideTheInterval(t *testing.T) {
	e := newEdge(t, faultfs.New(1))
	sold := int64(30 * 24 * 60) // one a minute
	e.core.Sell(views, sold)
	e.start()
	defer e.stop()
	e.even(sold)
	hour := e.clock.Now().Truncate(time.Hour).Add(time.Hour)
	e.clock.pass(hour.Sub(e.clock.Now()))
	// The plan has been kept so far.
	e.core.Do(func() {
		b := e.core.Budgets[views]
		b.Settled = sold * 15 / 30
		b.Settled += int64(hour.Sub(hour.Truncate(24 * time.Hour)).Minutes())
		b.Unleased -= b.Settled
	})
	for range 3 {
		e.exchange(false)
	}
	account := e.Account(views)
	e.ticks(time.Second, true)
	if got := account.Left.Load(); got < 1 || got > 3 {
		t.Errorf("%d left at the beginning of the hour, want the first one or two", got)
	}
	spent := 0
	for range 600 {
		e.ticks(time.Second, true)
		for account.Left.Load() > 0 {
			e.view(e.mustOffer())
			spent++
		}
	}
	if spent < 9 || spent > 14 {
		t.Errorf("%d delivered in ten minutes at one a minute", spent)
	}
	e.healthy()
}

func TestDayCapsAreReservedAndLeased(t *testing.T) {
	e := newEdge(t, faultfs.New(1))
	day := exchange.Day(e.clock.Now().UnixMilli())
	flightDay, siteDay := lease.Of(lease.FlightDay, flight, day), lease.Of(lease.PublisherDay, publisher, day)
	e.core.Sell(views, 1_000_000)
	e.core.Sell(flightDay, 1_000_000)
	e.core.Sell(siteDay, 500_000)
	e.start()
	defer e.stop()
	e.even(1_000_000)
	for range 3 {
		e.exchange(false)
	}
	if e.Account(flightDay).Left.Load() < price || e.Account(siteDay).Left.Load() < price {
		t.Fatalf("leased of the day: %d and %d", e.Account(flightDay).Left.Load(), e.Account(siteDay).Left.Load())
	}
	c := e.mustOffer()
	if a, b := e.Account(flightDay).InFlight.Load(), e.Account(siteDay).InFlight.Load(); a != price || b != price {
		t.Errorf("reserved of the day: %d and %d", a, b)
	}
	c.Flags = token.FlagViews | token.FlagFlightDay | token.FlagPublisherDay
	if v := e.view(c); v != holder.Billed {
		t.Errorf("%v", v)
	}
	if a, b := e.Account(flightDay).InFlight.Load(), e.Account(siteDay).Settled.Load(); a != 0 || b != price {
		t.Errorf("after the view: %d in flight, %d settled", a, b)
	}
	for range 2 {
		e.exchange(false)
	}
	e.core.Do(func() {
		if a, b := e.core.Budgets[flightDay].Settled, e.core.Budgets[siteDay].Settled; a != price || b != price {
			t.Errorf("settled of the day: %d and %d", a, b)
		}
	})
	e.healthy()
}

func TestIdleLeasesGoBack(t *testing.T) {
	e := newEdge(t, faultfs.New(1))
	e.core.Sell(views, 1_000_000)
	e.start()
	defer e.stop()
	for range 3 {
		e.exchange(false)
	}
	_, held, _ := e.Held()
	if held == 0 {
		t.Fatal("nothing held")
	}
	e.ticks(lease.Idle-time.Second, true)
	for range 30 {
		e.clock.pass(time.Second)
		if _, err := e.Prepare(context.Background()); err != nil {
			t.Fatal(err)
		}
		_, got, _ := e.Held()
		if left := e.Account(views).Left.Load(); left > got {
			t.Fatalf("%d are offered of %d that are held: what goes back is offered until the next tick", left, got)
		}
		e.Unheard()
		e.exchange(false)
	}
	if _, got, _ := e.Held(); got > 1 {
		t.Errorf("%d of %d still held after five idle minutes", got, held)
	}
	e.core.Do(func() {
		if b := e.core.Budgets[views]; b.Outstanding > 1 {
			t.Errorf("the core knows of %d outstanding", b.Outstanding)
		}
	})
	e.healthy()
}

// What is refunded of a flight that was sold out is delivered again: so much and
// no more, also after a restart.
func TestRefundedIsDeliveredAgain(t *testing.T) {
	e := newEdge(t, faultfs.New(1))
	e.core.Sell(views, 200)
	e.start()
	defer e.stop()
	deliver := func() int64 {
		t.Helper()
		billed := int64(0)
		for range 400 {
			if c, ok := e.offer(); ok && e.view(c) == holder.Billed {
				billed++
			}
			e.exchange(false)
		}
		return billed
	}
	settled := func() int64 { return e.Account(views).Settled.Load() }
	if n := deliver(); n != 200 || settled() != 200 {
		t.Fatalf("%d billed and %d settled of 200", n, settled())
	}
	e.core.Do(func() {
		b := e.core.Budgets[views]
		b.Refunded, b.Unleased = 30, b.Unleased+30
	})
	e.exchange(false)
	if got := settled(); got != 170 {
		t.Errorf("%d delivered of 200 with 30 refunded, want 170", got)
	}
	e.stop()
	e.start()
	if got := settled(); got != 170 {
		t.Errorf("after a restart: %d delivered, want 170", got)
	}
	if n := deliver(); n != 30 || settled() != 200 {
		t.Errorf("%d billed again and %d delivered, want 30 and 200", n, settled())
	}
	e.healthy()
}

// The first lease that is asked for is what the plan needs, not a unit: its readers
// may already be there, and the core away by the next exchange. Accounts are made
// when a catalog is compiled, a little before it is said what they are for.
func TestANewFlightAsksForWhatItsPlanNeedsAtOnce(t *testing.T) {
	e := newEdge(t, faultfs.New(1))
	e.core.Sell(views, 1_000_000)
	e.core.Sell(clicks, 1_000_000)
	e.start()
	defer e.stop()
	e.exchange(false)
	e.Account(clicks)
	if err := e.Tick(e.clock.Now().UnixMilli()); err != nil {
		t.Fatal(err)
	}
	e.clock.pass(300 * time.Millisecond)
	if err := e.useCatalog(2, true); err != nil {
		t.Fatal(err)
	}
	req, err := e.Prepare(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	wants := req.GetSide().GetWants()
	i := slices.IndexFunc(wants, func(w *wire.Want) bool { return lease.Budget(w.GetBudget()) == clicks })
	// 1 000 000 in 32 days, of which one is over, for the four hours that a lease lasts.
	const least = 1_000_000 * 4 / (32 * 24)
	if i < 0 || wants[i].GetTarget() < least {
		t.Errorf("of clicks it wants %v, expected at least %d", wants, least)
	}
	e.healthy()
}

// What is wanted, and the demand with it, is said until the core has answered: it
// divides what is left by what it was told.
func TestWhatIsWantedIsSaidUntilItIsAnswered(t *testing.T) {
	e := newEdge(t, faultfs.New(1))
	e.core.Sell(views, 1_000_000)
	e.start()
	defer e.stop()
	wants := func() int {
		t.Helper()
		req, err := e.Prepare(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		e.Unheard()
		return len(req.GetSide().GetWants())
	}
	e.exchange(false)
	e.clock.pass(lease.Idle + time.Second) // it wants no more than a unit any more
	for range 3 {
		if n := wants(); n != 1 {
			t.Errorf("%d wants, expected the one that nobody has answered", n)
		}
	}
	e.exchange(false)
	if n := wants(); n != 0 {
		t.Errorf("%d wants although the core has answered", n)
	}
	e.healthy()
}

// Deciding is told whether what a lease lacks is on its way: while the core has some
// left, or was not heard yet.
func TestWhatTheCoreStillHasIsAwaited(t *testing.T) {
	e := newEdge(t, faultfs.New(1))
	e.core.Sell(views, 1_000_000)
	e.start()
	defer e.stop()
	awaited := func() bool { return e.Account(views).Awaited.Load() }
	if !awaited() {
		t.Error("before the core was heard nothing is awaited")
	}
	e.exchange(false)
	if !awaited() {
		t.Error("nothing is awaited although the core has some left")
	}
	e.core.Do(func() {
		b := e.core.Budgets[views]
		b.Limit, b.Unleased = b.Limit-b.Unleased, 0
	})
	e.view(e.mustOffer())
	e.exchange(false)
	e.exchange(false)
	if err := e.Tick(e.clock.Now().UnixMilli()); err != nil {
		t.Fatal(err)
	}
	if awaited() {
		t.Error("something is awaited although the core has nothing left")
	}
	e.healthy()
}

func TestRecallGoesBackAtOnce(t *testing.T) {
	e := newEdge(t, faultfs.New(1))
	e.core.Sell(views, 1_000_000)
	e.start()
	defer e.stop()
	for range 3 {
		e.exchange(false)
	}
	for range 5 {
		e.mustOffer()
	}
	ctx := context.Background()
	req, err := e.Prepare(ctx)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := e.core.Sync(req)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range reply.GetLeases() {
		g.RecallTo = 2
	}
	if _, err := e.Heard(ctx, reply); err != nil {
		t.Fatal(err)
	}
	if _, got, _ := e.Held(); got != 5 {
		t.Errorf("%d held after a recall to 2 with 5 in flight, want 5", got)
	}
	e.exchange(false)
	e.healthy()
}

func TestPaidOffersEndBeforeTheFence(t *testing.T) {
	e := newEdge(t, faultfs.New(1))
	e.core.Sell(views, 1_000_000)
	e.start()
	defer e.stop()
	for range 3 {
		e.exchange(false)
	}
	left := func(d time.Duration) int64 {
		e.clock.pass(d)
		if err := e.Tick(e.clock.Now().UnixMilli()); err != nil {
			t.Fatal(err)
		}
		return e.Account(views).Left.Load()
	}
	if left(22*time.Hour) == 0 || e.Status().PaidStopped {
		t.Error("22 hours without the core ended paid offers; fence-after is 24 h")
	}
	if left(time.Hour+time.Minute) != 0 || !e.Status().PaidStopped {
		t.Error("paid offers go on an hour before the fence")
	}
	e.exchange(false)
	if left(time.Second) == 0 {
		t.Error("paid offers did not come back with the core")
	}
}

func TestKilledFlightBillsNothing(t *testing.T) {
	e := newEdge(t, faultfs.New(1))
	e.core.Sell(views, 1000)
	e.start()
	e.exchange(false)
	a, b := e.mustOffer(), e.mustOffer()
	news, err := e.Keeper.Control([]*wire.Control{{Version: 4, Flight: flight, State: 1}, {Version: 3, Flight: flight, State: 0}, {Version: 9, Flight: flight, State: 7}})
	if err != nil || len(news) != 1 {
		t.Fatalf("news %v, %v", news, err)
	}
	if sw := e.Switch(flight); sw.State.Load() != 1 || sw.Version.Load() != 4 {
		t.Errorf("I11: switch %d at %d", sw.State.Load(), sw.Version.Load())
	}
	if v := e.view(a); v != holder.Billed {
		t.Errorf("a view in flight of a paused flight: %v", v)
	}
	if _, err := e.Keeper.Control([]*wire.Control{{Version: 5, Flight: flight, State: 2}}); err != nil {
		t.Fatal(err)
	}
	if v := e.view(b); v != holder.Killed {
		t.Errorf("a view in flight of a killed flight: %v", v)
	}
	e.stop()
	e.start()
	defer e.stop()
	if sw := e.Switch(flight); sw.State.Load() != 2 || sw.Version.Load() != 5 {
		t.Errorf("after a restart: switch %d at %d", sw.State.Load(), sw.Version.Load())
	}
}

func TestFloorsRiseWithTime(t *testing.T) {
	e := newEdge(t, faultfs.New(1))
	e.core.Sell(views, 1_000_000)
	e.start()
	defer e.stop()
	e.exchange(false)
	first := e.mustOffer()
	for range 5000 {
		e.mustOffer()
	}
	for range 160 { // minutes
		e.clock.pass(time.Minute)
		if err := e.Tick(e.clock.Now().UnixMilli()); err != nil {
			t.Fatal(err)
		}
	}
	if known, _, _ := e.Peek(first); known {
		t.Error("the bits of an offer of 2 h 40 min ago are still kept")
	}
	if v := e.view(first); v != holder.Expired {
		t.Errorf("its view: %v", v)
	}
	young := e.mustOffer()
	if v := e.view(young); v != holder.Billed {
		t.Errorf("a young view: %v", v)
	}
}

func TestOfferAllocatesNothing(t *testing.T) {
	e := newEdge(t, faultfs.New(1))
	e.core.Sell(views, 1_000_000)
	e.start()
	defer e.stop()
	e.even(1_000_000)
	e.exchange(false)
	now := e.clock.Now().UnixMilli()
	if n := testing.AllocsPerRun(1000, func() {
		if _, _, ok := e.Offer(flight, publisher, price, now); !ok {
			t.Fatal("no offer")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkOffer(b *testing.B) {
	e := newEdge(b, faultfs.New(1))
	e.core.Sell(views, 1_000_000)
	e.start()
	defer e.stop()
	e.exchange(false)
	now := e.clock.Now().UnixMilli()
	b.ReportAllocs()
	for b.Loop() {
		e.Offer(flight, publisher, price, now)
	}
}

// BenchmarkViews is durable answered views a second with 256 readers waiting.
func BenchmarkViews(b *testing.B) {
	e := newEdge(b, journal.OS())
	e.cfg.Dir, e.cfg.Journal = b.TempDir(), journal.Options{}
	e.core.Sell(views, 1<<40)
	e.start()
	defer e.stop()
	e.exchange(false)
	first := e.mustOffer()
	at := e.clock.Now().UnixMilli()
	b.ReportAllocs()
	b.SetParallelism(128)
	b.RunParallel(func(p *testing.PB) {
		c := *first
		for p.Next() {
			_, seq, ok := e.Offer(flight, publisher, price, at)
			if !ok {
				b.Error("no offer")
				return
			}
			c.Seq = seq
			if _, err := e.View(context.Background(), &c, at); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "views/s")
}

func BenchmarkTick1000Flights(b *testing.B) {
	e := newEdge(b, faultfs.New(1))
	e.start()
	defer e.stop()
	day := catalog.DayOf(e.clock.Now())
	s := &catalog.Snapshot{Version: 3, Campaigns: []catalog.Campaign{{ID: 1, Type: catalog.Paid}}}
	for i := range uint32(1000) {
		s.Flights = append(s.Flights, catalog.Flight{
			ID: i + 1, Campaign: 1, Live: true, StartDate: day - 1, EndDate: day + 30, CPM: price * 1000, SoldViews: 1_000_000,
			Pacing: catalog.Even, PacingInterval: 3600,
		})
		e.core.Sell(lease.Of(lease.FlightViews, i+1, 0), 1_000_000)
	}
	if err := e.UseCatalog(s, nil, e.clock.Now().UnixMilli()); err != nil {
		b.Fatal(err)
	}
	for range 3 {
		e.exchange(false)
	}
	b.ReportAllocs()
	for b.Loop() {
		e.clock.pass(100 * time.Millisecond)
		if err := e.Tick(e.clock.Now().UnixMilli()); err != nil {
			b.Fatal(err)
		}
	}
}
