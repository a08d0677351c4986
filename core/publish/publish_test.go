package publish_test

import (
	"context"
	"io"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"nearside/core/admin"
	"nearside/core/postgres"
	"nearside/core/publish"
	"nearside/dev/testpg"
	"nearside/sync/catalog"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		testpg.Stop()
		os.Exit(code)
	}))
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// core is one core: its own connections, publisher and API.
type core struct {
	db        *postgres.DB
	publisher *publish.Publisher
	api       *admin.API
}

func start(t *testing.T, url string, wake bool) *core {
	t.Helper()
	db, err := postgres.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	c := &core{db: db, publisher: publish.New(db, quiet)}
	options := admin.Options{Version: "test", Log: quiet}
	if wake {
		options.Wake = c.publisher.Wake
	}
	c.api = admin.New(db, options)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { c.publisher.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return c
}

// wait waits until the publisher says what done wants.
func (c *core) wait(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	changed := c.publisher.Subscribe(ctx)
	for !done() {
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("%s did not happen", what)
		}
	}
}

const document = `
advertisers: [{slug: acme, name: Acme}]
publisher_groups: [{slug: docs, name: Docs}]
publishers:
  - {slug: site, name: Site, groups: [docs], allow_paid_campaigns: true, daily_cap_micros: 5000000}
ad_types: [{slug: image-v1, name: Image, max_text_length: 100}]
topics: [{slug: python, name: Python, keywords: [Django, python]}]
geo_regions: [{slug: benelux, name: Benelux, countries: [NL, BE, LU]}]
campaigns:
  - {slug: paid, name: Paid, advertiser: acme, campaign_type: paid, publisher_groups: [docs]}
flights:
  - slug: autumn
    name: Autumn
    campaign: paid
    live: true
    start_date: 2025-09-01
    end_date: "2025-11-30"
    cpm_micros: 2000000
    sold_views: 1000
    targeting: {include_regions: [benelux], days: [monday], include_topics: [python]}
    traffic_cap: {countries: {NL: 0.5}}
ads:
  - {slug: ad, name: Ad, flight: autumn, ad_types: [image-v1], headline: H, link: "https://example.com/"}
`

func TestPublish(t *testing.T) {
	c := start(t, testpg.New(t), true)
	c.wait(t, "the first version", func() bool { v, _ := c.publisher.Current(); return v == 1 })

	done, err := c.api.Import(t.Context(), "test", []byte(document))
	if err != nil {
		t.Fatal(err)
	}
	if done.Created != 9 || done.Changed != 0 || done.CatalogVersion == 0 {
		t.Fatalf("import: %+v", done)
	}
	c.wait(t, "the import's version", func() bool { v, _ := c.publisher.Current(); return v == uint64(done.CatalogVersion) })
	_, bytes := c.publisher.Current()
	s, err := catalog.Decode(bytes)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Flights) != 1 || s.Flights[0].SoldViews != 1000 || s.Flights[0].Targeting.Days[0] != "monday" ||
		s.Flights[0].TrafficCap.Countries["NL"] != 0.5 || s.Topics[0].Keywords[0] != "django" ||
		s.Publishers[0].DailyCap != 5000000 || !s.Publishers[0].CacheAds || s.Campaigns[0].Type != catalog.Paid ||
		s.AdTypes[0].MaxText != 100 || s.Ads[0].AdTypes[0] != s.AdTypes[0].ID {
		t.Errorf("the snapshot is not what was imported: %+v", s)
	}

	again, err := c.api.Import(t.Context(), "test", []byte(document))
	if err != nil {
		t.Fatal(err)
	}
	if again.Unchanged != 9 || again.CatalogVersion != done.CatalogVersion {
		t.Errorf("the same import again: %+v, want nothing changed at version %d", again, done.CatalogVersion)
	}
}
