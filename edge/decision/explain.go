package decision

import (
	"math"
	"slices"

	"nearside/sync/catalog"
	"nearside/sync/lease"
)

// Explanation says how a request would be decided at one moment. It is made
// for people and written as JSON as it is.
type Explanation struct {
	CatalogVersion uint64   `json:"catalog_version"`
	Publisher      string   `json:"publisher"`
	Reason         string   `json:"reason"`           // "none" if there is an ad
	Forced         bool     `json:"forced,omitempty"` // by force_ad or force_campaign
	Tier           string   `json:"tier,omitempty"`   // which decided
	CampaignTypes  []string `json:"campaign_types"`   // asked for and allowed
	Keywords       []string `json:"keywords"`         // of the request, the publisher and the page
	Topics         []string `json:"topics"`           // of those keywords
	Flights        []Line   `json:"flights"`          // by tier and id
}

// Line is what becomes of one flight.
type Line struct {
	Flight       string         `json:"flight"`
	CampaignType string         `json:"campaign_type"`
	Reason       string         `json:"reason"`           // the first filter that refused it; "none" if none did
	Wanted       string         `json:"wanted,omitempty"` // what that filter asks for
	Found        string         `json:"found,omitempty"`  // what it found
	ViewsNeed    int64          `json:"views_need"`
	ClicksNeed   int64          `json:"clicks_need"`
	Weight       int64          `json:"weight"`      // 0 if refused
	Probability  float64        `json:"probability"` // 0 if refused or in a lower tier
	Ads          []AdLine       `json:"ads,omitempty"`
	Accounts     []AccountState `json:"accounts,omitempty"`
}

// AdLine is the chance of one ad once its flight is chosen.
type AdLine struct {
	Ad          string  `json:"ad"`
	Placement   int     `json:"placement"`
	Weight      int64   `json:"weight"`
	Probability float64 `json:"probability"`
}

// AccountState is what a decision saw of an account.
type AccountState struct {
	Budget   string `json:"budget"` // views, clicks, day or publisher_day
	Unit     string `json:"unit"`   // events or micros
	Left     int64  `json:"left"`
	InFlight int64  `json:"in_flight"`
	Settled  int64  `json:"settled"`
	Rate     uint32 `json:"rate_millionths"` // 0: not measured, counts as 1 000 000

	Pacing *PacingState `json:"pacing,omitempty"` // where the budget is let go along a plan
}

// PacingState is where a paced budget stands: what the plan has due everywhere
// by now, what has been delivered everywhere as far as this edge knows, and what
// of its lease this edge may deliver now.
type PacingState struct {
	Sold      int64   `json:"sold"`
	Plan      int64   `json:"plan"`
	Delivered int64   `json:"delivered"`
	Leased    int64   `json:"leased"`
	Released  float64 `json:"released"`        // of Leased; below 0 where more was delivered than should have been
	PerSecond float64 `json:"rate_per_second"` // at which more is released here
	Share     float64 `json:"share"`           // of the plan, this edge's part
}

// Explain says for every flight, or for those of the given slugs, what would
// become of it if the request were decided at now. It changes nothing, and
// agrees with Decide: a flight's probability is that of being drawn. It looks
// at every flight and allocates as it goes.
func (c *Catalog) Explain(r *Request, now int64, slugs ...string) *Explanation {
	var s Scratch
	var out Outcome
	c.Decide(r, &s, now, 0, &out)
	e := &Explanation{CatalogVersion: c.Version(), Reason: out.Reason.String(), Forced: out.Forced}
	p := c.current(r.Publisher)
	if p == nil {
		return e
	}
	x := explainer{c: c, r: r, q: c.resolve(r, &s, p, now), moment: moment{now, catalog.DayOfMillis(now)}}
	x.describe(e)
	switch {
	case e.Forced:
		x.forced(e)
	case out.Reason != MultiplePlacements && out.Reason != MobileIgnored:
		x.flights(e)
	}
	if len(slugs) > 0 {
		e.Flights = slices.DeleteFunc(e.Flights, func(l Line) bool { return !slices.Contains(slugs, l.Flight) })
	}
	return e
}

// Refusals calls refused for every flight that the request would not be
// offered, with the first reason. It looks at every flight and is meant for
// one request in many. It allocates nothing.
func (c *Catalog) Refusals(r *Request, s *Scratch, now int64, refused func(*Flight, Reason)) {
	p := c.current(r.Publisher)
	if p == nil {
		return
	}
	q := c.resolve(r, s, p, now)
	m := moment{now, catalog.DayOfMillis(now)}
	for _, f := range c.index.flights {
		if f == nil {
			continue
		}
		if _, reason := f.judge(r, q, m); reason != None {
			refused(f, reason)
		}
	}
}

// judge is the weight of a flight, or the first reason why it is refused. The
// reasons that stay the same while a catalog is in force and those that do not
// are found apart; their order is that of the constants.
func (f *Flight) judge(r *Request, q *query, m moment) (int64, Reason) {
	weight, reason := f.weigh(f.factorOn(q.publisher), q.priorityOf(f), r, q.publisher, m)
	if stays := f.judgeShape(q); stays != None && (reason == None || stays < reason) {
		reason = stays
	}
	if reason != None {
		return 0, reason
	}
	return weight, None
}

// judgeShape is the first reason that all requests of this shape share.
func (f *Flight) judgeShape(q *query) Reason {
	switch {
	case !q.types.Has(f.Campaign.Type):
		return CampaignType
	case !overlap(f.Campaign.PublisherGroups, q.publisher.Groups):
		return Group
	case contains(f.targets.excludedByOwner, q.publisher.ID):
		return CampaignExcludes
	case !f.Live:
		return NotLive
	case !q.hasAd(f):
		return AdType
	}
	if reason := f.targets.refuses(q); reason != None {
		return reason
	}
	return f.targets.refusesLate(q, f.Advertiser.ID)
}

// priorityOf is priority for a flight that need not be in the index.
func (q *query) priorityOf(f *Flight) int64 {
	highest := int64(1)
	for _, p := range q.placements {
		if p.priority > highest && f.carries(p.adType) {
			highest = p.priority
		}
	}
	return highest
}

// carries reports whether a live ad of the flight is of a type.
func (f *Flight) carries(adType int32) bool {
	for _, a := range f.Ads {
		if a.Live && contains(a.types, adType) {
			return true
		}
	}
	return false
}

// overlap is for lists that are sorted.
func overlap(a, b []uint32) bool {
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0] == b[0]:
			return true
		case a[0] < b[0]:
			a = a[1:]
		default:
			b = b[1:]
		}
	}
	return false
}

type explainer struct {
	c *Catalog
	r *Request
	q *query
	moment
}

func (x *explainer) describe(e *Explanation) {
	e.Publisher = x.q.publisher.Slug
	e.CampaignTypes = []string{}
	for _, t := range catalog.CampaignTypes() {
		if x.q.types.Has(t) {
			e.CampaignTypes = append(e.CampaignTypes, t.String())
		}
	}
	e.Keywords = x.keywords()
	e.Topics = []string{}
	for _, n := range x.q.topics {
		e.Topics = append(e.Topics, x.c.snapshot.Topics[n-1].Slug)
	}
	slices.Sort(e.Topics)
}

// keywords are all keywords that count, also those that no flight asks for.
func (x *explainer) keywords() []string {
	var lists [][]string
	if x.q.publisher.AllowAPIKeywords {
		lists = append(lists, x.r.Keywords)
	}
	lists = append(lists, x.q.publisher.DefaultKeywords)
	if x.q.page != nil {
		lists = append(lists, x.c.snapshot.Pages[x.q.page.number-1].Keywords)
	}
	all := []string{}
	for _, list := range lists {
		for _, keyword := range list {
			all = append(all, string(appendLower(nil, keyword)))
		}
	}
	return sorted(all)
}

// flights judges each flight once, since accounts move while it looks.
func (x *explainer) flights(e *Explanation) {
	type judged struct {
		weight int64
		reason Reason
	}
	var all []judged
	decides, total := catalog.House+1, int64(0)
	for f := range x.c.Flights() {
		weight, reason := f.judge(x.r, x.q, x.moment)
		if reason == None && f.Campaign.Type > decides {
			reason = LowerTier
		}
		if reason == None {
			decides = f.Campaign.Type
			total += weight
		}
		all = append(all, judged{weight, reason})
	}
	if total > 0 {
		e.Tier, e.Reason = decides.String(), None.String()
	} else if e.Reason == None.String() {
		e.Reason = NoneEligible.String()
	}
	e.Flights = []Line{}
	for f := range x.c.Flights() {
		j := all[len(e.Flights)]
		line := x.line(f)
		line.Weight = j.weight
		line.Reason = j.reason.String()
		line.Wanted, line.Found = x.compared(f, j.reason)
		if j.reason == None {
			line.Probability = float64(j.weight) / float64(total)
		}
		if j.weight > 0 {
			line.Ads = x.ads(f)
		}
		e.Flights = append(e.Flights, line)
	}
}

func (x *explainer) line(f *Flight) Line {
	line := Line{Flight: f.Slug, CampaignType: f.Campaign.Type.String()}
	line.ViewsNeed, line.ClicksNeed = f.needs(x.now)
	add := func(name, unit string, a *Account) {
		if a != nil {
			line.Accounts = append(line.Accounts, AccountState{Budget: name, Unit: unit, Left: a.Left.Load(), InFlight: a.InFlight.Load(), Settled: a.Settled.Load(), Rate: a.Rho.Load()})
		}
	}
	add("views", "events", f.Views)
	if f.Views != nil {
		line.Accounts[len(line.Accounts)-1].Pacing = x.pacing(f, lease.FlightViews)
	}
	add("clicks", "events", f.Clicks)
	if f.Clicks != nil {
		line.Accounts[len(line.Accounts)-1].Pacing = x.pacing(f, lease.FlightClicks)
	}
	add("day", "micros", f.DayAccount(x.day))
	if f.Campaign.Type == catalog.Paid {
		add("publisher_day", "micros", x.q.publisher.DayAccount(x.day))
	}
	return line
}

// pacing is where the flight's budget of a kind stands; nil where it is not paced.
func (x *explainer) pacing(f *Flight, kind lease.Kind) *PacingState {
	if x.c.pacer == nil {
		return nil
	}
	p, paced := x.c.pacer.Pace(lease.Of(kind, f.ID, 0))
	if !paced {
		return nil
	}
	account, sold := f.Views, f.SoldViews
	if kind == lease.FlightClicks {
		account, sold = f.Clicks, f.SoldClicks
	}
	return &PacingState{
		Sold: sold, Plan: f.schedule.Planned(sold, x.now), Delivered: account.Settled.Load(),
		Leased: p.Leased, Released: rounded(p.Released), PerSecond: rounded(p.Rate), Share: rounded(p.Share),
	}
}

// rounded is to a millionth: more is noise.
func rounded(n float64) float64 { return math.Round(n*1e6) / 1e6 }

func (x *explainer) ads(f *Flight) []AdLine {
	var lines []AdLine
	total := int64(0)
	for _, a := range f.Ads {
		if placement, weight := x.q.weighAd(a); a.Live && weight > 0 {
			lines = append(lines, AdLine{Ad: a.Slug, Placement: placement, Weight: weight})
			total += weight
		}
	}
	for i := range lines {
		lines[i].Probability = float64(lines[i].Weight) / float64(total)
	}
	return lines
}

// forced explains a request that names an ad or a campaign: each flight that
// it may get is as likely as the others.
func (x *explainer) forced(e *Explanation) {
	e.Flights = []Line{}
	if a := x.c.adSlugs[x.r.ForceAd]; a != nil {
		if placement, weight := x.q.weighAd(a); weight > 0 && e.Reason == None.String() {
			line := x.line(a.Of)
			line.Reason, line.Probability = e.Reason, 1
			line.Ads = []AdLine{{a.Slug, placement, weight, 1}}
			e.Flights = append(e.Flights, line)
		}
	} else if of := x.c.campaigns[x.r.ForceCampaign]; of != nil && x.r.ForceAd == "" {
		for _, f := range of.flights {
			if x.q.hasAd(f) {
				line := x.line(f)
				line.Reason, line.Ads = e.Reason, x.ads(f)
				e.Flights = append(e.Flights, line)
			}
		}
		for i := range e.Flights {
			e.Flights[i].Probability = 1 / float64(len(e.Flights))
		}
	}
}
