package ledgertest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"nearside/core/ledger"
	"nearside/sync/lease"
	"nearside/sync/wire"
)

// Schedule runs one random schedule over stores that are empty, and compares
// them: replies after each step, everything at the end. Messages are lost,
// repeated and late, holders restart, are fenced, hand in, are closed and come
// back; limits change, time passes. After every step the invariants hold, and
// every view that was settled was counted.
func Schedule(t *rapid.T, fixtures ...Fixture) {
	s := &schedule{t: t, next: map[uint32]uint64{}}
	for _, f := range fixtures {
		s.worlds = append(s.worlds, NewWorld(t, f))
	}
	s.SetBudget(views, rapid.Int64Range(0, 500).Draw(t, "limit"))
	s.SetCap(lease.FlightDay, 1, ledger.Cap{Micros: rapid.Int64Range(1, 200_000).Draw(t, "cap"), Unit: 2000})
	for _, node := range []string{"a", "b", "c"} {
		s.join(node)
	}
	t.Repeat(map[string]func(*rapid.T){
		"exchange": s.exchange, "late": s.late, "spend": s.spend, "return": s.giveBack, "want": s.want, "restart": s.restart,
		"view": s.view, "judge": s.homeJudges, "fence": s.fence, "hand in": s.handIn, "close": s.close, "sweep": s.sweep,
		"limit": s.limit, "time": s.time, "drain": s.drain, "": s.check,
	})
	for range 4 { // heal
		s.sync(s.open(), true)
	}
	s.check(t)
	first := s.worlds[0].Dump()
	for i, w := range s.worlds[1:] {
		for _, d := range Differ(first, w.Check()) {
			t.Errorf("store %d differs: %s", i+1, d)
		}
	}
}

type schedule struct {
	t      *rapid.T
	worlds []*World // the same but for their stores; edges belong to the first
	edges  []*Edge
	sent   []*wire.SyncRequest // requests of before
	next   map[uint32]uint64   // the next sequence number of each home
	joined int
}

func (s *schedule) SetBudget(b lease.Budget, limit int64) {
	for _, w := range s.worlds {
		w.Fixture.SetBudget(b, limit)
	}
}

func (s *schedule) SetCap(kind lease.Kind, owner uint32, c ledger.Cap) {
	for _, w := range s.worlds {
		w.Fixture.SetCap(kind, owner, c)
	}
}

var dayCap = lease.Of(lease.FlightDay, 1, Today)

func (s *schedule) join(node string) {
	s.joined++
	r := &wire.RegisterRequest{Protocol: 1, Region: "r", Node: node, Disk: fmt.Sprintf("%032x", s.joined)}
	id := agree(s, "register", func(w *World) ledger.Registered {
		got, err := ledger.Register(w.Context(), w.Store, r, []byte("secret"), w.Now, w.Rules)
		if err != nil {
			w.Fatalf("register: %v", err)
		}
		got.Stamp = nil // a pointer
		return got
	}).Holder
	s.edges = append(s.edges, s.worlds[0].edge(id))
}

// agree does one thing in every store; what comes of it is the same.
func agree[R comparable](s *schedule, what string, do func(*World) R) R {
	first := do(s.worlds[0])
	for i, w := range s.worlds[1:] {
		if got := do(w); got != first {
			s.t.Fatalf("%s: store 0 says %+v, store %d %+v", what, first, i+1, got)
		}
	}
	return first
}

// send brings requests to every store and gives the first one's replies.
func (s *schedule) send(requests []*wire.SyncRequest) []*wire.SyncResponse {
	first := s.worlds[0].Exchange(requests...)
	for i, w := range s.worlds[1:] {
		got := w.Exchange(requests...)
		for j := range got.Replies {
			if !proto.Equal(first.Replies[j], got.Replies[j]) {
				s.t.Fatalf("to %v\nstore 0 says %v\nstore %d says %v", requests[j], first.Replies[j], i+1, got.Replies[j])
			}
		}
	}
	return first.Replies
}

// open are the edges that have not heard that their time is over.
func (s *schedule) open() []*Edge {
	var open []*Edge
	for _, e := range s.edges {
		if e.Reply.GetStatus() != fenced && !e.gone {
			open = append(open, e)
		}
	}
	return open
}

// some draws edges.
func (s *schedule) some(t *rapid.T) []*Edge {
	open := s.open()
	if len(open) == 0 {
		t.Skip("no edge is left")
	}
	return rapid.SliceOfNDistinct(rapid.SampledFrom(open), 1, len(open), func(e *Edge) uint32 { return e.ID }).Draw(t, "edges")
}

func (s *schedule) one(t *rapid.T) *Edge { return s.some(t)[0] }

func (s *schedule) sync(edges []*Edge, heard bool) {
	if len(edges) == 0 {
		return
	}
	var requests []*wire.SyncRequest
	for _, e := range edges {
		requests = append(requests, proto.CloneOf(e.Request()))
	}
	replies := s.send(requests)
	s.sent = append(s.sent, requests...)
	for i, e := range edges {
		if heard {
			e.Hear(replies[i])
		}
	}
}

func (s *schedule) exchange(t *rapid.T) {
	s.sync(s.some(t), rapid.IntRange(0, 3).Draw(t, "luck") > 0)
}

// late delivers a request of before once more; nobody waits for the answer.
func (s *schedule) late(t *rapid.T) {
	if len(s.sent) == 0 {
		t.Skip("nothing was sent")
	}
	r := proto.CloneOf(rapid.SampledFrom(s.sent).Draw(t, "request"))
	r.Side = nil // what may be lost was
	s.send([]*wire.SyncRequest{r})
}

func (s *schedule) spend(t *rapid.T) {
	e := s.one(t)
	e.Spend(views, rapid.Int64Range(1, 50).Draw(t, "n"))
}

func (s *schedule) giveBack(t *rapid.T) {
	e := s.one(t)
	e.Return(rapid.SampledFrom([]lease.Budget{views, dayCap}).Draw(t, "budget"), rapid.Int64Range(1, 50).Draw(t, "n"))
}

func (s *schedule) want(t *rapid.T) {
	e := s.one(t)
	e.Want(rapid.SampledFrom([]lease.Budget{views, dayCap}).Draw(t, "budget"), rapid.Int64Range(0, 300).Draw(t, "target"), rapid.Int64Range(0, 50_000).Draw(t, "velocity"))
}

func (s *schedule) restart(t *rapid.T) { s.one(t).Restart() }

// view is one that came in away from its home.
func (s *schedule) view(t *rapid.T) {
	home := rapid.SampledFrom(s.edges).Draw(t, "home")
	away := s.one(t)
	if away == home {
		t.Skip("at home")
	}
	seq := s.next[home.ID]
	if again := rapid.Uint64Range(0, 3).Draw(t, "again"); again < seq {
		seq -= again
	} else {
		s.next[home.ID]++
	}
	away.Ship(eventOf(s.worlds[0], home, seq, rapid.Uint32Range(1, 2).Draw(t, "kind")))
}

// homeJudges takes a foreign event that the core passed on.
func (s *schedule) homeJudges(t *rapid.T) {
	e := s.one(t)
	for _, in := range e.Reply.GetForeignIn() {
		if in.GetPosition() <= e.ack {
			continue
		}
		outcome := uint32(2)
		if in.GetKind() == 1 && e.Spend(views, 1) == 1 {
			outcome = 1
		}
		e.Judge(in.GetPosition(), outcome)
	}
}

// known are the refusals that a schedule may run into.
func known(err error) string {
	for _, e := range []error{ledger.ErrNotOpen, ledger.ErrNotFenced, ledger.ErrBehind} {
		if errors.Is(err, e) {
			return e.Error()
		}
	}
	if err != nil {
		return "failed: " + err.Error()
	}
	return ""
}

func (s *schedule) must(t *rapid.T, what string, do func(*World) error) {
	said := agree(s, what, func(w *World) string { return known(do(w)) })
	if len(said) > 7 && said[:7] == "failed:" {
		t.Fatalf("%s %s", what, said)
	}

}

func (s *schedule) fence(t *rapid.T) {
	e := rapid.SampledFrom(s.edges).Draw(t, "edge")
	if len(s.open()) < 2 {
		t.Skip("the last one")
	}
	s.must(t, "fence", func(w *World) error { return ledger.Fence(w.Context(), w.Store, e.ID, "test", w.Now) })
}

func (s *schedule) close(t *rapid.T) {
	e := rapid.SampledFrom(s.edges).Draw(t, "edge")
	s.must(t, "close", func(w *World) error { return ledger.Close(w.Context(), w.Store, e.ID, w.Now) })
}

// handIn is by a fenced edge, whole or in parts, of its journal or of a copy.
func (s *schedule) handIn(t *rapid.T) {
	e := rapid.SampledFrom(s.edges).Draw(t, "edge")
	if e.Reply.GetStatus() != fenced {
		t.Skip("not fenced, as far as it knows")
	}
	r := &wire.HandInRequest{Holder: e.ID, Seal: e.Seal, Last: rapid.Bool().Draw(t, "last")}
	if rapid.IntRange(0, 5).Draw(t, "old") == 0 {
		r.Seal = &wire.Cursor{}
	}
	next := s.next[e.ID]
	seen := rapid.SliceOfDistinct(rapid.Uint64Range(0, next), func(n uint64) uint64 { return n }).Draw(t, "seen")
	r.Windows = []*wire.Window{windowOf(e.Boot, 0, next+1, seen...)}
	if late := rapid.Uint64Range(0, next).Draw(t, "late"); !slices.Contains(seen, late) {
		r.Late = []*wire.Event{eventOf(s.worlds[0], e, late, 1)}
	}
	if err := ledger.ValidateHandIn(r); err != nil {
		t.Fatal(err)
	}
	s.must(t, "hand in", func(w *World) error {
		_, err := ledger.HandIn(w.Context(), w.Store, r, w.Now)
		return err
	})
}

func (s *schedule) sweep(t *rapid.T) {
	agree(s, "sweep", func(w *World) string {
		swept, err := ledger.Sweep(w.Context(), w.Store, w.Now, w.Rules)
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(swept.Judged.Budgets, func(a, b ledger.Budget) int { return int(a.ID-b.ID) + int(a.Changed-b.Changed) })
		return fmt.Sprint(swept)
	})
}

func (s *schedule) limit(t *rapid.T) { s.SetBudget(views, rapid.Int64Range(0, 600).Draw(t, "limit")) }

func (s *schedule) time(t *rapid.T) {
	d := rapid.SampledFrom([]time.Duration{time.Second, time.Minute, 3 * time.Hour, 25 * time.Hour}).Draw(t, "time")
	for _, w := range s.worlds {
		w.tick(d)
	}
}

// drain is a last batch; another edge takes the name.
func (s *schedule) drain(t *rapid.T) {
	e := s.one(t)
	if e.Out != nil || e.First {
		t.Skip("a batch is out")
	}
	e.Cut()
	e.Out.Closing, e.Out.Final = true, []*wire.Window{windowOf(e.Boot, 0, s.next[e.ID])}
	s.sync([]*Edge{e}, true)
	if e.Reply.GetStatus() == ok && e.Out == nil {
		e.gone = true
		s.join(fmt.Sprintf("n%d", s.joined))
	}
}

func (s *schedule) check(t *rapid.T) {
	for _, w := range s.worlds {
		w.T = t
	}
	truth := s.worlds[0].Check()
	if truth.Forgotten != "" {
		t.Fatalf("the core takes itself to have forgotten: %s", truth.Forgotten)
	}
	if settled, counted := truth.Budgets[views].Settled, truth.Totals[1].Views; settled != counted {
		t.Fatalf("%d views are settled, %d counted", settled, counted)
	}
	for _, h := range truth.Holders {
		if r := h.Reason; h.State != ledger.Open && r != "test" && r != "drained" && !strings.HasPrefix(r, "silent") {
			t.Fatalf("holder %d, which lied to nobody, is %v: %s", h.ID, h.State, r)
		}
	}
	for key, l := range truth.Leases {
		if truth.Holders[key.Holder].State == ledger.Closed && l.Available() != 0 {
			t.Fatalf("holder %d is closed and keeps %d of budget %d", key.Holder, l.Available(), key.Budget)
		}
	}
	for _, e := range s.open() {
		for b, l := range e.Leases {
			kept := truth.Leases[ledger.LeaseKey{Holder: e.ID, Budget: b}]
			if kept.Granted < l.Granted || truth.Holders[e.ID].State == ledger.Open && (kept.Spent > l.Spent || kept.Returned > l.Returned) {
				t.Fatalf("holder %d knows of %+v, the core of %+v of budget %d", e.ID, l, kept.Totals, b)
			}
		}
	}
	s.t = t
}
