package pacing

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"nearside/core/ledger"
	"nearside/sync/catalog"
	"nearside/sync/lease"
	"nearside/sync/wire"
)

// Options are what a day is run with.
type Options struct {
	Seed     uint64
	Start    int64   // unix milliseconds
	Lasts    int64   // milliseconds
	Flights  int     // at least the mainstays
	Nodes    int     // in each of three regions
	Requests float64 // a second, of all regions on average
	Outages  []Outage
	Workers  int // goroutines that run nodes; the outcome does not depend on it
}

// Outage is a time in which the core cannot be reached from a region, or, where
// Region is empty, is away.
type Outage struct {
	Region   string
	From, To int64 // unix milliseconds
}

// Day is what is to be shown: 200 flights for 24 hours.
func Day() Options {
	return Options{Seed: 1, Start: noon, Lasts: 24 * hour, Flights: 200, Nodes: 3, Requests: 150, Workers: 2}
}

type world struct {
	o     Options
	plan  *plan
	now   int64
	core  *core
	nodes []*node
	meter []*Meter
}

// Result is what came of a day.
type Result struct {
	Options Options
	Meters  []*Meter // of each flight
	Beyond  int64    // valid events that no lease covered
	Broken  []string // what may never happen, and did
}

// Run plays a day. say, where it is not nil, hears of each hour.
func Run(o Options, say func(format string, args ...any)) (*Result, error) {
	w := &world{o: o, now: o.Start}
	if say == nil {
		say = func(string, ...any) {}
	}
	w.plan = newPlan(o)
	var err error
	if w.core, err = newCore(w); err != nil {
		return nil, err
	}
	for i := range w.plan.regions {
		for j := range o.Nodes {
			n, err := newNode(w, &w.plan.regions[i], j)
			if err != nil {
				return nil, err
			}
			w.nodes = append(w.nodes, n)
		}
	}
	for i, f := range w.plan.flights {
		w.meter = append(w.meter, newMeter(f, o, w.core.before[i]))
	}
	for end := o.Start + o.Lasts; w.now < end; w.now += second {
		if err := w.second(); err != nil {
			return nil, fmt.Errorf("%d s into the day: %w", (w.now-o.Start)/second, err)
		}
		if (w.now-o.Start)%hour == 0 {
			say("hour %2d of %d", (w.now-o.Start)/hour, o.Lasts/hour)
		}
	}
	return w.result(), nil
}

// second is an exchange of every node that reaches the core, in one group, and
// then a second of readers; the replies come at its end.
func (w *world) second() error {
	if err := w.edit(); err != nil {
		return err
	}
	if err := w.exchange(); err != nil {
		return err
	}
	work := make(chan *node, len(w.nodes))
	var parts sync.WaitGroup
	for range max(1, w.o.Workers) {
		parts.Go(func() {
			for n := range work {
				n.second(w.now)
				n.failure = cmp.Or(n.failure, n.hear())
			}
		})
	}
	for _, n := range w.nodes {
		work <- n
	}
	close(work)
	parts.Wait()
	for _, n := range w.nodes {
		if n.failure != nil {
			return n.failure
		}
	}
	for i, m := range w.meter {
		delivered := w.core.before[i]
		for _, n := range w.nodes {
			delivered += n.billed[i]
		}
		m.note(w.now+second, delivered)
	}
	return nil
}

// edit does what people do now.
func (w *world) edit() error {
	news := w.now == w.o.Start
	for _, f := range w.plan.flights {
		news = news || f.LiveAt == w.now
		for _, e := range f.Edits {
			if e.At != w.now {
				continue
			}
			news = true
			f.EndDate = f.EndDate + catalog.Day(e.Ends)
			if e.Sold > 0 {
				f.SoldViews = e.Sold
			}
			f.finish()
			w.core.mem.SetBudget(f.budget(), f.sold, 1)
			w.core.changed(f.budget())
		}
	}
	if news {
		w.core.catalog = w.plan.snapshot(w.core.catalog.Version+1, w.now)
	}
	return nil
}

// away reports whether a region cannot reach the core now.
func (w *world) away(r *region) bool {
	return slices.ContainsFunc(w.o.Outages, func(o Outage) bool {
		return (o.Region == "" || o.Region == r.name) && o.From <= w.now && w.now < o.To
	})
}

func (w *world) exchange() error {
	var group []*node
	var requests []*wire.SyncRequest
	for _, n := range w.nodes {
		r, err := n.say()
		switch {
		case err != nil:
			return err
		case r == nil:
		case w.away(n.region):
			n.unheard()
		default:
			group, requests = append(group, n), append(requests, r)
		}
	}
	if len(group) == 0 {
		return nil
	}
	replies, err := w.core.exchange(requests, w.now)
	if err != nil {
		return err
	}
	for i, n := range group {
		n.reply = replies[i]
		if err := n.useCatalog(w.core.catalog); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) result() *Result {
	r := &Result{Options: w.o, Meters: w.meter, Broken: w.core.broken(w)}
	for _, n := range w.nodes {
		r.Beyond += n.beyond
	}
	return r
}

// core is core/ledger over its memory store.
type core struct {
	w       *world
	mem     *ledger.Memory
	rules   ledger.Rules
	keys    []*wire.TokenKey
	catalog *catalog.Snapshot
	before  []int64 // delivered before the day, by flight
	feed    map[lease.Budget]*news
	counter uint64
}

// news is what is said of a budget, and since when.
type news struct {
	said *wire.Delivered
	at   uint64
}

func (f *Flight) budget() lease.Budget {
	if f.SoldClicks > 0 {
		return lease.Of(lease.FlightClicks, f.ID, 0)
	}
	return lease.Of(lease.FlightViews, f.ID, 0)
}

// newCore has every flight's budget, with what was delivered before the day
// exactly as planned.
func newCore(w *world) (*core, error) {
	c := &core{w: w, mem: ledger.NewMemory(), rules: ledger.DefaultRules(), feed: map[lease.Budget]*news{}}
	c.catalog = &catalog.Snapshot{}
	rng := rand.New(rand.NewPCG(w.o.Seed, 0x6b657973))
	keys, err := ledger.RotateKeys(context.Background(), c.mem, w.now-12*hour, c.rules, func() []byte {
		b := make([]byte, 32)
		_, _ = random{rng}.Read(b)
		return b
	})
	if err != nil {
		return nil, err
	}
	c.keys = keys
	for _, f := range w.plan.flights {
		id := f.budget()
		b := ledger.NewBudget(id, f.sold, 1)
		if f.LiveAt == 0 {
			done := f.schedule.Planned(f.sold, w.now)
			b.Unleased, b.Settled, b.Judged = b.Unleased-done, done, done
		}
		c.before = append(c.before, b.Settled)
		c.mem.Truth.Budgets[id] = b
		c.changed(id)
	}
	return c, nil
}

func (c *core) changed(id lease.Budget) {
	b := c.mem.Truth.Budgets[id]
	c.counter++
	c.feed[id] = &news{&wire.Delivered{
		Budget: int64(id), Settled: b.Settled, Limit: b.Limit, Unleased: b.Unleased, VelocityMilli: b.Velocity,
	}, c.counter}
}

func (c *core) exchange(requests []*wire.SyncRequest, now int64) ([]*wire.SyncResponse, error) {
	result, err := ledger.Exchange(context.Background(), c.mem, requests, now, c.rules)
	if err != nil {
		return nil, err
	}
	for i := range result.Budgets {
		c.changed(result.Budgets[i].ID)
	}
	for i, r := range result.Replies {
		if r == nil {
			return nil, fmt.Errorf("holder %d is unknown", requests[i].GetHolder())
		}
		seen := requests[i].GetSide().GetDeliveredSeen()
		for _, f := range c.w.plan.flights {
			if x := c.feed[f.budget()]; x.at > seen {
				r.Delivered = append(r.Delivered, x.said)
			}
		}
		r.DeliveredVersion = c.counter
	}
	return result.Replies, nil
}

// broken is what may never be: the ledger's invariants, and more billed than was
// sold.
func (c *core) broken(w *world) (list []string) {
	diff, err := c.mem.Dump().Check()
	if err != nil {
		list = append(list, err.Error())
	}
	for _, d := range diff {
		list = append(list, fmt.Sprintf("%s of %d: have %d, want %d", d.What, d.Of, d.Have, d.Want))
	}
	for _, m := range w.meter {
		if limit := c.mem.Truth.Budgets[m.Flight.budget()].Limit; m.Delivered > limit {
			list = append(list, fmt.Sprintf("%s: %d billed of %d", m.Flight.Slug, m.Delivered, limit))
		}
	}
	return list
}
