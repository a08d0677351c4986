package publish_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"nearside/core/admin"
	"nearside/core/postgres"
	"nearside/core/postgres/query"
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

func open(t *testing.T, url string) *core {
	t.Helper()
	db, err := postgres.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return &core{db: db, publisher: publish.New(db, quiet), api: admin.New(db, admin.Options{Version: "test", Log: quiet})}
}

// run keeps the core's publisher current until the test ends. Nothing wakes it
// but the database.
func (c *core) run(t *testing.T) *core {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { c.publisher.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return c
}

func (c *core) load(t *testing.T, document string) uint64 {
	t.Helper()
	done, err := c.api.Import(t.Context(), "test", []byte(document))
	if err != nil {
		t.Fatal(admin.Explain(err))
	}
	return uint64(done.CatalogVersion)
}

func (c *core) has(version uint64) func() bool {
	return func() bool { v, _ := c.publisher.Current(); return v == version }
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
    frequency_cap: 3
    frequency_window_seconds: 7200
    roadblock: true
    targeting: {include_regions: [benelux], days: [monday], include_topics: [python]}
    traffic_cap: {countries: {NL: 0.5}}
ads:
  - {slug: ad, name: Ad, flight: autumn, ad_types: [image-v1], headline: H, link: "https://example.com/"}
`

func TestPublish(t *testing.T) {
	c := open(t, testpg.New(t)).run(t)
	c.wait(t, "the first version", c.has(1))

	done, err := c.api.Import(t.Context(), "test", []byte(document))
	if err != nil {
		t.Fatal(err)
	}
	if done.Created != 9 || done.Changed != 0 || done.CatalogVersion == 0 {
		t.Fatalf("import: %+v", done)
	}
	c.wait(t, "the import's version", c.has(uint64(done.CatalogVersion)))
	_, bytes := c.publisher.Current()
	s, err := catalog.Decode(bytes)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Flights) != 1 || s.Flights[0].SoldViews != 1000 || s.Flights[0].FrequencyCap != 3 ||
		s.Flights[0].FrequencyWindow != 7200 || !s.Flights[0].Roadblock || s.Flights[0].Targeting.Days[0] != "monday" ||
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

// TestDeltas: an edge that has an older version is given the deltas from there,
// by the core that built the versions and by another; they make what is
// published. Where they are not all there, or not smaller, it is the whole.
func TestDeltas(t *testing.T) {
	url := testpg.New(t)
	here, there := open(t, url), open(t, url)
	here.publisher.DeltasFrom(1)
	there.publisher.DeltasFrom(1)
	here.run(t)
	there.run(t)
	var ads strings.Builder // so many that a delta is worth it
	for i := range 200 {
		fmt.Fprintf(&ads, "  - {slug: ad-%d, name: Ad, flight: autumn, ad_types: [image-v1], headline: %x, link: \"https://example.com/\"}\n", i, sha256.Sum256([]byte{byte(i)}))
	}
	first := here.load(t, document+ads.String())
	both := func(version uint64) {
		t.Helper()
		here.wait(t, fmt.Sprint("version ", version), here.has(version))
		there.wait(t, fmt.Sprint("version ", version, " at the other core"), there.has(version))
	}
	both(first)
	_, published := here.publisher.Current()
	base, err := catalog.Decode(published)
	if err != nil {
		t.Fatal(err)
	}
	var last uint64
	for i := range 3 {
		last = here.load(t, fmt.Sprintf("publishers: [{slug: site, name: Site %d, groups: [docs], allow_paid_campaigns: true}]", i))
		both(last)
	}
	for name, c := range map[string]*core{"the core that was written to": here, "the other": there} {
		version, whole, steps := c.publisher.Newer(first, true)
		if version != last || whole != nil || len(steps) != 3 {
			t.Fatalf("%s gives version %d, %d bytes, %d deltas, want the 3 to %d", name, version, len(whole), len(steps), last)
		}
		s := base
		for _, b := range steps {
			d, err := catalog.DecodeDelta(b)
			if err != nil {
				t.Fatal(err)
			}
			if s, _, err = d.Apply(s); err != nil {
				t.Fatal(err)
			}
		}
		if s.Version != last || s.Publishers[0].Name != "Site 2" {
			t.Errorf("%s: the deltas make version %d with %+v", name, s.Version, s.Publishers)
		}
		for _, at := range []struct {
			since  uint64
			deltas bool
		}{{first, false}, {first - 1, true}, {0, true}} {
			if _, whole, steps := c.publisher.Newer(at.since, at.deltas); whole == nil || steps != nil {
				t.Errorf("%s, since %d, deltas %v: %d bytes and %d deltas, want the whole", name, at.since, at.deltas, len(whole), len(steps))
			}
		}
		if _, whole, steps := c.publisher.Newer(last, true); whole != nil || steps != nil {
			t.Errorf("%s has something newer than the newest", name)
		}
	}
}

// TestTwoCores writes at one core and sees it at the other, and at a third
// that starts later. Nothing but a notification of the database can have told
// the second: it does not look by itself.
func TestTwoCores(t *testing.T) {
	url := testpg.New(t)
	first, second := open(t, url), open(t, url)
	first.publisher.Pace(time.Millisecond, time.Hour)
	second.publisher.Pace(time.Millisecond, time.Hour)
	first.run(t)
	second.run(t)
	first.wait(t, "the first version", first.has(1))
	second.wait(t, "the first version", second.has(1))

	version := first.load(t, document)
	second.wait(t, "the other core's write", second.has(version))
	first.wait(t, "its own write", first.has(version))
	say(t, second, "pause")
	first.wait(t, "the other core's pause", func() bool { return first.publisher.ControlVersion() == 1 })

	third := open(t, url)
	if err := third.publisher.Prime(t.Context()); err != nil {
		t.Fatal(err)
	}
	second.wait(t, "the pause's catalog", second.has(version+1))
	first.wait(t, "the pause's catalog", first.has(version+1))
	if err := third.publisher.Prime(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, a := first.publisher.Current()
	_, b := second.publisher.Current()
	_, c := third.publisher.Current()
	if !bytes.Equal(a, b) || !bytes.Equal(a, c) {
		t.Error("three cores publish different bytes of one version")
	}
	if got := third.publisher.Controls(0); len(got) != 1 || got[0].Version != 1 || got[0].State != uint32(catalog.Pause) {
		t.Errorf("the third core's controls: %v", got)
	}
}

// say says a control through the database alone, as the API does.
func say(t *testing.T, c *core, verb string) {
	t.Helper()
	text, _, err := c.api.CreateToken(t.Context(), "test", admin.Token{Name: verb, Role: admin.RoleAdmin})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/v1/flights/autumn/"+verb, nil)
	r.Header.Set("Authorization", "Bearer "+text)
	recorder := httptest.NewRecorder()
	c.api.ServeHTTP(recorder, r)
	if recorder.Code != http.StatusOK {
		t.Fatalf("%s: %d %s", verb, recorder.Code, recorder.Body)
	}
}

// TestBurst writes faster than versions may be built: few are.
func TestBurst(t *testing.T) {
	c := open(t, testpg.New(t))
	const gap = 250 * time.Millisecond
	c.publisher.Pace(gap, time.Hour)
	c.run(t)
	c.wait(t, "the first version", c.has(1))
	built, start := c.publisher.Stats().Built.Load(), time.Now()
	var version uint64
	for i := range 40 {
		version = c.load(t, fmt.Sprintf("topics: [{slug: t%d, name: T}]", i))
	}
	c.wait(t, "the last write", c.has(version))
	most := int64(time.Since(start)/gap) + 1
	if got := c.publisher.Stats().Built.Load() - built; got > most || got < 1 {
		t.Errorf("40 writes made %d versions in %s, want at most %d", got, time.Since(start), most)
	}
	s := decode(t, c)
	if len(s.Topics) != 40 {
		t.Errorf("the newest version has %d topics", len(s.Topics))
	}
}

func decode(t *testing.T, c *core) *catalog.Snapshot {
	t.Helper()
	_, bytes := c.publisher.Current()
	s, err := catalog.Decode(bytes)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestControlsDoNotWait pauses and resumes while no build may start.
func TestControlsDoNotWait(t *testing.T) {
	c := open(t, testpg.New(t))
	version := c.load(t, document)
	c.publisher.Pace(time.Hour, time.Hour)
	c.run(t)
	c.wait(t, "the first build", c.has(version))
	for i, verb := range []string{"pause", "resume", "kill"} {
		say(t, c, verb)
		c.wait(t, verb, func() bool { return c.publisher.ControlVersion() == uint64(i+1) })
		got := c.publisher.Controls(uint64(i))
		if len(got) != 1 || got[0].State != []uint32{uint32(catalog.Pause), uint32(catalog.Run), uint32(catalog.Kill)}[i] {
			t.Errorf("after %s: %v", verb, got)
		}
		if got := c.publisher.Controls(uint64(i + 1)); len(got) != 0 {
			t.Errorf("after %s there is more: %v", verb, got)
		}
	}
	if !c.has(version)() {
		t.Error("a version was built although none may be: the test shows nothing")
	}
}

// TestControlsPassABuild pauses while a build stands still.
func TestControlsPassABuild(t *testing.T) {
	url := testpg.New(t)
	c := open(t, url)
	version := c.load(t, document)
	c.publisher.Pace(time.Millisecond, time.Hour)
	c.run(t)
	c.wait(t, "the first build", c.has(version))

	locker, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = locker.Close(context.WithoutCancel(t.Context())) }()
	// A build reads the ads, a pause does not.
	if _, err := locker.Exec(t.Context(), `BEGIN; LOCK TABLE ads IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	version = c.load(t, "topics: [{slug: go, name: Go}]")
	for waiting := false; !waiting; { // until the build stands
		if err := locker.QueryRow(t.Context(), `SELECT count(*) > 0 FROM pg_locks WHERE NOT granted`).Scan(&waiting); err != nil {
			t.Fatal(err)
		}
	}
	say(t, c, "pause")
	c.wait(t, "the pause", func() bool { return c.publisher.ControlVersion() == 1 })
	if c.has(version)() {
		t.Error("the build did not stand still: the test shows nothing")
	}
	if _, err := locker.Exec(t.Context(), `COMMIT`); err != nil {
		t.Fatal(err)
	}
	c.wait(t, "the catalog with the pause", c.has(version+1))
}

// TestHiddenFlight keeps a deleted flight for a day, killed, so that clicks
// find their way, and then drops it with its ads.
func TestHiddenFlight(t *testing.T) {
	c := open(t, testpg.New(t))
	c.load(t, document)
	text, _, err := c.api.CreateToken(t.Context(), "test", admin.Token{Name: "t", Role: admin.RoleAdmin})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodDelete, "/v1/flights/autumn", nil)
	r.Header.Set("Authorization", "Bearer "+text)
	recorder := httptest.NewRecorder()
	if c.api.ServeHTTP(recorder, r); recorder.Code != http.StatusNoContent {
		t.Fatalf("%d %s", recorder.Code, recorder.Body)
	}
	for _, at := range []struct {
		later   time.Duration
		flights int
	}{{0, 1}, {23 * time.Hour, 1}, {25 * time.Hour, 0}} {
		var s *catalog.Snapshot
		err := c.db.InSnapshot(t.Context(), func(q *query.Queries) (err error) {
			s, err = publish.Read(t.Context(), q, time.Now().Add(at.later))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(); err != nil {
			t.Error(err)
		}
		if len(s.Flights) != at.flights || len(s.Ads) != at.flights {
			t.Errorf("%s later there are %d flights and %d ads, want %d", at.later, len(s.Flights), len(s.Ads), at.flights)
		}
		for _, f := range s.Flights {
			if f.State != catalog.Kill || f.Control != 1 {
				t.Errorf("the deleted flight is at %s by control %d", f.State, f.Control)
			}
		}
	}
}

// TestBadCatalog keeps the last good version while the database holds what
// does not encode, and goes on when it does again.
func TestBadCatalog(t *testing.T) {
	url := testpg.New(t)
	c := open(t, url)
	c.publisher.Pace(time.Millisecond, 10*time.Millisecond)
	good := c.load(t, document)
	c.run(t)
	c.wait(t, "the good version", c.has(good))
	sql(t, url, `UPDATE flights SET targeting = '{"days": ["someday"]}'; UPDATE counters SET catalog_version = catalog_version + 1; NOTIFY nearside_catalog`)
	failed := c.publisher.Stats().Failed.Load()
	for c.publisher.Stats().Failed.Load() < failed+2 { // it looks again every 10 ms
		runtime.Gosched()
	}
	if !c.has(good)() {
		t.Error("a catalog that does not encode was published")
	}
	sql(t, url, `UPDATE flights SET targeting = '{}'; UPDATE counters SET catalog_version = catalog_version + 1; NOTIFY nearside_catalog`)
	c.wait(t, "a good version again", c.has(good+2))
}

// TestLostConnection goes on after the database has thrown everybody out.
func TestLostConnection(t *testing.T) {
	url := testpg.New(t)
	c := open(t, url).run(t)
	c.wait(t, "the first version", c.has(1))
	sql(t, url, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
	other := open(t, url)
	version := other.load(t, document)
	c.wait(t, "what was written meanwhile", c.has(version))
}

// TestForget drops what is older than seven days, but never the newest.
func TestForget(t *testing.T) {
	url := testpg.New(t)
	c := open(t, url)
	for i := range 3 {
		c.load(t, fmt.Sprintf("topics: [{slug: t%d, name: T}]", i))
		if err := c.publisher.Prime(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	versions := func() (n int) {
		t.Helper()
		rows, err := c.db.Queries().ListCatalogVersions(t.Context(), 1<<62, 100)
		if err != nil {
			t.Fatal(err)
		}
		return len(rows)
	}
	now := time.Now()
	for _, step := range []struct {
		later time.Duration
		left  int
	}{{0, 3}, {publish.Keep - time.Minute, 3}, {publish.Keep + time.Minute, 1}, {10 * publish.Keep, 1}} {
		if err := publish.Forget(c.publisher, t.Context(), now.Add(step.later)); err != nil {
			t.Fatal(err)
		}
		if got := versions(); got != step.left {
			t.Errorf("%s later there are %d versions, want %d", step.later, got, step.left)
		}
	}
}

// TestSubscribe is told of every change until its context ends.
func TestSubscribe(t *testing.T) {
	c := open(t, testpg.New(t)).run(t)
	ctx, cancel := context.WithCancel(t.Context())
	one, two := c.publisher.Subscribe(ctx), c.publisher.Subscribe(t.Context())
	c.wait(t, "the first version", c.has(1))
	<-one
	<-two
	cancel()
	c.publisher.Unsubscribed(1)
	version := c.load(t, document)
	c.wait(t, "the import", c.has(version))
	<-two
	select {
	case <-one:
		t.Error("told after it was forgotten")
	default:
	}
}

func sql(t *testing.T, url, statements string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	_, err = conn.PgConn().Exec(t.Context(), statements).ReadAll()
	if err := errors.Join(err, conn.Close(t.Context())); err != nil {
		t.Fatalf("%s: %v", statements, err)
	}
}
