package decision

import (
	"math/bits"

	"nearside/sync/catalog"
)

// Decide chooses an ad for a request at now, in unix milliseconds. The same
// catalog, request, accounts, now and seed give the same outcome. It finds the
// candidates in the index, tier by tier; DecideAmong takes them from a cache.
func (c *Catalog) Decide(r *Request, s *Scratch, now int64, seed uint64, out *Outcome) {
	p := c.begin(r, s, now, seed, out)
	if p == nil {
		return
	}
	c.resolve(r, s, p, now)
	c.reach(s)
	s.list.clear()
	m := moment{now, catalog.DayOfMillis(now)}
	for tier := catalog.Paid; tier <= catalog.House; tier++ {
		if !s.query.types.Has(tier) {
			continue
		}
		from := len(s.list.positions)
		c.collect(s, tier)
		if c.choose(&s.list, from, len(s.list.positions), tier, r, s, m, seed, out) {
			s.unmark()
			s.query.chooseAd(seed, out)
			return
		}
	}
	s.unmark()
	out.refuse(len(s.list.positions))
}

func (out *Outcome) refuse(candidates int) {
	out.Reason = NoneEligible
	if candidates == 0 {
		out.Reason = NoCandidates
	}
}

// begin clears what the last decision left, and settles what is settled by the
// gate or by force. It returns the publisher if there is still something to
// decide.
func (c *Catalog) begin(r *Request, s *Scratch, now int64, seed uint64, out *Outcome) *Publisher {
	*out = Outcome{}
	s.refused = s.refused[:0]
	p := c.current(r.Publisher)
	switch {
	case p == nil:
		out.Reason = NoCandidates
	case r.PlacementIndex > 0 && !p.AllowMultiplePlacements:
		out.Reason = MultiplePlacements
	case r.Mobile && p.IgnoreMobileTraffic:
		out.Reason = MobileIgnored
	case r.ForceAd != "" || r.ForceCampaign != "":
		c.force(r, c.resolve(r, s, p, now), seed, out)
		return nil
	default:
		return p
	}
	s.query.read = false
	return nil
}

// current is p in this catalog, since a request may still name the publisher
// of the one before.
func (c *Catalog) current(p *Publisher) *Publisher {
	if p == nil || p.catalog == c {
		return p
	}
	return c.publishers[p.Slug]
}

// Refused are the flights that matched the last request made with this
// scratch but could not be offered, and why. It is valid until the next one.
func (s *Scratch) Refused() []Refusal { return s.refused }

// moment is now, in unix milliseconds, and the day it is on.
type moment struct {
	now int64
	day catalog.Day
}

// stopped says whether the flight may not be offered at all at a moment.
func (f *Flight) stopped(m moment) Reason {
	switch f.State() {
	case catalog.Run:
	case catalog.Pause:
		return Paused
	default:
		return Killed
	}
	if m.now < f.schedule.Start {
		return NotStarted
	}
	return None
}

// refusesClient checks what the client and its page have had. A roadblock wants
// a page to itself: it joins no other, and lets no other join.
func (f *Flight) refusesClient(r *Request) Reason {
	switch {
	case contains(r.Capped, f.ID):
		return FrequencyCap
	case r.Alone != 0:
		if f.ID != r.Alone {
			return Competing
		}
	case contains(r.Taken, f.Advertiser.ID), f.Roadblock && len(r.Taken) > 0:
		return Competing
	}
	return None
}

// chooseAd draws one of the flight's live ads by weight. A flight is a
// candidate only if it has one of a requested type.
func (q *query) chooseAd(seed uint64, out *Outcome) {
	total := int64(0)
	for _, a := range out.Flight.Ads {
		if a.live {
			_, weight := q.weighAd(a)
			total += weight
		}
	}
	drawn := draw(seed, adDraw, total)
	for _, a := range out.Flight.Ads {
		if !a.live {
			continue
		}
		placement, weight := q.weighAd(a)
		if drawn < weight {
			out.Filled, out.Ad, out.Placement = true, a, placement
			return
		}
		drawn -= weight
	}
}

// weighAd is the first placement that the ad matches and its weight there; the
// weight is 0 if it matches none.
func (q *query) weighAd(a *Ad) (placement int, weight int64) {
	for i, p := range q.placements {
		if !a.is(p.adType) {
			continue
		}
		weight := p.priority + a.ctrWeight
		if q.page != nil {
			if similarity, known := q.page.similarities[a.ID]; known {
				weight += step(similarity, similaritySteps)
			}
		}
		return i, weight
	}
	return 0, 0
}

// force answers a request that names an ad or a campaign. Nothing is asked of
// the flight; the ad must carry a requested type, and be live unless it is
// named itself.
func (c *Catalog) force(r *Request, q *query, seed uint64, out *Outcome) {
	out.Forced = true
	if r.ForceAd != "" {
		a := c.adSlugs[r.ForceAd]
		if a == nil || r.ForceCampaign != "" && a.Of.Campaign.Slug != r.ForceCampaign {
			out.Reason = UnknownForced
			return
		}
		placement, weight := q.weighAd(a)
		if weight == 0 {
			out.Reason = ForcedAdType
			return
		}
		out.Filled, out.Flight, out.Ad, out.Placement = true, a.Of, a, placement
		return
	}
	of := c.campaigns[r.ForceCampaign]
	if of == nil {
		out.Reason = UnknownForced
		return
	}
	possible := int64(0)
	for _, f := range of.flights {
		if q.hasAd(f) {
			possible++
		}
	}
	if possible == 0 {
		out.Reason = ForcedAdType
		return
	}
	drawn := draw(seed, flightDraw, possible)
	for _, f := range of.flights {
		if !q.hasAd(f) {
			continue
		}
		if drawn == 0 {
			out.Flight = f
			break
		}
		drawn--
	}
	q.chooseAd(seed, out)
}

// hasAd reports whether the flight has a live ad of a requested type.
func (q *query) hasAd(f *Flight) bool {
	for _, a := range f.Ads {
		if _, weight := q.weighAd(a); a.Live && weight > 0 {
			return true
		}
	}
	return false
}

// The draws that one decision makes from its seed.
const (
	flightDraw = 1
	adDraw     = 2
)

// draw is a number from 0 to below n, which is positive: the high half of n
// times a number that splitmix64 makes of the seed and the draw.
func draw(seed, which uint64, n int64) int64 {
	z := seed + which*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	z ^= z >> 31
	high, _ := bits.Mul64(z, uint64(n))
	return int64(high)
}
