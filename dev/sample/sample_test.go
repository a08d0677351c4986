package sample

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

var today = time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)

// TestStableSlugs: other programs refer to these names.
func TestStableSlugs(t *testing.T) {
	d := Catalog(today)
	i := slices.IndexFunc(d.Publishers, func(p Publisher) bool { return p.Slug == "sample-docs" })
	if i < 0 {
		t.Fatal("there is no publisher sample-docs")
	}
	p := d.Publishers[i]
	if !p.UnauthedAdDecisions || p.CacheAds || p.Disabled || !slices.Contains(p.Groups, "sample") ||
		!p.AllowPaidCampaigns || !p.AllowAffiliateCampaigns || !p.AllowCommunityCampaigns || !p.AllowHouseCampaigns {
		t.Errorf("sample-docs: %+v", p)
	}
	if !slices.ContainsFunc(d.Advertisers, func(a Named) bool { return a.Slug == "sample-advertiser" }) {
		t.Error("there is no advertiser sample-advertiser")
	}
	for _, kind := range []string{"paid", "affiliate", "community", "publisher-house", "house"} {
		i := slices.IndexFunc(d.Campaigns, func(c Campaign) bool { return c.Slug == "sample-"+kind })
		if i < 0 {
			t.Errorf("there is no campaign sample-%s", kind)
		} else if c := d.Campaigns[i]; c.CampaignType != kind || !slices.Equal(c.PublisherGroups, []string{"sample"}) || c.Advertiser != "sample-advertiser" {
			t.Errorf("campaign %+v", c)
		}
	}
	for _, slug := range []string{"image-v1", "text-v1"} {
		if !slices.ContainsFunc(d.AdTypes, func(a AdType) bool { return a.Slug == slug }) {
			t.Errorf("there is no ad type %s", slug)
		}
	}
}

func TestEveryKindIsThere(t *testing.T) {
	d := Catalog(today)
	if n := len(d.Flights); n < 55 || n > 70 {
		t.Errorf("%d flights, want about 60", n)
	}
	used := map[string]bool{}
	kinds := map[string]bool{}
	campaignType := map[string]string{}
	for _, c := range d.Campaigns {
		campaignType[c.Slug] = c.CampaignType
	}
	for _, f := range d.Flights {
		kinds[campaignType[f.Campaign]] = true
		v := reflect.ValueOf(f.Targeting)
		for i := range v.NumField() {
			if !v.Field(i).IsZero() {
				used[v.Type().Field(i).Name] = true
			}
		}
	}
	for i := range reflect.TypeFor[Targeting]().NumField() {
		if name := reflect.TypeFor[Targeting]().Field(i).Name; !used[name] {
			t.Errorf("no flight uses the targeting %s", name)
		}
	}
	for _, kind := range []string{"paid", "affiliate", "community", "publisher-house", "house"} {
		if !kinds[kind] {
			t.Errorf("no flight of a campaign of type %s", kind)
		}
	}
}

func TestReferencesExist(t *testing.T) {
	d := Catalog(today)
	known := map[string]bool{}
	add := func(kind, slug string) {
		if known[kind+slug] {
			t.Errorf("%s %s is there twice", kind, slug)
		}
		known[kind+slug] = true
	}
	need := func(kind string, slugs ...string) {
		for _, slug := range slugs {
			if !known[kind+slug] {
				t.Errorf("there is no %s %s", kind, slug)
			}
		}
	}
	for _, x := range d.AdTypes {
		add("ad type ", x.Slug)
	}
	for _, x := range d.Topics {
		add("topic ", x.Slug)
	}
	for _, x := range d.GeoRegions {
		add("geo region ", x.Slug)
		if !slices.IsSorted(x.Countries) {
			t.Errorf("the countries of %s are not in order", x.Slug)
		}
	}
	for _, x := range d.PublisherGroups {
		add("group ", x.Slug)
	}
	for _, x := range d.Publishers {
		add("publisher ", x.Slug)
		need("group ", x.Groups...)
	}
	for _, x := range d.Advertisers {
		add("advertiser ", x.Slug)
	}
	for _, x := range d.Campaigns {
		add("campaign ", x.Slug)
		need("advertiser ", x.Advertiser)
		need("group ", x.PublisherGroups...)
		need("publisher ", x.ExcludePublishers...)
	}
	for _, x := range d.Flights {
		add("flight ", x.Slug)
		need("campaign ", x.Campaign)
		need("geo region ", x.Targeting.IncludeRegions...)
		need("geo region ", x.Targeting.ExcludeRegions...)
		need("topic ", x.Targeting.IncludeTopics...)
		need("publisher ", x.Targeting.IncludePublishers...)
		need("publisher ", x.Targeting.ExcludePublishers...)
		if x.CPMMicros%1000 != 0 {
			t.Errorf("%s: %d micros per thousand views is not whole micros a view", x.Slug, x.CPMMicros)
		}
		if x.SoldViews+x.SoldClicks == 0 {
			t.Errorf("%s sells nothing", x.Slug)
		}
		if x.StartDate != "2026-03-13" || x.EndDate <= "2026-03-14" {
			t.Errorf("%s runs from %s to %s", x.Slug, x.StartDate, x.EndDate)
		}
	}
	for _, x := range d.Ads {
		add("ad ", x.Slug)
		need("flight ", x.Flight)
		need("ad type ", x.AdTypes...)
	}
}
