package bench

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"nearside/sync/catalog"
)

// countries are where the requests of the measurements come from.
var countries = []string{"US", "DE", "FR", "GB", "IN", "BR", "JP", "CA", "AU", "NL", "SE", "PL", "ES", "IT", "MX", "KR", "SG", "ZA", "AR", "CH"}

// shape makes a catalog of n live flights with selective targeting, the same
// for every run: three of four flights name 1 to 4 of 20 countries, three of five
// 1 to 3 of n/4 (at least 40) keywords, one in ten excludes mobile clients, and
// each belongs to one of max(1, n/1000) publisher groups, so that the flights that
// match one request grow far slower than n: about 130 of 1 000, and as many of
// 100 000. Every flight sells views without pacing and has two ads.
func shape(n int, now time.Time) *catalog.Snapshot {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	groups := max(1, n/1000)
	keywords := max(40, n/4)
	s := &catalog.Snapshot{
		Version:     1,
		PublishedAt: now.UnixMilli(),
		Advertisers: []catalog.Advertiser{{ID: 1, Slug: "advertiser", Name: "Advertiser"}},
		AdTypes: []catalog.AdType{
			{ID: 1, Slug: "image-v1", Name: "Image", HasImage: true, HasText: true, MaxText: 80},
			{ID: 2, Slug: "text-v1", Name: "Text", HasText: true, MaxText: 100},
		},
	}
	for g := range groups {
		id := uint32(g + 1)
		s.Groups = append(s.Groups, catalog.Group{ID: id, Slug: fmt.Sprintf("group-%d", id), Name: "Group"})
		s.Campaigns = append(s.Campaigns, catalog.Campaign{
			ID: id, Slug: fmt.Sprintf("campaign-%d", id), Name: "Campaign", Advertiser: 1, Type: catalog.Paid, PublisherGroups: []uint32{id},
		})
		s.Publishers = append(s.Publishers, catalog.Publisher{
			ID: id, Slug: fmt.Sprintf("publisher-%d", id), Name: "Publisher", Groups: []uint32{id},
			UnauthedAdDecisions: true, AllowPaid: true, AllowAPIKeywords: true, AllowMultiplePlacements: true,
		})
	}
	pick := func(from []string, most int) []string {
		out := make([]string, 0, most)
		for range 1 + r.IntN(most) {
			out = append(out, from[r.IntN(len(from))])
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	words := make([]string, keywords)
	for i := range words {
		words[i] = keyword(i)
	}
	for i := range n {
		id := uint32(i + 1)
		f := catalog.Flight{
			ID: id, Slug: fmt.Sprintf("flight-%d", id), Name: "Flight", Campaign: uint32(r.IntN(groups) + 1), Live: true,
			StartDate: catalog.DayOf(now) - 10, EndDate: catalog.DayOf(now) + 20,
			CPM: catalog.Micros(1000 * (500 + r.IntN(9000))), SoldViews: 1 << 41,
			Pacing: catalog.ASAP, PacingInterval: 3600, PriorityMultiplier: 1,
		}
		if r.IntN(4) > 0 {
			f.Targeting.IncludeCountries = pick(countries, 4)
		}
		if r.IntN(5) < 3 {
			f.Targeting.IncludeKeywords = pick(words, 3)
		}
		if r.IntN(10) == 0 {
			f.Targeting.MobileTraffic = "exclude"
		}
		s.Flights = append(s.Flights, f)
		for j := range 2 {
			ad := id*2 - 1 + uint32(j)
			s.Ads = append(s.Ads, catalog.Ad{
				ID: ad, Slug: fmt.Sprintf("ad-%d", ad), Name: "Ad", Flight: id, AdTypes: []uint32{1, 2}, Live: true,
				Headline: "Docs that write themselves", Content: "Try the tool that thousands of teams use every day.", CTA: "Start free",
				Link: "https://example.com/landing?utm_source=docs", ImageURL: "https://media.example.com/ad.png",
			})
		}
	}
	return s
}

func keyword(i int) string { return fmt.Sprintf("keyword-%d", i) }
