package world

import (
	"context"
	"fmt"
	"net/http"
	neturl "net/url"
	"time"
)

// Line is a flight with a publisher of its own, so that nothing competes with
// it: campaign, flight, ad, publisher and group all have its name.
type Line struct {
	Slug       string
	Views      int64 // sold; 0: none
	Clicks     int64
	CPM, CPC   int64 // micros
	NotLive    bool
	Days       int // until it ends; 0: 30
	DailyCap   int64
	PacingEven bool // along its days, not as soon as possible
}

// Sell makes one through the admin API.
func (w *World) Sell(ctx context.Context, l Line) error {
	type object map[string]any
	days, pacing := l.Days, "asap"
	if days == 0 {
		days = 30
	}
	if l.PacingEven {
		pacing = "even"
	}
	day := func(n int) string { return time.Now().UTC().AddDate(0, 0, n).Format(time.DateOnly) }
	flight := object{
		"slug": l.Slug, "name": l.Slug, "campaign": l.Slug, "live": !l.NotLive, "start_date": day(-1), "end_date": day(days), "pacing": pacing,
		"cpm_micros": l.CPM, "sold_views": l.Views, "cpc_micros": l.CPC, "sold_clicks": l.Clicks,
	}
	if l.DailyCap > 0 {
		flight["daily_cap_micros"] = l.DailyCap
	}
	for _, step := range []struct {
		path string
		body object
	}{
		{"/v1/publisher-groups", object{"slug": l.Slug, "name": l.Slug}},
		{"/v1/publishers", object{
			"slug": l.Slug, "name": l.Slug, "groups": []string{l.Slug}, "unauthed_ad_decisions": true, "allow_paid_campaigns": true, "cache_ads": false,
		}},
		{"/v1/campaigns", object{
			"slug": l.Slug, "name": l.Slug, "advertiser": "sample-advertiser", "campaign_type": "paid", "publisher_groups": []string{l.Slug},
		}},
		{"/v1/flights", flight},
		{"/v1/ads", object{
			"slug": l.Slug, "name": l.Slug, "flight": l.Slug, "ad_types": []string{"image-v1", "text-v1"}, "headline": "It works",
			"link": "https://www.example.com/?publisher=${publisher}", "image_url": "https://images.example.com/a.png", "live": true,
		}},
	} {
		status, body, err := w.Admin(ctx, http.MethodPost, step.path, step.body)
		if err != nil {
			return fmt.Errorf("sell %s: %w", l.Slug, err)
		}
		if status/100 != 2 {
			return fmt.Errorf("sell %s: %s is answered with %d: %s", l.Slug, step.path, status, body)
		}
	}
	return nil
}

// Query is a request for an ad that only this line can fill.
func (l Line) Query() neturl.Values {
	return neturl.Values{"publisher": {l.Slug}, "div_ids": {"ad"}, "ad_types": {"image-v1"}, "url": {"https://docs.example.com/page"}}
}
