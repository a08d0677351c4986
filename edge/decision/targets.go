package decision

import (
	"maps"
	"slices"
	"time"

	"nearside/sync/catalog"
)

// countryCodes is how many numbers a country can have: 0 for one that is not
// known, then AA to ZZ.
const countryCodes = 26*26 + 1

// country is a country code as a number, 0 for what is no code.
func country(code [2]byte) uint16 {
	a, b := code[0]-'A', code[1]-'A'
	if a >= 26 || b >= 26 {
		return 0
	}
	return uint16(a)*26 + uint16(b) + 1
}

func countryOf(code string) uint16 {
	if len(code) != 2 {
		return 0
	}
	return country([2]byte{code[0], code[1]})
}

func countriesOf(codes []string) []uint16 {
	var list []uint16
	for _, code := range codes {
		list = append(list, countryOf(code))
	}
	return sorted(list)
}

// zone is a geo region.
type zone struct {
	slug      string
	countries []uint16
	member    [countryCodes]bool
}

func newZone(g *catalog.GeoRegion) *zone {
	z := &zone{slug: g.Slug, countries: countriesOf(g.Countries)}
	for _, n := range z.countries {
		z.member[n] = true
	}
	return z
}

// targets is a flight's targeting in the numbers of its catalog. A nil list is
// no restriction; an empty one that is not nil is a restriction that nothing
// meets, such as a topic that does not exist.
type targets struct {
	includeCountries  []uint16
	states            []uint32
	metros            []int32
	excludeCountries  []uint16
	includeZones      []*zone
	excludeZones      []*zone
	countriesOver     []uint16 // whose fill is above their cap
	zonesOver         []*zone
	includeKeywords   []uint32
	excludeKeywords   []uint32
	topics            []uint32
	mobile            mobile
	includePublishers []uint32 // publisher ids
	excludePublishers []uint32
	publishersOver    []uint32
	includeHosts      []uint32
	excludeHosts      []uint32
	weekdays          uint8 // bits by time.Weekday; 0: all
	niche             float64
	excludedByOwner   []uint32 // publishers that the campaign excludes
	residual          bool     // has something that the index does not answer
}

type mobile uint8

const (
	anyDevice mobile = iota
	onlyMobile
	noMobile
)

func (b *builder) targetsOf(f *Flight) targets {
	from := &f.Targeting
	t := targets{
		includeCountries:  countriesOf(from.IncludeCountries),
		states:            b.statesOf(from.IncludeStateProvinces),
		metros:            sorted(slices.Clone(from.IncludeMetroCodes)),
		excludeCountries:  countriesOf(from.ExcludeCountries),
		includeZones:      b.zonesOf(from.IncludeRegions),
		excludeZones:      b.zonesOf(from.ExcludeRegions),
		includeKeywords:   b.c.keywords.addAll(from.IncludeKeywords),
		excludeKeywords:   b.c.keywords.addAll(from.ExcludeKeywords),
		topics:            b.topicsOf(from.IncludeTopics),
		includePublishers: b.publishersOf(from.IncludePublishers),
		excludePublishers: b.publishersOf(from.ExcludePublishers),
		includeHosts:      b.c.hosts.addAll(from.IncludeDomains),
		excludeHosts:      b.c.hosts.addAll(from.ExcludeDomains),
		niche:             from.NicheTargeting,
		excludedByOwner:   f.Campaign.ExcludePublishers,
	}
	for _, metro := range t.metros {
		b.c.metros[metro] = struct{}{}
	}
	switch from.MobileTraffic {
	case "only":
		t.mobile = onlyMobile
	case "exclude":
		t.mobile = noMobile
	}
	for _, name := range from.Days {
		if day, err := catalog.ParseWeekday(name); err == nil {
			t.weekdays |= 1 << day
		}
	}
	for code := range over(f.TrafficCap.Countries, f.TrafficFill.Countries) {
		t.countriesOver = append(t.countriesOver, countryOf(code))
	}
	for slug := range over(f.TrafficCap.GeoRegions, f.TrafficFill.GeoRegions) {
		t.zonesOver = append(t.zonesOver, b.zonesOf([]string{slug})...)
	}
	var publishers []string
	for slug := range over(f.TrafficCap.Publishers, f.TrafficFill.Publishers) {
		publishers = append(publishers, slug)
	}
	t.publishersOver = b.publishersOf(publishers)
	slices.Sort(t.countriesOver)
	t.residual = len(t.metros)+len(t.includeKeywords)+len(t.excludeKeywords)+len(t.includeHosts)+len(t.excludeHosts)+
		len(t.excludedByOwner)+len(t.publishersOver) > 0 ||
		t.states != nil || t.topics != nil || t.includePublishers != nil || t.excludePublishers != nil || t.niche > 0
	return t
}

// statesOf leaves out codes that are too long to be one.
func (b *builder) statesOf(codes []string) []uint32 {
	if len(codes) == 0 {
		return nil
	}
	list := make([]uint32, 0, len(codes))
	for _, code := range codes {
		var state [3]byte
		if len(code) > len(state) {
			continue
		}
		copy(state[:], code)
		if b.c.states[state] == 0 {
			b.c.states[state] = uint32(len(b.c.states)) + 1
		}
		list = append(list, b.c.states[state])
	}
	return sorted(list)
}

// over yields what has filled more than its cap.
func over(limits, fill map[string]float64) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, key := range slices.Sorted(maps.Keys(limits)) {
			if fill[key] > limits[key] && !yield(key) {
				return
			}
		}
	}
}

// zonesOf leaves out geo regions that do not exist; the list is nil only if
// slugs is empty.
func (b *builder) zonesOf(slugs []string) []*zone {
	if len(slugs) == 0 {
		return nil
	}
	list := make([]*zone, 0, len(slugs))
	for _, slug := range slugs {
		if z := b.zones[slug]; z != nil {
			list = append(list, z)
		}
	}
	return list
}

func (b *builder) topicsOf(slugs []string) []uint32 {
	if len(slugs) == 0 {
		return nil
	}
	list := make([]uint32, 0, len(slugs))
	for _, slug := range slugs {
		if n := b.topics[slug]; n != 0 {
			list = append(list, n)
		}
	}
	return sorted(list)
}

func (b *builder) publishersOf(slugs []string) []uint32 {
	if len(slugs) == 0 {
		return nil
	}
	list := make([]uint32, 0, len(slugs))
	for _, slug := range slugs {
		if p := b.c.publishers[slug]; p != nil {
			list = append(list, p.ID)
		}
	}
	return sorted(list)
}

// query is a request in the numbers of a catalog.
type query struct {
	publisher  *Publisher
	types      Types
	placements []asked
	keywords   []uint32 // sorted
	hasKeyword bitset
	topics     []uint32
	hasTopic   bitset
	read       bool // the last request was
	country    uint16
	state      uint32
	metro      int32
	host       uint32
	mobile     bool
	weekday    time.Weekday
	page       *page
}

// asked is a placement: the ad type's index, −1 for one that does not exist,
// and the priority held between 1 and 10.
type asked struct {
	adType   int32
	priority int64
}

// refuses is the first filter of those that do not change while a catalog is
// in force that refuses the flight, in the order in which they are reported.
// Those that the filter on pacing comes before are in refusesLate.
func (t *targets) refuses(q *query) Reason {
	if r := t.refusesGeo(q.country, q.state, q.metro); r != None {
		return r
	}
	if len(t.includeKeywords) > 0 && !q.hasKeyword.any(t.includeKeywords) {
		return IncludeKeywords
	}
	if q.hasKeyword.any(t.excludeKeywords) {
		return ExcludeKeywords
	}
	if t.topics != nil && !q.hasTopic.any(t.topics) {
		return IncludeTopics
	}
	if t.mobile == onlyMobile && !q.mobile || t.mobile == noMobile && q.mobile {
		return MobileTraffic
	}
	switch {
	case t.includePublishers != nil:
		if !contains(t.includePublishers, q.publisher.ID) {
			return IncludePublishers
		}
	case t.excludePublishers != nil:
		if contains(t.excludePublishers, q.publisher.ID) {
			return ExcludePublishers
		}
	case contains(t.publishersOver, q.publisher.ID):
		return PublisherCap
	}
	switch {
	case t.includeHosts != nil:
		if !contains(t.includeHosts, q.host) {
			return IncludeDomains
		}
	case contains(t.excludeHosts, q.host):
		return ExcludeDomains
	}
	return None
}

// refusesLate are the filters between pacing and money.
func (t *targets) refusesLate(q *query, advertiser uint32) Reason {
	if t.weekdays != 0 && t.weekdays&(1<<q.weekday) == 0 {
		return Days
	}
	if t.niche > 0 {
		if q.page == nil {
			return Niche
		}
		if distance, known := q.page.distances[advertiser]; !known || distance >= t.niche {
			return Niche
		}
	}
	return None
}

// ShowsTo reports whether the flight's geo targeting, traffic caps included,
// admits a place: what beacons check again. Codes are those of Request.
func (f *Flight) ShowsTo(code [2]byte, state [3]byte, metro int32) bool {
	return f.targets.refusesGeo(country(code), f.states[state], metro) == None
}

func (t *targets) refusesGeo(country uint16, state uint32, metro int32) Reason {
	if len(t.includeCountries) > 0 && !contains(t.includeCountries, country) {
		return IncludeCountries
	}
	if t.states != nil && !contains(t.states, state) {
		return IncludeStateProvinces
	}
	if len(t.metros) > 0 && !contains(t.metros, metro) {
		return IncludeMetroCodes
	}
	return t.refusesCountry(country)
}

// refusesCountry are the filters on country that come after those on state and
// metro.
func (t *targets) refusesCountry(country uint16) Reason {
	if contains(t.excludeCountries, country) {
		return ExcludeCountries
	}
	if t.includeZones != nil && !inZone(t.includeZones, country) {
		return IncludeRegions
	}
	if inZone(t.excludeZones, country) {
		return ExcludeRegions
	}
	if contains(t.countriesOver, country) {
		return CountryCap
	}
	if inZone(t.zonesOver, country) {
		return RegionCap
	}
	return None
}

func inZone(zones []*zone, country uint16) bool {
	for _, z := range zones {
		if z.member[country] {
			return true
		}
	}
	return false
}

// contains is for lists that are short as a rule.
func contains[T uint16 | uint32 | int32](list []T, x T) bool {
	if len(list) > 16 {
		_, found := slices.BinarySearch(list, x)
		return found
	}
	for _, y := range list {
		if y == x {
			return true
		}
	}
	return false
}
