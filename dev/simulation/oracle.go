package simulation

import (
	"bytes"
	"cmp"
	"hash/fnv"
	"maps"
	"slices"

	"nearside/core/ledger"
	"nearside/edge/holder"
	"nearside/sync/exchange"
	"nearside/sync/lease"
	"nearside/sync/token"
	"nearside/sync/wire"
)

// oracle watches from outside: what every journal was given, what was
// answered, what the core holds. It computes debits and sums by itself.
type oracle struct {
	w         *World
	histories map[uint32]*history     // by holder, once its first boot is recorded
	offers    map[uint64][]int64      // when each was made, by boot
	gaveUp    map[ledger.Verdict]bool // events (Outcome 0) that were home lost when windows had been handed in
	foreign   map[ledger.EventKey][]place
	taken     map[holder.Event][]uint32          // who ever journalled an event of another home, also what was lost
	keys      map[ledger.EventKey]holder.Verdict // answered as taken
	promised  map[ledger.EventKey]promise        // of these, what two disks had
	kept      map[uint32]uint64                  // how far peers keep a holder's journal
	copied    map[uint32]uint64                  // how far they have said so
	waited    map[uint32]uint64                  // how far its node has waited for that, or was alone
	single    map[uint32]uint64                  // how far it was alone, and no peer had said so
	brought   map[copyOf]map[uint64][]string     // the boundaries that came to a copy: hashes, by position

	holders map[uint32]standing // of the core, when it was last checked
	budgets map[lease.Budget]ledger.Budget
	leases  map[ledger.LeaseKey]ledger.Lease
	touched []ledger.LeaseKey         // that are not as they were then
	moved   map[uint32]bool           // holders that are not
	sums    map[lease.Budget]sums     // of all leases
	ids     []lease.Budget            // of all budgets, in order
	ceiling map[lease.Budget]int64    // the most that may ever be settled
	most    map[lease.Budget]int64    // the highest ceiling of all time, also of a past that was lost
	granted map[ledger.LeaseKey]int64 // the most that was ever committed, also in that past
	settled []ledger.Foreign          // what a core had billed in a past that was lost
	heard   map[lease.Budget]int64    // what a recovery settled by hearsay
}

// standing is what the oracle remembers of a holder.
type standing struct {
	known bool
	state ledger.State
	batch uint64
}

func standingOf(h *ledger.Holder) standing { return standing{h.ID != 0, h.State, h.Batch} }

// sums are those of a budget's leases.
type sums struct{ outstanding, spent, returned int64 }

// place is a record in a history.
type place struct {
	h   *history
	pos uint64
}

// history is what one journal was given and has not lost since.
type history struct {
	o       *oracle
	n       *node
	holder  uint32  // 0 before its first boot
	recs    []entry // the record at position n is recs[n-1]
	durable uint64
	saving  uint64 // position of a checkpoint that has its name

	rewritten bool // its open segment was copied, and the copy is not durable yet

	checkpoint uint64 // position of the newest durable one
	answered   uint64 // the highest position that somebody was answered for
	gone       bool   // its disk is lost
	alone      bool   // so that no other disk of its region had all of it then
	rolled     bool   // its disk was rolled back
	recalled   bool   // and has not been started since: it holds left records
	left       int
	flipped    []group // those with a bit that was turned over
	judged     map[ledger.EventKey]uint64
	held       map[ledger.EventKey]uint64 // clicks that came before their views; also those judged since
	vain       map[ledger.EventKey]uint64 // clicks that were given up, since no view came
	floors     map[uint64]uint64          // of every boot that began
	leases     map[lease.Budget]lease.Totals
	controls   map[uint32]uint64
	said       map[lease.Budget]lease.Totals // the highest totals sent
	stated     map[lease.Budget]lease.Totals // the same, in a statement
	batches    map[uint64]uint64             // number → hash of its content
	sent       map[uint64]bool               // positions of the seals of the batches sent, also before a rollback
	forks      []fork                        // what it held when its disk was rolled back
	seals      map[string]int                // commit hash of each batch sent → the fork it belongs to
}

// group is the records that a journal made durable together.
type group struct{ first, last uint64 }

// fork is a past that a rolled-back disk does not remember.
type fork struct {
	recs []entry
	sent map[uint64]bool // as a history's
}

// fork is told that the disk is about to be rolled back. What a reader was
// answered for since the snapshot may be lost.
func (h *history) fork() {
	h.forks = append(h.forks, fork{slices.Clone(h.recs), maps.Clone(h.sent)})
	h.gone, h.rolled, h.durable = true, true, 0
	clear(h.batches)
	clear(h.said)
}

// recall is told, after fork, what the snapshot holds. Mostly that is a beginning
// of what the history has, and the start finds where it ends. But a snapshot may
// remember what the disk has forgotten since: in a crash, or because it was rolled
// back to an older snapshot meanwhile.
func (h *history) recall(recs []entry) {
	if common(h.recs, recs) == len(recs) {
		h.left, h.recalled = len(recs), true
		return
	}
	h.recalled = false
	sent := map[uint64]bool{}
	for _, f := range h.forks {
		same := uint64(common(f.recs, recs))
		for seal := range f.sent {
			if seal <= same {
				sent[seal] = true
			}
		}
	}
	h.o.w.say("recalled", "holder %d: %d records", h.holder, len(recs))
	h.forget(0)
	h.recs, h.sent = recs, sent
	h.forget(uint64(len(recs)))
}

// onDisk is what a snapshot holds: of a disk that was rolled back, and has not been
// started since, only a beginning.
func (h *history) onDisk() []entry {
	if h.recalled {
		return slices.Clone(h.recs[:min(h.left, len(h.recs))])
	}
	return slices.Clone(h.recs)
}

// common is how many records two pasts begin with alike.
func common(a, b []entry) int {
	for i := range min(len(a), len(b)) {
		if !bytes.Equal(a[i].bytes, b[i].bytes) {
			return i
		}
	}
	return min(len(a), len(b))
}

// applied is the history whose batches the core has applied: the present one,
// or one that the disk forgot.
func (h *history) applied(hash []byte) []entry {
	if i, ok := h.seals[string(hash)]; ok && i < len(h.forks) {
		return h.forks[i].recs
	}
	return h.recs
}

func newOracle(w *World) *oracle {
	return &oracle{
		holders: map[uint32]standing{}, budgets: map[lease.Budget]ledger.Budget{}, leases: map[ledger.LeaseKey]ledger.Lease{}, moved: map[uint32]bool{}, sums: map[lease.Budget]sums{},
		w: w, histories: map[uint32]*history{}, offers: map[uint64][]int64{}, gaveUp: map[ledger.Verdict]bool{}, foreign: map[ledger.EventKey][]place{}, taken: map[holder.Event][]uint32{},
		keys: map[ledger.EventKey]holder.Verdict{}, promised: map[ledger.EventKey]promise{}, kept: map[uint32]uint64{}, copied: map[uint32]uint64{}, waited: map[uint32]uint64{}, single: map[uint32]uint64{}, brought: map[copyOf]map[uint64][]string{}, ceiling: map[lease.Budget]int64{},
		most: map[lease.Budget]int64{}, granted: map[ledger.LeaseKey]int64{}, heard: map[lease.Budget]int64{},
	}
}

func newHistory(o *oracle, n *node) *history {
	h := &history{o: o, n: n, said: map[lease.Budget]lease.Totals{}, stated: map[lease.Budget]lease.Totals{}, batches: map[uint64]uint64{}, sent: map[uint64]bool{}, seals: map[string]int{}}
	h.forget(0)
	return h
}

func keyOf(e *holder.Event) ledger.EventKey {
	return ledger.EventKey{Home: e.Holder, Boot: e.Boot, Seq: e.Seq, Kind: e.Kind}
}

func byKey(a, b ledger.EventKey) int {
	return cmp.Or(cmp.Compare(a.Home, b.Home), cmp.Compare(a.Boot, b.Boot), cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.Kind, b.Kind))
}

// debit is an amount of a budget.
type debit struct {
	budget lease.Budget
	amount int64
}

// owes is what an event costs, worked out from the rules and not by the code
// that is under test.
func owes(e *holder.Event) []debit {
	price, sold, kind := e.ViewPrice, e.Flags&token.FlagViews != 0, lease.FlightViews
	if e.Kind == exchange.Click {
		price, sold, kind = e.ClickPrice, e.Flags&token.FlagClicks != 0, lease.FlightClicks
	}
	if !sold {
		return nil
	}
	list := []debit{{lease.Of(kind, e.Flight, 0), 1}}
	today := int32(e.Issued / day)
	if e.Flags&token.FlagFlightDay != 0 && price > 0 {
		list = append(list, debit{lease.Of(lease.FlightDay, e.Flight, today), price})
	}
	if e.Flags&token.FlagPublisherDay != 0 && price > 0 {
		list = append(list, debit{lease.Of(lease.PublisherDay, e.Publisher, today), price})
	}
	return list
}

// at is the record at a position, an empty one where there is none.
func (h *history) at(pos uint64) entry {
	if pos == 0 || pos > uint64(len(h.recs)) {
		return entry{}
	}
	return h.recs[pos-1]
}

// written sees every group of records as it goes to the disk.
func (h *history) written(first uint64, recs [][]byte) {
	w := h.o.w
	if first != uint64(len(h.recs))+1 {
		h.cut(first - 1)
	}
	for _, rec := range recs {
		x, err := parseRecord(rec)
		if err != nil {
			w.fail("I6", "%s: %v", h.n.name, err)
		}
		h.recs = append(h.recs, x)
		if x.kind == kindForeign {
			h.o.taken[x.event] = append(h.o.taken[x.event], h.holder)
		}
		h.allowed(&x, uint64(len(h.recs)))
		h.learn(&x, uint64(len(h.recs)))
		for id, t := range h.leases {
			if t.Available() < 0 {
				w.fail("I2", "%s: budget %x: %+v after record %d", h.n.name, int64(id), t, len(h.recs))
			}
		}
	}
}

// allowed holds a record against those before it.
func (h *history) allowed(x *entry, pos uint64) {
	w, name := h.o.w, h.n.name
	key := keyOf(&x.event)
	view := key
	view.Kind = exchange.View
	at, judged := h.judged[key]
	_, viewed := h.judged[view]
	floor, begun := h.floors[key.Boot]
	gone := !begun || key.Seq < floor
	switch {
	case x.kind == kindHeld:
		w.count["held for its view"]++
		// One that was given up may come once more, from a copy of another's journal
		// whose hand-in began anew: no bit tells of it, and it is given up again.
		at, waits := h.held[key]
		if waits && !(h.vain[key] > at && h.broughtAgain(&x.event)) || judged || viewed || key.Kind != exchange.Click {
			w.fail("I6", "%s: %+v waits for its view at %d", name, key, pos)
		}
	case x.refused():
		// A view that came first bills its click; and it has until Keep to come.
		if viewed || judged || !gone && h.n.clock()-x.event.Issued <= holder.Keep {
			w.fail("I6", "%s: %+v was refused as not viewed at %d; viewed %v", name, key, pos, viewed)
		}
		if x.position == 0 {
			w.count["held in vain"]++
		}
	case x.lost():
		if !gone {
			w.fail("I6", "%s: %+v was given up as home lost at %d, and its bits were there", name, key, pos)
		}
		w.count["came when its bits were gone"]++
	case x.kind == kindFloor && len(h.forks) == 0:
		h.keeps(x)
	}
	if x.counted() {
		if judged {
			w.fail("I6", "%s: %+v was judged at %d and again at %d", name, key, at, pos)
		}
		if gone {
			w.fail("I6", "%s: %+v was judged at %d, and its bits are gone", name, key, pos)
		}
		if key.Kind == exchange.Click && !viewed {
			w.fail("I6", "%s: %+v was judged before its view", name, key)
		}
		if _, waited := h.held[key]; waited {
			w.count["held, and judged after its view"]++
		}
		want := owes(&x.event)
		if x.outcome != exchange.Billed {
			want = nil
		}
		if !slices.Equal(x.debits, want) {
			w.fail("I6", "%s: %+v debits %v, it owes %v", name, key, x.debits, want)
		}
	}
	switch x.kind {
	case kindGrant:
		if core := w.core.mem.Leases[ledger.LeaseKey{Holder: h.holder, Budget: x.budget}]; x.total > max(core.Granted, w.books.granted[ledger.LeaseKey{Holder: h.holder, Budget: x.budget}]) {
			w.fail("I3", "%s: budget %x: granted %d, the core committed %d", name, int64(x.budget), x.total, core.Granted)
		}
		if x.total < h.leases[x.budget].Granted {
			w.fail("I7", "%s: budget %x: granted %d after %d", name, int64(x.budget), x.total, h.leases[x.budget].Granted)
		}
	case kindReturn:
		if x.total < h.leases[x.budget].Returned {
			w.fail("I7", "%s: budget %x: returned %d after %d", name, int64(x.budget), x.total, h.leases[x.budget].Returned)
		}
	case kindControl:
		if x.version <= h.controls[x.flight] {
			w.fail("I11", "%s: control %d of flight %d after %d", name, x.version, x.flight, h.controls[x.flight])
		}
	}
}

// broughtAgain says that another journal had the very event, of the same moment: a copy
// of it that is handed in once more brings it once more.
func (h *history) broughtAgain(e *holder.Event) bool {
	return slices.ContainsFunc(h.o.taken[*e], func(by uint32) bool { return by != h.holder })
}

// keeps holds a floor against the offers whose bits it drops: their tokens must be
// dead, and what went round through the core must have had time to come home.
func (h *history) keeps(x *entry) {
	for seq, issued := range h.o.offers[x.boot] {
		if uint64(seq) < x.floor && h.n.clock()-issued < holder.Keep-3*second { // a start may set the clock back by two
			h.o.w.fail("I6", "%s: the bits of offer %d of boot %x go %d s after it", h.n.name, seq, x.boot, (h.n.clock()-issued)/second)
		}
	}
}

// offered notes when a boot made its next offer, by its node's clock.
func (o *oracle) offered(boot, seq uint64, at int64) {
	for uint64(len(o.offers[boot])) < seq {
		o.offers[boot] = append(o.offers[boot], at) // numbered, and not made
	}
	o.offers[boot] = append(o.offers[boot], at)
}

// learn adds a record to what the history knows.
func (h *history) learn(x *entry, pos uint64) {
	if x.counted() {
		h.judged[keyOf(&x.event)] = pos
	}
	if x.kind == kindHeld {
		h.held[keyOf(&x.event)] = pos
	}
	if x.refused() {
		h.vain[keyOf(&x.event)] = pos
	}
	t := h.leases[x.budget]
	switch x.kind {
	case kindBoot:
		if h.holder != x.holder && h.holder != 0 { // the disk was rolled back to before the other one
			past := *h
			past.recs, past.gone = nil, true
			h.o.histories[h.holder] = &past
			h.forks, h.seals = nil, map[string]int{}
		}
		h.holder = x.holder
		h.o.histories[h.holder] = h
		h.floors[x.boot] = 0
	case kindFloor:
		h.floors[x.boot] = x.floor
	case kindJudged:
		for _, d := range x.debits {
			t := h.leases[d.budget]
			t.Spent += d.amount
			h.leases[d.budget] = t
		}
	case kindForeign:
		h.o.foreign[keyOf(&x.event)] = append(h.o.foreign[keyOf(&x.event)], place{h, pos})
	case kindGrant:
		t.Granted = x.total
		h.leases[x.budget] = t
	case kindReturn:
		t.Returned = x.total
		h.leases[x.budget] = t
	case kindControl:
		h.controls[x.flight] = x.version
	}
}

// forget drops the records above a position.
func (h *history) forget(pos uint64) {
	for i := range h.recs {
		if x := &h.recs[i]; x.kind == kindForeign {
			key := keyOf(&x.event)
			h.o.foreign[key] = slices.DeleteFunc(h.o.foreign[key], func(p place) bool { return p.h == h })
		}
	}
	h.recs = h.recs[:min(pos, uint64(len(h.recs)))]
	maps.DeleteFunc(h.sent, func(seal uint64, _ bool) bool { return seal > pos })
	h.held, h.vain, h.floors = map[ledger.EventKey]uint64{}, map[ledger.EventKey]uint64{}, map[uint64]uint64{}
	h.judged, h.leases, h.controls = map[ledger.EventKey]uint64{}, map[lease.Budget]lease.Totals{}, map[uint32]uint64{}
	for i := range h.recs {
		h.learn(&h.recs[i], uint64(i+1))
	}
}

// cut is a start after a crash: the journal ends at pos.
func (h *history) cut(pos uint64) {
	w := h.o.w
	h.rewritten, h.recalled = false, false
	if pos > uint64(len(h.recs)) {
		w.fail("I6", "%s: the journal of holder %d ends at %d, it was given %d records", h.n.name, h.holder, pos, len(h.recs))
	}
	if slices.Contains(h.flipped, group{pos + 1, h.durable}) {
		w.count["flipped where it looks torn"]++
		h.fork() // a past that the disk does not remember, as after a rollback
	}
	if pos < h.durable {
		w.fail("I5", "%s: the journal of holder %d ends at %d, position %d was durable, %d was answered for", h.n.name, h.holder, pos, h.durable, h.answered)
	}
	if lost := uint64(len(h.recs)) - pos; lost > 0 {
		w.say("tail-lost", "holder %d: %d records", h.holder, lost)
		h.o.kept[h.holder] = min(h.o.kept[h.holder], pos) // what peers have beyond it is of another past
		h.o.copied[h.holder] = min(h.o.copied[h.holder], pos)
		h.o.waited[h.holder] = min(h.o.waited[h.holder], pos)
		h.o.single[h.holder] = min(h.o.single[h.holder], pos)
		h.forget(pos)
	}
}

// same holds a record that came back against the one that was written.
func (h *history) same(pos uint64, rec []byte) {
	if pos == 0 || pos > uint64(len(h.recs)) || !bytes.Equal(h.recs[pos-1].bytes, rec) {
		h.o.w.fail("I6", "holder %d: record %d is not the one that was written", h.holder, pos)
	}
}

// opened holds what a process knows after its start against the records.
func (o *oracle) opened(n *node, id uint32) {
	h := o.histories[id]
	if h == nil || h.gone {
		return
	}
	controls, _ := n.k.Controls(0)
	for _, c := range controls {
		if c.GetVersion() != h.controls[c.GetFlight()] {
			o.w.fail("I11", "%s: came back with control %d of flight %d, it had %d", n.name, c.GetVersion(), c.GetFlight(), h.controls[c.GetFlight()])
		}
	}
	if len(controls) != len(h.controls) {
		o.w.fail("I11", "%s: came back with %d controls, it had %d", n.name, len(controls), len(h.controls))
	}
}

// answered is what a reader was told.
func (o *oracle) answered(n *node, e *holder.Event, v holder.Verdict) {
	o.w.count["answer "+v.String()]++
	if !v.Taken() && v != holder.Duplicate {
		return
	}
	key := keyOf(e)
	var found []place
	if h := o.histories[e.Holder]; h != nil && v != holder.Foreign {
		// A click that is held may be judged while the answer to it waits for the disk.
		// Who hears that it is a duplicate needs no more than the held one: it is of the
		// same journal and before the judged one, which is made again if it is lost.
		if pos := h.held[key]; pos > 0 && (v == holder.Held || v == holder.Duplicate) {
			found = append(found, place{h, pos})
		}
		if pos := h.judged[key]; pos > 0 && v != holder.Held {
			found = append(found, place{h, pos})
		}
	}
	for _, p := range o.foreign[key] {
		// What a node takes for another is on its own disk, whatever others know of it.
		if v == holder.Foreign && p.h.n == n || v == holder.Duplicate && (len(found) == 0 || found[0].h.n != n) {
			found = append(found, p)
		}
	}
	kept := false
	for _, p := range found {
		if p.pos <= p.h.durable || p.h.gone {
			p.h.answered = max(p.h.answered, p.pos)
			kept = true
		}
	}
	if !kept {
		o.w.fail("I5", "%s answered %v for %+v, of which nothing is durable", n.name, v, key)
	}
	if len(found) > 0 && !slices.ContainsFunc(found, func(p place) bool { return o.keptTwice(n, p) }) {
		o.w.fail("I5", "%s answered %v for %+v, and has not waited until a second disk has it", n.name, v, key)
	}
	o.keys[key] = v
	o.promise(n, e)
}

// lost says that a holder's disk, or its journal, proves nothing any more.
func (o *oracle) lost(id uint32) {
	if h := o.histories[id]; h != nil {
		h.gone = true
	}
}

func (o *oracle) isLost(id uint32) bool {
	h := o.histories[id]
	return h == nil || h.gone
}

// said sees every request as it leaves.
func (o *oracle) said(n *node, r *wire.SyncRequest) {
	h, batch := o.histories[r.GetHolder()], r.GetBatch()
	if _, again := h.batches[batch.GetSeal().GetBatch()]; batch == nil || !again {
		// Where a batch is sent again, what was given back since waits for the next
		// seal: nobody writes for the journals of the simulation until somebody waits.
		h.leaves(n)
	}
	if batch == nil {
		return
	}
	c := batch.GetSeal()
	if c.GetPosition() > h.durable || len(c.GetHash()) == 0 {
		o.w.fail("I5", "%s sends %s, durable is %d", n.name, exchange.Describe(c), h.durable)
	}
	if o.w.plan.copies && c.GetPosition() > o.waited[h.holder] {
		o.w.fail("I5", "%s sends %s, and has waited for a second disk up to %d", n.name, exchange.Describe(c), o.waited[h.holder])
	}
	sum := fnv.New64a()
	_, _ = sum.Write(marshal(batch))
	if known, again := h.batches[c.GetBatch()]; again {
		if known != sum.Sum64() {
			o.w.fail("I7", "%s: batch %d of holder %d is not what it was", n.name, c.GetBatch(), h.holder)
		}
		return
	}
	h.batches[c.GetBatch()] = sum.Sum64()
	if _, sent := h.seals[string(c.GetHash())]; !sent {
		h.seals[string(c.GetHash())] = len(h.forks)
	}
	t := batch.GetTotals()
	for i, id := range t.GetBudget() {
		now := lease.Totals{Granted: t.Granted[i], Spent: t.Spent[i], Returned: t.Returned[i]}
		was := h.said[lease.Budget(id)]
		if now.Granted < was.Granted || now.Spent < was.Spent || now.Returned < was.Returned {
			o.w.fail("I7", "%s: budget %x: %+v after %+v", n.name, id, now, was)
		}
		h.said[lease.Budget(id)] = now
	}
	h.sealed(batch)
}

// sealed holds a batch against the records that it tells of: those after the
// seal before it in the journal. That is not always the batch that was sent
// before it. A holder whose disk was rolled back sends an older one again, hears
// that the core has a newer one, which it sent before the rollback, and goes on
// with the next. But every batch was sent once, or its counts are nowhere.
func (h *history) sealed(b *wire.Batch) {
	w := h.o.w
	spent := map[lease.Budget]int64{}
	var views, clicks, unbilled, lost, micros, foreign int64
	end := b.GetSeal().GetPosition()
	if x := h.at(end); x.kind != kindSeal || x.batch != b.GetSeal().GetBatch() {
		w.fail("I6", "holder %d: batch %d has its seal at %d, where no such seal is", h.holder, b.GetSeal().GetBatch(), end)
	}
	last := end - 1 // becomes that of the seal before it
	for last > 0 && h.at(last).kind != kindSeal {
		last--
	}
	if last > 0 && !h.sent[last] {
		w.fail("I6", "holder %d: batch %d is sent, and batch %d at %d never was", h.holder, b.GetSeal().GetBatch(), h.at(last).batch, last)
	}
	h.sent[end] = true
	for i := range h.recs[:end] {
		x := &h.recs[i]
		inside := uint64(i) >= last
		if x.kind == kindForeign && inside {
			foreign++
		}
		if x.lost() && inside {
			lost++
		}
		if !x.counted() {
			continue
		}
		debits := owes(&x.event)
		if x.outcome == exchange.Billed {
			for _, d := range debits {
				spent[d.budget] += d.amount
			}
		}
		switch {
		case !inside:
		case x.outcome == exchange.Unbilled:
			unbilled++
		default:
			if x.event.Kind == exchange.View {
				views++
			} else {
				clicks++
			}
			if len(debits) > 0 {
				micros += x.event.Price()
			}
		}
	}
	t := b.GetTotals()
	for i, id := range t.GetBudget() {
		if t.Spent[i] != spent[lease.Budget(id)] {
			w.fail("I6", "holder %d: batch %d says %d spent of budget %x, the records up to its seal make %d", h.holder, b.GetSeal().GetBatch(), t.Spent[i], id, spent[lease.Budget(id)])
		}
	}
	r := b.GetRollups()
	got := [...]int64{total(r.GetViews()), total(r.GetClicks()), total(r.GetUnbilledViews()) + total(r.GetUnbilledClicks()), total(r.GetHomeLost()), total(r.GetSpentMicros()), int64(len(b.GetForeign()))}
	if want := [...]int64{views, clicks, unbilled, lost, micros, foreign}; got != want {
		w.fail("I6", "holder %d: batch %d counts views, clicks, unbilled, lost, micros, foreign as %v, its records make %v", h.holder, b.GetSeal().GetBatch(), got, want)
	}
}

func total(list []int64) (n int64) {
	for _, x := range list {
		n += x
	}
	return n
}

// check holds the core's truth against the invariants and against itself as it
// was before.
func (o *oracle) check() {
	c := o.w.core
	if !c.changed {
		return
	}
	c.changed = false
	t := &c.mem.Truth
	clear(o.moved)
	for id, h := range t.Holders {
		if o.holders[id] != standingOf(&h) {
			o.moved[id] = true
		}
	}
	clear(o.sums)
	for key, l := range t.Leases {
		was := o.leases[key]
		s := o.sums[key.Budget]
		returned := l.Returned - was.Returned
		o.sums[key.Budget] = sums{s.outstanding + l.Available(), s.spent + l.Spent, s.returned + returned}
		if l != was || o.moved[key.Holder] {
			o.touched = append(o.touched, key)
		}
	}
	// The rest is as it was when it was found right; in an order that repeats.
	slices.SortFunc(o.touched, func(a, b ledger.LeaseKey) int {
		return cmp.Or(cmp.Compare(a.Holder, b.Holder), cmp.Compare(a.Budget, b.Budget))
	})
	for _, key := range o.touched {
		o.checkLease(key, t.Leases[key], o.leases[key])
		o.granted[key] = max(o.granted[key], t.Leases[key].Granted)
	}
	if len(o.ids) != len(t.Budgets) {
		o.ids = slices.Sorted(maps.Keys(t.Budgets))
	}
	for _, id := range o.ids {
		b, was := t.Budgets[id], o.budgets[id]
		s := o.sums[id]
		if b.Limit+b.Refunded != b.Unleased+b.Outstanding+b.Settled || min(b.Limit, b.Unleased, b.Outstanding, b.Settled, b.Refunded) < 0 {
			o.w.fail("I1", "budget %x: %+v", int64(id), b)
		}
		if b.Outstanding != s.outstanding || b.Settled-b.Judged != s.spent {
			o.w.fail("I1", "budget %x: %+v, its leases make %d outstanding and %d spent", int64(id), b, s.outstanding, s.spent)
		}
		if b.Settled < was.Settled {
			o.w.fail("I7", "budget %x: settled %d after %d", int64(id), b.Settled, was.Settled)
		}
		if b.Brokered && !was.Brokered {
			o.w.count["brokered"]++
		} else if was.Brokered && !b.Brokered {
			o.w.count["direct again"]++
		}
		switch {
		case was.ID == 0:
			o.ceiling[id] = b.Limit
		case c.asked[id]:
			o.ceiling[id] = max(b.Asked, was.Outstanding+was.Settled)
		case b.Unleased-was.Unleased > s.returned:
			o.w.fail("I8", "budget %x: %d more unleased, %d returned", int64(id), b.Unleased-was.Unleased, s.returned)
		}
		if o.most[id] = max(o.most[id], b.Asked); !o.w.restored {
			o.most[id] = max(o.most[id], o.ceiling[id])
		}
		if o.w.restored && b.Settled-b.Refunded > o.most[id] {
			o.w.fail("I10", "budget %x: settled %d and %d of it refunded after a restore, never sold more than %d", int64(id), b.Settled, b.Refunded, o.most[id])
		}
		if b.Settled-b.Refunded > o.ceiling[id] {
			o.w.fail("I10", "budget %x: settled %d of %d", int64(id), b.Settled, o.ceiling[id])
		}
		o.budgets[id] = b
	}
	for id := range o.moved {
		h := t.Holders[id]
		o.holders[id] = standingOf(&h)
	}
	if len(o.leases) > len(t.Leases) {
		o.leases = maps.Clone(t.Leases)
	}
	for _, key := range o.touched {
		o.leases[key] = t.Leases[key]
	}
	o.touched = o.touched[:0]
	clear(c.asked)
}

func (o *oracle) checkLease(key ledger.LeaseKey, l, was ledger.Lease) {
	if l.Available() < 0 {
		o.w.fail("I1", "lease %+v: %+v", key, l.Totals)
	}
	if l.Granted < was.Granted || l.Spent < was.Spent || l.Returned < was.Returned {
		o.w.fail("I7", "lease %+v: %+v after %+v", key, l.Totals, was.Totals)
	}
	holder := o.w.core.mem.Holders[key.Holder]
	before, now := o.holders[key.Holder], standingOf(&holder)
	if before.known && before.state != ledger.Open && now.batch != before.batch {
		o.w.fail("I4", "holder %d was %v and its batch %d was applied", key.Holder, before.state, now.batch)
	}
	if before.known && before.state != ledger.Open && l.Granted > was.Granted {
		o.w.fail("I3", "holder %d was %v and was granted %d of %x", key.Holder, before.state, l.Granted, int64(key.Budget))
	}
	h := o.histories[key.Holder]
	if h == nil {
		return
	}
	said, stated := h.said[key.Budget], h.stated[key.Budget]
	said.Spent, said.Returned = max(said.Spent, stated.Spent), max(said.Returned, stated.Returned)
	anew := o.w.restored && was == (ledger.Lease{}) // put back, and not said again
	if len(h.forks) == 0 && !anew && now.state == ledger.Open && (l.Spent > said.Spent || l.Returned > said.Returned) {
		o.w.fail("I8", "lease %+v: %+v, its open holder has said %+v", key, l.Totals, said)
	}
	if l.Returned != was.Returned && before.state == ledger.Fenced && now.state == ledger.Fenced {
		o.w.fail("I9", "lease %+v: %d came back while its holder was fenced", key, l.Returned-was.Returned)
	}
	if now.state == ledger.Closed && before.state == ledger.Closed && (l.Spent != was.Spent || l.Returned != was.Returned) {
		o.w.fail("I9", "lease %+v of a closed holder went from %+v to %+v", key, was.Totals, l.Totals)
	}
	if now.state == ledger.Closed && l.Available() != 0 {
		o.w.fail("I9", "lease %+v of a closed holder has %d left", key, l.Available())
	}
}

// restart is after the truth was put back to the past, or rebuilt: nothing that
// was seen before binds it.
func (o *oracle) restart() {
	o.holders, o.budgets, o.leases = map[uint32]standing{}, map[lease.Budget]ledger.Budget{}, map[ledger.LeaseKey]ledger.Lease{}
	o.ids = nil
	o.w.core.changed = true
	clear(o.w.core.asked)
}

// stated is a holder's statement as it leaves.
func (o *oracle) stated(s *wire.Statement) {
	h, t := o.histories[s.GetHolder()], s.GetTotals()
	if c := s.GetSealed(); c.GetPosition() > h.durable {
		o.w.fail("I5", "holder %d states %s, durable is %d", s.GetHolder(), exchange.Describe(c), h.durable)
	}
	for i, id := range t.GetBudget() {
		h.stated[lease.Budget(id)] = lease.Totals{Granted: t.Granted[i], Spent: t.Spent[i], Returned: t.Returned[i]}
	}
}

// forgotten keeps what a core had billed by itself that is put back: holders have
// heard that it is settled.
func (o *oracle) forgotten(events map[ledger.EventKey]ledger.Foreign) {
	for _, f := range events {
		if f.Outcome == exchange.Billed {
			o.settled = append(o.settled, f)
		}
	}
}

// hearsay is told of a recovery, and what of each budget was judged before it: the
// rest is what holders had heard that others settled.
func (o *oracle) hearsay(before map[lease.Budget]int64) {
	for id, b := range o.w.core.mem.Truth.Budgets {
		o.heard[id] += b.Judged - before[id]
	}
}

// recovered is the account at the end of a run in which a past was restored.
// Counts of the lost time are rebuilt from totals, so what is held is: the books
// agree with themselves, nothing is settled that nobody billed, and, where every
// holder that lived was heard, everything that anybody billed is.
func (o *oracle) recovered() {
	w, t := o.w, &o.w.core.mem.Truth
	if diff, err := t.Check(); err != nil || len(diff) > 0 {
		w.fail("sum", "after a recovery: %v %v", diff, err)
	}
	billed := map[lease.Budget]int64{}
	seen := map[ledger.EventKey]bool{}
	count := func(x *entry) {
		if x.kind != kindJudged || x.outcome != exchange.Billed || seen[keyOf(&x.event)] {
			return
		}
		seen[keyOf(&x.event)] = true
		for _, d := range owes(&x.event) {
			billed[d.budget] += d.amount
		}
	}
	for _, h := range o.histories {
		for i := range h.recs {
			count(&h.recs[i])
		}
		for _, f := range h.forks {
			for i := range f.recs {
				count(&f.recs[i])
			}
		}
	}
	forgotten := map[lease.Budget]int64{}
	judged := func(f ledger.Foreign, sums map[lease.Budget]int64) {
		e, err := holder.EventFrom(f.Event)
		if err != nil {
			w.fail("protocol", "%v", err)
		}
		if f.Outcome == exchange.Billed && !seen[f.EventKey] {
			seen[f.EventKey] = true
			for _, d := range owes(&e) {
				sums[d.budget] += d.amount
			}
		}
	}
	for _, f := range t.Foreign {
		judged(f, billed)
	}
	for _, f := range o.settled {
		judged(f, forgotten)
	}
	for id, n := range forgotten { // of these the books have what was heard, and no more
		billed[id] += min(n, o.heard[id])
	}
	lost := false // a journal with what it billed
	for _, h := range o.histories {
		lost = lost || h.gone
	}
	for id, b := range t.Budgets {
		if b.Settled > billed[id] && !lost {
			w.fail("sum", "budget %x: %d settled after a recovery, its events make %d", int64(id), b.Settled, billed[id])
		}
		if b.Settled == billed[id] {
			w.count["budget exact after a recovery"]++
		} else {
			w.count["budget short after a recovery"]++
		}
	}
}

// effect is the one thing that became of an event.
type effect struct {
	event  holder.Event
	billed bool
	home   bool // judged by its home
	at     uint64
}

// settle is the account at the end, when everybody has said everything.
func (o *oracle) settle() {
	w, t := o.w, &o.w.core.mem.Truth
	if w.restored {
		o.recovered()
		return
	}
	effects := map[ledger.EventKey]effect{}
	want := map[uint32]ledger.Counts{}
	for _, id := range slices.Sorted(maps.Keys(t.Holders)) {
		at := t.Holders[id]
		if at.State != ledger.Closed {
			w.fail("sum", "holder %d is %v at the end", id, at.State)
		}
		h := o.histories[id]
		if h == nil {
			continue
		}
		recs := h.applied(at.Hash)
		if at.Position > uint64(len(recs)) {
			w.fail("I7", "the core's cursor of holder %d is at %d of %d", id, at.Position, len(recs))
		}
		for i := range recs[:at.Position] {
			switch x := &recs[i]; {
			case x.counted():
				effects[keyOf(&x.event)] = effect{x.event, x.outcome == exchange.Billed, true, x.position}
			case x.lost():
				c := want[x.event.Flight]
				c.HomeLost++
				want[x.event.Flight] = c
			}
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(t.Foreign), byKey) {
		f := t.Foreign[key]
		e, err := holder.EventFrom(f.Event)
		if err != nil {
			w.fail("protocol", "%v", err)
		}
		mine, counted := effects[key]
		switch f.Outcome {
		case exchange.Billed, exchange.Unbilled:
			switch {
			case !counted:
				effects[key] = effect{event: e, billed: f.Outcome == exchange.Billed}
			case mine.at != f.Position || mine.billed != (f.Outcome == exchange.Billed):
				w.fail("I4", "%+v was judged by its home, and as %d (foreign %d) by the core", key, f.Outcome, f.Position)
			}
		case exchange.Duplicate:
			if home := o.histories[key.Home]; !counted && home != nil && !home.gone {
				w.fail("I6", "%+v is called a duplicate of nothing", key)
			}
		case exchange.NotViewed:
		case ledger.HomeLost:
			if o.lostAtHome(key, f.Position) {
				break // and counted by it
			}
			o.mayBeLost(key, f.Position)
			c := want[e.Flight]
			c.HomeLost++
			want[e.Flight] = c
		default:
			w.fail("sum", "%+v waits at the end", key)
		}
	}
	o.account(effects, want)
	o.promises(effects)
}

// lostAtHome says that the home itself gave up a foreign event, and that the core
// was told so.
func (o *oracle) lostAtHome(key ledger.EventKey, position uint64) bool {
	at, h := o.w.core.mem.Holders[key.Home], o.histories[key.Home]
	if h == nil {
		return false
	}
	recs := h.applied(at.Hash)
	return slices.ContainsFunc(recs[:at.Position], func(x entry) bool { return x.lost() && x.position == position })
}

// mayBeLost holds what the core gave up as home lost against what it had in hand:
// where the windows of the home were handed in, each boot's is among them until
// its bits may go.
func (o *oracle) mayBeLost(key ledger.EventKey, position uint64) {
	h := o.histories[key.Home]
	if !o.gaveUp[ledger.Verdict{Home: key.Home, Position: position}] || h == nil || h.gone {
		o.w.count["home lost without windows"]++
		return
	}
	if floor, begun := h.floors[key.Boot]; !begun || key.Seq < floor {
		o.w.count["home lost without bits"]++
		return
	}
	o.w.fail("I4", "%+v is called home lost, and the windows of holder %d were handed in", key, key.Home)
}

// account holds reports and budgets against the events.
func (o *oracle) account(effects map[ledger.EventKey]effect, want map[uint32]ledger.Counts) {
	w, t := o.w, &o.w.core.mem.Truth
	settled := map[lease.Budget]int64{}
	for key, x := range effects {
		c := want[x.event.Flight]
		view := key.Kind == exchange.View
		switch {
		case x.billed && view:
			c.Views++
		case x.billed:
			c.Clicks++
		case view:
			c.UnbilledViews++
		default:
			c.UnbilledClicks++
		}
		debits := owes(&x.event)
		if x.billed && len(debits) > 0 {
			c.Spent += x.event.Price()
			for _, d := range debits {
				settled[d.budget] += d.amount
			}
		}
		want[x.event.Flight] = c
	}
	sums := ledger.Totals(t.Rollups)
	every, other := byTopic(t.Topics)
	for i := range w.plan.flights {
		id := w.plan.flights[i].id
		if every[id] != want[id] || other[id] != want[id] {
			w.fail("sum", "flight %d: by topic %+v and %+v, its events make %+v", id, every[id], other[id], want[id])
		}
		if sums[id] != want[id] || t.Totals[id] != want[id] {
			w.fail("sum", "flight %d: reports say %+v, totals %+v, its events make %+v", id, sums[id], t.Totals[id], want[id])
		}
		w.count["billed"] += int(want[id].Views + want[id].Clicks)
		w.count["unbilled"] += int(want[id].UnbilledViews + want[id].UnbilledClicks)
		w.count["home lost"] += int(want[id].HomeLost)
	}
	for id, b := range t.Budgets {
		if b.Settled != settled[id] || b.Outstanding != 0 {
			w.fail("sum", "budget %x: %d settled and %d outstanding, its events make %d", int64(id), b.Settled, b.Outstanding, settled[id])
		}
	}
}

// byTopic sums by flight what was counted of everyPage, and of the other topics:
// each page has one of them, too.
func byTopic(topics map[ledger.TopicKey]ledger.TopicCounts) (every, other map[uint32]ledger.Counts) {
	first, rest := map[ledger.RollupKey]ledger.Counts{}, map[ledger.RollupKey]ledger.Counts{}
	for k, c := range topics {
		key := ledger.RollupKey{Hour: k.Hour, Region: k.Region, Flight: k.Flight, Ad: k.Topic, Country: k.Country}
		if k.Topic == everyPage {
			first[key] = c.Counts
		} else {
			rest[key] = c.Counts
		}
	}
	return ledger.Totals(first), ledger.Totals(rest)
}

// promises looks for every event that a reader was answered for.
func (o *oracle) promises(effects map[ledger.EventKey]effect) {
	w, t := o.w, &o.w.core.mem.Truth
	for _, key := range slices.SortedFunc(maps.Keys(o.keys), byKey) {
		v := o.keys[key]
		w.count["answered"]++
		if _, ok := effects[key]; ok {
			continue
		}
		if f, ok := t.Foreign[key]; ok && f.Outcome != exchange.Duplicate {
			continue
		}
		home := o.histories[key.Home]
		if home != nil && home.refuses(key) {
			continue
		}
		var gone []*history // home's: with it went the boot's window
		if home != nil && home.gone {
			gone = append(gone, home)
		}
		for _, id := range o.keepers(key) {
			if h := o.histories[id]; h.gone && h != home {
				gone = append(gone, h)
			}
		}
		if home == nil || len(gone) > 0 {
			if home != nil && !o.heldAlone(home, key) && o.isPromised(o.promised[key], gone) {
				w.fail("I5", "%+v was answered as %v with a copy on a second disk, and counted nowhere", key, v)
			}
			w.count["answered and lost with a disk"]++
			continue
		}
		w.fail("sum", "%+v was answered as %v and counted nowhere", key, v)
	}
}

// refuses says that a click waited for its view, and that the home gave up in the
// end: the view never came, or its bits went.
func (h *history) refuses(key ledger.EventKey) bool {
	pos, waited := h.held[key]
	return waited && slices.ContainsFunc(h.recs[pos:], func(x entry) bool {
		return (x.refused() || x.lost()) && keyOf(&x.event) == key
	})
}

// heldAlone says that a click had waited for its view, that its holder was alone
// when it told the core of more than any copy reaches, and when its disk was lost,
// and that it never told of the click's verdict, if there was one: no batch tells of
// the click, and the copies that had it are worth nothing. One that was handed in
// for all that has brought the click, too.
func (o *oracle) heldAlone(home *history, key ledger.EventKey) bool {
	at := o.w.core.mem.Holders[home.holder]
	told := home.judged[key] > 0 && home.judged[key] <= at.Position
	alone := home.alone && at.Position <= o.single[home.holder] && o.kept[home.holder] < at.Position && !at.HandedIn
	if !alone || told || home.held[key] == 0 {
		return false
	}
	o.w.count["held alone, and lost with a disk"]++
	return true
}

// keepers are the holders whose journals had the event.
func (o *oracle) keepers(key ledger.EventKey) []uint32 {
	var ids []uint32
	for _, id := range slices.Sorted(maps.Keys(o.histories)) {
		h := o.histories[id]
		_, judged := h.judged[key]
		_, held := h.held[key]
		judged = judged || held
		for _, f := range h.forks {
			judged = judged || slices.ContainsFunc(f.recs, func(x entry) bool {
				return (x.counted() || x.kind == kindForeign || x.kind == kindHeld) && keyOf(&x.event) == key
			})
		}
		if judged || slices.ContainsFunc(o.foreign[key], func(p place) bool { return p.h == h }) {
			ids = append(ids, id)
		}
	}
	return ids
}
