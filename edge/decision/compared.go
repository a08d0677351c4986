package decision

import (
	"fmt"
	"slices"
	"strings"

	"nearside/sync/catalog"
	"nearside/sync/lease"
)

// compared are the values that a filter compared: what the flight asks for
// and what the request, or the moment, has.
func (x *explainer) compared(f *Flight, reason Reason) (wanted, found string) {
	t := &f.Targeting
	list := func(items []string) string { return strings.Join(items, ", ") }
	country := "unknown"
	if x.q.country != 0 {
		country = string(x.r.Country[:])
	}
	state := strings.TrimRight(string(x.r.State[:]), "\x00")
	switch reason {
	case CampaignType:
		var allowed []string
		for _, c := range catalog.CampaignTypes() {
			if x.q.types.Has(c) {
				allowed = append(allowed, c.String())
			}
		}
		return f.Campaign.Type.String(), list(allowed)
	case PublisherDailyCap:
		settled := int64(0)
		if a := x.q.publisher.DayAccount(x.day); a != nil {
			settled = a.Settled.Load()
		}
		return fmt.Sprintf("earned below %d", x.q.publisher.DailyCap), fmt.Sprint(settled)
	case Group:
		return x.groups(f.Campaign.PublisherGroups), x.groups(x.q.publisher.Groups)
	case CampaignExcludes:
		return "not one of the campaign's exclude_publishers", x.q.publisher.Slug
	case NotLive:
		return "live", "not live"
	case Paused, Killed:
		return catalog.Run.String(), f.State().String()
	case NotStarted:
		return "from " + f.StartDate.String(), x.day.String()
	case AdType:
		return x.adTypesOf(f), x.adTypesAsked()
	case IncludeCountries:
		return list(t.IncludeCountries), country
	case IncludeStateProvinces:
		return list(t.IncludeStateProvinces), state
	case IncludeMetroCodes:
		return fmt.Sprint(t.IncludeMetroCodes), fmt.Sprint(x.r.Metro)
	case ExcludeCountries:
		return "none of " + list(t.ExcludeCountries), country
	case IncludeRegions:
		return list(t.IncludeRegions), country
	case ExcludeRegions:
		return "none of " + list(t.ExcludeRegions), country
	case CountryCap:
		return fmt.Sprintf("at most %v of %s", f.TrafficCap.Countries[country], country), fmt.Sprint(f.TrafficFill.Countries[country])
	case RegionCap:
		for _, z := range f.targets.zonesOver {
			if z.member[x.q.country] {
				return fmt.Sprintf("at most %v of %s", f.TrafficCap.GeoRegions[z.slug], z.slug), fmt.Sprint(f.TrafficFill.GeoRegions[z.slug])
			}
		}
	case IncludeKeywords:
		return list(t.IncludeKeywords), list(x.keywords())
	case ExcludeKeywords:
		return "none of " + list(t.ExcludeKeywords), list(x.keywords())
	case IncludeTopics:
		return list(t.IncludeTopics), list(x.keywords())
	case MobileTraffic:
		device := "not mobile"
		if x.q.mobile {
			device = "mobile"
		}
		return t.MobileTraffic, device
	case IncludePublishers:
		return list(t.IncludePublishers), x.q.publisher.Slug
	case ExcludePublishers:
		return "none of " + list(t.ExcludePublishers), x.q.publisher.Slug
	case PublisherCap:
		slug := x.q.publisher.Slug
		return fmt.Sprintf("at most %v of %s", f.TrafficCap.Publishers[slug], slug), fmt.Sprint(f.TrafficFill.Publishers[slug])
	case IncludeDomains:
		return list(t.IncludeDomains), x.r.Host
	case ExcludeDomains:
		return "none of " + list(t.ExcludeDomains), x.r.Host
	case Exhausted:
		return "something left of " + x.sold(f), x.delivered(f) + " delivered"
	case Ended:
		return "until " + f.EndDate.String(), x.day.String()
	case OnPace:
		return x.planned(f), x.releasedOf(f)
	case Days:
		return list(t.Days), catalog.WeekdayName(x.q.weekday)
	case Niche:
		if x.q.page != nil {
			if distance, known := x.q.page.distances[f.Advertiser.ID]; known {
				return fmt.Sprintf("distance below %v", t.NicheTargeting), fmt.Sprint(distance)
			}
		}
		return fmt.Sprintf("distance below %v", t.NicheTargeting), "unknown"
	case DailyCap:
		settled := int64(0)
		if a := f.DayAccount(x.day); a != nil {
			settled = a.Settled.Load()
		}
		return fmt.Sprintf("%d still fits below %d", f.price, f.Flight.DailyCap), fmt.Sprint(settled)
	case Broker:
		return "this node is the flight's broker in its region", "another one is"
	case Lease:
		if kind := f.waitsFor(x.now); kind != "" {
			return "room for one more event of each kind that it needs", "more " + kind + " are on their way from the core"
		}
		return "room for one more event", "see accounts"
	case FrequencyCap:
		return fmt.Sprintf("at most %d in %d s", f.Flight.FrequencyCap, f.FrequencyWindow), "reached"
	case Competing:
		return "no other ad of " + f.Advertiser.Slug + " on the page", "one"
	case LowerTier:
		return "no eligible flight in a higher tier", "one or more"
	}
	return "", ""
}

func (x *explainer) sold(f *Flight) string {
	return fmt.Sprintf("%d views and %d clicks sold", f.SoldViews, f.SoldClicks)
}

// planned is what the plan asks for by now, releasedOf what has come of it.
func (x *explainer) planned(f *Flight) string {
	views, clicks := f.needs(x.now)
	return fmt.Sprintf("a plan that has more due: by now %d views and %d clicks of %s, in this interval still %d and %d",
		f.schedule.Planned(f.SoldViews, x.now), f.schedule.Planned(f.SoldClicks, x.now), x.sold(f), views, clicks)
}

func (x *explainer) releasedOf(f *Flight) string {
	text := x.delivered(f) + " delivered"
	for _, kind := range [...]lease.Kind{lease.FlightViews, lease.FlightClicks} {
		if p := x.pacing(f, kind); p != nil && p.Sold > 0 {
			text += fmt.Sprintf("; of %d leased here %g released, %g more a second", p.Leased, p.Released, p.PerSecond)
		}
	}
	return text
}

func (x *explainer) delivered(f *Flight) string {
	views, clicks := int64(0), int64(0)
	if f.Views != nil {
		views = f.Views.Settled.Load()
	}
	if f.Clicks != nil {
		clicks = f.Clicks.Settled.Load()
	}
	return fmt.Sprintf("%d views and %d clicks", views, clicks)
}

func (x *explainer) groups(ids []uint32) string {
	var slugs []string
	for i := range x.c.snapshot.Groups {
		if slices.Contains(ids, x.c.snapshot.Groups[i].ID) {
			slugs = append(slugs, x.c.snapshot.Groups[i].Slug)
		}
	}
	if slugs == nil {
		return "no group"
	}
	return strings.Join(slugs, ", ")
}

func (x *explainer) adTypesOf(f *Flight) string {
	var slugs []string
	for i := range x.c.snapshot.AdTypes {
		if f.carries(int32(i)) {
			slugs = append(slugs, x.c.snapshot.AdTypes[i].Slug)
		}
	}
	if slugs == nil {
		return "no live ad"
	}
	return strings.Join(slugs, ", ")
}

func (x *explainer) adTypesAsked() string {
	var slugs []string
	for _, p := range x.r.Placements {
		slugs = append(slugs, p.AdType)
	}
	return strings.Join(slugs, ", ")
}
