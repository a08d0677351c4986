package keeper

import (
	"cmp"
	"maps"
	"slices"
	"sync/atomic"

	"nearside/edge/decision"
	"nearside/edge/holder"
	"nearside/sync/catalog"
	"nearside/sync/exchange"
	"nearside/sync/lease"
	"nearside/sync/pacing"
	"nearside/sync/wire"
)

const millisPerDay = 24 * 3600 * 1000

// flight is what Offer needs of one.
type flight struct {
	views, clicks *account // nil where it sells none
	price         int64    // of a click, where views are free
	paid          bool
	day           dayAccount

	broker bool   // this node is its broker, by the list of members that turn names
	turn   uint64 // the same as a broker's, 0: not looked up
}

// flightTable finds flights by id. Offer asks for one each time; ids are given out
// one after the other, so that a list by id has few gaps as a rule.
type flightTable struct {
	byID  map[uint32]*flight
	dense []*flight // by id; nil where there would be more gaps than flights
}

func tableOf(byID map[uint32]*flight) *flightTable {
	t := &flightTable{byID: byID}
	highest := uint32(0)
	for id := range byID {
		highest = max(highest, id)
	}
	if int(highest) <= 2*len(byID) {
		t.dense = make([]*flight, highest+1)
		for id, f := range byID {
			t.dense[id] = f
		}
	}
	return t
}

// of is the flight with an id, nil if there is none.
func (t *flightTable) of(id uint32) *flight {
	if t.dense == nil {
		return t.byID[id]
	}
	if int(id) < len(t.dense) {
		return t.dense[id]
	}
	return nil
}

// site is what Offer needs of a publisher.
type site struct{ day dayAccount }

// dayAccount finds the account of a daily cap for the day that it is.
type dayAccount struct {
	kind  lease.Kind
	owner uint32
	limit int64 // 0: no cap
	from  int32 // first day on which it is in force
	last  atomic.Pointer[account]
	of    *flight // nil: a publisher's

	unit   int64 // the most that one event debits; 0: nothing does
	paid   bool
	wanted bool
}

func (d *dayAccount) on(k *Keeper, day int32) *account {
	if d.limit == 0 || day < d.from {
		return nil
	}
	b := lease.Of(d.kind, d.owner, day)
	if a := d.last.Load(); a != nil && a.budget == b {
		return a
	}
	a := k.find(b)
	if a != nil {
		d.last.Store(a)
	}
	return a
}

// Account is the account of a budget; the same for the life of the process.
func (k *Keeper) Account(b lease.Budget) *decision.Account { return k.account(b).Account }

// Pace implements decision.Pacer.
func (k *Keeper) Pace(b lease.Budget) (decision.Pace, bool) {
	a := k.find(b)
	k.mu.Lock()
	defer k.mu.Unlock()
	if a == nil || !a.paced() {
		return decision.Pace{}, false
	}
	p := decision.Pace{Rate: a.valve.Rate(), Share: a.share, Released: a.credit}
	if k.book != nil {
		t, _ := k.book.st.Lease(b)
		p.Leased = t.Available()
	}
	return p, true
}

// slab hands out values that lie side by side. A decision looks at the account
// and the switch of every candidate; catalogs ask for them in the order of
// flights, so what it reads next is near what it has read.
type slab[T any] struct{ free []T }

func (s *slab[T]) take() *T {
	if len(s.free) == 0 {
		s.free = make([]T, 512)
	}
	t := &s.free[0]
	s.free = s.free[1:]
	return t
}

func (k *Keeper) account(b lease.Budget) *account {
	if a := k.find(b); a != nil {
		return a
	}
	k.accounts.Lock()
	defer k.accounts.Unlock()
	a := k.byBudget[b]
	if a == nil {
		a = &account{Account: k.shown.take(), budget: b}
		k.byBudget[b] = a
		k.list = append(k.list, a)
	}
	return a
}

// Switch is what an operator last said of a flight; the same for the life of
// the process.
func (k *Keeper) Switch(flight uint32) *decision.Switch {
	k.accounts.Lock()
	defer k.accounts.Unlock()
	s := k.bySwitch[flight]
	if s == nil {
		s = k.switches.take()
		k.bySwitch[flight] = s
	}
	return s
}

func (k *Keeper) tell(c holder.Control) {
	k.Switch(c.Flight).Set(catalog.State(c.State), c.Version)
}

// tellSwitches sets every switch to what the holder knows.
func (k *Keeper) tellSwitches() {
	controls, _ := k.book.st.Controls(0)
	for _, c := range controls {
		k.tell(c)
	}
}

// Control takes what operators said of flights; older news is dropped. It
// returns what was new. With ErrFull all of it holds, and is kept with a later call
// of Control or Heard.
func (k *Keeper) Control(controls []*wire.Control) ([]*wire.Control, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.control(controls)
}

func (k *Keeper) control(controls []*wire.Control) (news []*wire.Control, err error) {
	b := k.book
	if b == nil || b.st.Closed() {
		return nil, nil // the core tells them all to a new holder
	}
	for _, w := range controls {
		c := holder.Control{Version: w.GetVersion(), Flight: w.GetFlight(), State: uint8(w.GetState())}
		if w.GetState() > uint32(catalog.Kill) || c.Version <= b.st.ControlOf(c.Flight).Version {
			continue
		}
		// A core that was restored may give a version once more, for something else.
		s := k.Switch(c.Flight)
		told := s.Version.Load()
		if c.Version < told {
			continue
		}
		if c.Version > told || uint32(c.State) != s.State.Load() {
			k.tell(c)
			news = append(news, w)
		}
		if b.unkept == nil {
			b.unkept = map[uint32]holder.Control{}
		}
		b.unkept[c.Flight] = c
	}
	if len(b.unkept) == 0 {
		return news, nil
	}
	b.urgency = late
	defer func() { b.urgency = plain }()
	// By version: what the newest one that is kept is taken to include is kept too.
	for _, c := range slices.SortedFunc(maps.Values(b.unkept), func(x, y holder.Control) int { return cmp.Compare(x.Version, y.Version) }) {
		if err := k.check(b.clear()); err != nil {
			return news, err
		}
		err := k.keep(b, b.st.Control(b.buf, c))
		delete(b.unkept, c.Flight) // a record without room is pending now
		if err != nil {
			return news, err
		}
	}
	return news, nil
}

// Controls are the controls above a version, and the newest version.
func (k *Keeper) Controls(after uint64) ([]*wire.Control, uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.book == nil {
		return nil, 0
	}
	list, version := k.book.st.Controls(after)
	controls := make([]*wire.Control, len(list))
	for i, c := range list {
		controls[i] = &wire.Control{Version: c.Version, Flight: c.Flight, State: uint32(c.State)}
	}
	return controls, version
}

// Catalog is the newest catalog in force here, as it was published.
func (k *Keeper) Catalog() (version uint64, published []byte) {
	if n := k.news.Load(); n != nil {
		return n.version, n.published
	}
	return 0, nil
}

type news struct {
	version   uint64
	published []byte
	last      lastIDs
}

// lastIDs are the highest ids of a catalog.
type lastIDs struct{ flight, ad, publisher, campaign uint32 }

func lastOf(s *catalog.Snapshot) (last lastIDs) {
	for i := range s.Flights {
		last.flight = max(last.flight, s.Flights[i].ID)
	}
	for i := range s.Ads {
		last.ad = max(last.ad, s.Ads[i].ID)
	}
	for i := range s.Publishers {
		last.publisher = max(last.publisher, s.Publishers[i].ID)
	}
	for i := range s.Campaigns {
		last.campaign = max(last.campaign, s.Campaigns[i].ID)
	}
	return last
}

// UseCatalog sizes leases and reservations by a snapshot from here on.
func (k *Keeper) UseCatalog(s *catalog.Snapshot, published []byte, now int64) error {
	paid := map[uint32]bool{}
	for i := range s.Campaigns {
		paid[s.Campaigns[i].ID] = s.Campaigns[i].Type == catalog.Paid
	}
	flights := make(map[uint32]*flight, len(s.Flights))
	dearest := int64(1) // of what a paid offer can cost
	plans := make(map[*account]*plan, len(s.Flights))
	of := make(map[*account]*flight, len(s.Flights))
	var controls []*wire.Control
	for i := range s.Flights {
		f := &s.Flights[i]
		v := &flight{price: int64(f.CPC), paid: paid[f.Campaign], day: dayAccount{
			kind: lease.FlightDay, owner: f.ID, limit: int64(f.DailyCap), from: int32(f.DailyCapFrom),
		}}
		life := plan{schedule: pacing.ScheduleOf(f), unit: 1, paid: v.paid, wanted: f.Live}
		life.starts = life.schedule.Start
		if f.SoldViews > 0 {
			p := life
			p.sold = f.SoldViews
			v.views = k.account(lease.Of(lease.FlightViews, f.ID, 0))
			plans[v.views] = &p
		}
		if f.SoldClicks > 0 {
			p := life
			p.sold = f.SoldClicks
			v.clicks = k.account(lease.Of(lease.FlightClicks, f.ID, 0))
			plans[v.clicks] = &p
		}
		unit := max(int64(f.CPM)/1000, int64(f.CPC))
		if v.paid {
			dearest = max(dearest, unit)
		}
		if v.day.limit > 0 && unit > 0 {
			v.day.unit, v.day.paid, v.day.wanted = unit, v.paid, f.Live
		}
		v.day.of = v
		flights[f.ID] = v
		of[v.views], of[v.clicks] = v, v
		if f.Control > 0 {
			controls = append(controls, &wire.Control{Version: f.Control, Flight: f.ID, State: uint32(f.State)})
		}
	}
	sites := make(map[uint32]*site, len(s.Publishers))
	for i := range s.Publishers {
		p := &s.Publishers[i]
		sites[p.ID] = &site{day: dayAccount{
			kind: lease.PublisherDay, owner: p.ID, limit: int64(p.DailyCap), from: int32(p.DailyCapFrom),
			unit: dearest, paid: true, wanted: !p.Disabled,
		}}
	}
	// Whoever waits to be judged does not wait for all of it.
	k.accounts.RLock()
	list := k.list
	k.accounts.RUnlock()
	for part := range slices.Chunk(list, perTurn) {
		k.mu.Lock()
		for _, a := range part {
			switch p := plans[a]; {
			case p != nil:
				a.plan, a.of = p, of[a]
			case a.plan != nil: // no longer in the catalog
				gone := *a.plan
				gone.wanted = false
				a.plan = &gone
			}
			k.refresh(a, now)
		}
		k.mu.Unlock()
	}
	k.flights.Store(tableOf(flights))
	k.sites.Store(&sites)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.planDays(now)
	k.news.Store(&news{s.Version, published, lastOf(s)})
	_, err := k.control(controls)
	return ignoreFull(err)
}

// planDays prepares the accounts of daily caps for the day of now, and for the
// next one when it is near enough to be leased.
func (k *Keeper) planDays(now int64) {
	today := exchange.Day(now)
	days := []int32{today}
	if exchange.Day(now+k.cfg.MaxOffline.Milliseconds()) > today {
		days = append(days, today+1)
	}
	k.planned = days[len(days)-1]
	// In an order that repeats, as leases are looked at in that of their making.
	flights, sites := k.flights.Load().byID, *k.sites.Load()
	for _, id := range slices.Sorted(maps.Keys(flights)) {
		flights[id].day.prepare(k, days)
	}
	for _, id := range slices.Sorted(maps.Keys(sites)) {
		sites[id].day.prepare(k, days)
	}
}

func (d *dayAccount) prepare(k *Keeper, days []int32) {
	if d.limit == 0 || d.unit == 0 {
		return
	}
	for _, day := range days {
		if day < d.from {
			continue
		}
		a := k.account(lease.Of(d.kind, d.owner, day))
		a.of = d.of
		a.plan = &plan{limit: d.limit, unit: d.unit, paid: d.paid, wanted: d.wanted, starts: int64(day) * millisPerDay}
	}
}
