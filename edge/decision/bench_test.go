package decision_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"nearside/edge/decision"
	"nearside/sync/catalog"
	"nearside/sync/lease"
)

// bazaar is a catalog as an ad network's might be: n live flights, all
// running, seven of ten paid, spread over topics, countries and devices.
//
//	all of them      one of 2 ad types, live; campaigns in 1 of 4 publisher groups, every fifth in all four
//	50 %             include 1 to 6 of 40 countries, or (one in five) a geo region of 10
//	40 %             include 1 of 40 topics of 25 keywords, half of these 2 to 5 keywords instead
//	10 %             exclude 2 keywords
//	20 %             only mobile, or not mobile
//	10 %             not at weekends
//	 5 %             include 1 of 50 publishers, 5 % a domain
//
// Publishers are in one group each. selective, from 10 000 flights up, means that
// no flight goes without keywords or topics, and that there are 50 times as many
// of both.
func bazaar(n int, selective bool) *catalog.Snapshot {
	random := rand.New(rand.NewPCG(1, uint64(n)))
	day := catalog.DayOf(noon)
	s := &catalog.Snapshot{Version: 1}
	topics := 40
	if selective {
		topics *= 50
	}
	for i := range 50 {
		s.Advertisers = append(s.Advertisers, catalog.Advertiser{ID: uint32(i) + 1, Slug: fmt.Sprint("advertiser", i)})
		s.Publishers = append(s.Publishers, catalog.Publisher{
			ID: uint32(i) + 1, Slug: fmt.Sprint("publisher", i), Groups: []uint32{uint32(i%4) + 1},
			AllowPaid: true, AllowAffiliate: true, AllowCommunity: true, AllowHouse: true, AllowAPIKeywords: true,
		})
	}
	for i := range 4 {
		s.Groups = append(s.Groups, catalog.Group{ID: uint32(i) + 1, Slug: fmt.Sprint("group", i)})
		s.GeoRegions = append(s.GeoRegions, catalog.GeoRegion{ID: uint32(i) + 1, Slug: fmt.Sprint("geo", i), Countries: countriesFrom(i*10, 10)})
	}
	s.AdTypes = []catalog.AdType{{ID: 1, Slug: "image"}, {ID: 2, Slug: "text"}}
	for i := range topics {
		var words []string
		for k := range 25 {
			words = append(words, keyword(i*25+k))
		}
		s.Topics = append(s.Topics, catalog.Topic{ID: uint32(i) + 1, Slug: fmt.Sprint("topic", i), Keywords: words})
	}
	for i := range n {
		id := uint32(i) + 1
		c := catalog.Campaign{ID: id, Slug: fmt.Sprint("campaign", i), Advertiser: uint32(random.IntN(50)) + 1, PublisherGroups: []uint32{uint32(random.IntN(4)) + 1}}
		if random.IntN(5) == 0 {
			c.PublisherGroups = []uint32{1, 2, 3, 4}
		}
		if kind := random.IntN(10); kind >= 7 {
			c.Type = catalog.CampaignType(kind - 6)
		}
		f := catalog.Flight{
			ID: id, Slug: fmt.Sprint("flight", i), Campaign: id, Live: true, StartDate: day - 10, EndDate: day + 20,
			PacingInterval: 3600, PriorityMultiplier: 1 + random.Int32N(3), CPC: 2_000_000, SoldClicks: 1 + random.Int64N(10_000), SampledCTR: 0.1,
		}
		if random.IntN(2) == 0 {
			f.CPC, f.SoldClicks, f.CPM, f.SoldViews = 0, 0, 3_500_000, random.Int64N(1_000_000)+1
		}
		t := &f.Targeting
		switch random.IntN(10) {
		case 0, 1, 2, 3:
			t.IncludeCountries = countriesFrom(random.IntN(40), 1+random.IntN(6))
		case 4:
			t.IncludeRegions = []string{fmt.Sprint("geo", random.IntN(4))}
		}
		if by := random.IntN(10); by < 2 || selective && by < 5 {
			t.IncludeTopics = []string{fmt.Sprint("topic", random.IntN(topics))}
		} else if by < 4 || selective {
			for range 2 + random.IntN(4) {
				t.IncludeKeywords = append(t.IncludeKeywords, keyword(random.IntN(topics*25)))
			}
		}
		if random.IntN(10) == 0 {
			t.ExcludeKeywords = []string{keyword(random.IntN(topics * 25)), keyword(random.IntN(topics * 25))}
		}
		t.MobileTraffic = []string{"", "", "", "", "", "", "", "", "only", "exclude"}[random.IntN(10)]
		if random.IntN(10) == 0 {
			t.Days = []string{"monday", "tuesday", "wednesday", "thursday", "friday"}
		}
		switch random.IntN(20) {
		case 0:
			t.IncludePublishers = []string{fmt.Sprint("publisher", random.IntN(50))}
		case 1:
			t.IncludeDomains = []string{fmt.Sprintf("site%d.example", random.IntN(50))}
		}
		s.Campaigns = append(s.Campaigns, c)
		s.Flights = append(s.Flights, f)
		for k := range 2 {
			s.Ads = append(s.Ads, catalog.Ad{ID: uint32(i*2+k) + 1, Slug: fmt.Sprintf("ad%d-%d", i, k), Flight: id, AdTypes: []uint32{uint32(random.IntN(2)) + 1}, Live: true})
		}
	}
	return s
}

var noon = time.Date(2026, time.March, 4, 12, 30, 0, 0, time.UTC)

func keyword(i int) string { return fmt.Sprint("keyword", i) }

// countriesFrom are n of 40 countries, from the i-th on and around.
func countriesFrom(i, n int) []string {
	var codes []string
	for k := range n {
		k = (i + k) % 40
		codes = append(codes, string([]byte{'A' + byte(k/26), 'A' + byte(k%26)}))
	}
	return codes
}

// visits are requests of many shapes: five keywords of two neighbouring
// topics, any country, one in four mobile.
func visits(c *decision.Catalog, n int) []decision.Request {
	random := rand.New(rand.NewPCG(2, 3))
	words := len(c.Snapshot().Topics) * 25
	requests := make([]decision.Request, n)
	for i := range requests {
		r := &requests[i]
		publisher := random.IntN(50)
		r.Publisher = c.Publisher(fmt.Sprint("publisher", publisher))
		r.Placements = []decision.Placement{{DivID: "div", AdType: []string{"image", "text"}[random.IntN(2)], Priority: 1}}
		from := random.IntN(words)
		for range 5 {
			r.Keywords = append(r.Keywords, keyword((from+random.IntN(50))%words))
		}
		copy(r.Country[:], countriesFrom(random.IntN(40), 1)[0])
		r.Mobile = random.IntN(4) == 0
		r.Host = fmt.Sprintf("site%d.example", publisher)
		r.URL = "https://" + r.Host + "/page"
	}
	return requests
}

// endless are accounts that never run out.
type endless struct{}

func (endless) Account(lease.Budget) *decision.Account {
	a := new(decision.Account)
	a.Left.Store(1 << 40)
	a.Settled.Store(1)
	return a
}

func (endless) Switch(uint32) *decision.Switch { return new(decision.Switch) }

func compileBazaar(t testing.TB, n int) *decision.Catalog {
	c, err := decision.Compile(bazaar(n, n >= 10_000), endless{}, catalog.DayOf(noon))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// BenchmarkDecide is one decision among n live flights, for requests of a
// shape that the catalog has not seen (unseen: candidates from the index) and
// for requests whose candidates are in a cache (seen). Reading the request and
// naming its shape are part of both.
func BenchmarkDecide(b *testing.B) {
	for _, size := range []struct {
		name    string
		flights int
	}{{"10", 10}, {"100", 100}, {"1k", 1000}, {"10k", 10_000}, {"100k", 100_000}} {
		c := compileBazaar(b, size.flights)
		requests := visits(c, 512)
		now := noon.UnixMilli()
		var s decision.Scratch
		var out decision.Outcome
		b.Run(size.name+"/unseen", func(b *testing.B) {
			b.ReportAllocs()
			filled, total := 0, int64(0)
			for i := 0; b.Loop(); i++ {
				c.Decide(&requests[i%len(requests)], &s, now, uint64(i), &out)
				if out.Filled {
					filled++
				}
				total++
			}
			b.ReportMetric(float64(filled)/float64(total), "fill")
		})
		b.Run(size.name+"/seen", func(b *testing.B) {
			b.ReportAllocs()
			cache := make(map[decision.Shape]*decision.Candidates)
			candidates := 0
			for i := range requests {
				shape := c.Shape(&requests[i], &s, now)
				cache[shape] = c.Candidates(&s)
				candidates += cache[shape].Len()
			}
			for i := 0; b.Loop(); i++ {
				r := &requests[i%len(requests)]
				c.DecideAmong(cache[c.Shape(r, &s, now)], r, &s, now, uint64(i), &out)
			}
			b.ReportMetric(float64(candidates)/float64(len(requests)), "candidates")
		})
	}
}

// BenchmarkCompile is what a new catalog costs.
func BenchmarkCompile(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		s := bazaar(n, n >= 10_000)
		b.Run(fmt.Sprintf("flights=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := decision.Compile(s, endless{}, catalog.DayOf(noon)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkExplain(b *testing.B) {
	c := compileBazaar(b, 1000)
	requests := visits(c, 64)
	for i := 0; b.Loop(); i++ {
		c.Explain(&requests[i%len(requests)], noon.UnixMilli())
	}
}
