package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"nearside/core/ledger"
	"nearside/edge/decision"
	"nearside/edge/holder"
	"nearside/edge/journal"
	"nearside/edge/journal/faultfs"
	"nearside/edge/keeper"
	"nearside/sync/catalog"
	"nearside/sync/exchange"
	"nearside/sync/lease"
	"nearside/sync/token"
	"nearside/sync/wire"
)

// shape is a fleet, and how long its flights run.
type shape struct {
	name    string
	regions int
	nodes   int           // of each region
	life    time.Duration // of the flights: the end of the day is their end
	faults  bool
}

const (
	second = int64(1000)
	minute = 60 * second
	hour   = 60 * minute
	day    = 24 * hour

	monday = int64(1772409600000) // 2026-03-02T00:00:00Z

	// step is how often nodes tick and requests come, together with those of the
	// whole step; interval is between exchanges of one node. Both are longer than
	// a fleet's, which makes leases larger and news older than they would be.
	step     = 5 * second
	interval = 10 * second

	// Requests that a flight could answer: for each view that it has to sell,
	// over its life, and at least so many a second at each node.
	supply  = 4
	least   = 0.2
	viewed  = 0.85 // of the offers
	usual   = 1500 // mean view delay, milliseconds
	late    = 0.01 // of the views come later than that, after
	lateAbt = float64(minute)
)

// flight is one flight of the catalog and what came of it.
type flight struct {
	id   uint32
	sold int64

	settled, seen, unbilled int64
	overspent               int64
	done                    int64 // when the last unit was settled, unix milliseconds; 0: never
}

func (f *flight) budget() lease.Budget { return lease.Of(lease.FlightViews, f.id, 0) }

// world is a fleet over a day: keepers with their journals, the ledger, and
// readers. It has one goroutine.
type world struct {
	shape
	rng     *rand.Rand
	now     int64
	start   int64
	end     int64
	core    *ledger.Memory
	rules   ledger.Rules
	keys    []*wire.TokenKey
	catalog *catalog.Snapshot
	flights []*flight
	nodes   []*node
	away    bool // the core is
	cut     int  // the region that does not reach the core; -1: none
	answers [holder.Verdicts]int64
}

// node is one edge node.
type node struct {
	w       *world
	region  int
	name    string
	disk    *faultfs.FS
	k       *keeper.Keeper
	c       *decision.Catalog
	scratch decision.Scratch
	due     map[int64][]token.Claims // views by the step in which they come
}

// newWorld makes a fleet with one flight for each budget.
func newWorld(s shape, seed uint64, sold []int64) (*world, error) {
	w := &world{
		shape: s, rng: rand.New(rand.NewPCG(seed, 0x7574696c)), core: ledger.NewMemory(), rules: ledger.DefaultRules(), cut: -1,
		end: monday + day,
	}
	w.start = w.end - s.life.Milliseconds()
	w.now = w.start
	w.rules.Interval = time.Duration(interval) * time.Millisecond
	for i, n := range sold {
		f := &flight{id: uint32(i + 1), sold: n}
		w.flights = append(w.flights, f)
		w.core.SetBudget(f.budget(), n, 1)
	}
	w.catalog = w.snapshot()
	var err error
	w.keys, err = ledger.RotateKeys(context.Background(), w.core, w.now-12*hour, w.rules, func() []byte { return w.bytes(32) })
	if err != nil {
		return nil, err
	}
	for r := range s.regions {
		for i := range s.nodes {
			n := &node{w: w, region: r, name: fmt.Sprintf("region-%d-%d", r, i)}
			w.nodes = append(w.nodes, n)
			if err := n.begin(); err != nil {
				return nil, err
			}
		}
	}
	w.meet()
	return w, nil
}

func (w *world) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(w.rng.Uint32())
	}
	return b
}

// Read lets keepers draw from the world's seed.
func (w *world) Read(p []byte) (int, error) { return copy(p, w.bytes(len(p))), nil }

func (w *world) snapshot() *catalog.Snapshot {
	today := catalog.DayOfMillis(w.end - 1)
	s := &catalog.Snapshot{
		Version:     1,
		Advertisers: []catalog.Advertiser{{ID: 1, Slug: "advertiser"}},
		Groups:      []catalog.Group{{ID: 1, Slug: "group"}},
		Campaigns:   []catalog.Campaign{{ID: 1, Slug: "campaign", Advertiser: 1, PublisherGroups: []uint32{1}}},
		AdTypes:     []catalog.AdType{{ID: 1, Slug: "image"}},
	}
	for _, f := range w.flights {
		slug := fmt.Sprintf("site-%d", f.id)
		s.Publishers = append(s.Publishers, catalog.Publisher{ID: f.id, Slug: slug, Groups: []uint32{1}, UnauthedAdDecisions: true, AllowPaid: true})
		s.Flights = append(s.Flights, catalog.Flight{
			ID: f.id, Slug: fmt.Sprintf("flight-%d", f.id), Campaign: 1, Live: true, StartDate: today, EndDate: today, HardStop: true,
			CPM: 2_000_000, SoldViews: f.sold, Pacing: catalog.Even, PacingInterval: 3600, PriorityMultiplier: 1,
			Targeting: catalog.Targeting{IncludePublishers: []string{slug}},
		})
		s.Ads = append(s.Ads, catalog.Ad{ID: f.id, Slug: fmt.Sprintf("ad-%d", f.id), Flight: f.id, AdTypes: []uint32{1}, Link: "https://example.com/", Live: true})
	}
	return s
}

// begin is a node on a new disk.
func (n *node) begin() error {
	w, ctx := n.w, context.Background()
	n.disk = faultfs.New(w.rng.Uint64())
	n.due = map[int64][]token.Claims{}
	var err error
	n.k, err = keeper.Open(ctx, keeper.Config{
		Dir: "state", FS: n.disk, Now: func() time.Time { return time.UnixMilli(w.now) }, Rand: w,
		Interval: w.rules.Interval, MaxOffline: w.rules.MaxOffline, FenceAfter: w.rules.FenceAfter,
		Journal: journal.Options{SegmentSize: 64 << 10, Inline: true, Rand: w},
	})
	if err != nil {
		return err
	}
	for _, f := range w.flights {
		n.k.Account(f.budget()) // in one order
	}
	done, err := ledger.Register(ctx, w.core, &wire.RegisterRequest{
		Protocol: exchange.Protocol, Region: fmt.Sprintf("region-%d", n.region), Node: n.name, Disk: n.k.Disk(),
	}, ledger.Hash("secret"), w.now, w.rules)
	if err != nil {
		return err
	}
	if err := n.k.Enroll(ctx, &wire.RegisterResponse{Holder: done.Holder, Secret: "secret", Keys: w.keys}); err != nil {
		return err
	}
	if err := n.k.UseCatalog(w.catalog, nil, w.now); err != nil {
		return err
	}
	n.c, err = decision.Compile(w.catalog, n.k, catalog.DayOfMillis(w.now))
	return err
}

// meet tells every node who is in its region.
func (w *world) meet() {
	names := make([][]string, w.regions)
	for _, n := range w.nodes {
		if n.k != nil {
			names[n.region] = append(names[n.region], n.name)
		}
	}
	for _, n := range w.nodes {
		if n.k != nil {
			n.k.Members(n.name, names[n.region])
		}
	}
}

// run lets the flights run their course, and half an hour more for what is late.
func (w *world) run() error {
	loss := w.losses()
	for n := int64(0); w.now < w.end+hour/2; n++ {
		w.now += step
		if w.faults {
			if err := w.fault(&loss); err != nil {
				return err
			}
		}
		for i, x := range w.nodes {
			if x.k == nil {
				continue
			}
			if err := x.live(); err != nil {
				return fmt.Errorf("%s: %w", w.nodes[i].name, err)
			}
		}
		if err := w.exchange(int(n % (interval / step))); err != nil {
			return err
		}
	}
	if diff, err := w.core.Dump().Check(); err != nil || len(diff) > 0 {
		return errors.Join(fmt.Errorf("the ledger differs from itself: %v", diff), err)
	}
	return nil
}

// live is one step of a node: views come, time passes, pages are opened.
func (n *node) live() error {
	w := n.w
	at := w.now / step
	for i := range n.due[at] {
		c := &n.due[at][i]
		v, err := n.k.View(context.Background(), c, w.now)
		if err != nil {
			return err
		}
		w.answers[v]++
		f := w.flights[c.Flight-1]
		f.seen++
		if v == holder.Exhausted {
			f.unbilled++
		}
	}
	delete(n.due, at)
	if err := n.k.Tick(w.now); err != nil {
		return err
	}
	if w.now >= w.end {
		return nil
	}
	for _, f := range w.flights {
		mean := float64(f.sold) * supply / float64(w.life.Milliseconds()) * float64(step) / float64(len(w.nodes))
		if err := n.pages(f, w.poisson(max(mean, least*float64(step/second)))); err != nil {
			return err
		}
	}
	return nil
}

// pages are the requests of one step for a flight's publisher.
func (n *node) pages(f *flight, requests int) error {
	w := n.w
	r := decision.Request{
		Publisher:  n.c.Publisher(fmt.Sprintf("site-%d", f.id)),
		Placements: []decision.Placement{{DivID: "ad", AdType: "image", Priority: 1}}, Country: [2]byte{'D', 'E'},
	}
	for i := range requests {
		var out decision.Outcome
		n.c.Decide(&r, &n.scratch, w.now, w.rng.Uint64(), &out)
		if !out.Filled {
			for _, no := range n.scratch.Refused() {
				if no.Reason == decision.Lease {
					n.k.Lacked(f.id, int64(requests-i)) // the rest of the step would hear the same
				}
			}
			return nil
		}
		const price = 2000
		sealer, seq, ok := n.k.Offer(f.id, f.id, price, w.now)
		if !ok {
			return nil
		}
		if w.rng.Float64() > viewed {
			continue
		}
		c := token.Claims{
			Seq: seq, Ad: f.id, Flight: f.id, Publisher: f.id, Country: r.Country,
			ViewPrice: price, Issued: w.now, Flags: token.FlagViews,
		}
		var opened token.Claims
		if err := n.k.Open(&opened, sealer.Seal(nil, &c), time.UnixMilli(w.now)); err != nil {
			return err
		}
		delay := w.rng.ExpFloat64() * usual
		if w.rng.Float64() < late {
			delay = w.rng.ExpFloat64() * lateAbt
		}
		at := (w.now+int64(delay))/step + 1
		n.due[at] = append(n.due[at], opened)
	}
	return nil
}

func (w *world) poisson(mean float64) int {
	if mean > 50 {
		return max(0, int(math.Round(mean+math.Sqrt(mean)*w.rng.NormFloat64())))
	}
	n, p := 0, math.Exp(-mean)
	for x := w.rng.Float64(); x > p; x *= w.rng.Float64() {
		n++
	}
	return n
}

// exchange is a round of those nodes whose turn it is.
func (w *world) exchange(turn int) error {
	ctx := context.Background()
	var askers []*node
	var requests []*wire.SyncRequest
	for i, n := range w.nodes {
		if i%int(interval/step) != turn || n.k == nil {
			continue
		}
		r, err := n.k.Prepare(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", n.name, err)
		}
		if w.away || n.region == w.cut {
			n.k.Unheard()
			continue
		}
		askers, requests = append(askers, n), append(requests, r)
	}
	result, err := ledger.Exchange(ctx, w.core, requests, w.now, w.rules)
	if err != nil {
		return err
	}
	for _, f := range w.flights {
		b := w.core.Truth.Budgets[f.budget()]
		f.settled = b.Settled
		f.overspent = max(f.overspent, b.Settled-f.sold)
		if f.done == 0 && f.settled >= f.sold {
			f.done = w.now
		}
	}
	for i, r := range result.Replies {
		if r.GetStatus() != wire.SyncResponse_OK {
			return fmt.Errorf("%s was answered %v", askers[i].name, r.GetStatus())
		}
		for _, f := range w.flights {
			b := w.core.Truth.Budgets[f.budget()]
			r.Delivered = append(r.Delivered, &wire.Delivered{
				Budget: int64(b.ID), Settled: b.Settled, Limit: b.Limit, Unleased: b.Unleased, VelocityMilli: b.Velocity, Brokered: b.Brokered,
			})
		}
		r.Catalog = w.catalog.Version
		if _, err := askers[i].k.Heard(ctx, r); err != nil {
			return fmt.Errorf("%s: %w", askers[i].name, err)
		}
	}
	return nil
}

// disk is one that is lost, and what follows from it.
type disk struct {
	lost, replaced, closed int64 // unix milliseconds
	node                   *node
	holder                 uint32
}

// losses are the two disks that a world with faults loses: a machine is gone,
// another takes its name after five minutes, and after half an hour an operator
// closes the old holder.
func (w *world) losses() []*disk {
	at := func(part float64) *disk {
		lost := w.start + int64(part*float64(w.life.Milliseconds()))/step*step
		return &disk{lost: lost, replaced: lost + 5*minute, closed: lost + 30*minute}
	}
	a, b := at(0.5), at(0.75)
	a.node, b.node = w.nodes[1], w.nodes[len(w.nodes)-1]
	return []*disk{a, b}
}

// fault is what breaks, or is mended, in this step: a core that is away for a
// sixth of the flights' life (4 h of a day), a region that is cut off for 30
// minutes of a day, and two disks.
func (w *world) fault(losses *[]*disk) error {
	at := float64(w.now-w.start) / float64(w.life.Milliseconds())
	w.away = at >= 0.25 && at < 0.25+4.0/24
	w.cut = -1
	if at >= 0.6 && at < 0.6+0.5/24 {
		w.cut = w.regions - 1
	}
	for _, d := range *losses {
		switch w.now {
		case d.lost:
			d.holder, _, _ = d.node.k.Registered()
			d.node.k = nil
			w.meet()
		case d.replaced:
			if err := d.node.begin(); err != nil {
				return err
			}
			w.meet()
		case d.closed:
			if err := ledger.Close(context.Background(), w.core, d.holder, w.now); err != nil {
				return err
			}
		}
	}
	return nil
}
