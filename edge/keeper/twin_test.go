package keeper_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"nearside/edge/holder"
	"nearside/edge/journal/faultfs"
	"nearside/edge/keeper"
	"nearside/sync/exchange"
	"nearside/sync/token"
	"nearside/sync/wire"
)

// twin is one of two edges that live the same life, but that the core hears one of
// them at once, and the other after an outage. It says no grants meanwhile, so both
// journals hold the same records, but for what their seals say was acknowledged.
type twin struct {
	*edge
	offers []*token.Claims
	acked  *wire.Cursor
}

// take has an event judged.
func (w *twin) take(kind exchange.Kind, c *token.Claims) keeper.Verdict {
	w.Helper()
	judge := w.View
	if kind == exchange.Click {
		judge = w.Click
	}
	v, err := judge(context.Background(), c, w.clock.Now().UnixMilli())
	if err != nil {
		w.Fatal(err)
	}
	return v
}

func (w *twin) prepare() *wire.SyncRequest {
	w.Helper()
	r, err := w.Prepare(context.Background())
	if err != nil {
		w.Fatal(err)
	}
	return r
}

func (w *twin) hear(r *wire.SyncResponse) {
	w.Helper()
	w.acked = r.GetCursor()
	r.NowMs = w.clock.Now().UnixMilli()
	if step, err := w.Heard(context.Background(), r); err != nil || step.Course != exchange.Proceed {
		w.Fatalf("%+v: %v", step, err)
	}
}

// A batch of which only the seal was kept is, once it is rebuilt from the journal,
// field for field the one that was sealed: an edge that the core heard all the time
// made the same one. Whatever a batch tells of is in some of them: topics, clicks
// that waited for their views and were judged or refused, verdicts, events of other
// homes, events that were home lost, and what came back of leases.
func TestARebuiltBatchIsTheOneThatWasSealed(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(20) {
		sealed, rebuilt := outage(t, seed, seen)
		if len(sealed) != len(rebuilt) {
			t.Fatalf("seed %d: %d batches were sealed, %d came after the outage", seed, len(sealed), len(rebuilt))
		}
		for i, want := range sealed {
			if !proto.Equal(rebuilt[i], want) {
				t.Fatalf("seed %d: of %d batches the one at %d came as\n%v\nand was sealed as\n%v", seed, len(sealed), i, rebuilt[i], want)
			}
			if i < holder.Kept {
				continue // it was in memory all the time
			}
			seen["rebuilt"]++
			seen["topics"] += len(want.GetTopics().GetTopic())
			seen["verdicts"] += len(want.GetVerdicts())
			seen["foreign events"] += len(want.GetForeign())
			for j := range want.GetRollups().GetHour() {
				seen["clicks"] += int(want.GetRollups().GetClicks()[j])
				seen["unbilled"] += int(want.GetRollups().GetUnbilledClicks()[j])
				if lost := want.GetRollups().GetHomeLost(); len(lost) > 0 {
					seen["home lost"] += int(lost[j])
				}
			}
		}
	}
	for _, what := range []string{
		"rebuilt", "topics", "verdicts", "foreign events", "clicks", "unbilled", "home lost", "returned",
		"held", "held and judged", "held in vain", "restarts",
	} {
		if seen[what] < 5 {
			t.Errorf("%s: %d of all batches, which shows nothing", what, seen[what])
		}
	}
	t.Log(seen)
}

// outage is one such life. It returns the batches of both edges, in order and
// without the hashes of their seals.
func outage(t *testing.T, seed uint64, seen map[string]int) (sealed, rebuilt []*wire.Batch) {
	random := rand.New(rand.NewPCG(seed, 11))
	pages := [][]uint16{nil, {0}, {3}, {3, 4}, {9, 3, 4}}
	var twins [2]*twin
	for i := range twins {
		w := &twin{edge: newEdge(t, faultfs.New(seed)), acked: &wire.Cursor{}}
		w.cfg.Journal.Inline, w.cfg.Rand, w.cfg.Journal.Rand = true, newRandom(seed), newRandom(seed+1)
		w.start()
		defer func() { w.stop() }()
		if err := w.useCatalog(2, true); err != nil {
			t.Fatal(err)
		}
		twins[i] = w
	}
	near, far := twins[0], twins[1]
	both := func(f func(w *twin)) {
		for _, w := range twins {
			f(w)
		}
	}
	offer := func() {
		topics := pages[random.IntN(len(pages))]
		both(func(w *twin) {
			c := *w.mustOffer()
			c.Topics, c.Country, c.ClickPrice, c.Flags = topics, [2]byte{'D', 'E'}, 300, token.FlagViews|token.FlagClicks
			w.offers = append(w.offers, &c)
		})
	}
	some := func() int { return max(0, len(near.offers)-1-random.IntN(8)) }
	position := uint64(0)
	foreignIn := func(w *twin, n int, kind exchange.Kind) []*wire.Event {
		e := holder.EventOf(kind, w.offers[n], w.clock.Now().UnixMilli())
		in := e.Wire()
		in.Position = position
		return []*wire.Event{in}
	}
	step := func() {
		offer()
		n, kind := some(), exchange.View
		if random.IntN(2) == 0 {
			kind = exchange.Click
		}
		switch random.IntN(8) {
		case 0, 1, 2, 3:
			if a, b := near.take(kind, near.offers[n]), far.take(kind, far.offers[n]); a != b {
				t.Fatalf("seed %d: verdicts %v and %v", seed, a, b)
			} else if a == holder.Held {
				seen["held"]++
			}
		case 4:
			both(func(w *twin) {
				c := *w.offers[n]
				c.Holder = 99
				w.take(kind, &c)
			})
		case 5: // the core passes on what came elsewhere, or came long ago
			if random.IntN(3) == 0 {
				n = random.IntN(len(near.offers))
			}
			position++
			both(func(w *twin) { w.hear(&wire.SyncResponse{Cursor: w.acked, ForeignIn: foreignIn(w, n, kind)}) })
		case 6:
			d := time.Duration(random.IntN(5000)) * time.Millisecond
			if random.IntN(6) == 0 {
				d = time.Duration(40+random.IntN(120)) * time.Minute
			}
			both(func(w *twin) { w.clock.pass(d) })
		}
		both(func(w *twin) {
			if err := w.Tick(w.clock.Now().UnixMilli()); err != nil {
				t.Fatal(err)
			}
		})
	}
	heardNow := func(w *twin) *wire.Batch {
		b := proto.CloneOf(w.prepare().GetBatch())
		again := b.GetSeal().GetBatch() <= w.acked.GetBatch() // which a restart forgets
		if b != nil && !again {
			w.acked = b.GetSeal()
		}
		w.hear(&wire.SyncResponse{Cursor: w.acked})
		if again {
			return nil
		}
		return b
	}

	both(func(w *twin) {
		w.prepare()
		w.hear(&wire.SyncResponse{Cursor: w.acked, Leases: []*wire.Grant{
			{Budget: int64(views), Granted: 20_000, RecallTo: -1}, {Budget: int64(clicks), Granted: int64(3 + seed%20), RecallTo: -1},
		}})
	})
	for i := range 20 { // before the outage
		if i == 10 { // the bits of a boot go in the end
			both(func(w *twin) {
				w.stop()
				w.start()
				if err := w.useCatalog(2, true); err != nil {
					t.Fatal(err)
				}
			})
		}
		step()
		both(func(w *twin) { heardNow(w) })
	}
	before := far.verdicts()
	for range 60 {
		for range 1 + random.IntN(6) {
			step()
		}
		far.prepare()
		if _, err := far.Statement(context.Background()); err != nil { // which cuts a batch
			t.Fatal(err)
		}
		if b := heardNow(near); b != nil {
			sealed = append(sealed, bare(b))
		}
	}
	for v, name := range map[keeper.Verdict]string{holder.NotViewed: "held in vain"} {
		seen[name] += int(far.verdicts()[v] - before[v])
	}
	for _, b := range sealed {
		for _, returned := range b.GetTotals().GetReturned() {
			if returned > 0 {
				seen["returned"]++
			}
		}
	}
	seen["held and judged"] = seen["held"] - seen["held in vain"]
	again := random.IntN(max(1, len(sealed)))
	for round := 0; far.Outstanding() > 0; round++ {
		if round > 1000 {
			t.Fatalf("seed %d: it does not end", seed)
		}
		if b := heardNow(far); b != nil {
			rebuilt = append(rebuilt, bare(b))
		}
		if len(rebuilt) == again {
			again = -1
			seen["restarts"]++
			far.stop()
			far.start()
		}
	}
	// A start is a record of its own: what is sealed after it is no twin's.
	return sealed, rebuilt[:min(len(rebuilt), len(sealed))]
}

// verdicts are how often each was given.
func (w *twin) verdicts() map[keeper.Verdict]uint64 {
	all := map[keeper.Verdict]uint64{}
	w.EachVerdict(func(v keeper.Verdict, n uint64) { all[v] = n })
	return all
}

// bare is a batch without the hash of its seal.
func bare(b *wire.Batch) *wire.Batch {
	b = proto.CloneOf(b)
	b.Seal.Hash = nil
	return b
}
