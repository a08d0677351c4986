package pacing

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	curve "nearside/sync/pacing"

	"nearside/sync/catalog"
)

// Class says what a flight is in the day for, decided before it is run.
type Class string

// The classes. Pacing is measured on Served and Clicks alone; the others show
// what happens where a plan cannot be kept, or is not to be.
const (
	Served    Class = "served"    // enough readers for its plan at every hour
	Short     Class = "short"     // fewer readers than its plan wants at some hour
	Contested Class = "contested" // with others of its kind it wants more than there is
	Late      Class = "late"      // goes live when part of its plan is due already
	Changed   Class = "changed"   // what was sold, or its end, changes during the day
	Fast      Class = "asap"      // is to have no plan
)

const (
	second = int64(1000)
	minute = 60 * second
	hour   = 60 * minute

	// noon is when the day begins, a Tuesday: flights end and begin at the
	// midnight in the middle of it.
	noon = int64(1772539200000) // 2026-03-03T12:00:00Z
)

// Flight is one flight of the day.
type Flight struct {
	catalog.Flight
	Class    Class
	ViewRate float64 // of offers
	CTR      float64 // of views
	LiveAt   int64   // unix milliseconds; 0: from before the day
	Edits    []Edit
	Supply   float64 // the most that any hour of its plan takes of the readers that hour has

	schedule curve.Schedule
	sold     int64
}

// Edit is what somebody changes of a flight.
type Edit struct {
	At   int64 // unix milliseconds
	Sold int64 // 0: as it was
	Ends int   // days later; negative: earlier
}

// asked is one kind of request: who asks from where about what.
type asked struct {
	publisher int // index
	country   string
	keywords  []string
	mobile    bool
}

// region is where nodes run, and the readers whose requests reach them.
type region struct {
	name  string
	zone  float64 // hours ahead of UTC
	share float64 // of all requests
	kinds []asked // each as frequent as the others
}

// plan is a day before anything happens.
type plan struct {
	o       Options
	regions []region
	flights []*Flight
}

var countriesOf = map[string][]string{
	"us-east":  {"US", "US", "US", "US", "CA", "BR"},
	"eu-west":  {"DE", "DE", "GB", "GB", "FR", "NL", "PL"},
	"ap-south": {"IN", "IN", "JP", "AU", "SG"},
}

var keywords = []string{"python", "javascript", "devops", "data", "security", "go", "rust", "kubernetes", "testing", "databases"}

const (
	publishers = 12
	regions    = 3
)

// shortBy is how many times its readers the plan of a Short flight wants at the
// worst hour.
const shortBy = 1.5

func newPlan(o Options) *plan {
	rng := rand.New(rand.NewPCG(o.Seed, 0x706c616e))
	p := &plan{o: o, regions: []region{
		{name: "us-east", zone: -5, share: 0.45},
		{name: "eu-west", zone: 1, share: 0.35},
		{name: "ap-south", zone: 6.5, share: 0.20},
	}}
	for i := range p.regions {
		r := &p.regions[i]
		for range 240 {
			a := asked{
				publisher: int(float64(publishers) * math.Pow(rng.Float64(), 1.6)),
				country:   countriesOf[r.name][rng.IntN(len(countriesOf[r.name]))],
				mobile:    rng.IntN(100) < 35,
			}
			for range 1 + rng.IntN(2) {
				a.keywords = append(a.keywords, keywords[int(float64(len(keywords))*math.Pow(rng.Float64(), 1.4))])
			}
			r.kinds = append(r.kinds, a)
		}
	}
	load := make([][]float64, len(p.regions)) // offers that plans want, by region and hour
	for i := range load {
		load[i] = make([]float64, p.hours())
	}
	p.mainstays(rng, load)
	for tries := 0; len(p.flights) < o.Flights && tries < 50*o.Flights; tries++ {
		p.add(p.draw(rng), load)
	}
	return p
}

// rate is the requests per second of a region at a time: four times as many in
// its afternoon as before its dawn.
func (r *region) rate(o Options, now int64) float64 {
	local := math.Mod(float64(now%(24*hour))/float64(hour)+r.zone+24, 24)
	swing := 1 + 0.6*math.Cos(2*math.Pi*(local-15)/24)
	return o.Requests * r.share * swing
}

func (p *plan) hours() int { return int((p.o.Lasts + hour - 1) / hour) }

// matched is the part of a region's requests that a flight may be shown to.
func (r *region) matched(f *Flight) float64 {
	n := 0
	for _, a := range r.kinds {
		if matches(f, a) {
			n++
		}
	}
	return float64(n) / float64(len(r.kinds))
}

func matches(f *Flight, a asked) bool {
	t := &f.Targeting
	if len(t.IncludeCountries) > 0 && !slices.Contains(t.IncludeCountries, a.country) {
		return false
	}
	if len(t.IncludeKeywords) > 0 && !slices.ContainsFunc(a.keywords, func(k string) bool { return slices.Contains(t.IncludeKeywords, k) }) {
		return false
	}
	if len(t.IncludePublishers) > 0 && !slices.Contains(t.IncludePublishers, publisherSlug(a.publisher)) {
		return false
	}
	return t.MobileTraffic == "" || (t.MobileTraffic == "only") == a.mobile
}

func publisherSlug(i int) string { return fmt.Sprintf("site-%d", i+1) }

// perUnit is how many offers a unit takes.
func (f *Flight) perUnit() float64 {
	if f.SoldClicks > 0 {
		return 1 / (f.ViewRate * f.CTR)
	}
	return 1 / f.ViewRate
}

// finish fills in what follows from the rest.
func (f *Flight) finish() *Flight {
	f.sold = max(f.SoldViews, f.SoldClicks)
	f.schedule = curve.ScheduleOf(&f.Flight)
	return f
}

// shape gives a flight paced by traffic the demand that its readers have by
// hour of the week.
func (p *plan) shape(f *Flight) {
	if f.Pacing != catalog.Traffic {
		return
	}
	const monday = int64(1772409600000) // 2026-03-02T00:00:00Z
	f.Demand = make([]uint32, catalog.HoursPerWeek)
	for h := range f.Demand {
		rate := 0.0
		for i := range p.regions {
			r := &p.regions[i]
			rate += r.rate(p.o, monday+int64(h)*hour+hour/2) * r.matched(f)
		}
		f.Demand[h] = uint32(rate*1000) + 1
	}
}

// wants is the offers that the flight's plan wants in each hour of the day, of
// each region in proportion to its readers, and the highest part of all its
// readers that this is.
func (p *plan) wants(f *Flight) (offers [][]float64, highest float64) {
	offers = make([][]float64, len(p.regions))
	parts := make([]float64, len(p.regions))
	for i := range p.regions {
		offers[i] = make([]float64, p.hours())
		parts[i] = p.regions[i].matched(f)
	}
	for h := range p.hours() {
		from := p.o.Start + int64(h)*hour
		to := min(from+hour, p.o.Start+p.o.Lasts)
		units := float64(f.schedule.Planned(f.sold, to) - f.schedule.Planned(f.sold, from))
		all := 0.0
		readers := make([]float64, len(p.regions))
		for i := range p.regions {
			readers[i] = p.regions[i].rate(p.o, from+hour/2) * parts[i] * float64(to-from) / 1000
			all += readers[i]
		}
		if units == 0 {
			continue
		}
		if all == 0 {
			return offers, math.Inf(1)
		}
		for i := range readers {
			offers[i][h] = units * f.perUnit() * readers[i] / all
		}
		highest = max(highest, units*f.perUnit()/all)
	}
	return offers, highest
}

// fits reports whether a flight may join: its own plan takes at most a tenth
// of its readers at any hour, and all plans together at most 60 % of a region's.
func (p *plan) fits(f *Flight, load [][]float64) bool {
	offers, highest := p.wants(f)
	if highest > 0.1 {
		return false
	}
	for i := range offers {
		for h, n := range offers[i] {
			if n > 0 && load[i][h]+n > 0.6*p.regions[i].rate(p.o, p.o.Start+int64(h)*hour+hour/2)*3600 {
				return false
			}
		}
	}
	return true
}

// add takes a flight in, with less sold where there is not enough for it.
func (p *plan) add(f *Flight, load [][]float64) {
	p.shape(f)
	f.finish()
	for f.Class == Served && !p.fits(f, load) {
		f.SoldViews, f.SoldClicks = f.SoldViews*3/4, f.SoldClicks*3/4
		if f.finish().sold < 1000 {
			return
		}
	}
	if _, highest := p.wants(f); f.Class == Short && highest > 0 {
		f.SoldViews = int64(float64(f.SoldViews) * shortBy / highest)
		f.finish()
	}
	f.ID = uint32(len(p.flights) + 1)
	f.Slug = cmp.Or(f.Slug, fmt.Sprintf("flight-%d", f.ID))
	offers, highest := p.wants(f)
	f.Supply = highest
	if f.Pacing != catalog.ASAP {
		for i := range offers {
			for h, n := range offers[i] {
				load[i][h] += n
			}
		}
	}
	p.flights = append(p.flights, f)
}

func (p *plan) base(slug string, class Class, first, last int, sold int64) *Flight {
	today := catalog.DayOfMillis(p.o.Start)
	return &Flight{
		Flight: catalog.Flight{
			Slug: slug, StartDate: today + catalog.Day(first), EndDate: today + catalog.Day(last), Live: true,
			Pacing: catalog.Even, PacingInterval: 3600, PriorityMultiplier: 1, CPM: 3_000_000, SoldViews: sold,
		},
		Class: class, ViewRate: 0.7, CTR: 0.01,
	}
}

func (f *Flight) clicks() *Flight {
	f.SoldClicks, f.SoldViews, f.CPC, f.CPM = f.SoldViews, 0, 1_500_000, 0
	return f
}

// mainstays are the flights that the plots are of.
func (p *plan) mainstays(rng *rand.Rand, load [][]float64) {
	n := p.o.Requests / 150 // how much of a full day there is to have
	k := func(units float64) int64 { return max(1000, int64(units*n)) }
	day := p.o.Start

	even := p.base("even", Served, -3, 6, k(1_000_000))
	p.add(even, load)

	ends := p.base("even-ends-at-midnight", Served, -2, 0, k(300_000))
	p.add(ends, load)

	begins := p.base("even-begins-at-midnight", Served, 1, 4, k(300_000))
	p.add(begins, load)

	small := p.base("even-small", Served, -1, 3, 10_000)
	small.Targeting.IncludeKeywords = []string{"python"}
	p.add(small, load)

	often := p.base("even-by-the-minute", Served, -3, 6, k(200_000))
	often.PacingInterval = 60
	p.add(often, load)

	daily := p.base("even-by-the-day", Served, -3, 6, k(200_000))
	daily.PacingInterval = 86_400
	p.add(daily, load)

	traffic := p.base("traffic", Served, -3, 6, k(1_000_000))
	traffic.Pacing = catalog.Traffic
	p.add(traffic, load)

	clicks := p.base("clicks", Served, -4, 8, k(40_000)).clicks()
	clicks.CTR = 0.015
	p.add(clicks, load)

	asap := p.base("asap", Fast, 0, 4, k(60_000))
	asap.Pacing, asap.LiveAt = catalog.ASAP, day+p.o.Lasts/8
	asap.Targeting.IncludeCountries = []string{"DE", "FR", "GB", "NL", "PL"}
	p.add(asap, load)

	starved := p.base("starved", Short, 0, 1, k(60_000))
	starved.Targeting.IncludeCountries, starved.Targeting.IncludeKeywords = []string{"JP"}, []string{"python"}
	p.add(starved, load)

	late := p.base("late", Late, 0, 1, k(150_000))
	late.LiveAt = day + p.o.Lasts/3
	p.add(late, load)

	more := p.base("sold-doubled", Changed, -1, 5, k(150_000))
	more.Edits = []Edit{{At: day + p.o.Lasts/3, Sold: 2 * more.SoldViews}}
	p.add(more, load)

	less := p.base("sold-lowered", Changed, -1, 5, k(300_000))
	less.Edits = []Edit{{At: day + p.o.Lasts/3, Sold: less.SoldViews * 2 / 3}}
	p.add(less, load)

	sooner := p.base("ends-sooner", Changed, -1, 3, k(150_000))
	sooner.Edits = []Edit{{At: day + p.o.Lasts/3, Ends: -1}}
	p.add(sooner, load)

	if p.o.Flights < 60 {
		return
	}
	for i := range 6 {
		f := p.base(fmt.Sprintf("contested-%d", i+1), Contested, -1, 3, k(60_000)+int64(rng.IntN(1000)))
		f.Targeting.IncludeCountries, f.Targeting.IncludeKeywords = []string{"NL", "PL"}, []string{"go"}
		p.add(f, load)
	}
	for i := range 6 {
		f := p.base(fmt.Sprintf("short-%d", i+1), Short, -1, 2, k(30_000)+int64(rng.IntN(1000)))
		f.Targeting.IncludeCountries = []string{[]string{"SG", "AU", "JP", "BR", "CA", "NL"}[i]}
		f.Targeting.IncludeKeywords = []string{keywords[4+rng.IntN(6)]}
		p.add(f, load)
	}
	for i := range 10 {
		f := p.base(fmt.Sprintf("asap-%d", i+1), Fast, 0, 3, 1000+int64(rng.IntN(int(k(12_000)))))
		f.Pacing, f.LiveAt = catalog.ASAP, day+int64(rng.IntN(24))*p.o.Lasts/24
		p.target(f, rng)
		p.add(f, load)
	}
}

// draw makes one of the many.
func (p *plan) draw(rng *rand.Rand) *Flight {
	sold := int64(1000 * math.Pow(1000, rng.Float64()))
	f := p.base("", Served, -rng.IntN(12), 1+rng.IntN(12), sold)
	switch n := rng.IntN(100); {
	case n < 15:
		f.EndDate = catalog.DayOfMillis(p.o.Start)
	case n < 30:
		f.StartDate = catalog.DayOfMillis(p.o.Start) + 1
	}
	f.EndDate = max(f.EndDate, f.StartDate)
	f.ViewRate = 0.4 + 0.5*rng.Float64()
	f.CTR = 0.01 + 0.03*rng.Float64()
	if rng.IntN(100) < 30 {
		f.Pacing = catalog.Traffic
	}
	f.PacingInterval = []int32{60, 900, 3600, 3600, 3600, 3600, 3600, 86_400}[rng.IntN(8)]
	f.CPM = catalog.Micros(1+rng.IntN(8)) * 1_000_000
	f.HardStop = rng.IntN(4) == 0
	p.target(f, rng)
	if rng.IntN(100) < 25 {
		f.clicks()
		f.SoldClicks = max(1000, f.SoldClicks/5)
		f.CPC = catalog.Micros(500_000 + rng.IntN(2_000_000))
	}
	return f
}

// target makes a flight choosy, or not.
func (p *plan) target(f *Flight, rng *rand.Rand) {
	t := &f.Targeting
	country := func() {
		r := &p.regions[rng.IntN(len(p.regions))]
		for range 1 + rng.IntN(3) {
			t.IncludeCountries = append(t.IncludeCountries, countriesOf[r.name][rng.IntN(len(countriesOf[r.name]))])
		}
		slices.Sort(t.IncludeCountries)
		t.IncludeCountries = slices.Compact(t.IncludeCountries)
	}
	keyword := func() {
		t.IncludeKeywords = []string{keywords[rng.IntN(len(keywords))], keywords[rng.IntN(len(keywords))]}
		slices.Sort(t.IncludeKeywords)
		t.IncludeKeywords = slices.Compact(t.IncludeKeywords)
	}
	switch n := rng.IntN(100); {
	case n < 40:
	case n < 60:
		country()
	case n < 75:
		keyword()
	case n < 85:
		country()
		keyword()
	case n < 92:
		t.MobileTraffic = []string{"only", "exclude"}[rng.IntN(2)]
	default:
		t.IncludePublishers = []string{publisherSlug(rng.IntN(publishers))}
	}
}

// snapshot is the catalog as it is at a time.
func (p *plan) snapshot(version uint64, now int64) *catalog.Snapshot {
	s := &catalog.Snapshot{
		Version:     version,
		Advertisers: []catalog.Advertiser{{ID: 1, Slug: "advertiser"}},
		Groups:      []catalog.Group{{ID: 1, Slug: "all"}},
		AdTypes:     []catalog.AdType{{ID: 1, Slug: "text"}},
		Campaigns:   []catalog.Campaign{{ID: 1, Slug: "paid", Advertiser: 1, PublisherGroups: []uint32{1}}},
	}
	for i := range publishers {
		s.Publishers = append(s.Publishers, catalog.Publisher{
			ID: uint32(i) + 1, Slug: publisherSlug(i), Groups: []uint32{1}, AllowPaid: true, AllowAPIKeywords: true,
		})
	}
	for _, f := range p.flights {
		x := f.Flight
		x.Campaign = 1
		x.Live = f.LiveAt <= now
		s.Flights = append(s.Flights, x)
		s.Ads = append(s.Ads, catalog.Ad{ID: f.ID, Slug: fmt.Sprintf("ad-%d", f.ID), Flight: f.ID, AdTypes: []uint32{1}, Link: "https://example.com/", Live: true})
	}
	return s
}
