package ledgertest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"nearside/core/ledger"
	"nearside/sync/exchange"
	"nearside/sync/lease"
	"nearside/sync/token"
	"nearside/sync/wire"
)

const (
	ok        = wire.SyncResponse_OK
	fenced    = wire.SyncResponse_FENCED
	forgotten = wire.SyncResponse_FORGOTTEN
	supersede = wire.SyncResponse_SUPERSEDED
)

var (
	views  = lease.Of(lease.FlightViews, 1, 0)
	clicks = lease.Of(lease.FlightClicks, 1, 0)
)

// Run is the suite; open makes an empty store.
func Run(t *testing.T, open func(t testing.TB) Fixture) {
	for name, test := range map[string]func(*World){
		"a small budget asked for by three is used up":           usedUp,
		"equal shares where nobody is known":                     equalShares,
		"a batch counts once":                                    batchCountsOnce,
		"cursors":                                                cursors,
		"totals against the lease":                               contradictions,
		"boots":                                                  boots,
		"one claim alone stops nobody else":                      doubted,
		"a core that forgot moves nothing":                       forgets,
		"the core's own stamp proves that it forgot":             stamped,
		"recovery":                                               recovers,
		"recovery in the middle of a batch":                      recoversPending,
		"recovery, and a fence in the middle of a batch":         recoversFenced,
		"recovery of a holder that was forgotten as such":        recoversHolder,
		"recovery of what was given away twice":                  recoversOver,
		"recovery of what was sold twice":                        recoversTwice,
		"recovery without a holder":                              recoversWithout,
		"recovery of what gone holders settled":                  recoversHeard,
		"recovery of what a closed one may still bring":          recoversHeardOfClosed,
		"recovery of what one that was left out may still bring": recoversHeardOfLeftOut,
		"a statement that cannot be true":                        recoversLie,
		"a limit lowered below what is out":                      lowered,
		"what idles is recalled when others starve":              recall,
		"a drain closes":                                         drain,
		"a fenced holder":                                        fencedHolder,
		"a foreign event goes home":                              foreignHome,
		"a foreign event of a fenced home is judged by windows":  foreignFenced,
		"a foreign event of a boot that was not handed in waits": foreignNewBoot,
		"a foreign event of a home closed without windows":       foreignLost,
		"a click waits for its view":                             clickWaits,
		"a drain leaves the clicks that wait for their views":    drainLeavesClicks,
		"what comes home without its bits is counted apart":      comesHomeLost,
		"the core bills no more than there is":                   judgedExhausted,
		"a killed flight is not billed":                          judgedKilled,
		"hand-in":                                                handIn,
		"hand-in of a lost disk, by the peers that have a copy":  handInByPeers,
		"a live node fenced by mistake":                          fencedByMistake,
		"silence closes after fence-after":                       silence,
		"what is old is dropped":                                 tidy,
		"names and disks":                                        names,
		"join tokens and secrets":                                credentials,
		"budgets of days":                                        days,
		"grants of money are whole prices":                       units,
		"receipts, counts and refusals":                          sides,
		"token keys":                                             tokenKeys,
		"a transaction that fails leaves nothing":                rollback,
		"many holders in one transaction":                        many,
		"a batch of many kinds of things is repeated harmlessly": repeats,
	} {
		t.Run(name, func(t *testing.T) {
			w := NewWorld(t, open(t))
			test(w)
			w.Check()
		})
	}
}

func (w *World) tick(d time.Duration) { w.Now += d.Milliseconds() }

func equal[T comparable](w *World, what string, got, want T) {
	w.Helper()
	if got != want {
		w.Errorf("%s: %v, want %v", what, got, want)
	}
}

func usedUp(w *World) {
	w.SetBudget(views, 100)
	edges := []*Edge{w.Join("us", "a"), w.Join("eu", "b"), w.Join("ap", "c")}
	for _, e := range edges {
		e.Want(views, 1000, 20_000)
	}
	most := int64(0)
	for range 60 {
		w.SyncAll(edges...)
		for i, e := range edges {
			most = max(most, e.Leases[views].Granted)
			e.Spend(views, int64(3+i))
		}
		w.tick(time.Second)
		w.Check()
	}
	w.SyncAll(edges...)
	b := w.Dump().Budgets[views]
	equal(w, "settled", b.Settled, 100)
	equal(w, "outstanding", b.Outstanding, 0)
	if most > 60 {
		w.Errorf("one of three got %d of 100", most)
	}
}

func equalShares(w *World) {
	w.SetBudget(views, 600)
	edges := []*Edge{w.Join("us", "a"), w.Join("eu", "b"), w.Join("ap", "c")}
	for _, e := range edges {
		e.Want(views, 1000, 0)
	}
	w.SyncAll(edges...)
	for i, want := range []int64{100, 83, 69} { // ½·U/3 each, of what is left
		equal(w, "granted", edges[i].Leases[views].Granted, want)
	}
}

func batchCountsOnce(w *World) {
	w.SetBudget(views, 100)
	e := w.Join("us", "a")
	e.Want(views, 50, 1000)
	e.Sync()
	e.Spend(views, 7)
	e.Cut()
	request := e.Request()
	for range 3 { // the reply is lost twice
		result := w.Exchange(request)
		e.Reply = result.Replies[0]
		equal(w, "status", e.Reply.GetStatus(), ok)
		equal(w, "cursor", e.Reply.GetCursor().GetBatch(), 1)
	}
	if len(e.Reply.GetLeases()) != 1 || e.Reply.GetLeases()[0].GetSpent() != 7 {
		w.Errorf("a repeat is answered with %v, want the stored totals", e.Reply.GetLeases())
	}
	e.Hear(e.Reply)
	truth := w.Check()
	equal(w, "settled", truth.Budgets[views].Settled, 7)
	equal(w, "counted", truth.Totals[1], ledger.Counts{Views: 7, Spent: 14_000})
	// An earlier message arrives late.
	e.Spend(views, 1)
	e.Sync()
	late := w.Exchange(request).Replies[0]
	equal(w, "late: status", late.GetStatus(), ok)
	equal(w, "late: cursor", late.GetCursor().GetBatch(), 2)
	equal(w, "late: settled", w.Check().Budgets[views].Settled, 8)
}

// slug makes the name of a case one that a node may have.
func slug(name string) string {
	return strings.NewReplacer(" ", "-", ",", "").Replace(name)
}

func cursors(w *World) {
	for name, c := range map[string]struct {
		seal   *wire.Cursor
		batch  bool
		want   wire.SyncResponse_Status
		cursor uint64
	}{
		"the next":                          {&wire.Cursor{Batch: 3, Position: 300, Hash: []byte("three")}, true, ok, 3},
		"the same":                          {&wire.Cursor{Batch: 2, Position: 200, Hash: []byte("two")}, true, ok, 2},
		"an older one":                      {&wire.Cursor{Batch: 1, Position: 100, Hash: []byte("any")}, true, ok, 2},
		"the same number, another hash":     {&wire.Cursor{Batch: 2, Position: 200, Hash: []byte("too")}, true, fenced, 2},
		"the same number, another position": {&wire.Cursor{Batch: 2, Position: 201, Hash: []byte("two")}, true, fenced, 2},
		"the next, from an earlier journal": {&wire.Cursor{Batch: 3, Position: 199, Hash: []byte("three")}, true, fenced, 2},
		"one left out":                      {&wire.Cursor{Batch: 4, Position: 400, Hash: []byte("four")}, true, forgotten, 2},
		"far beyond":                        {&wire.Cursor{Batch: 1 << 40, Position: 1 << 40, Hash: []byte("far")}, true, forgotten, 2},
		"none, at the cursor":               {&wire.Cursor{Batch: 2, Position: 200, Hash: []byte("two")}, false, ok, 2},
		"none, acknowledged beyond":         {&wire.Cursor{Batch: 3, Position: 300, Hash: []byte("three")}, false, forgotten, 2},
		"none, another history":             {&wire.Cursor{Batch: 2, Position: 200, Hash: []byte("too")}, false, fenced, 2},
	} {
		w.Join("us", "bystander-1-"+slug(name))
		w.Join("us", "bystander-2-"+slug(name))
		e := w.Join("us", slug(name))
		send := func(seal *wire.Cursor, batch bool) *wire.SyncResponse {
			r := &wire.SyncRequest{Protocol: 1, Holder: e.ID, Boot: e.Boot, BootOrdinal: e.Ordinal, Seal: seal}
			if batch {
				r.Batch = &wire.Batch{Seal: seal}
			}
			return w.Exchange(r).Replies[0]
		}
		send(&wire.Cursor{Batch: 1, Position: 100, Hash: []byte("one")}, true)
		send(&wire.Cursor{Batch: 2, Position: 200, Hash: []byte("two")}, true)
		got := send(c.seal, c.batch)
		if got.GetStatus() != c.want || got.GetCursor().GetBatch() != c.cursor {
			w.Errorf("%s: %v at %d, want %v at %d", name, got.GetStatus(), got.GetCursor().GetBatch(), c.want, c.cursor)
		}
		if state := w.Dump().Holders[e.ID].State; (state == ledger.Fenced) != (c.want == fenced) {
			w.Errorf("%s: the holder is %v", name, state)
		}
		if c.want == forgotten {
			equal(w, name+": back at the cursor", send(&wire.Cursor{Batch: 2, Position: 200, Hash: []byte("two")}, false).GetStatus(), ok)
		}
	}
}

func contradictions(w *World) {
	w.SetBudget(views, 1_000_000)
	never := w.Join("us", "never-granted")
	never.dirty[clicks] = true
	equal(w, "zeros of a lease that never was", never.Sync().GetStatus(), ok)
	for _, c := range []struct {
		name                     string
		granted, spent, returned int64
		want                     wire.SyncResponse_Status
	}{
		{"nothing new", 100, 10, 5, ok},
		{"all of it", 100, 95, 5, ok},
		{"an older grant, but covered", 20, 15, 5, ok},
		{"spent more than granted", 100, 96, 5, fenced},
		{"spent falls", 100, 9, 5, fenced},
		{"returned falls", 100, 10, 4, fenced},
		{"more than it says it was granted", 20, 16, 5, fenced},
		{"granted more than the core knows", 101, 10, 5, forgotten},
	} {
		e := w.Join("us", slug(c.name))
		e.Want(views, 100, 1000)
		e.Sync()
		equal(w, c.name+": granted", e.Leases[views].Granted, 100)
		e.Spend(views, 10)
		e.Return(views, 5)
		delete(e.wants, views)
		e.Sync()
		e.Leases[views] = lease.Totals{Granted: c.granted, Spent: c.spent, Returned: c.returned}
		e.dirty[views] = true
		if got := e.Sync().GetStatus(); got != c.want {
			w.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		settled := int64(10)
		if c.want == ok {
			settled = c.spent
		}
		equal(w, c.name+": spent", w.Check().Leases[ledger.LeaseKey{Holder: e.ID, Budget: views}].Spent, settled)
	}
	w.Join("us", "another")
	never.Leases[clicks], never.dirty[clicks] = lease.Totals{Granted: 1}, true
	equal(w, "granted of a lease that never was", never.Sync().GetStatus(), forgotten)
}

func boots(w *World) {
	w.SetBudget(views, 100)
	e := w.Join("us", "a")
	e.Want(views, 10, 1000)
	e.Sync()
	old := e.Request()
	e.Restart()
	e.Leases = map[lease.Budget]lease.Totals{}
	e.First = false
	equal(w, "a new boot", e.Sync().GetStatus(), ok)
	equal(w, "it is told its leases without asking", e.Leases[views].Granted, 10)
	equal(w, "the old boot", w.Exchange(old).Replies[0].GetStatus(), supersede)
	equal(w, "the new boot goes on", e.Sync().GetStatus(), ok)
	e.Boot++
	equal(w, "another boot with the same number", e.Sync().GetStatus(), fenced)
}

func lowered(w *World) {
	w.SetBudget(views, 100)
	a, b := w.Join("us", "a"), w.Join("eu", "b")
	a.Want(views, 60, 1000)
	b.Want(views, 60, 1000)
	for range 8 {
		w.SyncAll(a, b)
	}
	a.Spend(views, 20)
	w.SyncAll(a, b)
	before := w.Check().Budgets[views]
	equal(w, "out", before.Outstanding+before.Settled, 100)
	delete(a.wants, views)
	delete(b.wants, views)

	w.SetBudget(views, 50) // 20 are spent, 80 are out
	now := w.Check().Budgets[views]
	equal(w, "asked", now.Asked, 50)
	equal(w, "in force, while all is out", now.Limit, 100)
	equal(w, "unleased", now.Unleased, 0)
	for range 3 { // hears the recall, returns, is done
		w.SyncAll(a, b)
	}
	now = w.Check().Budgets[views]
	equal(w, "in force, after the recall", now.Limit, 50)
	equal(w, "tight", now.Tight, false)
	if kept := a.Leases[views].Available() + b.Leases[views].Available(); kept != now.Outstanding || kept > 30 || kept < 28 {
		w.Errorf("the leases keep %d of the 30 that are left", kept)
	}

	w.SetBudget(views, 10) // below what is settled
	for range 3 {
		w.SyncAll(a, b)
	}
	now = w.Check().Budgets[views]
	equal(w, "in force: what is settled", now.Limit, 20)
	equal(w, "outstanding", now.Outstanding, 0)
	w.SetBudget(views, 15)
	equal(w, "still", w.Check().Budgets[views].Limit, 20)
	w.SetBudget(views, 200)
	now = w.Check().Budgets[views]
	equal(w, "raised", now.Limit, 200)
	equal(w, "unleased", now.Unleased, 180)
}

func recall(w *World) {
	w.SetBudget(views, 1000)
	a, b := w.Join("us", "a"), w.Join("eu", "b")
	a.Want(views, 5000, 10_000)
	for range 20 {
		a.Sync()
	}
	equal(w, "a has all of it", a.Leases[views].Available(), 1000)
	b.Want(views, 5000, 10_000)
	for range 30 {
		w.SyncAll(a, b)
		w.tick(time.Second)
	}
	if has := b.Leases[views].Available(); has < 300 {
		w.Errorf("b got %d of the 1000 that a sat on", has)
	}
	// a no longer has traffic; all of it goes where it is used.
	a.Want(views, 0, 0)
	total := int64(0)
	for range 200 {
		w.SyncAll(a, b)
		total += b.Spend(views, 10)
		w.tick(time.Second)
	}
	w.SyncAll(a, b)
	equal(w, "settled", w.Check().Budgets[views].Settled, 1000)
	equal(w, "by b", total, 1000)
}

// windowOf is a window in which the given sequence numbers were viewed.
func windowOf(boot, floor, next uint64, viewed ...uint64) *wire.Window {
	bits := make([]byte, (next-floor+3)/4)
	for _, seq := range viewed {
		bit := 2 * (seq - floor)
		bits[bit/8] |= 1 << (bit % 8)
	}
	return &wire.Window{Boot: boot, Floor: floor, Next: next, Bits: bits}
}

func drain(w *World) {
	w.SetBudget(views, 100)
	e := w.Join("us", "a")
	e.Want(views, 40, 1000)
	e.Sync()
	spent := e.Spend(views, 15)
	e.Cut()
	e.Out.Closing = true
	e.Out.Final = []*wire.Window{windowOf(e.Boot, 0, 20, 1, 2, 3)}
	request := e.Request()
	for range 2 { // the second: its answer was lost
		reply := w.Exchange(request).Replies[0]
		equal(w, "status", reply.GetStatus(), ok)
		equal(w, "cursor", reply.GetCursor().GetBatch(), 1)
	}
	truth := w.Check()
	h := truth.Holders[e.ID]
	equal(w, "state", h.State, ledger.Closed)
	equal(w, "handed in", h.HandedIn, true)
	b := truth.Budgets[views]
	equal(w, "settled", b.Settled, spent)
	equal(w, "outstanding", b.Outstanding, 0)
	equal(w, "unleased", b.Unleased, 100-spent)
	equal(w, "demand", b.Velocity, 0)
	e.Out = nil
	equal(w, "afterwards", e.Sync().GetStatus(), fenced)
	again := w.Join("us", "a")
	if again.ID == e.ID {
		w.Error("a closed holder came back")
	}
}

func fencedHolder(w *World) {
	w.SetBudget(views, 100)
	e := w.Join("us", "a")
	e.Want(views, 40, 1000)
	e.Sync()
	e.Spend(views, 5)
	if err := ledger.Fence(w.Context(), w.Store, e.ID, "an operator said so", w.Now); err != nil {
		w.Fatal(err)
	}
	if err := ledger.Fence(w.Context(), w.Store, e.ID, "again", w.Now); !errors.Is(err, ledger.ErrNotOpen) {
		w.Errorf("fenced twice: %v", err)
	}
	e.Want(views, 80, 1000)
	reply := e.Sync()
	equal(w, "status", reply.GetStatus(), fenced)
	equal(w, "its batch is not applied", reply.GetCursor().GetBatch(), 0)
	b := w.Check().Budgets[views]
	equal(w, "settled", b.Settled, 0)
	equal(w, "set aside", b.Outstanding, 40)
	w.tick(1000 * time.Hour)
	equal(w, "time frees nothing", w.Check().Budgets[views].Outstanding, 40)
	if err := ledger.Close(w.Context(), w.Store, e.ID, w.Now); err != nil {
		w.Fatal(err)
	}
	b = w.Check().Budgets[views]
	equal(w, "closed: outstanding", b.Outstanding, 0)
	equal(w, "closed: unleased", b.Unleased, 100)
	if err := ledger.Close(w.Context(), w.Store, e.ID, w.Now); !errors.Is(err, ledger.ErrNotFenced) {
		w.Errorf("closed twice: %v", err)
	}
	if err := ledger.Fence(w.Context(), w.Store, 999, "nobody", w.Now); !errors.Is(err, ledger.ErrNoHolder) {
		w.Errorf("fenced nobody: %v", err)
	}
}

// eventOf is a view or click of flight 1 of a holder's offer.
func eventOf(w *World, home *Edge, seq uint64, kind uint32) *wire.Event {
	return &wire.Event{
		Kind: kind, Holder: home.ID, Boot: home.Boot, Seq: seq, Ad: 3, Flight: 1, Publisher: 2, Country: "NZ",
		ViewPrice: 2000, ClickPrice: 500_000, Issued: w.Now, At: w.Now, Flags: uint32(token.FlagViews | token.FlagClicks),
		Topics: []uint32{1, 3},
	}
}

func foreignHome(w *World) {
	w.SetBudget(views, 100)
	home, away := w.Join("us", "home"), w.Join("eu", "away")
	home.Want(views, 10, 1000)
	w.SyncAll(home, away)
	for seq := range uint64(3) {
		away.Ship(eventOf(w, home, seq, 1))
	}
	away.Ship(eventOf(w, home, 1, 1)) // twice in one batch
	away.Sync()
	away.Ship(eventOf(w, home, 2, 1)) // and again in the next
	away.Sync()
	got := home.Sync().GetForeignIn()
	equal(w, "passed on", len(got), 3)
	for i, e := range got {
		equal(w, "position", e.GetPosition(), uint64(i+1))
		equal(w, "sequence", e.GetSeq(), uint64(i))
		equal(w, "country", e.GetCountry(), "NZ")
	}
	equal(w, "passed on again until acknowledged", len(home.Sync().GetForeignIn()), 3)
	home.Spend(views, 1)
	home.Judge(1, 1)
	home.Judge(2, 3)
	home.Sync()
	equal(w, "the rest", len(home.Sync().GetForeignIn()), 1)
	home.ack = 3 // journalled, not judged yet
	home.Cut()
	equal(w, "none, at once", len(home.Sync().GetForeignIn()), 0)
	equal(w, "and later", len(home.Sync().GetForeignIn()), 0)
	home.ack = 0 // as a batch of an earlier state of the node would say
	home.Cut()
	home.Sync()
	equal(w, "what was acknowledged stays so", len(home.Sync().GetForeignIn()), 0)
	truth := w.Check()
	equal(w, "the core counted nothing itself", truth.Totals[1], ledger.Counts{Views: 1, Spent: 2000})
	home.ack = 4
	home.Cut()
	equal(w, "an acknowledgement of what was never given", home.Sync().GetStatus(), forgotten)
}

func (w *World) fence(e *Edge) {
	w.Helper()
	if err := ledger.Fence(w.Context(), w.Store, e.ID, "test", w.Now); err != nil {
		w.Fatal(err)
	}
}

func (w *World) close(e *Edge) {
	w.Helper()
	if err := ledger.Close(w.Context(), w.Store, e.ID, w.Now); err != nil {
		w.Fatal(err)
	}
}

func (w *World) judge(e *Edge) ledger.Judged {
	w.Helper()
	j, err := ledger.Judge(w.Context(), w.Store, e.ID, w.Now, w.Rules)
	if err != nil {
		w.Fatal(err)
	}
	return j
}

func (w *World) handIn(r *wire.HandInRequest) error {
	w.Helper()
	if err := ledger.ValidateHandIn(r); err != nil {
		w.Fatal(err)
	}
	_, err := ledger.HandIn(w.Context(), w.Store, r, w.Now)
	return err
}

func foreignFenced(w *World) {
	w.SetBudget(views, 100)
	home, away := w.Join("us", "home"), w.Join("eu", "away")
	home.Want(views, 10, 1000)
	w.SyncAll(home, away)
	home.Spend(views, 4)
	home.Sync()
	w.fence(home)
	unknown := eventOf(w, home, 7, 1)
	unknown.Boot += 77
	away.Ship(eventOf(w, home, 1, 1)) // below the floor
	away.Ship(eventOf(w, home, 3, 1)) // viewed already
	away.Ship(eventOf(w, home, 5, 1)) // new
	away.Ship(eventOf(w, home, 9, 1)) // beyond the window: offered after it was cut
	away.Ship(unknown)
	away.Sync()
	equal(w, "without windows they wait", w.judge(home).Waiting, 5)
	if err := w.handIn(&wire.HandInRequest{Holder: home.ID, Seal: home.Seal, Windows: []*wire.Window{windowOf(home.Boot, 2, 8, 3)}, Last: true}); err != nil {
		w.Fatal(err)
	}
	j := w.judge(home)
	equal(w, "judged", j.Events, 4)
	equal(w, "billed", j.Billed, 2)
	equal(w, "what is of a boot that was not handed in waits for it", j.Waiting, 1)
	w.tick(ledger.TokenLife + 15*time.Minute)
	equal(w, "for as long as its token lives", w.judge(home).Lost, 1)
	truth := w.Check()
	equal(w, "from the remainder", truth.Leases[ledger.LeaseKey{Holder: home.ID, Budget: views}].Spent, 6)
	b := truth.Budgets[views]
	equal(w, "settled", b.Settled, 6)
	equal(w, "out of no lease", b.Judged, 0)
	equal(w, "then it is closed", truth.Holders[home.ID].State, ledger.Closed)
	equal(w, "and its remainder free", b.Unleased, 94)
	// Of the one below the floor and the one of another boot nobody can tell.
	equal(w, "counted", truth.Totals[1], ledger.Counts{Views: 4 + 2, HomeLost: 2, Spent: 4*2000 + 2*2000})
	equal(w, "counted by topic", fmt.Sprint(byTopic(&truth, 1)), fmt.Sprint(map[uint32]ledger.Counts{
		1: {Views: 4 + 2, HomeLost: 2, Spent: 4*2000 + 2*2000}, // the edge's own, and what the core judged
		2: {Views: 4, Spent: 4 * 2000},
		3: {Views: 2, HomeLost: 2, Spent: 2 * 2000},
	}))
	for seq, want := range map[uint64]uint8{1: uint8(ledger.HomeLost), 3: 3, 5: 1, 9: 1} {
		equal(w, "outcome", uint8(truth.Foreign[ledger.EventKey{Home: home.ID, Boot: home.Boot, Seq: seq, Kind: 1}].Outcome), want)
	}
	// The same view again, from elsewhere, and a new one after the close.
	third := w.Join("ap", "third")
	third.Ship(eventOf(w, home, 5, 1))
	third.Ship(eventOf(w, home, 6, 1))
	third.Sync()
	equal(w, "only the new one", w.judge(home).Events, 1)
	b = w.Check().Budgets[views]
	equal(w, "settled", b.Settled, 7)
	equal(w, "out of no lease", b.Judged, 1)
}

// byTopic sums what was counted of a flight by topic.
func byTopic(t *ledger.Truth, flight uint32) map[uint32]ledger.Counts {
	sums := map[uint32]ledger.Counts{}
	for k, c := range t.Topics {
		if k.Flight == flight {
			s := sums[k.Topic]
			sums[k.Topic] = ledger.Counts{
				Views: s.Views + c.Views, Clicks: s.Clicks + c.Clicks, UnbilledViews: s.UnbilledViews + c.UnbilledViews,
				UnbilledClicks: s.UnbilledClicks + c.UnbilledClicks, HomeLost: s.HomeLost + c.HomeLost, Spent: s.Spent + c.Spent,
			}
		}
	}
	return sums
}

// foreignNewBoot is of a node that lives behind a broken line, and of which a
// neighbour has handed in a copy: it started anew meanwhile, sold, and comes back.
func foreignNewBoot(w *World) {
	w.SetBudget(views, 100)
	home, away, peer := w.Join("us", "home"), w.Join("eu", "away"), w.Join("us", "peer")
	home.Want(views, 10, 1000)
	w.SyncAll(home, away, peer)
	home.Spend(views, 4)
	home.Sync()
	w.fence(home)
	copied := &wire.HandInRequest{Holder: home.ID, Seal: home.Seal, Proof: home.Seal, Windows: []*wire.Window{windowOf(home.Boot, 0, 8, 3)}, Last: true}
	if _, err := ledger.HandInBy(w.Context(), w.Store, copied, peer.ID, w.Now); err != nil {
		w.Fatal(err)
	}
	anew := home.Boot + 77
	for _, seq := range []uint64{1, 2} {
		e := eventOf(w, home, seq, 1)
		e.Boot = anew
		away.Ship(e)
	}
	away.Sync()
	j := w.judge(home)
	equal(w, "they wait", j.Waiting, 2)
	equal(w, "it stays open for them", j.Closed, false)
	if err := w.handIn(&wire.HandInRequest{Holder: home.ID, Seal: home.Seal, Windows: []*wire.Window{windowOf(home.Boot, 0, 8, 3), windowOf(anew, 0, 8, 2)}, Last: true}); err != nil {
		w.Fatal(err)
	}
	j = w.judge(home)
	equal(w, "judged", j.Events, 2)
	equal(w, "the one that the home has not judged is billed", j.Billed, 1)
	equal(w, "nothing is lost", j.Lost, 0)
	equal(w, "closed", j.Closed, true)
	equal(w, "settled", w.Check().Budgets[views].Settled, 5)
}

func foreignLost(w *World) {
	w.SetBudget(views, 100)
	home, away := w.Join("us", "home"), w.Join("eu", "away")
	home.Want(views, 10, 1000)
	w.SyncAll(home, away)
	away.Ship(eventOf(w, home, 1, 1))
	away.Sync()
	w.fence(home)
	w.close(home)
	swept, err := ledger.Sweep(w.Context(), w.Store, w.Now, w.Rules)
	if err != nil {
		w.Fatal(err)
	}
	equal(w, "lost", swept.Judged.Lost, 1)
	away.Ship(eventOf(w, home, 2, 1))
	away.Sync()
	truth := w.Check()
	equal(w, "counted apart", truth.Totals[1], ledger.Counts{HomeLost: 2})
	equal(w, "by topic, too", fmt.Sprint(byTopic(&truth, 1)), fmt.Sprint(map[uint32]ledger.Counts{1: {HomeLost: 2}, 3: {HomeLost: 2}}))
	equal(w, "nothing settled", truth.Budgets[views].Settled, 0)
	equal(w, "nothing waits", w.judge(home).Events, 0)
}

func clickWaits(w *World) {
	w.SetBudget(views, 100)
	w.SetBudget(clicks, 100)
	home, away := w.Join("us", "home"), w.Join("eu", "away")
	w.SyncAll(home, away)
	w.fence(home)
	if err := w.handIn(&wire.HandInRequest{Holder: home.ID, Seal: home.Seal, Windows: []*wire.Window{windowOf(home.Boot, 0, 8, 3)}, Last: true}); err != nil {
		w.Fatal(err)
	}
	away.Ship(eventOf(w, home, 3, 2)) // viewed at home
	away.Ship(eventOf(w, home, 4, 2)) // not viewed yet
	away.Ship(eventOf(w, home, 5, 2)) // its view comes behind it
	away.Ship(eventOf(w, home, 5, 1))
	away.Sync()
	j := w.judge(home)
	equal(w, "judged", j.Events, 3)
	equal(w, "waiting", j.Waiting, 1)
	equal(w, "not closed while one waits", w.Dump().Holders[home.ID].State, ledger.Fenced)
	away.Ship(eventOf(w, home, 4, 1))
	away.Sync()
	equal(w, "both", w.judge(home).Billed, 2)
	truth := w.Check()
	equal(w, "clicks", truth.Budgets[clicks].Settled, 3)
	equal(w, "counted", truth.Totals[1], ledger.Counts{Views: 2, Clicks: 3, Spent: 2*2000 + 3*500_000})
	equal(w, "closed", truth.Holders[home.ID].State, ledger.Closed)

	away.Ship(eventOf(w, home, 6, 2))
	away.Sync()
	w.tick(2 * time.Hour)
	equal(w, "its view may still come", w.judge(home).Waiting, 1)
	w.tick(time.Hour)
	equal(w, "no more", w.judge(home).Events, 1)
	equal(w, "clicks", w.Check().Budgets[clicks].Settled, 3)
}

func drainLeavesClicks(w *World) {
	w.SetBudget(views, 100)
	w.SetBudget(clicks, 100)
	home, away := w.Join("us", "home"), w.Join("eu", "away")
	w.SyncAll(home, away)
	home.Cut()
	home.Out.Closing = true
	home.Out.Final = []*wire.Window{windowOf(home.Boot, 0, 8, 3)}
	home.Out.Held = []*wire.Event{eventOf(w, home, 4, 2), eventOf(w, home, 5, 2)}
	request := home.Request()
	for range 2 { // the second: its answer was lost
		equal(w, "status", w.Exchange(request).Replies[0].GetStatus(), ok)
	}
	equal(w, "both wait", w.judge(home).Waiting, 2)
	away.Ship(eventOf(w, home, 4, 1))
	away.Ship(eventOf(w, home, 4, 2)) // the same click, by another way
	away.Sync()
	j := w.judge(home)
	equal(w, "the view and its click", j.Billed, 2)
	equal(w, "the other waits on", j.Waiting, 1)
	w.tick(3 * time.Hour)
	equal(w, "in vain", w.judge(home).Events, 1)
	truth := w.Check()
	equal(w, "counted", truth.Totals[1], ledger.Counts{Views: 1, Clicks: 1, Spent: 2000 + 500_000})
	equal(w, "not viewed", truth.Foreign[ledger.EventKey{Home: home.ID, Boot: home.Boot, Seq: 5, Kind: 2}].Outcome, exchange.NotViewed)
}

func comesHomeLost(w *World) {
	w.SetBudget(views, 100)
	home, away := w.Join("us", "home"), w.Join("eu", "away")
	home.Want(views, 10, 1000)
	w.SyncAll(home, away)
	away.Ship(eventOf(w, home, 3, 1))
	away.Sync()
	equal(w, "passed on", len(home.Sync().GetForeignIn()), 1)
	home.Spend(views, 1)
	home.Judge(1, uint32(exchange.HomeLost))
	b := home.Cut()
	b.Rollups.HomeLost = make([]int64, len(b.Rollups.Hour))
	b.Rollups.HomeLost[0] = 1
	equal(w, "taken", home.Sync().GetStatus(), ok)
	truth := w.Check()
	equal(w, "counted", truth.Totals[1], ledger.Counts{Views: 1, HomeLost: 1, Spent: 2000})
	equal(w, "outcome", truth.Foreign[ledger.EventKey{Home: home.ID, Boot: home.Boot, Seq: 3, Kind: 1}].Outcome, ledger.HomeLost)
}

func judgedExhausted(w *World) {
	day := lease.Of(lease.FlightDay, 1, Today)
	w.SetCap(lease.FlightDay, 1, ledger.Cap{Micros: 5000, Unit: 2000})
	w.SetBudget(views, 3)
	home, away := w.Join("us", "home"), w.Join("eu", "away")
	home.Want(views, 2, 1000)
	home.Want(day, 2000, 1000)
	w.SyncAll(home, away)
	w.fence(home)
	for seq := range uint64(4) {
		e := eventOf(w, home, seq, 1)
		e.Flags |= uint32(token.FlagFlightDay)
		away.Ship(e)
	}
	away.Sync()
	if err := w.handIn(&wire.HandInRequest{Holder: home.ID, Seal: home.Seal, Windows: []*wire.Window{windowOf(home.Boot, 0, 0)}, Last: true}); err != nil {
		w.Fatal(err)
	}
	j := w.judge(home)
	equal(w, "billed: the day's cap allows two", j.Billed, 2)
	equal(w, "judged", j.Events, 4)
	truth := w.Check()
	equal(w, "views", truth.Budgets[views].Settled, 2)
	equal(w, "micros", truth.Budgets[day].Settled, 4000)
	equal(w, "counted", truth.Totals[1], ledger.Counts{Views: 2, UnbilledViews: 2, Spent: 4000})
}

func judgedKilled(w *World) {
	w.SetBudget(views, 100)
	home, away := w.Join("us", "home"), w.Join("eu", "away")
	w.SyncAll(home, away)
	w.Kill(1)
	w.fence(home)
	away.Ship(eventOf(w, home, 1, 1))
	away.Sync()
	if err := w.handIn(&wire.HandInRequest{Holder: home.ID, Seal: home.Seal, Windows: []*wire.Window{windowOf(home.Boot, 0, 8)}, Last: true}); err != nil {
		w.Fatal(err)
	}
	equal(w, "billed", w.judge(home).Billed, 0)
	equal(w, "counted", w.Check().Totals[1], ledger.Counts{UnbilledViews: 1})
}

func handIn(w *World) {
	w.SetBudget(views, 100)
	home := w.Join("us", "home")
	home.Want(views, 10, 1000)
	home.Sync()
	home.Spend(views, 2)
	home.Sync()
	part := &wire.HandInRequest{Holder: home.ID, Seal: home.Seal, Windows: []*wire.Window{windowOf(home.Boot, 0, 8, 0, 1)}}
	if err := w.handIn(part); !errors.Is(err, ledger.ErrNotFenced) {
		w.Errorf("an open holder handed in: %v", err)
	}
	w.fence(home)
	behind := proto.CloneOf(part)
	behind.Seal = &wire.Cursor{}
	if err := w.handIn(behind); !errors.Is(err, ledger.ErrBehind) {
		w.Errorf("a copy that ends before the cursor: %v", err)
	}
	other := proto.CloneOf(part)
	other.Seal = &wire.Cursor{Batch: 1, Position: home.Seal.GetPosition(), Hash: []byte("another")}
	if err := w.handIn(other); !errors.Is(err, ledger.ErrBehind) {
		w.Errorf("a copy of another history: %v", err)
	}
	if err := w.handIn(part); err != nil {
		w.Fatal(err)
	}
	equal(w, "one part is not all", w.judge(home).Events, 0)
	last := proto.CloneOf(part)
	last.Windows, last.Last = nil, true
	last.Late = []*wire.Event{eventOf(w, home, 5, 1), eventOf(w, home, 1, 1)}
	for range 2 { // the answer was lost
		if err := w.handIn(last); err != nil {
			w.Fatal(err)
		}
	}
	j := w.judge(home)
	equal(w, "judged", j.Events, 2)
	equal(w, "billed", j.Billed, 1)
	equal(w, "closed", j.Closed, true)
	equal(w, "settled", w.Check().Budgets[views].Settled, 3)

	// A late disk of a holder closed without one.
	late := w.Join("us", "late")
	w.fence(late)
	w.close(late)
	if err := w.handIn(&wire.HandInRequest{Holder: late.ID, Seal: late.Seal, Late: []*wire.Event{eventOf(w, late, 1, 1)}}); err != nil {
		w.Fatal(err)
	}
	equal(w, "while it hands in, its events wait", w.judge(late).Waiting, 1)
	if err := w.handIn(&wire.HandInRequest{Holder: late.ID, Seal: late.Seal, Windows: []*wire.Window{windowOf(late.Boot, 0, 8)}, Last: true}); err != nil {
		w.Fatal(err)
	}
	equal(w, "then they are judged", w.judge(late).Billed, 1)

	// One whose disk is lost in the middle of its hand-in.
	half := w.Join("us", "half")
	w.fence(half)
	w.close(half)
	if err := w.handIn(&wire.HandInRequest{Holder: half.ID, Seal: half.Seal, Late: []*wire.Event{eventOf(w, half, 1, 1)}}); err != nil {
		w.Fatal(err)
	}
	w.tick(23 * time.Hour)
	equal(w, "a day is left for the rest", w.judge(half).Waiting, 1)
	w.tick(time.Hour)
	equal(w, "then its events are home lost", w.judge(half).Lost, 1)
	equal(w, "counted apart", w.Check().Totals[1].HomeLost, 1)
}

func handInByPeers(w *World) {
	w.SetBudget(views, 100)
	home, peer, other := w.Join("us", "home"), w.Join("us", "peer"), w.Join("us", "other")
	far, fenced := w.Join("eu", "far"), w.Join("us", "fenced")
	home.Want(views, 10, 1000)
	w.SyncAll(home, peer, other, far, fenced)
	home.Spend(views, 2)
	home.Sync()
	w.fence(fenced)
	by := func(e *Edge, r *wire.HandInRequest) (*wire.HandInResponse, error) {
		w.Helper()
		if err := ledger.ValidateHandIn(r); err != nil {
			w.Fatal(err)
		}
		return ledger.HandInBy(w.Context(), w.Store, r, e.ID, w.Now)
	}
	ask := &wire.HandInRequest{Holder: home.ID}
	answer, err := by(peer, ask)
	if err != nil || !answer.GetOpen() || len(answer.GetCursor().GetHash()) > 0 {
		w.Fatalf("asked of an open holder: %v, %v", answer, err)
	}
	whole := &wire.HandInRequest{
		Holder: home.ID, Seal: home.Seal, Proof: home.Seal, Last: true,
		Windows: []*wire.Window{windowOf(home.Boot, 0, 8, 0, 1)}, Late: []*wire.Event{eventOf(w, home, 5, 1)},
	}
	if answer, err := by(peer, whole); err != nil || !answer.GetOpen() {
		w.Fatalf("handed in an open holder: %v, %v", answer, err)
	}
	w.fence(home)
	answer, err = by(peer, ask)
	if err != nil || answer.GetOpen() || answer.GetCursor().GetBatch() != home.Seal.GetBatch() || len(answer.GetCursor().GetHash()) > 0 {
		w.Fatalf("a peer without a proof is told the batch alone: %v, %v", answer, err)
	}
	for name, c := range map[string]struct {
		by    *Edge
		proof *wire.Cursor
		want  error
	}{
		"a node of another region":           {far, home.Seal, ledger.ErrStranger},
		"a node that is fenced itself":       {fenced, home.Seal, ledger.ErrStranger},
		"a copy that ends before the cursor": {peer, &wire.Cursor{}, ledger.ErrBehind},
		"a guess":                            {peer, &wire.Cursor{Batch: home.Seal.GetBatch(), Position: home.Seal.GetPosition(), Hash: []byte("guess")}, ledger.ErrBehind},
	} {
		r := proto.CloneOf(whole)
		r.Proof = c.proof
		if _, err := by(c.by, r); !errors.Is(err, c.want) {
			w.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	equal(w, "nothing of it is taken", len(w.Check().Foreign), 0)
	for range 2 { // the answer was lost
		if _, err := by(peer, whole); err != nil {
			w.Fatal(err)
		}
	}
	j := w.judge(home)
	equal(w, "judged", j.Events, 1)
	equal(w, "billed", j.Billed, 1)
	equal(w, "closed", j.Closed, true)

	// Another peer has a longer copy, in which a later boot offered; its windows do
	// not replace those that are there.
	longer := proto.CloneOf(whole)
	longer.Windows = []*wire.Window{windowOf(home.Boot, 0, 8), windowOf(home.Boot+1, 0, 0)}
	later := eventOf(w, home, 0, 1)
	later.Boot++
	longer.Late = append(longer.Late, eventOf(w, home, 1, 1), eventOf(w, home, 6, 1), later)
	if _, err := by(other, longer); err != nil {
		w.Fatal(err)
	}
	j = w.judge(home)
	equal(w, "judged of the longer copy", j.Events, 3)
	equal(w, "billed of the longer copy", j.Billed, 2)
	equal(w, "settled", w.Check().Budgets[views].Settled, 5)
}

func fencedByMistake(w *World) {
	w.SetBudget(views, 100)
	e := w.Join("us", "a")
	e.Want(views, 10, 1000)
	e.Sync()
	e.Spend(views, 1)
	e.Sync()
	w.fence(e)
	// Views 2 and 3 happened after the cursor.
	if err := w.handIn(&wire.HandInRequest{
		Holder: e.ID, Seal: e.Seal, Windows: []*wire.Window{windowOf(e.Boot, 0, 8, 1)},
		Late: []*wire.Event{eventOf(w, e, 2, 1), eventOf(w, e, 3, 1)}, Last: true,
	}); err != nil {
		w.Fatal(err)
	}
	equal(w, "judged", w.judge(e).Billed, 2)
	anew := w.Join("us", "a")
	anew.Want(views, 200, 1000)
	for range 12 {
		anew.Sync()
	}
	equal(w, "the new holder leases the rest", anew.Leases[views].Granted, 97)
	equal(w, "settled", w.Check().Budgets[views].Settled, 3)
}

func silence(w *World) {
	w.SetBudget(views, 100)
	a, b := w.Join("us", "a"), w.Join("eu", "b")
	a.Want(views, 10, 1000)
	b.Want(views, 10, 1000)
	w.SyncAll(a, b)
	sweep := func() []uint32 {
		swept, err := ledger.Sweep(w.Context(), w.Store, w.Now, w.Rules)
		if err != nil {
			w.Fatal(err)
		}
		return swept.Expired
	}
	w.tick(23 * time.Hour)
	b.Sync()
	equal(w, "after 23 h", len(sweep()), 0)
	w.tick(time.Hour + time.Second)
	got := sweep()
	if len(got) != 1 || got[0] != a.ID {
		w.Errorf("after 24 h expired %v, want the silent one", got)
	}
	truth := w.Check()
	equal(w, "state", truth.Holders[a.ID].State, ledger.Closed)
	equal(w, "freed", truth.Budgets[views].Outstanding, 10)
	equal(w, "it comes back to hear", a.Sync().GetStatus(), fenced)
	w.Rules.FenceAfter = 0
	w.tick(1000 * time.Hour)
	equal(w, "never, where the policy is off", len(sweep()), 0)
}

func tidy(w *World) {
	w.SetBudget(views, 100)
	home, away := w.Join("us", "home"), w.Join("eu", "away")
	home.Want(views, 10, 1000)
	w.SyncAll(home, away)
	home.Spend(views, 4)
	home.Sync()
	away.Ship(eventOf(w, home, 3, 1))
	home.Ship(eventOf(w, away, 3, 1))
	w.SyncAll(home, away)
	away.Sync()
	away.Judge(1, 2)
	away.Sync()
	w.fence(home)
	if err := w.handIn(&wire.HandInRequest{Holder: home.ID, Seal: home.Seal, Windows: []*wire.Window{windowOf(home.Boot, 0, 4)}, Last: true}); err != nil {
		w.Fatal(err)
	}
	equal(w, "closed", w.judge(home).Closed, true)
	tidied := func() (holders, events int) {
		holders, events, err := ledger.Tidy(w.Context(), w.Store, w.Now)
		if err != nil {
			w.Fatal(err)
		}
		return holders, events
	}
	w.tick(29 * 24 * time.Hour)
	holders, events := tidied()
	equal(w, "within a month: holders", holders, 0)
	equal(w, "within a month: events", events, 0)
	w.tick(2 * 24 * time.Hour)
	holders, events = tidied()
	equal(w, "after it: holders", holders, 1)
	equal(w, "after it: events that their home judged", events, 1)
	holders, events = tidied()
	equal(w, "then: holders", holders+events, 0)
	truth := w.Check()
	equal(w, "leases", len(truth.Leases), 0)
	equal(w, "windows", len(truth.Windows), 0)
	equal(w, "events", len(truth.Foreign), 0)
	b := truth.Budgets[views]
	equal(w, "what was spent stays settled", b.Settled, 5)
	equal(w, "in no lease", b.Judged, 5)
	// The same view once more, from an edge that was away for long.
	away.Ship(eventOf(w, home, 3, 1))
	away.Sync()
	equal(w, "billed again", w.judge(home).Billed, 0)
	if err := w.handIn(&wire.HandInRequest{Holder: home.ID, Seal: home.Seal, Last: true}); !errors.Is(err, ledger.ErrRetired) {
		w.Errorf("handed in after it was retired: %v", err)
	}
}

func names(w *World) {
	register := func(node, disk string) (ledger.Registered, error) {
		r := &wire.RegisterRequest{Protocol: 1, Region: "us", Node: node, Disk: strings.Repeat(disk, 32)}
		if err := ledger.ValidateRegister(r); err != nil {
			w.Fatal(err)
		}
		return ledger.Register(w.Context(), w.Store, r, ledger.Hash(disk), w.Now, w.Rules)
	}
	first, err := register("n", "a")
	if err != nil {
		w.Fatal(err)
	}
	same, err := register("n", "a")
	if err != nil || same.Holder != first.Holder {
		w.Errorf("the same disk got %+v, %v", same, err)
	}
	if _, err := register("n", "b"); !errors.Is(err, ledger.ErrNameHeld) {
		w.Errorf("a second disk at once: %v", err)
	}
	w.tick(59 * time.Second)
	if _, err := register("n", "b"); !errors.Is(err, ledger.ErrNameHeld) {
		w.Errorf("a second disk after 59 s: %v", err)
	}
	w.tick(time.Second)
	second, err := register("n", "b")
	if err != nil || second.Holder == first.Holder || second.Fenced != first.Holder {
		w.Errorf("a second disk after 60 s got %+v, %v", second, err)
	}
	equal(w, "the first", w.Dump().Holders[first.Holder].State, ledger.Fenced)
	other, err := register("m", "c")
	if err != nil || other.Fenced != 0 {
		w.Errorf("another name got %+v, %v", other, err)
	}
	back, err := register("n", "a")
	if !errors.Is(err, ledger.ErrNameHeld) {
		w.Errorf("the fenced disk got %+v, %v", back, err)
	}
}

func credentials(w *World) {
	may := func(token string) string {
		got, ok, err := w.JoinToken(w.Context(), ledger.Hash(token), w.Now)
		if err != nil {
			w.Fatal(err)
		}
		if !ok {
			return "no"
		}
		if err := w.Joined(w.Context(), got.ID, w.Now); err != nil {
			w.Fatal(err)
		}
		return "to " + got.Region
	}
	w.AllowJoin("come in", "", 0)
	w.AllowJoin("come to us", "us", w.Now+1000)
	equal(w, "the token", may("come in"), "to ")
	equal(w, "another", may("let me in"), "no")
	equal(w, "of a region", may("come to us"), "to us")
	w.tick(time.Second)
	equal(w, "of a region, too late", may("come to us"), "no")
	e := w.Join("us", "a")
	h, found, err := w.Holder(w.Context(), e.ID)
	if err != nil || !found {
		w.Fatalf("holder %d: %v, %v", e.ID, found, err)
	}
	equal(w, "region", h.Region, "us")
	equal(w, "node", h.Node, "a")
	equal(w, "public URL", h.PublicURL, "https://a.example")
	equal(w, "secret", string(h.SecretHash), string(ledger.Hash("secret of a")))
	equal(w, "seen", h.SeenAt, w.Now)
	if _, found, err := w.Holder(w.Context(), 12345); found || err != nil {
		w.Errorf("a holder that never was: %v, %v", found, err)
	}
	credential := func() ledger.Credential {
		c, found, err := w.Credential(w.Context(), e.ID)
		if err != nil || !found {
			w.Fatalf("credential of holder %d: %v, %v", e.ID, found, err)
		}
		return c
	}
	use := func(secret string) bool {
		done, err := w.UseSecret(w.Context(), e.ID, ledger.Hash(secret))
		if err != nil {
			w.Fatal(err)
		}
		return done
	}
	equal(w, "issued by nobody", credential().IssuedAt, 0)
	issued := ledger.Issued{NextSecret: ledger.Hash("next"), At: w.Now, Authority: "abc", Expires: w.Now + 5000}
	for range 2 { // the answer was lost
		if err := w.Issue(w.Context(), e.ID, issued); err != nil {
			w.Fatal(err)
		}
	}
	if err := w.Trusted(w.Context(), e.ID, []byte("sum")); err != nil {
		w.Fatal(err)
	}
	c := credential()
	equal(w, "region and node", c.Region+"/"+c.Node, "us/a")
	equal(w, "the secret, still", string(c.SecretHash), string(ledger.Hash("secret of a")))
	equal(w, "the next secret", string(c.NextSecret), string(ledger.Hash("next")))
	equal(w, "issued at", c.IssuedAt, w.Now)
	equal(w, "authority, trust", c.Authority+" "+string(c.Trust), "abc sum")
	equal(w, "expires", c.Expires, w.Now+5000)
	equal(w, "another secret", use("nonsense"), false)
	equal(w, "the next one is used", use("next"), true)
	equal(w, "and is the only one", string(credential().SecretHash)+string(credential().NextSecret), string(ledger.Hash("next")))
	equal(w, "used again", use("next"), false)
	if _, found, err := w.Credential(w.Context(), 12345); found || err != nil {
		w.Errorf("the credential of a holder that never was: %v, %v", found, err)
	}
	equal(w, "a request of nobody", w.Exchange(&wire.SyncRequest{Protocol: 1, Holder: 12345, Boot: 1, BootOrdinal: 1}).Replies[0] == nil, true)
}

func days(w *World) {
	day := func(offset int32) lease.Budget { return lease.Of(lease.FlightDay, 1, Today+offset) }
	w.SetCap(lease.FlightDay, 1, ledger.Cap{Micros: 10_000, From: Today, Unit: 2000})
	w.SetCap(lease.PublisherDay, 2, ledger.Cap{Micros: 7000, From: Today + 1, Unit: 2000})
	e := w.Join("us", "a")
	for offset := int32(-1); offset <= 1; offset++ {
		e.Want(day(offset), 4000, 1000)
		e.Want(lease.Of(lease.PublisherDay, 2, Today+offset), 4000, 1000)
	}
	e.Want(lease.Of(lease.FlightDay, 9, Today), 4000, 1000) // has no cap
	exists := func() map[string]bool {
		got := map[string]bool{}
		for id := range w.Check().Budgets {
			got[map[lease.Kind]string{lease.FlightDay: "flight", lease.PublisherDay: "publisher"}[id.Kind()]+" "+[]string{"yesterday", "today", "tomorrow"}[id.Day()-Today+1]] = true
		}
		return got
	}
	e.Sync()
	got := exists()
	if len(got) != 1 || !got["flight today"] {
		w.Errorf("at noon there are %v, want the flight's today", got)
	}
	equal(w, "granted", e.Leases[day(0)].Granted, 4000)
	w.tick(8*time.Hour + time.Second) // four hours before midnight
	e.Sync()
	got = exists()
	if len(got) != 3 || !got["flight tomorrow"] || !got["publisher tomorrow"] {
		w.Errorf("at eight there are %v, want tomorrow's as well", got)
	}
	w.tick(5 * time.Hour) // one in the morning; yesterday's tokens live until two
	e.Spend(day(0), 2000)
	e.Sync()
	equal(w, "a day's lease is filled up while its tokens live", e.Leases[day(0)].Available(), 4000)
	w.tick(2 * time.Hour)
	e.Spend(day(0), 2000)
	e.Sync()
	equal(w, "and no longer", e.Leases[day(0)].Available(), 2000)
	var seen []lease.Budget
	if err := w.Budgets(w.Context(), Today+1, func(b ledger.Budget) { seen = append(seen, b.ID) }); err != nil {
		w.Fatal(err)
	}
	equal(w, "budgets from tomorrow on", len(seen), 2)
}

func units(w *World) {
	day := lease.Of(lease.FlightDay, 1, Today)
	w.SetCap(lease.FlightDay, 1, ledger.Cap{Micros: 11_000, Unit: 2000})
	a, b := w.Join("us", "a"), w.Join("eu", "b")
	a.Want(day, 9000, 1000)
	b.Want(day, 9000, 1000)
	whole := true
	for range 10 {
		w.SyncAll(a, b)
		for _, e := range []*Edge{a, b} {
			if e.Leases[day].Granted%2000 != 0 {
				whole = false
			}
		}
	}
	truth := w.Check().Budgets[day]
	equal(w, "unit", truth.Unit, 2000)
	equal(w, "all is out, the remainder too", truth.Outstanding, 11_000)
	equal(w, "whole prices but for the remainder", !whole && (a.Leases[day].Granted+b.Leases[day].Granted)%2000 == 1000, true)
}

func sides(w *World) {
	e := w.Join("us", "a")
	hour := w.Now / 1000 / 3600 * 3600
	r := e.Request()
	r.Side = &wire.Side{
		AppliedCatalog: 5, AppliedControl: 2, Alone: true, Version: "1.2.3",
		Decisions: &wire.DecisionCounts{
			Hour: []int64{hour, hour, hour}, Publisher: []uint32{1, 1, 1}, Country: []string{"DE", "DE", "??"}, Flight: []uint32{0, 7, 7},
			Decisions: []int64{5, 10, 1}, Offers: []int64{0, 10, 1},
		},
		Topics: &wire.TopicDecisions{
			Hour: []int64{hour, hour, hour}, Topic: []uint32{3, 4, 0}, Country: []string{"DE", "DE", "??"}, Flight: []uint32{7, 7, 0},
			Decisions: []int64{10, 2, 1}, Offers: []int64{10, 2, 0},
		},
		Refusals: &wire.Refusals{Flight: []uint32{7, 7, 0}, Reason: []string{"geo", "geo", "gate"}, N: []int64{3, 4, 1}},
	}
	w.Exchange(r)
	w.Exchange(r)
	truth := w.Check()
	equal(w, "decisions", truth.Decisions[ledger.DecisionKey{Hour: hour, Region: "us", Publisher: 1, Country: "DE", Flight: 7}], ledger.Decisions{Decisions: 20, Offers: 20})
	equal(w, "no ad", truth.Decisions[ledger.DecisionKey{Hour: hour, Region: "us", Publisher: 1, Country: "DE"}], ledger.Decisions{Decisions: 10})
	equal(w, "a country that is none", truth.Decisions[ledger.DecisionKey{Hour: hour, Region: "us", Publisher: 1, Flight: 7}], ledger.Decisions{Decisions: 2, Offers: 2})
	equal(w, "a topic", truth.Topics[ledger.TopicKey{Hour: hour, Region: "us", Topic: 3, Flight: 7, Country: "DE"}], ledger.TopicCounts{Decisions: ledger.Decisions{Decisions: 20, Offers: 20}})
	equal(w, "no topic, no ad", truth.Topics[ledger.TopicKey{Hour: hour, Region: "us"}], ledger.TopicCounts{Decisions: ledger.Decisions{Decisions: 2}})
	equal(w, "refusals", truth.Refusals[ledger.RefusalKey{Hour: hour, Region: "us", Flight: 7, Reason: "geo"}], 14)
	equal(w, "receipts", len(truth.Receipts), 2)
	equal(w, "receipt", truth.Receipts[ledger.Receipt{Holder: e.ID, Kind: "catalog", Version: 5}], true)
	h := truth.Holders[e.ID]
	equal(w, "applied catalog", h.AppliedCatalog, 5)
	equal(w, "applied control", h.AppliedControl, 2)
	equal(w, "alone", h.Alone, true)
	equal(w, "version", h.Version, "1.2.3")
	r.Side.AppliedCatalog = 0 // lost its catalog
	w.Exchange(r)
	equal(w, "no receipt of nothing", len(w.Check().Receipts), 2)
}

func tokenKeys(w *World) {
	n := byte(0)
	rotate := func() []*wire.TokenKey {
		keys, err := ledger.RotateKeys(w.Context(), w.Store, w.Now, w.Rules, func() []byte {
			n++
			secret := make([]byte, 32)
			secret[0] = n
			return secret
		})
		if err != nil {
			w.Fatal(err)
		}
		var ring []token.Key
		for _, k := range keys {
			ring = append(ring, token.Key{ID: uint16(k.GetId()), Secret: token.Secret(k.GetSecret()), SealFrom: k.GetSealFrom(), SealUntil: k.GetSealUntil(), VerifyUntil: k.GetVerifyUntil()})
		}
		if _, err := token.NewRing(ring); err != nil {
			w.Fatal(err)
		}
		return keys
	}
	seals := func(keys []*wire.TokenKey) (id uint32) {
		for _, k := range keys {
			if k.GetSealFrom() <= w.Now/1000 && w.Now/1000 < k.GetSealUntil() {
				id = k.GetId()
			}
		}
		return id
	}
	keys := rotate()
	equal(w, "current and next", len(keys), 2)
	equal(w, "the current seals at once", seals(keys), 1)
	equal(w, "nothing changes meanwhile", len(rotate()), 2)
	w.tick(ledger.KeyPeriod)
	keys = rotate()
	equal(w, "previous, current and next", len(keys), 3)
	equal(w, "the next seals", seals(keys), 2)
	w.tick(7 * time.Hour)
	keys = rotate()
	equal(w, "the previous is dropped when its tokens are dead", keys[0].GetId(), 2)
	w.tick(100 * 24 * time.Hour) // all cores were away
	keys = rotate()
	equal(w, "the last goes on", seals(keys), 3)
	last := keys[len(keys)-1]
	if ahead := last.GetSealFrom() - w.Now/1000; ahead < int64(w.Rules.MaxOffline.Seconds()) {
		w.Errorf("a key seals %d s after it was made, want at least max-offline", ahead)
	}
	// Rotated by hand: the next one seals as soon as it has been out for
	// MaxOffline, and what was sealed before stays open until its tokens are dead.
	hurry := func(distrust bool) int64 {
		from, err := ledger.HurryKeys(w.Context(), w.Store, w.Now, w.Rules, distrust)
		if err != nil {
			w.Fatal(err)
		}
		return from
	}
	opens := func(id uint32) bool {
		for _, k := range rotate() {
			if k.GetId() == id {
				return k.GetVerifyUntil() > w.Now/1000
			}
		}
		return false
	}
	w.tick(ledger.KeyPeriod / 2)
	before := seals(rotate())
	equal(w, "in the middle of a month the next seals at once", hurry(false), w.Now/1000)
	after := seals(rotate())
	equal(w, "it is another", after != before, true)
	equal(w, "the former still opens", opens(before), true)
	equal(w, "again, the next has to be out first", hurry(false), w.Now/1000+int64(w.Rules.MaxOffline.Seconds()))
	equal(w, "until then the present one seals", seals(rotate()), after)
	equal(w, "one that was stolen", hurry(true), w.Now/1000)
	w.tick(time.Second)
	equal(w, "seals no more", seals(rotate()) != after, true)
	equal(w, "and opens nothing", opens(after), false)
}

func rollback(w *World) {
	w.SetBudget(views, 100)
	e := w.Join("us", "a")
	e.Want(views, 10, 1000)
	e.Sync()
	before := w.Dump()
	broken := errors.New("broken")
	err := w.Update(w.Context(), func(tx ledger.Tx) error {
		loaded := ledger.NewLoaded()
		if err := tx.Load(w.Context(), ledger.Needs{
			Holders: []uint32{e.ID}, Budgets: []lease.Budget{views}, Leases: []ledger.LeaseKey{{Holder: e.ID, Budget: views}},
		}, loaded); err != nil {
			return err
		}
		h, b, l := loaded.Holders[e.ID], loaded.Budgets[views], loaded.Leases[ledger.LeaseKey{Holder: e.ID, Budget: views}]
		h.Batch, h.Hash = 9, []byte("nine")
		b.Outstanding--
		b.Settled++
		l.Spent++
		if err := tx.Write(w.Context(), &ledger.Changes{
			Holders: []*ledger.Holder{h}, Budgets: []*ledger.Budget{b}, Leases: []*ledger.Lease{l}, At: w.Now,
			Rollups: map[ledger.RollupKey]ledger.Counts{{Hour: 3600, Flight: 1}: {Views: 1}},
		}); err != nil {
			return err
		}
		return broken
	})
	if !errors.Is(err, broken) {
		w.Errorf("the error became %v", err)
	}
	same(w, before, w.Dump())

	for name, spoil := range map[string]func(*ledger.Budget, *ledger.Lease){
		"I1": func(b *ledger.Budget, _ *ledger.Lease) { b.Unleased++ },
		"I10": func(b *ledger.Budget, _ *ledger.Lease) {
			b.Settled, b.Refunded = 101, 0
			b.Outstanding, b.Unleased = 0, -1
		},
		"negative":      func(b *ledger.Budget, _ *ledger.Lease) { b.Outstanding, b.Unleased = -1, 101 },
		"lease_covered": func(_ *ledger.Budget, l *ledger.Lease) { l.Spent = l.Granted + 1 },
	} {
		err := w.Update(w.Context(), func(tx ledger.Tx) error {
			loaded := ledger.NewLoaded()
			key := ledger.LeaseKey{Holder: e.ID, Budget: views}
			if err := tx.Load(w.Context(), ledger.Needs{Holders: []uint32{e.ID}, Budgets: []lease.Budget{views}, Leases: []ledger.LeaseKey{key}}, loaded); err != nil {
				return err
			}
			spoil(loaded.Budgets[views], loaded.Leases[key])
			return tx.Write(w.Context(), &ledger.Changes{Budgets: []*ledger.Budget{loaded.Budgets[views]}, Leases: []*ledger.Lease{loaded.Leases[key]}, At: w.Now})
		})
		if err == nil {
			w.Errorf("%s: the store took it", name)
		}
		same(w, before, w.Dump())
	}
}

func many(w *World) {
	const n = 40
	w.SetBudget(views, 100_000)
	w.SetBudget(clicks, 100_000)
	var edges []*Edge
	for i := range n {
		e := w.Join("us", "n"+string(rune('a'+i/26))+string(rune('a'+i%26)))
		e.Want(views, 500, 10_000)
		e.Want(clicks, 50, 1000)
		edges = append(edges, e)
	}
	spent := int64(0)
	for range 5 {
		w.SyncAll(edges...)
		for i, e := range edges {
			spent += e.Spend(views, int64(i)) + e.Spend(clicks, 1)
		}
	}
	result := w.SyncAll(edges...)
	equal(w, "budgets in one transaction", len(result.Budgets), 2)
	truth := w.Check()
	equal(w, "settled", truth.Budgets[views].Settled+truth.Budgets[clicks].Settled, spent)
	for _, e := range edges {
		equal(w, "cursor", truth.Holders[e.ID].Batch, 5)
	}
}

func repeats(w *World) {
	w.SetBudget(views, 1000)
	home, e := w.Join("us", "home"), w.Join("eu", "e")
	home.Want(views, 100, 1000)
	e.Want(views, 100, 1000)
	w.SyncAll(home, e)
	home.Ship(eventOf(w, e, 1, 1))
	home.Sync()
	e.Sync()
	e.Spend(views, 5)
	e.Return(views, 3)
	e.Ship(eventOf(w, home, 1, 1))
	e.Judge(1, 1)
	e.Cut()
	request := e.Request()
	request.Side.Wants = nil
	w.Exchange(request)
	once := w.Check()
	for range 3 {
		w.Exchange(request)
	}
	same(w, once, w.Check())
}
