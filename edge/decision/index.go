package decision

import (
	"cmp"
	"math/bits"
	"slices"
	"sync/atomic"

	"nearside/sync/catalog"
)

// set holds a bit for every flight, by position.
type set []uint64

func (s set) add(position int)      { s[position/64] |= 1 << (position % 64) }
func (s set) remove(position int)   { s[position/64] &^= 1 << (position % 64) }
func (s set) has(position int) bool { return s[position/64]&(1<<(position%64)) != 0 }

// posting lists the positions of flights in order.
type posting []uint32

// index answers which flights a request could match without looking at the
// others. Each flight has a position; the positions of a tier are together,
// each tier beginning at a multiple of 64, so that sets can be intersected by
// the word.
//
// A flight is reached in one of two ways. If it must find something that few
// requests have, such as a keyword, it is in the postings of each of them and
// only the postings of what the request has are looked at. Otherwise it is in
// open. What has been reached is intersected with the sets of what every
// request has: publisher group, ad type, country, device, day. The rest of a
// flight's targeting is checked flight by flight.
type index struct {
	flights []*Flight // by position; nil where a tier is padded
	heads   []head    // by position
	tiers   [catalog.House + 2]int
	// tiers[t] is the first word of tier t, tiers[t+1] where it ends.

	open       set
	byKeyword  []posting // by number
	byTopic    []posting
	byHost     []posting
	topicsWith [][]uint32 // keyword number → topics that hold it
	mattering  uint32     // the last keyword that decides something; those beyond only say topics
	topics     int

	adTypes   []set  // by index in snapshot.AdTypes: flights with a live ad of it
	countries []set  // by class
	devices   [2]set // any but mobile, mobile
	weekdays  [7]set

	byDevice  bool // some flight asks for a device
	byWeekday bool // some flight asks for days
}

func (b *builder) buildIndex() {
	x := &b.c.index
	b.position(x)
	words := len(x.flights) / 64
	newSet := func() set { return make(set, words) }

	x.open = newSet()
	x.byKeyword = make([]posting, len(b.c.keywords.numbers)+1)
	x.byHost = make([]posting, len(b.c.hosts.numbers)+1)
	x.byTopic = make([]posting, x.topics)
	x.adTypes = make([]set, len(b.c.snapshot.AdTypes))
	for i := range x.adTypes {
		x.adTypes[i] = newSet()
	}
	for i := range x.devices {
		x.devices[i] = newSet()
	}
	for i := range x.weekdays {
		x.weekdays[i] = newSet()
	}
	groups := make([]set, len(b.c.snapshot.Groups))
	for i := range groups {
		groups[i] = newSet()
	}

	for position, f := range x.flights {
		if f == nil || !f.Live {
			continue // a flight that is not live is reached by force alone
		}
		b.post(x, f, position)
		for _, a := range f.Ads {
			if a.Live {
				for _, t := range a.types {
					x.adTypes[t].add(position)
				}
			}
		}
		for _, id := range f.Campaign.PublisherGroups {
			groups[b.byID.groups[id]].add(position)
		}
		x.byDevice = x.byDevice || f.targets.mobile != anyDevice
		x.byWeekday = x.byWeekday || f.targets.weekdays != 0
		if f.targets.mobile != onlyMobile {
			x.devices[0].add(position)
		}
		if f.targets.mobile != noMobile {
			x.devices[1].add(position)
		}
		for day := range x.weekdays {
			if f.targets.weekdays == 0 || f.targets.weekdays&(1<<day) != 0 {
				x.weekdays[day].add(position)
			}
		}
	}
	for _, p := range b.c.numbered {
		for _, id := range p.Groups {
			p.groups = append(p.groups, groups[b.byID.groups[id]])
		}
	}
	for _, p := range b.c.numbered {
		p.openWords = bitset(nil).grow(words)
		for w := range x.open {
			if x.open[w]&p.inGroups(w) != 0 {
				p.openWords.set(uint32(w))
			}
		}
	}
	b.indexCountries(x, newSet)
}

// position gives every flight its place: by tier, then by publisher groups, so
// that what a publisher may show lies together, then by id.
func (b *builder) position(x *index) {
	flights := make([]*Flight, 0, len(b.c.flightIDs))
	for _, f := range b.c.flightIDs {
		flights = append(flights, f)
	}
	slices.SortFunc(flights, func(f, g *Flight) int {
		return cmp.Or(cmp.Compare(f.Campaign.Type, g.Campaign.Type), slices.Compare(f.Campaign.PublisherGroups, g.Campaign.PublisherGroups), cmp.Compare(f.ID, g.ID))
	})
	b.c.ordered = slices.SortedFunc(slices.Values(flights), func(f, g *Flight) int {
		return cmp.Or(cmp.Compare(f.Campaign.Type, g.Campaign.Type), cmp.Compare(f.ID, g.ID))
	})
	tier := 0
	for _, f := range flights {
		for ; tier < int(f.Campaign.Type); tier++ {
			x.pad()
			x.tiers[tier+1] = len(x.flights) / 64
		}
		x.flights = append(x.flights, f)
	}
	x.pad()
	for ; tier < len(x.tiers)-1; tier++ {
		x.tiers[tier+1] = len(x.flights) / 64
	}
	x.heads = make([]head, len(x.flights))
	for position, f := range x.flights {
		if f != nil {
			h := &x.heads[position]
			h.factor, f.standing = f.factor, &h.standing
			f.control.keeps(f.standing)
		}
	}
}

func (x *index) pad() {
	for len(x.flights)%64 != 0 {
		x.flights = append(x.flights, nil)
	}
}

// post makes f reachable by whatever of its targeting the fewest requests meet.
func (b *builder) post(x *index, f *Flight, position int) {
	t := &f.targets
	add := func(to *posting) { *to = append(*to, uint32(position)) }
	switch {
	case t.includeHosts != nil:
		for _, n := range t.includeHosts {
			add(&x.byHost[n])
		}
	case t.includePublishers != nil:
		for _, id := range t.includePublishers {
			add(&b.c.numbered[b.byID.publishers[id]].own)
		}
	case t.includeKeywords != nil:
		for _, n := range t.includeKeywords {
			add(&x.byKeyword[n])
		}
	case t.topics != nil:
		for _, n := range t.topics {
			add(&x.byTopic[n])
		}
	default:
		x.open.add(position)
	}
}

// indexCountries gives each country that a flight names a set of its own; all
// others, and a country that is not known, share the first: they meet no
// include and no exclude.
func (b *builder) indexCountries(x *index, newSet func() set) {
	elsewhere := newSet()
	named := make([][]uint16, len(x.flights))
	classes := 1
	for position, f := range x.flights {
		if f == nil || !f.Live {
			continue
		}
		t := &f.targets
		if t.refusesGeoOnly(0) == None {
			elsewhere.add(position)
		}
		named[position] = t.countriesNamed()
		for _, n := range named[position] {
			if b.c.countries[n] == 0 {
				b.c.countries[n] = uint16(classes)
				classes++
			}
		}
	}
	x.countries = make([]set, classes)
	x.countries[0] = elsewhere
	for i := 1; i < classes; i++ {
		x.countries[i] = slices.Clone(elsewhere)
	}
	for position, list := range named {
		for _, n := range list {
			s := x.countries[b.c.countries[n]]
			if x.flights[position].targets.refusesGeoOnly(n) == None {
				s.add(position)
			} else {
				s.remove(position)
			}
		}
	}
}

// refusesGeoOnly are all filters on country alone.
func (t *targets) refusesGeoOnly(country uint16) Reason {
	if len(t.includeCountries) > 0 && !contains(t.includeCountries, country) {
		return IncludeCountries
	}
	return t.refusesCountry(country)
}

// countriesNamed are the countries for which the flight may answer otherwise
// than for one that it does not name.
func (t *targets) countriesNamed() []uint16 {
	var list []uint16
	list = append(list, t.includeCountries...)
	list = append(list, t.excludeCountries...)
	list = append(list, t.countriesOver...)
	for _, zones := range [][]*zone{t.includeZones, t.excludeZones, t.zonesOver} {
		for _, z := range zones {
			list = append(list, z.countries...)
		}
	}
	return slices.DeleteFunc(sorted(list), func(n uint16) bool { return n == 0 })
}

// bitset is a set of small numbers.
type bitset []uint64

func (b bitset) has(n uint32) bool { return int(n/64) < len(b) && b[n/64]&(1<<(n%64)) != 0 }

func (b bitset) any(list []uint32) bool {
	for _, n := range list {
		if b.has(n) {
			return true
		}
	}
	return false
}

// set adds n, for which there must be room, and reports whether it was new.
func (b bitset) set(n uint32) bool {
	old := b[n/64]
	b[n/64] |= 1 << (n % 64)
	return b[n/64] != old
}

// grow is b with room for n numbers.
func (b bitset) grow(n int) bitset {
	if words := n/64 + 1; len(b) < words {
		b = append(b, make(bitset, words-len(b))...)
	}
	return b
}

// Scratch is the working memory of one decision at a time. The zero value is
// ready; keep one per worker, or pool them: after the first decisions with a
// catalog it no longer grows.
type Scratch struct {
	query   query
	shape   Shape
	buffer  []byte
	reached bitset // by position; zero between decisions
	words   bitset // the words of reached that are not zero
	list    list
	upTo    []int64
	refused []Refusal
}

// head is what every decision that considers a flight reads of it.
type head struct {
	standing atomic.Uint64
	factor   int64
}

// resolve fills the scratch's query from a request.
func (c *Catalog) resolve(r *Request, s *Scratch, p *Publisher, now int64) *query {
	q := &s.query
	for _, n := range q.keywords {
		q.hasKeyword[n/64] = 0
	}
	for _, n := range q.topics {
		q.hasTopic[n/64] = 0
	}
	q.read, q.publisher = true, p
	q.types = r.CampaignTypes
	if q.types == 0 {
		q.types = AllTypes
	}
	q.types &= p.types
	q.country = country(r.Country)
	q.state, q.metro = 0, 0
	if len(c.states) > 0 {
		q.state = c.states[r.State]
	}
	if r.Metro != 0 {
		if _, used := c.metros[r.Metro]; used {
			q.metro = r.Metro
		}
	}
	q.host = c.hosts.find(r.Host, &s.buffer)
	q.mobile = r.Mobile
	q.weekday = catalog.DayOfMillis(now).Weekday()
	q.page = nil
	if r.URL != "" {
		q.page = p.pages[r.URL]
	}
	c.resolvePlacements(r, q)
	c.resolveKeywords(r, s, p)
	return q
}

func (c *Catalog) resolvePlacements(r *Request, q *query) {
	q.placements = q.placements[:0]
	for i := range r.Placements {
		adType, known := c.typeSlugs[r.Placements[i].AdType]
		if !known {
			adType = -1
		}
		q.placements = append(q.placements, asked{adType, int64(min(max(r.Placements[i].Priority, 1), 10))})
	}
}

func (c *Catalog) resolveKeywords(r *Request, s *Scratch, p *Publisher) {
	q := &s.query
	q.keywords = q.keywords[:0]
	q.topics = q.topics[:0]
	q.hasKeyword = q.hasKeyword.grow(len(c.keywords.numbers) + 1)
	q.hasTopic = q.hasTopic.grow(c.index.topics)
	if p.AllowAPIKeywords {
		c.askedKeywords(r, s)
	}
	for _, n := range p.keywords {
		c.addKeyword(q, n)
	}
	if q.page != nil {
		for _, n := range q.page.keywords {
			c.addKeyword(q, n)
		}
	}
	slices.Sort(q.keywords)
}

func (c *Catalog) askedKeywords(r *Request, s *Scratch) {
	if r.Known == nil {
		for _, keyword := range r.Keywords {
			c.addKeyword(&s.query, c.keywords.find(keyword, &s.buffer))
		}
		return
	}
	known := r.Known.last.Load()
	if known == nil || known.catalog != c.number {
		known = &knownIn{catalog: c.number}
		for _, keyword := range r.Keywords { // in their order, which topics are found in
			if n := c.keywords.find(keyword, &s.buffer); n != 0 {
				known.numbers = append(known.numbers, n)
			}
		}
		r.Known.last.Store(known)
	}
	for _, n := range known.numbers {
		c.addKeyword(&s.query, n)
	}
}

func (c *Catalog) addKeyword(q *query, n uint32) {
	if n == 0 {
		return
	}
	if n <= c.index.mattering {
		if !q.hasKeyword.set(n) {
			return
		}
		q.keywords = append(q.keywords, n)
	}
	if int(n) >= len(c.index.topicsWith) {
		return
	}
	for _, topic := range c.index.topicsWith[n] {
		if q.hasTopic.set(topic) {
			q.topics = append(q.topics, topic)
		}
	}
}

// reach marks the flights that are in postings of what the request has.
func (c *Catalog) reach(s *Scratch) {
	x, q := &c.index, &s.query
	s.reached = s.reached.grow(len(x.flights))
	s.words = s.words.grow(len(x.flights) / 64)
	s.mark(q.publisher.own)
	s.mark(x.byHost[q.host])
	for _, n := range q.keywords {
		s.mark(x.byKeyword[n])
	}
	for _, n := range q.topics {
		s.mark(x.byTopic[n])
	}
}

func (s *Scratch) mark(list posting) {
	for _, position := range list {
		w := position / 64
		s.words[w/64] |= 1 << (w % 64)
		s.reached[w] |= 1 << (position % 64)
	}
}

func (s *Scratch) unmark() {
	for i, words := range s.words {
		for ; words != 0; words &= words - 1 {
			s.reached[i*64+bits.TrailingZeros64(words)] = 0
		}
		s.words[i] = 0
	}
}

// next is the first word from w on, and below end, in which the publisher has an
// open flight or one has been reached; end if there is none.
func (s *Scratch) next(p *Publisher, w, end int) int {
	if w >= end {
		return end
	}
	i := w / 64
	words := (p.openWords[i] | s.words[i]) >> (w % 64) << (w % 64)
	for words == 0 {
		if i++; i*64 >= end {
			return end
		}
		words = p.openWords[i] | s.words[i]
	}
	return min(end, i*64+bits.TrailingZeros64(words))
}

// collect appends the candidates of one tier to those of the scratch.
func (c *Catalog) collect(s *Scratch, tier catalog.CampaignType) {
	x, q := &c.index, &s.query
	countries := x.countries[c.countries[q.country]]
	device := x.devices[0]
	if q.mobile {
		device = x.devices[1]
	}
	weekday := x.weekdays[q.weekday]
	l := &s.list
	one := len(q.placements) == 1
	if one {
		l.priority = q.placements[0].priority
	}
	own := q.publisher.SampledCTR <= 0
	end := x.tiers[tier+1]
	for w := s.next(q.publisher, x.tiers[tier], end); w < end; w = s.next(q.publisher, w+1, end) {
		match := (x.open[w] | s.reached[w]) & countries[w] & device[w] & weekday[w]
		if match == 0 {
			continue
		}
		match &= q.publisher.inGroups(w) & q.ofTypes(x, w)
		for ; match != 0; match &= match - 1 {
			position := w*64 + bits.TrailingZeros64(match)
			f := x.flights[position]
			if f.targets.residual && !f.matches(q) {
				continue
			}
			l.positions = append(l.positions, uint32(position))
			if !one {
				l.priorities = append(l.priorities, uint8(q.priority(x, position)))
			}
			if !own {
				l.factors = append(l.factors, f.factorOn(q.publisher))
			}
		}
	}
}

func (p *Publisher) inGroups(w int) uint64 {
	var all uint64
	for _, g := range p.groups {
		all |= g[w]
	}
	return all
}

func (q *query) ofTypes(x *index, w int) uint64 {
	var all uint64
	for _, p := range q.placements {
		if p.adType >= 0 {
			all |= x.adTypes[p.adType][w]
		}
	}
	return all
}

// priority is the highest of the placements that a live ad of the flight
// matches.
func (q *query) priority(x *index, position int) int64 {
	highest := int64(1)
	for _, p := range q.placements {
		if p.priority > highest && p.adType >= 0 && x.adTypes[p.adType].has(position) {
			highest = p.priority
		}
	}
	return highest
}

// matches checks what the index has not.
func (f *Flight) matches(q *query) bool {
	return !contains(f.targets.excludedByOwner, q.publisher.ID) &&
		f.targets.refuses(q) == None && f.targets.refusesLate(q, f.Advertiser.ID) == None
}

func (f *Flight) factorOn(p *Publisher) int64 {
	if f.CPC > 0 && p.SampledCTR > 0 {
		return f.factorAt(p.SampledCTR)
	}
	return f.factor
}
