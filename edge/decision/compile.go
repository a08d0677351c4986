package decision

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"iter"
	"math/bits"
	"slices"
	"sync/atomic"

	"nearside/sync/catalog"
	"nearside/sync/lease"
	"nearside/sync/pacing"
)

// Catalog is a snapshot compiled for deciding. It does not change once
// compiled, but for the day accounts that Roll prepares; any number of
// goroutines may use it.
type Catalog struct {
	snapshot *catalog.Snapshot
	number   uint64 // among those of this process

	publishers map[string]*Publisher // by slug
	numbered   []*Publisher          // by index in snapshot.Publishers
	campaigns  map[string]*campaign  // by slug, for force_campaign
	adSlugs    map[string]*Ad        // by slug, for force_ad
	flightIDs  map[uint32]*Flight
	ordered    []*Flight // by tier and id
	adIDs      map[uint32]*Ad
	typeSlugs  map[string]int32 // ad type slug → its index in snapshot.AdTypes

	// Names that some flight's targeting uses, as small numbers from 1 on.
	// A name that no flight uses is 0: it matches nothing and is no part of a
	// request's shape.
	keywords  names
	states    map[[3]byte]uint32
	hosts     names
	metros    map[int32]struct{}
	countries [countryCodes]uint16 // country code → its class, 0 for a country that no flight names

	index index
	seeds [2]maphash.Seed // of shapes
	pacer Pacer           // nil where nobody paces; only Explain asks it
}

// catalogs numbers them.
var catalogs atomic.Uint64

type campaign struct {
	*catalog.Campaign
	flights []*Flight
}

// Publisher is a publisher of one catalog.
type Publisher struct {
	*catalog.Publisher
	Index int // dense, from 0 on

	catalog   *Catalog
	types     Types  // allowed
	groups    []set  // flights of the campaigns of each of its groups
	openWords bitset // the words of index.open in which its groups have flights
	own       posting
	keywords  []uint32
	pages     map[string]*page
	days      days // accounts of daily_cap
}

// page is what is known of one page.
type page struct {
	number       uint32
	keywords     []uint32
	distances    map[uint32]float64 // by advertiser id
	similarities map[uint32]float64 // by ad id
}

// Flight is a flight of one catalog, with what belongs to it.
type Flight struct {
	// First what is read of a flight that is offered, then what is read of one
	// whose standing is looked for, so that each lies in two cache lines; what of
	// it is the catalog's is copied here.
	Ads          []*Ad // live or not, by id
	ID           uint32
	DailyCapFrom catalog.Day
	SoldViews    int64
	SoldClicks   int64
	CPM          catalog.Micros
	CPC          catalog.Micros
	DailyCap     catalog.Micros

	Views    *Account // of FlightViews; nil where the flight sells no views
	Clicks   *Account // of FlightClicks; nil where the flight sells no clicks
	control  *Switch
	standing *atomic.Uint64 // in its head
	schedule pacing.Schedule
	version  uint64 // of the control in the catalog
	state    catalog.State
	paid     bool
	dailyCap bool // it has one

	*catalog.Flight
	Index      int // dense, from 0 on
	Campaign   *catalog.Campaign
	Advertiser *catalog.Advertiser

	factor  int64 // pacing.Factor where the publisher's CTR is not known
	price   int64 // micros: the most that one event of it can cost
	days    days  // accounts of daily_cap
	targets targets
	states  map[[3]byte]uint32 // the catalog's
}

// Ad is an ad of one catalog.
type Ad struct {
	// What choosing reads, first and by value.
	ID        uint32
	live      bool
	ctrWeight int64   // what sampled_ctr adds to its weight; 0 where its flight does not want that
	kinds     uint64  // types below 64, as bits
	types     []int32 // indices in snapshot.AdTypes

	*catalog.Ad
	Index int // dense, from 0 on
	Of    *Flight
}

// Compile builds the catalog of a snapshot, which it keeps and which must not
// change afterwards. Accounts and switches come from books; those of daily caps
// are prepared for the given day and the next, and Roll has to be called
// before that next day ends.
func Compile(s *catalog.Snapshot, books Books, today catalog.Day) (*Catalog, error) {
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("compile catalog %d: %w", s.Version, err)
	}
	c := &Catalog{
		snapshot:   s,
		number:     catalogs.Add(1),
		publishers: make(map[string]*Publisher, len(s.Publishers)),
		campaigns:  make(map[string]*campaign, len(s.Campaigns)),
		adSlugs:    make(map[string]*Ad, len(s.Ads)),
		flightIDs:  make(map[uint32]*Flight, len(s.Flights)),
		adIDs:      make(map[uint32]*Ad, len(s.Ads)),
		typeSlugs:  make(map[string]int32, len(s.AdTypes)),
		states:     make(map[[3]byte]uint32),
		metros:     make(map[int32]struct{}),
		seeds:      [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
	}
	c.pacer, _ = books.(Pacer)
	b := newBuilder(c, books)
	b.addTypes()
	b.addPublishers()
	b.addFlights()
	b.addTopics()
	b.addAds()
	b.addPages()
	b.buildIndex()
	c.Roll(books, today)
	return c, nil
}

// Roll prepares the accounts of daily caps for a day and the next. Until it has
// been called for a day, flights with a daily cap are refused on that day.
func (c *Catalog) Roll(books Books, today catalog.Day) {
	for d := today; d <= today+1; d++ {
		for _, p := range c.publishers {
			if p.capped(d) {
				p.days.prepare(books, lease.PublisherDay, p.ID, d, nil)
			}
		}
		for _, f := range c.flightIDs {
			if f.capped(d) {
				f.days.prepare(books, lease.FlightDay, f.ID, d, f.control)
			}
		}
	}
}

// Snapshot is what the catalog was compiled from.
func (c *Catalog) Snapshot() *catalog.Snapshot { return c.snapshot }

// Version is the snapshot's.
func (c *Catalog) Version() uint64 { return c.snapshot.Version }

// Publisher is the publisher with a slug, nil if there is none.
func (c *Catalog) Publisher(slug string) *Publisher { return c.publishers[slug] }

// PublisherByID is the publisher with an id, nil if there is none.
func (c *Catalog) PublisherByID(id uint32) *Publisher {
	i, found := slices.BinarySearchFunc(c.numbered, id, func(p *Publisher, id uint32) int { return cmp.Compare(p.ID, id) })
	if !found {
		return nil
	}
	return c.numbered[i]
}

// FlightByID is the flight with an id, nil if there is none.
func (c *Catalog) FlightByID(id uint32) *Flight { return c.flightIDs[id] }

// AdByID is the ad with an id, nil if there is none.
func (c *Catalog) AdByID(id uint32) *Ad { return c.adIDs[id] }

// AdBySlug is the ad with a slug, nil if there is none.
func (c *Catalog) AdBySlug(slug string) *Ad { return c.adSlugs[slug] }

// AdType is the ad type with a slug and its index in the snapshot, nil if there is
// none.
func (c *Catalog) AdType(slug string) (kind *catalog.AdType, number int) {
	if i, ok := c.typeSlugs[slug]; ok {
		return &c.snapshot.AdTypes[i], int(i)
	}
	return nil, -1
}

// Flights are all flights, by tier and id.
func (c *Catalog) Flights() iter.Seq[*Flight] { return slices.Values(c.ordered) }

// DayAccount is the account of the flight's daily cap on a day, nil where it
// has none then.
func (f *Flight) DayAccount(d catalog.Day) *Account {
	if !f.capped(d) {
		return nil
	}
	return f.days.of(d)
}

// DayAccount is the account of the publisher's daily cap on a day, nil where
// it has none then.
func (p *Publisher) DayAccount(d catalog.Day) *Account {
	if !p.capped(d) {
		return nil
	}
	return p.days.of(d)
}

// Schedule is when the flight delivers.
func (f *Flight) Schedule() *pacing.Schedule { return &f.schedule }

// MaxPrice is the most that one event of the flight can cost, in micros.
func (f *Flight) MaxPrice() int64 { return f.price }

func (f *Flight) capped(d catalog.Day) bool { return f.dailyCap && d >= f.DailyCapFrom }

func (p *Publisher) capped(d catalog.Day) bool { return p.DailyCap > 0 && d >= p.DailyCapFrom }

// State is what is in force for the flight now: what an operator last said,
// here or in the catalog.
func (f *Flight) State() catalog.State {
	if f.control.Version.Load() > f.version {
		return catalog.State(f.control.State.Load())
	}
	return f.state
}

// builder holds what compiling needs and deciding does not.
type builder struct {
	c      *Catalog
	books  Books
	byID   struct{ publishers, campaigns, advertisers, groups, types map[uint32]int }
	slugs  struct{ advertisers map[string]uint32 }
	topics map[string]uint32 // slug → number, from 1 on
	zones  map[string]*zone  // geo region slug → its countries
}

func newBuilder(c *Catalog, books Books) *builder {
	s := c.snapshot
	b := &builder{c: c, books: books, topics: make(map[string]uint32), zones: make(map[string]*zone)}
	b.byID.publishers = numbers(s.Publishers, func(p *catalog.Publisher) uint32 { return p.ID })
	b.byID.campaigns = numbers(s.Campaigns, func(x *catalog.Campaign) uint32 { return x.ID })
	b.byID.advertisers = numbers(s.Advertisers, func(a *catalog.Advertiser) uint32 { return a.ID })
	b.byID.groups = numbers(s.Groups, func(g *catalog.Group) uint32 { return g.ID })
	b.byID.types = numbers(s.AdTypes, func(t *catalog.AdType) uint32 { return t.ID })
	b.slugs.advertisers = make(map[string]uint32, len(s.Advertisers))
	for i := range s.Advertisers {
		b.slugs.advertisers[s.Advertisers[i].Slug] = s.Advertisers[i].ID
	}
	for i := range s.GeoRegions {
		b.zones[s.GeoRegions[i].Slug] = newZone(&s.GeoRegions[i])
	}
	for i := range s.Topics {
		b.topics[s.Topics[i].Slug] = uint32(i) + 1
	}
	return b
}

func numbers[T any](items []T, id func(*T) uint32) map[uint32]int {
	m := make(map[uint32]int, len(items))
	for i := range items {
		m[id(&items[i])] = i
	}
	return m
}

func (b *builder) addTypes() {
	for i := range b.c.snapshot.AdTypes {
		b.c.typeSlugs[b.c.snapshot.AdTypes[i].Slug] = int32(i)
	}
}

func (b *builder) addPublishers() {
	for i := range b.c.snapshot.Publishers {
		p := &b.c.snapshot.Publishers[i]
		types := TypesOf(catalog.PublisherHouse)
		for _, allowed := range []struct {
			yes  bool
			kind catalog.CampaignType
		}{{p.AllowPaid, catalog.Paid}, {p.AllowAffiliate, catalog.Affiliate}, {p.AllowCommunity, catalog.Community}, {p.AllowHouse, catalog.House}} {
			if allowed.yes {
				types |= TypesOf(allowed.kind)
			}
		}
		publisher := &Publisher{Publisher: p, Index: i, catalog: b.c, types: types}
		b.c.publishers[p.Slug] = publisher
		b.c.numbered = append(b.c.numbered, publisher)
	}
}

func (b *builder) addFlights() {
	s := b.c.snapshot
	for i := range s.Campaigns {
		b.c.campaigns[s.Campaigns[i].Slug] = &campaign{Campaign: &s.Campaigns[i]}
	}
	flights := make([]Flight, len(s.Flights))
	for i := range s.Flights {
		f := &flights[i]
		from := &s.Flights[i]
		f.Flight, f.Index, f.ID = from, i, from.ID
		f.SoldViews, f.SoldClicks, f.CPM, f.CPC = from.SoldViews, from.SoldClicks, from.CPM, from.CPC
		f.DailyCap, f.DailyCapFrom = from.DailyCap, from.DailyCapFrom
		f.Campaign = &s.Campaigns[b.byID.campaigns[f.Flight.Campaign]]
		f.Advertiser = &s.Advertisers[b.byID.advertisers[f.Campaign.Advertiser]]
		if f.SoldViews > 0 {
			f.Views = b.books.Account(lease.Of(lease.FlightViews, f.ID, 0))
		}
		if f.SoldClicks > 0 {
			f.Clicks = b.books.Account(lease.Of(lease.FlightClicks, f.ID, 0))
		}
		f.control = b.books.Switch(f.ID)
		for _, a := range []*Account{f.Views, f.Clicks} {
			if a != nil {
				a.belongs(f.control)
			}
		}
		f.version, f.state = f.Control, f.Flight.State
		f.paid = f.Campaign.Type == catalog.Paid
		f.dailyCap = f.DailyCap > 0
		f.schedule = pacing.ScheduleOf(f.Flight)
		f.factor = f.factorAt(0)
		f.price = max(int64(f.CPM)/1000, int64(f.CPC))
		f.targets = b.targetsOf(f)
		f.states = b.c.states
		b.c.flightIDs[f.ID] = f
		of := b.c.campaigns[f.Campaign.Slug]
		of.flights = append(of.flights, f)
	}
}

// addTopics notes for each keyword the topics that hold it: first those of topics
// that some flight asks for, which matter to decisions, and then the others,
// which are only told. It comes after addFlights, and before anything asks which
// keywords matter.
func (b *builder) addTopics() {
	x := &b.c.index
	x.topics = len(b.topics) + 1
	used := make([]bool, x.topics)
	for _, f := range b.c.flightIDs {
		for _, n := range f.targets.topics {
			used[n] = true
		}
	}
	for _, asked := range []bool{true, false} {
		for i := range b.c.snapshot.Topics {
			if used[i+1] != asked {
				continue
			}
			for _, n := range b.c.keywords.addAll(b.c.snapshot.Topics[i].Keywords) {
				for len(x.topicsWith) <= int(n) {
					x.topicsWith = append(x.topicsWith, nil)
				}
				x.topicsWith[n] = append(x.topicsWith[n], uint32(i)+1)
			}
		}
		if asked {
			x.mattering = uint32(len(b.c.keywords.numbers))
		}
	}
}

// factorAt is what a unit of the flight's need counts on a publisher with the
// given CTR in per cent.
func (f *Flight) factorAt(publisherCTR float64) int64 {
	return pacing.Factor(f.PriorityMultiplier, pacing.ECPM(f.CPM, f.CPC, publisherCTR, f.SampledCTR))
}

func (b *builder) addAds() {
	ads := make([]Ad, len(b.c.snapshot.Ads))
	for i := range ads {
		a := &ads[i]
		a.Ad, a.Index, a.live = &b.c.snapshot.Ads[i], i, b.c.snapshot.Ads[i].Live
		a.ID = a.Ad.ID
		a.Of = b.c.flightIDs[a.Flight]
		for _, id := range a.AdTypes {
			t := int32(b.byID.types[id])
			a.types = append(a.types, t)
			if t < 64 {
				a.kinds |= 1 << t
			}
		}
		if a.Of.PrioritizeAdsCTR {
			a.ctrWeight = step(a.SampledCTR, ctrSteps)
		}
		a.Of.Ads = append(a.Of.Ads, a)
		b.c.adSlugs[a.Slug] = a
		b.c.adIDs[a.ID] = a
	}
}

// is reports whether the ad is of a type, by index; −1 is none.
func (a *Ad) is(adType int32) bool {
	if uint32(adType) < 64 {
		return a.kinds&(1<<adType) != 0
	}
	return contains(a.types, adType)
}

// Type is which of the ad's types one is that is given by its index in the
// snapshot; negative if it is none of them.
func (a *Ad) Type(number int) int {
	if uint(number) < 64 {
		if a.kinds&(1<<number) == 0 {
			return -1
		}
		return bits.OnesCount64(a.kinds & (1<<number - 1))
	}
	return slices.Index(a.types, int32(number))
}

// threshold gives a weight to values from a limit on.
type threshold struct {
	from   float64
	weight int64
}

var (
	ctrSteps        = []threshold{{0.150, 4}, {0.125, 3}, {0.100, 2}, {0.075, 1}} // per cent
	similaritySteps = []threshold{{0.8, 5}, {0.7, 4}, {0.6, 3}, {0.5, 2}}
)

// step is the weight of the first threshold that x reaches, 0 for none.
func step(x float64, steps []threshold) int64 {
	for _, s := range steps {
		if x >= s.from {
			return s.weight
		}
	}
	return 0
}

// addPages comes after addTopics: from there on it is known which keywords
// matter.
func (b *builder) addPages() {
	s := b.c.snapshot
	for _, p := range b.c.publishers {
		p.keywords = b.c.keywords.known(p.DefaultKeywords)
	}
	for i := range s.Pages {
		from := &s.Pages[i]
		to := &page{number: uint32(i) + 1, keywords: b.c.keywords.known(from.Keywords)}
		for slug, distance := range from.Distances {
			if id, ok := b.slugs.advertisers[slug]; ok {
				if to.distances == nil {
					to.distances = make(map[uint32]float64)
				}
				to.distances[id] = distance
			}
		}
		for slug, similarity := range from.Similarities {
			if ad := b.c.adSlugs[slug]; ad != nil {
				if to.similarities == nil {
					to.similarities = make(map[uint32]float64)
				}
				to.similarities[ad.ID] = similarity
			}
		}
		p := b.c.numbered[b.byID.publishers[from.Publisher]]
		if p.pages == nil {
			p.pages = make(map[string]*page)
		}
		p.pages[from.URL] = to
	}
}

// names numbers the strings that targeting uses, lower-cased, from 1 on.
type names struct {
	numbers map[string]uint32
}

func (n *names) add(s string) uint32 {
	key := string(appendLower(nil, s))
	if number, ok := n.numbers[key]; ok {
		return number
	}
	if n.numbers == nil {
		n.numbers = make(map[string]uint32)
	}
	number := uint32(len(n.numbers)) + 1
	n.numbers[key] = number
	return number
}

func (n *names) addAll(list []string) []uint32 {
	var numbers []uint32
	for _, s := range list {
		numbers = append(numbers, n.add(s))
	}
	return sorted(numbers)
}

// find looks a name up with the help of a buffer; 0 if it is not used.
func (n *names) find(s string, buffer *[]byte) uint32 {
	if len(n.numbers) == 0 || s == "" {
		return 0
	}
	*buffer = appendLower((*buffer)[:0], s)
	return n.numbers[string(*buffer)]
}

func (n *names) known(list []string) []uint32 {
	var numbers []uint32
	var buffer []byte
	for _, s := range list {
		if number := n.find(s, &buffer); number != 0 {
			numbers = append(numbers, number)
		}
	}
	return sorted(numbers)
}

func sorted[T cmp.Ordered](list []T) []T {
	slices.Sort(list)
	return slices.Compact(list)
}
