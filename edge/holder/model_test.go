package holder

import (
	"bytes"
	"encoding/hex"
	"maps"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"nearside/sync/exchange"
	"nearside/sync/lease"
	"nearside/sync/token"
)

// model is what a holder should be, told again in the simplest way: what each
// event became, and sums.
type model struct {
	log

	now     int64
	boots   []uint64 // known ones, the last is the current
	granted map[lease.Budget]int64
	back    map[lease.Budget]int64 // returned
	spent   map[lease.Budget]int64
	judged  map[eventKey]exchange.Outcome
	early   map[eventKey]bool // clicks that wait for their views, and came straight here
	lost    int64             // events whose bits were gone
	control map[uint32]uint64
	sent    map[lease.Budget][3]int64 // the totals of the last batch
	cost    map[eventKey]int64        // what a billed one cost, where it did
	topical map[uint32][3]int64       // told by batches: views, clicks, micros
	counted [5]int64                  // views, clicks, unbilled views and clicks, micros in all batches
	money   int64
}

var someFlags = []uint16{
	token.FlagViews, token.FlagClicks, token.FlagViews | token.FlagClicks,
	token.FlagViews | token.FlagFlightDay, token.FlagViews | token.FlagFlightDay | token.FlagPublisherDay,
	token.FlagClicks | token.FlagPublisherDay,
}

// event draws an offer; all that a token says follows from its boot and
// sequence number.
func (m *model) event(t *rapid.T) Event {
	boot := rapid.SampledFrom(append([]uint64{99}, m.boots...)).Draw(t, "boot")
	seq := rapid.Uint64Range(0, 12).Draw(t, "seq")
	if rapid.IntRange(0, 9).Draw(t, "far") == 0 {
		seq += 3 * blockSeqs
	}
	kind := exchange.View
	if rapid.Bool().Draw(t, "click") {
		kind = exchange.Click
	}
	h := (boot*31 + seq) % 1000
	return Event{
		Kind: kind, Holder: me, Boot: boot, Seq: seq, Ad: 1 + uint32(h%3), Flight: 1 + uint32(h%2), Publisher: 5,
		Country: [2]byte{'D', 'E'}, ViewPrice: 100, ClickPrice: 300, Flags: someFlags[h%uint64(len(someFlags))],
		Issued: now, At: m.now, Topics: pageTopics(boot, seq),
	}
}

// pageTopics are those of an offer's page: one, two, three, none that the catalog
// knows, or not said.
func pageTopics(boot, seq uint64) token.Topics {
	return token.TopicsOf([][]uint16{{3}, {3, 4}, {9, 3, 4}, {0}, {}}[(boot*7+seq)%5])
}

func (m *model) budgets() []lease.Budget {
	day := exchange.Day(now)
	return []lease.Budget{
		lease.Of(lease.FlightViews, 1, 0), lease.Of(lease.FlightClicks, 1, 0), lease.Of(lease.FlightDay, 1, day),
		lease.Of(lease.FlightViews, 2, 0), lease.Of(lease.FlightClicks, 2, 0), lease.Of(lease.FlightDay, 2, day),
		lease.Of(lease.PublisherDay, 5, day),
	}
}

func (m *model) available(b lease.Budget) int64 { return m.granted[b] - m.back[b] - m.spent[b] }

// expect is the outcome that an event should have now, 0 where it is refused.
func (m *model) expect(e Event) exchange.Outcome {
	known := false
	for _, b := range m.boots {
		known = known || b == e.Boot
	}
	w := m.State.boots[e.Boot]
	if !known || e.Seq < w.floor {
		return 0
	}
	if m.judged[e.key()] != 0 {
		return exchange.Duplicate
	}
	viewed := e
	viewed.Kind = exchange.View
	if e.Kind == exchange.Click && m.judged[viewed.key()] == 0 {
		return exchange.NotViewed
	}
	if e.At-e.Issued > Life {
		return 0
	}
	if m.ControlOf(e.Flight).State == killed {
		return exchange.Unbilled
	}
	d, n := exchange.Debits(e.Kind, e.Flags, e.Flight, e.Publisher, e.Issued, e.Price())
	for _, d := range d[:n] {
		if m.available(d.Budget) < d.Amount {
			return exchange.Unbilled
		}
	}
	return exchange.Billed
}

// over notes that nothing of an event waits any more.
func (m *model) over(e Event) {
	if e.Kind == exchange.Click {
		delete(m.early, e.key())
	}
}

// took notes an event that the holder recorded as judged.
func (m *model) took(e Event, o exchange.Outcome) {
	if o != exchange.Billed && o != exchange.Unbilled {
		return
	}
	m.judged[e.key()] = o
	m.over(e)
	if o == exchange.Billed {
		d, n := exchange.Debits(e.Kind, e.Flags, e.Flight, e.Publisher, e.Issued, e.Price())
		for _, d := range d[:n] {
			m.spent[d.Budget] += d.Amount
		}
		if n > 0 {
			m.money += e.Price()
			m.cost[e.key()] = e.Price()
		}
	}
}

// I2, I3, I6, I7 and I11 hold in any history, and a replay from any record is the
// state.
func TestI2I3I6I7I11InAnyHistory(t *testing.T) {
	rapid.Check(t, checkModel)
}

func checkModel(t *rapid.T) {
	m := &model{
		log: *newLog(1), now: now, boots: []uint64{1},
		granted: map[lease.Budget]int64{}, back: map[lease.Budget]int64{}, spent: map[lease.Budget]int64{},
		judged: map[eventKey]exchange.Outcome{}, early: map[eventKey]bool{}, control: map[uint32]uint64{}, sent: map[lease.Budget][3]int64{},
		cost: map[eventKey]int64{}, topical: map[uint32][3]int64{},
	}
	position := uint64(0)
	budget := func(t *rapid.T) lease.Budget { return rapid.SampledFrom(m.budgets()).Draw(t, "budget") }
	outcomes := map[Verdict]exchange.Outcome{
		Billed: exchange.Billed, Counted: exchange.Billed, Exhausted: exchange.Unbilled, Killed: exchange.Unbilled,
		Duplicate: exchange.Duplicate, NotViewed: exchange.NotViewed, Held: exchange.NotViewed,
	}
	t.Repeat(map[string]func(*rapid.T){
		"event": func(t *rapid.T) {
			e := m.event(t)
			want := m.expect(e)
			v := m.judge(e)
			if want == exchange.NotViewed && m.early[e.key()] {
				want = exchange.Duplicate
			}
			if outcomes[v] != want {
				t.Fatalf("%+v: %v, want outcome %d", e, v, want)
			}
			if (v == Held) != (want == exchange.NotViewed && e.At-e.Issued <= Life) {
				t.Fatalf("%+v: %v", e, v)
			}
			if v == Held {
				m.early[e.key()] = true
			} else if v.Taken() {
				m.took(e, want)
			}
		},
		"event of another holder": func(t *rapid.T) {
			e := m.event(t)
			e.Holder = me + 1
			if v := m.judge(e); v != Foreign && v != Duplicate {
				t.Fatalf("%v", v)
			}
		},
		"event through the core": func(t *rapid.T) {
			e := m.event(t)
			position += rapid.Uint64Range(1, 3).Draw(t, "step")
			want := m.expect(e)
			before := len(m.verdicts)
			if !m.keep(m.ForeignIn(nil, position, &e, m.now)) {
				t.Fatal("not taken")
			}
			if m.keep(m.ForeignIn(nil, position, &e, m.now)) {
				t.Fatal("taken twice")
			}
			if want == exchange.NotViewed && m.now-e.Issued <= Keep {
				return // it waits
			}
			if want == 0 {
				want = exchange.Unbilled
				if !m.inWindow(e) {
					m.checkVerdict(t, before, exchange.HomeLost)
					m.lost++
					m.over(e)
					return // without a bit
				}
			}
			m.checkVerdict(t, before, want)
			m.took(e, want)
			if want != exchange.Duplicate {
				m.over(e)
			}
		},
		"settle": func(t *rapid.T) {
			for {
				due := map[eventKey]exchange.Outcome{} // what must be judged now, one way or another
				for i := range m.waiting {
					e := m.waiting[i].event
					if o := m.expect(e); o != exchange.NotViewed || m.now-e.Issued > Keep {
						due[e.key()] = o
					}
				}
				for _, e := range m.held {
					if o := m.expect(e); o != 0 && o != exchange.NotViewed || m.now-e.Issued > Keep {
						due[e.key()] = o
					}
				}
				verdicts := len(m.verdicts)
				rec, _, v, held := m.Settle(nil, m.now)
				if !m.keep(rec) {
					if len(due) > 0 {
						// What was viewed and lost its bits at once is found when it is looked at.
						t.Fatalf("%v should have been settled", due)
					}
					return
				}
				var r record
				if err := r.decode(rec); err != nil {
					t.Fatal(err)
				}
				want, ok := due[r.event.key()]
				if !ok && r.outcome != exchange.HomeLost {
					t.Fatalf("settled %+v, which has to wait", r.event)
				}
				if held == (r.position > 0) || held != (len(m.verdicts) == verdicts) {
					t.Fatalf("settled %+v as held %v", r, held)
				}
				switch {
				case held && want == 0 && r.outcome == exchange.NotViewed:
				case want == 0 && !m.inWindow(r.event):
					if r.outcome != exchange.HomeLost {
						t.Fatalf("settled %+v, whose bits are gone, as %d (%v)", r.event, r.outcome, v)
					}
				case want == 0:
					want = exchange.Unbilled
					fallthrough
				default:
					if r.outcome != want {
						t.Fatalf("settled %+v as %d, want %d", r.event, r.outcome, want)
					}
				}
				if r.outcome == exchange.HomeLost {
					m.lost++
				}
				if m.inWindow(r.event) {
					m.took(r.event, r.outcome)
				}
				if r.outcome != exchange.Duplicate {
					m.over(r.event)
				}
			}
		},
		"grant": func(t *rapid.T) {
			b := budget(t)
			total := m.granted[b] + rapid.Int64Range(-3, 500).Draw(t, "more")
			m.keep(m.Grant(nil, b, total))
			m.granted[b] = max(m.granted[b], total)
		},
		"return": func(t *rapid.T) {
			b := budget(t)
			n := rapid.Int64Range(-1, 200).Draw(t, "amount")
			left := m.available(b)
			m.keep(m.Return(nil, b, n))
			m.back[b] += max(min(n, left), 0)
		},
		"control": func(t *rapid.T) {
			c := Control{rapid.Uint64Range(1, 20).Draw(t, "version"), rapid.Uint32Range(1, 2).Draw(t, "flight"), rapid.Uint8Range(0, 2).Draw(t, "state")}
			m.keep(m.Control(nil, c))
			now := m.ControlOf(c.Flight).Version
			if now < m.control[c.Flight] || now != max(m.control[c.Flight], c.Version) {
				t.Fatalf("I11: control %d of flight %d after %d", now, c.Flight, m.control[c.Flight])
			}
			m.control[c.Flight] = now
		},
		"time": func(t *rapid.T) {
			m.now += rapid.SampledFrom([]int64{1, 60_000, Life / 2, Keep / 2}).Draw(t, "ms")
		},
		"boot": func(t *rapid.T) {
			boot := uint64(len(m.records) + 100)
			m.keep(m.Boot(nil, boot, boot, m.now))
			m.boots = append(m.boots, boot)
			for _, b := range m.Dropped(m.now) {
				m.keep(m.Floor(nil, b, Gone))
				for i, known := range m.boots {
					if known == b {
						m.boots = append(m.boots[:i:i], m.boots[i+1:]...)
						break
					}
				}
			}
		},
		"floor": func(t *rapid.T) {
			boot := rapid.SampledFrom(m.boots).Draw(t, "boot")
			m.keep(m.Floor(nil, boot, rapid.Uint64Range(0, 4*blockSeqs).Draw(t, "floor")))
		},
		"seal": func(t *rapid.T) {
			m.keep(m.Seal(nil, m.now, false, 20))
			if ready := m.Covered(m.Position(), []byte{byte(m.batch), 1}); len(ready) != 1 {
				t.Fatalf("%d batches became ready", len(ready))
			}
		},
		"acknowledge": func(t *rapid.T) {
			if len(m.sealed) > 0 {
				m.Acknowledge(m.sealed[rapid.IntRange(0, len(m.sealed)-1).Draw(t, "n")].GetSeal())
			}
		},
		"crash": func(t *rapid.T) {
			n := rapid.IntRange(0, len(m.records)).Draw(t, "record")
			early := New(me)
			for i, rec := range m.records[:n] {
				if err := early.Replay(uint64(i+1), rec); err != nil {
					t.Fatalf("replay: %v", err)
				}
			}
			saved, err := Decode(early.Encode(nil))
			if err != nil {
				t.Fatalf("checkpoint after record %d: %v", n, err)
			}
			for i, rec := range m.records[n:] {
				if err := saved.Replay(uint64(n+i+1), rec); err != nil {
					t.Fatalf("replay onto a checkpoint: %v", err)
				}
			}
			mustReplay(t, &log{State: m.State, records: m.records})
			again := &log{State: saved, records: m.records}
			for _, b := range saved.sealed {
				c := b.GetSeal()
				saved.Covered(c.GetPosition(), []byte{byte(c.GetBatch()), 1})
			}
			saved.Acknowledge(m.Acked())
			saved.acked = m.acked
			if !bytes.Equal(again.Encode(nil), m.Encode(nil)) {
				t.Fatal("checkpoint and replay are not the state")
			}
			m.State = saved // and go on with it
		},
		"": func(t *rapid.T) { m.check(t) },
	})
	m.keep(m.Seal(nil, m.now, true, 20))
	m.check(t)
	mustReplay(t, &log{State: m.State, records: m.records})
	m.checkBatches(t)
}

func (m *model) inWindow(e Event) bool {
	w := m.State.boots[e.Boot]
	return w != nil && w.inSpan(e.Seq)
}

func (m *model) checkVerdict(t *rapid.T, before int, want exchange.Outcome) {
	if len(m.verdicts) != before+1 || m.verdicts[before].outcome != want {
		t.Fatalf("verdicts %v, want one more of %d", m.verdicts[before:], want)
	}
}

// check compares the state with the model after every step.
func (m *model) check(t *rapid.T) {
	m.Leases(func(b lease.Budget, totals lease.Totals) {
		if totals.Available() < 0 {
			t.Fatalf("I2: budget %d has %d available", b, totals.Available())
		}
		if want := (lease.Totals{Granted: m.granted[b], Spent: m.spent[b], Returned: m.back[b]}); totals != want {
			t.Fatalf("I3, I6: budget %d: %+v, want %+v", b, totals, want)
		}
	})
	if len(m.held) != len(m.early) && !m.closed {
		t.Fatalf("%d clicks are held for their views, want %d", len(m.held), len(m.early))
	}
	for i := range m.held {
		if !m.early[m.held[i].key()] {
			t.Fatalf("held: %+v", m.held[i])
		}
	}
}

// checkBatches cuts all batches again from the journal, and checks that their
// totals only grow and that they tell of every judged event once.
func (m *model) checkBatches(t *rapid.T) {
	s := New(me)
	batches, lost := uint64(0), int64(0)
	for i, rec := range m.records {
		if err := s.Replay(uint64(i+1), rec); err != nil {
			t.Fatalf("replay: %v", err)
		}
		if s.batch == batches {
			continue
		}
		batches = s.batch
		b := s.sealed[len(s.sealed)-1]
		s.sealed = nil // or the fifth would be hollow, for want of an acknowledgement
		for i, id := range b.GetTotals().GetBudget() {
			next := [3]int64{b.GetTotals().GetGranted()[i], b.GetTotals().GetSpent()[i], b.GetTotals().GetReturned()[i]}
			last := m.sent[lease.Budget(id)]
			for j := range next {
				if next[j] < last[j] {
					t.Fatalf("I7: totals of budget %d: %v after %v", id, next, last)
				}
			}
			if next == last {
				t.Fatalf("totals of budget %d said again without a change: %v", id, next)
			}
			m.sent[lease.Budget(id)] = next
		}
		r := b.GetRollups()
		for i := range r.GetHour() {
			m.counted[0] += r.GetViews()[i]
			m.counted[1] += r.GetClicks()[i]
			m.counted[2] += r.GetUnbilledViews()[i]
			m.counted[3] += r.GetUnbilledClicks()[i]
			m.counted[4] += r.GetSpentMicros()[i]
		}
		for _, n := range r.GetHomeLost() {
			lost += n
		}
		r2 := b.GetTopics()
		for i, topic := range r2.GetTopic() {
			n := m.topical[topic]
			m.topical[topic] = [3]int64{n[0] + r2.GetViews()[i], n[1] + r2.GetClicks()[i], n[2] + r2.GetSpentMicros()[i]}
		}
	}
	var want [5]int64
	topical := map[uint32][3]int64{}
	for k, o := range m.judged {
		switch {
		case o == exchange.Unbilled && k.kind == exchange.View:
			want[2]++
		case o == exchange.Unbilled:
			want[3]++
		}
		if o != exchange.Billed {
			continue
		}
		topics := pageTopics(k.boot, k.seq)
		for _, topic := range topics.All() {
			n := topical[uint32(topic)]
			n[k.kind-exchange.View]++
			n[2] += m.cost[k]
			topical[uint32(topic)] = n
		}
		want[k.kind-exchange.View]++
	}
	for topic, n := range m.topical {
		if n == ([3]int64{}) { // it has unbilled ones alone
			delete(m.topical, topic)
		}
	}
	if !maps.Equal(m.topical, topical) {
		t.Fatalf("batches tell of views, clicks and micros by topic %v, judged were %v", m.topical, topical)
	}
	want[4] = m.money
	if m.counted != want || lost != m.lost {
		t.Fatalf("batches tell of %v and %d lost, judged were %v and %d", m.counted, lost, want, m.lost)
	}
	for _, b := range m.budgets() {
		if want := [3]int64{m.granted[b], m.spent[b], m.back[b]}; m.sent[b] != want {
			t.Fatalf("batches tell of %v of budget %d, it is %v", m.sent[b], b, want)
		}
	}
}

func goldenLines(t interface{ Fatal(...any) }) [][]byte {
	var list [][]byte
	for _, name := range []string{"testdata/v1.txt", "testdata/v2.txt", "testdata/v2-topics.txt"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Fields(string(text)) {
			b, err := hex.DecodeString(line)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, b)
		}
	}
	return list
}

// FuzzRecord reads any bytes as a record, and replays what can be read.
func FuzzRecord(f *testing.F) {
	for _, b := range goldenLines(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r record
		if r.decode(b) == nil {
			var again record
			if err := again.decode(r.append(nil)); err != nil || again != r {
				t.Fatalf("%+v written and read is %+v (%v)", r, again, err)
			}
		}
		s := sample().State
		s.fenced = false
		if s.Replay(s.pos+1, b) != nil {
			return
		}
		d, err := Decode(s.Encode(nil))
		if err != nil {
			t.Fatalf("a state that was replayed into cannot be read: %v", err)
		}
		if !bytes.Equal(d.Encode(nil), s.Encode(nil)) {
			t.Fatal("a checkpoint changes when it is read and written")
		}
	})
}

// FuzzCheckpoint reads any bytes as a checkpoint, and goes on from what can be
// read.
func FuzzCheckpoint(f *testing.F) {
	lines := goldenLines(f)
	for _, line := range lines {
		f.Add(line)
	}
	f.Add(newLog(1).Encode(nil))
	f.Add(New(me).Encode(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Decode(b)
		if err != nil {
			return
		}
		encoded := s.Encode(nil)
		again, err := Decode(encoded)
		if err != nil {
			t.Fatalf("a checkpoint that was read cannot be read again: %v", err)
		}
		if !bytes.Equal(again.Encode(nil), encoded) {
			t.Fatal("a checkpoint changes when it is read and written")
		}
		e := view(s.current, 1)
		e.Holder = s.holder
		s.Judge(nil, &e)
		for range 3 {
			s.Settle(nil, now+Keep)
		}
		s.Seal(nil, now, true, 5)
	})
}
