package ledger

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"nearside/sync/exchange"
	"nearside/sync/lease"
	"nearside/sync/wire"
)

// Recovery says what Recover would do, or did.
type Recovery struct {
	Forgotten string // why the core takes itself to have forgotten; "": it does not, and there is nothing to do
	Applied   bool
	Holders   []RecoveredHolder // by id
	Budgets   []RecoveredBudget // those that change, by id
	Warnings  []string
	Missing   []uint32 // open holders that have not stated: hear them, or leave them out
	Rebuilt   *Rebuilt
}

// RecoveredHolder is what becomes of a holder.
type RecoveredHolder struct {
	ID           uint32
	Region, Node string
	Standing     Standing
	Detail       string
	StatedAt     int64 // unix milliseconds; 0: never
}

// Standing is how a holder comes out of a recovery.
type Standing string

const (
	Restated  Standing = "stated"     // its account is what it says
	Anew      Standing = "made anew"  // the core had forgotten it
	Missing   Standing = "missing"    // it was open and has said nothing
	Left      Standing = "left out"   // fenced, as the operator says
	Replaced  Standing = "replaced"   // fenced: its node has had a newer holder since
	TooMuch   Standing = "fenced"     // budgets do not hold what all say; what it held beyond is cut
	Disagrees Standing = "disagrees"  // its statement cannot be true: as if it were missing
	Unproven  Standing = "not proven" // nothing proves that the core ever knew it: not taken
)

// RecoveredBudget is a budget before and after.
type RecoveredBudget struct {
	Before, After Budget // Before.ID 0: the core had forgotten it
	Over          int64  // by how much what all say goes beyond the limit
	Refunded      int64  // of Over, what was spent already: it is given back
	Heard         int64  // settled outside every lease that is known, which holders had heard of
}

// RecoverOptions are the operator's words.
type RecoverOptions struct {
	Without []uint32 // holders that will not be heard: they are fenced
	Trust   []uint32 // holders whose statement nothing proves, taken all the same
	Apply   bool
}

// ErrMissing refuses to apply a recovery while holders have not been heard.
var ErrMissing = errors.New("open holders have not stated their accounts")

// Stop makes the core take itself to have forgotten, as an operator who has
// restored its database knows before any holder can.
func Stop(ctx context.Context, store Store, now int64) error {
	return store.Update(ctx, func(tx Tx) error {
		s := newStep(NewLoaded(), now, Rules{})
		if err := tx.Load(ctx, Needs{Holders: []uint32{0}}, s.Loaded); err != nil || s.Forgotten {
			return err
		}
		s.forget(0, "an operator says that the database was restored")
		return tx.Write(ctx, s.changes())
	})
}

// Recover rebuilds the ledger of a core that lost history from what its holders
// state. Without Apply it writes nothing and says what it would do.
//
// A holder's leases become what it states: spent and returned as it says,
// granted the higher of both. Its cursor becomes the last batch that the core
// had acknowledged; the batches after it still come, but up to the seal of the
// statement only their counts are taken, since the statement has their totals.
// What was settled and is in no report any more is put into the reports of this
// hour, without ad, publisher and country.
//
// unleased is what the limit leaves. Where the sum of what all hold is beyond
// the limit in force (the restored core gave away again what it had forgotten),
// holders are fenced until the rest fits, those with most to spend first, and
// what they hold beyond it is taken out of their lease: their later events are
// judged by the core within what there is. So settled stays within the limit
// (I10), and the cost is events that end as unbilled.
//
// Holders that are left out are fenced with what the restored core knows of
// them. What they spent since is not in the books until they hand in, and
// then only as far as there is room.
func Recover(ctx context.Context, store Store, o RecoverOptions, now int64) (*Recovery, error) {
	var result *Recovery
	if o.Apply {
		if err := openForgottenDays(ctx, store); err != nil {
			return nil, err
		}
	}
	err := store.Update(ctx, func(tx Tx) error {
		all, err := tx.Everything(ctx)
		if err != nil {
			return err
		}
		result = plan(all, o, now)
		if !o.Apply || result.Forgotten == "" {
			return nil
		}
		if len(result.Missing) > 0 {
			return ErrMissing
		}
		result.Applied = true
		return tx.Rebuild(ctx, result.Rebuilt)
	})
	if errors.Is(err, ErrMissing) {
		return result, err
	}
	if err != nil {
		return nil, fmt.Errorf("recover: %w", err)
	}
	return result, nil
}

// openForgottenDays makes the budgets of days that statements lease from and
// that the core forgot, as far as a cap is in force.
func openForgottenDays(ctx context.Context, store Store) error {
	var days []lease.Budget
	err := store.Update(ctx, func(tx Tx) error {
		days = nil
		all, err := tx.Everything(ctx)
		if err != nil {
			return err
		}
		for _, s := range all.Statements {
			for _, id := range s.Said.GetTotals().GetBudget() {
				if b := lease.Budget(id); b.Day() != 0 && all.Budgets[b] == nil {
					days = append(days, b)
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	return store.OpenDays(ctx, sorted(days, cmp.Compare))
}

// spareIDs is how many numbers of holders are left out after a recovery: holders
// that were registered in the lost time, and are silent until later, have them.
const spareIDs = 1000

// told marks a holder all of whose batches count as told.
const told = 1 << 62

// planner works out one recovery.
type planner struct {
	*Everything
	o   RecoverOptions
	now int64
	out *Recovery

	said    map[uint32]*wire.Statement // of the holders whose account is rebuilt
	changed map[uint32]bool            // holders
	fresh   map[uint32]bool            // those that are made anew
	leases  map[LeaseKey]bool          // true: new
	was     map[LeaseKey]lease.Totals  // before
	budgets map[lease.Budget]*Budget   // as they were, of those that change

	over, refunded, heard map[lease.Budget]int64
}

func plan(all *Everything, o RecoverOptions, now int64) *Recovery {
	p := &planner{
		Everything: all, o: o, now: now,
		out: &Recovery{Forgotten: all.Forgotten, Rebuilt: &Rebuilt{
			At: now, Catalog: all.Catalog, Control: all.Control, Rollups: map[RollupKey]Counts{},
		}},
		said: map[uint32]*wire.Statement{}, changed: map[uint32]bool{}, fresh: map[uint32]bool{},
		leases: map[LeaseKey]bool{}, was: map[LeaseKey]lease.Totals{},
		budgets: map[lease.Budget]*Budget{}, over: map[lease.Budget]int64{}, refunded: map[lease.Budget]int64{}, heard: map[lease.Budget]int64{},
	}
	if all.Forgotten == "" {
		return p.out
	}
	p.newcomers()
	p.known()
	for _, id := range slices.Sorted(maps.Keys(p.said)) {
		p.rebuild(p.Holders[id], p.said[id])
	}
	p.balance()
	for _, id := range slices.Sorted(maps.Keys(p.said)) {
		p.counts(p.Holders[id], p.said[id])
		p.numbers(p.said[id])
	}
	p.finish()
	return p.out
}

func (p *planner) stand(h *Holder, standing Standing, detail string) {
	x := RecoveredHolder{ID: h.ID, Region: h.Region, Node: h.Node, Standing: standing, Detail: detail}
	if s := p.Statements[h.ID]; s != nil {
		x.StatedAt = s.At
	}
	p.out.Holders = append(p.out.Holders, x)
}

func (p *planner) fence(h *Holder, standing Standing, reason string) {
	h.fence(reason)
	p.changed[h.ID] = true
	p.stand(h, standing, reason)
}

// newcomers are the holders that the core forgot as such. Each had its name
// from a holder that was no longer open.
func (p *planner) newcomers() {
	for _, id := range slices.Sorted(maps.Keys(p.Statements)) {
		s := p.Statements[id]
		if p.Holders[id] != nil {
			continue
		}
		h := HolderOf(s.Said, p.now)
		switch {
		case slices.Contains(p.o.Without, id):
			h.fence(leftOut)
			h.ForeignAck, h.ForeignPosition = 0, 0
			p.Holders[id], p.changed[id], p.fresh[id] = h, true, true
			p.stand(h, Left, "its number stays its own")
			continue
		case !s.Proven && !slices.Contains(p.o.Trust, id):
			p.stand(h, Unproven, "no stamp of this core; --trust takes it by its join token alone")
			continue
		}
		for _, old := range p.Holders {
			if old.State == Open && old.Region == h.Region && old.Node == h.Node {
				p.fence(old, Replaced, fmt.Sprintf("its node has been holder %d since", id))
				// It has drained, or handed in, and was judged: of that the others have
				// heard. What it may still hand in is not judged again.
				old.Recovered = told
				delete(p.said, old.ID)
			}
		}
		p.Holders[id], p.changed[id], p.fresh[id] = h, true, true
		p.said[id] = s.Said
		p.stand(h, Anew, "")
	}
}

func (p *planner) known() {
	for _, id := range slices.Sorted(maps.Keys(p.Holders)) {
		h, s := p.Holders[id], p.Statements[id]
		if h.State != Open || p.fresh[id] {
			continue
		}
		if slices.Contains(p.o.Without, id) {
			p.fence(h, Left, leftOut)
			continue
		}
		if s == nil || h.Stated == 0 {
			p.stand(h, Missing, "last seen "+at(h.SeenAt))
			p.out.Missing = append(p.out.Missing, id)
			continue
		}
		if why := p.disagrees(h, s.Said); why != "" {
			p.stand(h, Disagrees, why)
			p.out.Missing = append(p.out.Missing, id)
			continue
		}
		p.said[id] = s.Said
		p.stand(h, Restated, "")
	}
}

// disagrees says why a statement cannot come from the holder's own history.
func (p *planner) disagrees(h *Holder, r *wire.Statement) string {
	if r.GetRegion() != h.Region || r.GetNode() != h.Node || r.GetDisk() != h.Disk {
		return fmt.Sprintf("it is %s/%s from another state directory", r.GetRegion(), r.GetNode())
	}
	if exchange.Compare(r.GetAcked(), h.Cursor()) == exchange.Another || r.GetSealed().GetBatch() < h.Batch {
		return fmt.Sprintf("its acknowledged %s and sealed %s do not go with the core's %s",
			exchange.Describe(r.GetAcked()), exchange.Describe(r.GetSealed()), exchange.Describe(h.Cursor()))
	}
	for id, t := range stated(r) {
		if l := p.Leases[LeaseKey{h.ID, id}]; l != nil && (t.Spent < l.Spent || t.Returned < l.Returned) {
			return fmt.Sprintf("of budget %d it has spent %d and returned %d, the core knows of %d and %d", id, t.Spent, t.Returned, l.Spent, l.Returned)
		}
	}
	return ""
}

// rebuild makes a holder's row and leases what it states.
func (p *planner) rebuild(h *Holder, r *wire.Statement) {
	p.changed[h.ID] = true
	if r.GetBootOrdinal() >= h.BootOrdinal {
		h.Boot, h.BootOrdinal = r.GetBoot(), r.GetBootOrdinal()
	}
	if c := r.GetAcked(); exchange.Compare(c, h.Cursor()) == exchange.Ahead {
		p.cursor(h, c)
	}
	h.SecretHash = r.GetSecretHash() // the same, unless the core forgot that it gave another
	h.Recovered = r.GetSealed().GetBatch()
	h.ForeignPosition = max(h.ForeignPosition, r.GetForeignAck())
	h.ForeignAck = max(h.ForeignAck, r.GetForeignAck())
	h.SeenAt = max(h.SeenAt, p.now)
	p.out.Rebuilt.At = max(p.out.Rebuilt.At, attested(p.StampKey, h, r.GetStamp()))
	p.out.Rebuilt.Renumber = append(p.out.Rebuilt.Renumber, h.ID)
	for id, t := range stated(r) {
		key := LeaseKey{h.ID, id}
		l := p.Leases[key]
		if l == nil {
			l = &Lease{Holder: h.ID, Budget: id}
			p.Leases[key] = l
			p.leases[key] = true
		} else if _, touched := p.leases[key]; !touched {
			p.leases[key] = false
		}
		p.was[key] = l.Totals
		l.Granted, l.Spent, l.Returned = max(l.Granted, t.Granted), t.Spent, t.Returned
	}
}

func (p *planner) cursor(h *Holder, c *wire.Cursor) {
	h.Batch, h.Position, h.Hash = c.GetBatch(), c.GetPosition(), bytes.Clone(c.GetHash())
}

// leftOut is the reason of a holder that a recovery did not wait for.
const leftOut = "left out of the recovery"

// balance makes each budget what its leases leave of it.
func (p *planner) balance() {
	of := map[lease.Budget][]*Lease{}
	for _, l := range p.Leases {
		of[l.Budget] = append(of[l.Budget], l)
	}
	settled, limits := p.hearsay()
	for _, h := range p.Holders {
		if h.Reason == leftOut && h.mayHandIn() { // what it has leased since the backup nobody knows
			clear(settled)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(of)) {
		if p.Budgets[id] == nil {
			b := NewBudget(id, limits[id], 1)
			p.Budgets[id] = &b
			p.budgets[id] = &Budget{}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(p.Budgets)) {
		list := of[id]
		slices.SortFunc(list, byID)
		p.balanceOne(p.Budgets[id], list, settled[id])
	}
}

// hearsay is what holders had heard of budgets: the most that was settled, by
// all holders together, and the limit.
func (p *planner) hearsay() (settled, limits map[lease.Budget]int64) {
	settled, limits = map[lease.Budget]int64{}, map[lease.Budget]int64{}
	for _, r := range p.said {
		for _, d := range r.GetDelivered() {
			id := lease.Budget(d.GetBudget())
			settled[id] = max(settled[id], d.GetSettled())
			limits[id] = max(limits[id], d.GetLimit())
		}
	}
	return settled, limits
}

func (p *planner) balanceOne(b *Budget, leases []*Lease, heard int64) {
	before := *b
	var spent, out, velocity int64
	for _, l := range leases {
		spent, out, velocity = spent+l.Spent, out+l.Available(), velocity+l.Velocity
	}
	most := max(b.Limit, b.Asked) + b.Refunded
	if p.budgets[b.ID] != nil && b.Limit == 0 { // nobody has heard its limit: what is out is all there is
		most = spent + out
	}
	// Holders that are gone have settled what others only heard of; those that may
	// still hand in will be judged, and must not be settled twice.
	for _, l := range leases {
		if p.Holders[l.Holder].mayHandIn() {
			heard = 0
		}
	}
	if gone := min(heard-spent-b.Judged, most-spent-b.Judged-out); gone > 0 {
		b.Judged += gone
		p.heard[b.ID] = gone
	}
	if over := spent + b.Judged + out - most; over > 0 {
		p.over[b.ID] = over
		out -= p.cut(b, leases, over)
	}
	// What was given away twice and is spent was billed twice: nobody pays for it.
	if twice := spent + b.Judged - most; twice > 0 {
		b.Refunded += twice
		p.refunded[b.ID] = twice
	}
	b.Settled, b.Outstanding, b.Velocity = spent+b.Judged, out, velocity
	b.Limit = max(b.Asked, b.Settled+b.Outstanding-b.Refunded)
	b.Unleased = b.Limit + b.Refunded - b.Settled - b.Outstanding
	b.Tight = b.Limit > b.Asked && b.Outstanding > 0
	if *b != before {
		b.Changed++
		if p.budgets[b.ID] == nil {
			p.budgets[b.ID] = &before
		}
	}
}

// cut takes over out of what fenced holders hold, and fences as many as it
// needs for that, those with most first. Part of over may be spent already.
func (p *planner) cut(b *Budget, leases []*Lease, over int64) (done int64) {
	list := slices.Clone(leases)
	slices.SortStableFunc(list, func(x, y *Lease) int {
		open := func(l *Lease) int {
			if p.Holders[l.Holder].State == Open {
				return 1
			}
			return 0
		}
		return cmp.Or(cmp.Compare(open(x), open(y)), cmp.Compare(y.Available(), x.Available()))
	})
	for _, l := range list {
		n := min(l.Available(), over-done)
		if n <= 0 {
			continue
		}
		h := p.Holders[l.Holder]
		if h.State == Open {
			reason := fmt.Sprintf("recovered: what all hold of budget %d goes %d beyond its limit", b.ID, over)
			h.fence(reason)
			p.changed[h.ID] = true
			if r := p.said[h.ID]; r != nil { // what its statement told is in; the rest it hands in
				p.cursor(h, r.GetSealed())
			}
			for i := range p.out.Holders {
				if x := &p.out.Holders[i]; x.ID == h.ID {
					x.Standing, x.Detail = TooMuch, reason
				}
			}
		}
		key := LeaseKey{l.Holder, l.Budget}
		if _, touched := p.leases[key]; !touched {
			p.leases[key] = false
		}
		l.Granted -= n
		done += n
	}
	return done
}

// counts puts into reports what is settled and will be told by no batch.
func (p *planner) counts(h *Holder, r *wire.Statement) {
	coming := map[uint32]Counts{}
	for _, c := range r.GetPending() {
		if c.GetBatch() <= h.Batch {
			continue
		}
		for i, flight := range c.GetFlight() {
			coming[flight] = coming[flight].plus(Counts{Views: c.Views[i], Clicks: c.Clicks[i]})
		}
	}
	for id, t := range stated(r) {
		n := t.Spent - p.was[LeaseKey{h.ID, id}].Spent
		switch id.Kind() {
		case lease.FlightViews:
			n -= coming[id.Owner()].Views
		case lease.FlightClicks:
			n -= coming[id.Owner()].Clicks
		default:
			continue
		}
		p.count(id, h.Region, n)
	}
}

func (p *planner) count(id lease.Budget, region string, n int64) {
	if n <= 0 {
		return
	}
	hour := p.now / 1000
	key := RollupKey{Hour: hour - hour%3600, Region: region, Flight: id.Owner()}
	price := p.Prices[id.Owner()]
	c := Counts{Views: n, Spent: n * price.View}
	if id.Kind() == lease.FlightClicks {
		c = Counts{Clicks: n, Spent: n * price.Click}
	}
	p.out.Rebuilt.Rollups[key] = p.out.Rebuilt.Rollups[key].plus(c)
}

// Numbers beyond these were not given out by any core of ours.
const (
	maxVersion = 1 << 53
	maxID      = 1 << 30
)

// numbers raises counters above what the holder has seen.
func (p *planner) numbers(r *wire.Statement) {
	raise := func(n *uint64, seen uint64) {
		if seen < maxVersion {
			*n = max(*n, seen)
		}
	}
	raiseID := func(n *uint32, seen uint32) {
		if seen < maxID {
			*n = max(*n, seen)
		}
	}
	b := p.out.Rebuilt
	raise(&b.Catalog, r.GetCatalog())
	raise(&b.Control, r.GetControl())
	raiseID(&b.Holder, r.GetHolder())
	raiseID(&b.Flight, r.GetLastFlight())
	raiseID(&b.Ad, r.GetLastAd())
	raiseID(&b.Publisher, r.GetLastPublisher())
	raiseID(&b.Campaign, r.GetLastCampaign())
	for _, id := range r.GetTotals().GetBudget() {
		switch owner := lease.Budget(id).Owner(); lease.Budget(id).Kind() {
		case lease.PublisherDay:
			raiseID(&b.Publisher, owner)
		default:
			raiseID(&b.Flight, owner)
		}
	}
}

// finish lists what is to be written, and what an operator should read.
func (p *planner) finish() {
	b := p.out.Rebuilt
	for id, h := range p.Holders {
		h.Doubt, h.Stated = "", 0
		switch {
		case p.fresh[id]:
			b.NewHolders = append(b.NewHolders, h)
		case h.State != Closed || p.changed[id]:
			b.Holders = append(b.Holders, h)
		}
	}
	for key, fresh := range p.leases {
		if fresh {
			b.NewLeases = append(b.NewLeases, p.Leases[key])
		} else {
			b.Leases = append(b.Leases, p.Leases[key])
		}
	}
	for id, n := range p.heard {
		if k := id.Kind(); k == lease.FlightViews || k == lease.FlightClicks {
			p.count(id, "", n)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(p.budgets)) {
		before, after := p.budgets[id], p.Budgets[id]
		p.out.Budgets = append(p.out.Budgets, RecoveredBudget{Before: *before, After: *after, Over: p.over[id], Refunded: p.refunded[id], Heard: p.heard[id]})
		if n := p.refunded[id]; n > 0 && !id.Micros() {
			b.Refunds = append(b.Refunds, BudgetRefund{id, n})
		}
		if before.ID == 0 {
			b.NewBudgets = append(b.NewBudgets, after)
		} else {
			b.Budgets = append(b.Budgets, after)
		}
	}
	p.controls()
	p.keys()
	slices.SortFunc(b.NewHolders, func(x, y *Holder) int { return cmp.Compare(x.ID, y.ID) })
	slices.SortFunc(b.Holders, func(x, y *Holder) int { return cmp.Compare(x.ID, y.ID) })
	slices.SortFunc(b.Leases, byID)
	slices.SortFunc(b.NewLeases, byID)
	slices.Sort(b.Renumber)
	slices.SortFunc(p.out.Holders, func(x, y RecoveredHolder) int { return cmp.Compare(x.ID, y.ID) })
	known := b.Holder
	b.Holder += spareIDs
	for _, id := range p.o.Without {
		if p.Holders[id] == nil {
			p.out.Warnings = append(p.out.Warnings, fmt.Sprintf("holder %d, which is to be left out, is not known", id))
		}
	}
	for id := uint32(1); id <= known; id++ {
		if p.Holders[id] == nil && p.Statements[id] == nil {
			p.out.Warnings = append(p.out.Warnings, fmt.Sprintf("holder %d was registered and forgotten, or never was; if it lives it will be fenced and hand in", id))
		}
	}
}

// controls are those that an operator gave and the core forgot: the newest word
// about a flight holds.
func (p *planner) controls() {
	newest := map[uint32]*wire.Control{}
	for _, r := range p.said {
		for _, c := range r.GetControls() {
			if _, exists := p.Prices[c.GetFlight()]; exists && c.GetVersion() < maxVersion && c.GetVersion() > newest[c.GetFlight()].GetVersion() {
				newest[c.GetFlight()] = c
			}
		}
	}
	for _, flight := range slices.Sorted(maps.Keys(newest)) {
		if c := newest[flight]; c.GetVersion() > p.Controls[flight].GetVersion() {
			p.out.Rebuilt.Controls = append(p.out.Rebuilt.Controls, c)
			p.out.Warnings = append(p.out.Warnings, fmt.Sprintf("flight %d: a control given after the backup is taken over: %s", flight, [...]string{"run", "pause", "kill"}[c.GetState()]))
		}
	}
}

// keys are token keys made after the backup, which readers' pages still carry.
func (p *planner) keys() {
	have := map[uint32]*wire.TokenKey{}
	for _, k := range p.Keys {
		have[k.GetId()] = k
	}
	for _, id := range slices.Sorted(maps.Keys(p.said)) {
		for _, k := range p.said[id].GetKeys() {
			known := have[k.GetId()]
			if known == nil {
				have[k.GetId()] = k
				p.out.Rebuilt.Keys = append(p.out.Rebuilt.Keys, k)
			} else if !bytes.Equal(known.GetSecret(), k.GetSecret()) {
				p.out.Warnings = append(p.out.Warnings, fmt.Sprintf("token key %d was made again after the restore: offers sealed with the first one cannot be opened", k.GetId()))
			}
		}
	}
}

// Stamped is unix milliseconds for people.
func (h *RecoveredHolder) Stamped() string {
	if h.StatedAt == 0 {
		return "-"
	}
	return time.UnixMilli(h.StatedAt).UTC().Format(time.RFC3339)
}
