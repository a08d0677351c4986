package pacing

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"nearside/core/ledger"
	"nearside/edge/decision"
	"nearside/edge/holder"
	"nearside/edge/journal"
	"nearside/edge/journal/faultfs"
	"nearside/edge/keeper"
	"nearside/sync/catalog"
	"nearside/sync/exchange"
	"nearside/sync/token"
	"nearside/sync/wire"
)

// node is one edge node: a keeper, the compiled catalog and the readers whose
// requests reach it. Between two exchanges it depends on nothing else.
type node struct {
	w       *world
	region  *region
	name    string
	now     int64 // unix milliseconds
	rng     *rand.Rand
	k       *keeper.Keeper
	version uint64
	catalog *decision.Catalog
	known   map[decision.Shape]*decision.Candidates
	scratch decision.Scratch
	request []decision.Request // of each kind that its region has
	who     token.Claims       // holder and boot
	due     [window][]beacon   // by the second in which they arrive
	times   []int32
	lacked  []int64 // by flight: offers not made for want of room, since the last exchange
	billed  []int64 // by flight
	beyond  int64   // valid events that no lease covered
	sent    *wire.SyncRequest
	reply   *wire.SyncResponse
	retry   int64 // when the core is asked again after it did not answer
	failure error
}

// window is how many seconds after an offer its events may come.
const window = 256

// beacon is a view or a click that is on its way.
type beacon struct {
	at     int64
	issued int64
	seq    uint64
	flight int32
	site   uint32
	kind   exchange.Kind
}

// random is an io.Reader of the run's seed.
type random struct{ rng *rand.Rand }

func (r random) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r.rng.Uint32())
	}
	return len(p), nil
}

var _ io.Reader = random{}

func newNode(w *world, r *region, i int) (*node, error) {
	n := &node{
		w: w, region: r, name: fmt.Sprintf("%s-%d", r.name, i+1), now: w.now,
		rng:    rand.New(rand.NewPCG(w.o.Seed, uint64(len(w.nodes)+1))),
		lacked: make([]int64, len(w.plan.flights)), billed: make([]int64, len(w.plan.flights)),
	}
	ctx := context.Background()
	k, err := keeper.Open(ctx, keeper.Config{
		Dir: "state", FS: faultfs.New(w.o.Seed + uint64(len(w.nodes))), Rand: random{n.rng},
		Now:     func() time.Time { return time.UnixMilli(n.now) },
		Journal: journal.Options{SegmentSize: 1 << 20, Inline: true, Rand: random{n.rng}},
	})
	if err != nil {
		return nil, err
	}
	n.k = k
	got, err := ledger.Register(ctx, w.core.mem, &wire.RegisterRequest{
		Protocol: exchange.Protocol, Region: r.name, Node: n.name, Disk: k.Disk(),
	}, ledger.Hash("secret"), w.now, w.core.rules)
	if err != nil {
		return nil, err
	}
	if err := k.Enroll(ctx, &wire.RegisterResponse{Holder: got.Holder, Secret: "secret", Keys: w.core.keys}); err != nil {
		return nil, err
	}
	s := k.Status()
	n.who.Holder, n.who.Boot = s.Holder, s.Boot
	return n, nil
}

// useCatalog puts the newest catalog in force.
func (n *node) useCatalog(s *catalog.Snapshot) error {
	if n.version == s.Version {
		return nil
	}
	if err := n.k.UseCatalog(s, nil, n.now); err != nil {
		return err
	}
	c, err := decision.Compile(s, n.k, catalog.DayOfMillis(n.now))
	if err != nil {
		return err
	}
	n.version, n.catalog = s.Version, c
	n.known = map[decision.Shape]*decision.Candidates{}
	n.request = n.request[:0]
	for _, a := range n.region.kinds {
		n.request = append(n.request, decision.Request{
			Publisher: c.Publisher(publisherSlug(a.publisher)), Keywords: a.keywords, Mobile: a.mobile,
			Country: [2]byte{a.country[0], a.country[1]}, Placements: []decision.Placement{{DivID: "ad", AdType: "text", Priority: 1}},
		})
	}
	return nil
}

// second lets a second pass: readers ask, views and clicks arrive, each at a
// millisecond of its own, and at its end the keeper ticks.
func (n *node) second(from int64) {
	if n.failure != nil {
		return
	}
	perNode := n.region.rate(n.w.o, from) / float64(n.w.o.Nodes)
	n.times = n.times[:0]
	for range poisson(n.rng, perNode) {
		n.times = append(n.times, int32(n.rng.IntN(1000)))
	}
	slices.Sort(n.times)
	slot := &n.due[from/second%window]
	slices.SortFunc(*slot, func(a, b beacon) int { return int(a.at - b.at) })
	asks := n.times
	for i := 0; i < len(*slot) || len(asks) > 0; {
		if i < len(*slot) && (len(asks) == 0 || (*slot)[i].at <= from+int64(asks[0])) {
			n.now = (*slot)[i].at
			n.arrive((*slot)[i], from+second)
			i++
			continue
		}
		n.now = from + int64(asks[0])
		asks = asks[1:]
		n.ask(from + second)
	}
	*slot = (*slot)[:0]
	n.now = from + second
	if err := n.k.Tick(n.now); err != nil {
		n.failure = err
	}
}

// ask is one request. What follows from it arrives from next on.
func (n *node) ask(next int64) {
	r := &n.request[n.rng.IntN(len(n.request))]
	var out decision.Outcome
	shape := n.catalog.Shape(r, &n.scratch, n.now)
	among := n.known[shape]
	if among == nil {
		among = n.catalog.Candidates(&n.scratch)
		n.known[shape] = among
	}
	n.catalog.DecideAmong(among, r, &n.scratch, n.now, n.rng.Uint64(), &out)
	for _, refused := range n.scratch.Refused() {
		if wanted(refused.Reason) {
			n.lacked[refused.Flight.ID-1]++
		}
	}
	if !out.Filled {
		return
	}
	f := n.w.plan.flights[out.Flight.ID-1]
	_, seq, ok := n.k.Offer(out.Flight.ID, r.Publisher.ID, int64(f.CPM)/1000, n.now)
	if !ok || n.rng.Float64() >= f.ViewRate {
		return
	}
	n.expect(beacon{
		at: n.now + 300 + int64(n.rng.ExpFloat64()*1700), issued: n.now,
		seq: seq, flight: int32(out.Flight.ID - 1), site: r.Publisher.ID, kind: exchange.View,
	}, next)
}

// wanted says of a refusal that the flight would have taken the request.
func wanted(r decision.Reason) bool { return r == decision.Lease || r == decision.OnPace }

// expect keeps a beacon until it arrives, not before next.
func (n *node) expect(b beacon, next int64) {
	b.at = min(max(b.at, next), next+(window-2)*second)
	slot := &n.due[b.at/second%window]
	*slot = append(*slot, b)
}

func (n *node) arrive(b beacon, next int64) {
	f := n.w.plan.flights[b.flight]
	c := n.who
	c.Seq, c.Ad, c.Flight, c.Publisher, c.Issued = b.seq, f.ID, f.ID, b.site, b.issued
	c.ViewPrice, c.ClickPrice, c.Flags = int64(f.CPM)/1000, int64(f.CPC), token.FlagViews
	if f.SoldClicks > 0 {
		c.Flags = token.FlagClicks
	}
	judge := n.k.View
	if b.kind == exchange.Click {
		judge = n.k.Click
	}
	v, err := judge(context.Background(), &c, n.now)
	switch {
	case err != nil:
		n.failure = err
		return
	case v == holder.Billed:
		n.billed[b.flight]++
	case v == holder.Exhausted:
		n.beyond++
	case v != holder.Counted:
		n.failure = fmt.Errorf("%s: a beacon that came once was answered %v", n.name, v)
		return
	}
	if b.kind == exchange.View && n.rng.Float64() < f.CTR {
		b.kind, b.at = exchange.Click, n.now+500+int64(n.rng.ExpFloat64()*8000)
		n.expect(b, next)
	}
}

// say prepares what the core is told; nil where it is not asked now.
func (n *node) say() (*wire.SyncRequest, error) {
	n.sent = nil
	if n.now < n.retry {
		return nil, nil
	}
	for f, lacked := range n.lacked {
		if lacked > 0 {
			n.k.Lacked(uint32(f+1), lacked)
			n.lacked[f] = 0
		}
	}
	r, err := n.k.Prepare(context.Background())
	if err != nil {
		return nil, err
	}
	n.sent = r
	return r, nil
}

// unheard says that the core did not answer.
func (n *node) unheard() {
	n.k.Unheard()
	n.retry = n.now + 5*second
}

// hear takes the core's reply.
func (n *node) hear() error {
	r := n.reply
	n.reply = nil
	if r == nil {
		return nil
	}
	step, err := n.k.Heard(context.Background(), r)
	if err == nil && step.Course != exchange.Proceed {
		err = fmt.Errorf("%s: the core answered %v: %s", n.name, r.GetStatus(), step.Reason)
	}
	return err
}

// poisson draws how many of something happen that happens so often on average.
func poisson(rng *rand.Rand, mean float64) int {
	if mean > 60 {
		return max(0, int(math.Round(mean+math.Sqrt(mean)*rng.NormFloat64())))
	}
	n, p, limit := 0, rng.Float64(), math.Exp(-mean)
	for p > limit {
		p *= rng.Float64()
		n++
	}
	return n
}
