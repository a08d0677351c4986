package learn_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"nearside/core/admin"
	"nearside/core/jobs"
	"nearside/core/learn"
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

const document = `
advertisers: [{slug: acme, name: Acme}]
publisher_groups: [{slug: docs, name: Docs}]
publishers:
  - {slug: site, name: Site, groups: [docs], allow_paid_campaigns: true}
  - {slug: blog, name: Blog, groups: [docs], allow_paid_campaigns: true}
  - {slug: free, name: Free, groups: [docs], allow_paid_campaigns: false}
ad_types: [{slug: image-v1, name: Image}]
geo_regions:
  - {slug: benelux, name: Benelux, countries: [NL, BE, LU]}
  - {slug: europe, name: Europe, countries: [NL, BE, LU, DE]}
campaigns:
  - {slug: paid, name: Paid, advertiser: acme, campaign_type: paid, publisher_groups: [docs]}
  - {slug: house, name: House, advertiser: acme, campaign_type: house, publisher_groups: [docs]}
flights:
  - {slug: spring, name: Spring, campaign: paid, live: true, start_date: 2026-03-01, end_date: "2026-05-31", cpm_micros: 2000000, sold_views: 1000000,
     traffic_cap: {countries: {NL: 0.5, DE: 0.001}, regions: {benelux: 0.6}, publishers: {blog: 0.25}}}
  - {slug: open, name: Open, campaign: paid, live: true, start_date: 2026-03-01, end_date: "2026-05-31", cpm_micros: 2000000, sold_views: 1000000}
  - {slug: off, name: Off, campaign: paid, live: false, start_date: 2026-03-01, end_date: "2026-05-31", cpm_micros: 2000000, sold_views: 1000000}
  - {slug: ours, name: Ours, campaign: house, live: true, start_date: 2026-03-01, end_date: "2026-05-31"}
  - {slug: waves, name: Waves, campaign: paid, live: true, start_date: 2026-03-01, end_date: "2026-05-31", cpm_micros: 2000000, sold_views: 1000000, pacing: traffic}
  - {slug: mondays, name: Mondays, campaign: paid, live: true, start_date: 2026-03-09, end_date: "2026-05-31", cpm_micros: 2000000, sold_views: 1000000, pacing: traffic,
     targeting: {days: [monday]}}
ads:
  - {slug: spring-ad, name: A, flight: spring, ad_types: [image-v1], link: "https://example.com/"}
  - {slug: spring-dead, name: A, flight: spring, ad_types: [image-v1], link: "https://example.com/", live: false}
  - {slug: off-ad, name: A, flight: "off", ad_types: [image-v1], link: "https://example.com/"}
  - {slug: ours-ad, name: A, flight: ours, ad_types: [image-v1], link: "https://example.com/"}
`

// world is a core's database with a catalog, at a time of its own.
type world struct {
	*testing.T
	db      *postgres.DB
	api     *admin.API
	learner *learn.Learner
	woken   int
	now     time.Time
	ids     map[string]int32 // of flights, ads and publishers, by slug
}

func open(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, now: clock("2026-03-17 03:30"), ids: map[string]int32{"": 0}}
	var err error
	if w.db, err = postgres.Open(t.Context(), testpg.New(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.db.Close)
	w.api = admin.New(w.db, admin.Options{Version: "test", Log: quiet})
	w.learner = learn.New(w.db, func() { w.woken++ })
	w.load(document)
	s := w.catalog()
	for _, p := range s.Publishers {
		w.ids[p.Slug] = int32(p.ID)
	}
	for _, f := range s.Flights {
		w.ids[f.Slug] = int32(f.ID)
	}
	for _, a := range s.Ads {
		w.ids[a.Slug] = int32(a.ID)
	}
	return w
}

func clock(text string) time.Time {
	at, err := time.Parse("2006-01-02 15:04", text)
	if err != nil {
		panic(err)
	}
	return at
}

func (w *world) load(document string) {
	w.Helper()
	if _, err := w.api.Import(w.Context(), "test", []byte(document)); err != nil {
		w.Fatal(admin.Explain(err))
	}
}

func (w *world) sql(statement string, args ...any) {
	w.Helper()
	err := w.db.InTx(w.Context(), func(tx pgx.Tx) error {
		_, err := tx.Exec(w.Context(), statement, args...)
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
}

// rollups replaces what was counted. A line is: time, flight, ad, publisher,
// country (- for unknown), views, clicks.
func (w *world) rollups(lines string) {
	w.Helper()
	w.sql("TRUNCATE rollups")
	for line := range strings.Lines(lines) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) != 8 {
			w.Fatalf("rollup %q", line)
		}
		ids := make([]int32, 3)
		for i, slug := range f[2:5] {
			id, known := w.ids[slug]
			if !known {
				w.Fatalf("there is no %s", slug)
			}
			ids[i] = id
		}
		n, err := strconv.ParseInt(f[6], 10, 64)
		if err != nil {
			w.Fatal(err)
		}
		clicks, err := strconv.ParseInt(f[7], 10, 64)
		if err != nil {
			w.Fatal(err)
		}
		w.sql(`INSERT INTO rollups (hour, region, flight, ad, publisher, country, views, clicks, unbilled_views)
			VALUES ($1, 'eu', $2, $3, $4, $5, $6, $7, 1000000)`,
			clock(f[0]+" "+f[1]), ids[0], ids[1], ids[2], strings.Trim(f[5], "-"), n, clicks)
	}
}

func (w *world) version() int64 {
	w.Helper()
	v, err := w.db.Queries().CatalogVersion(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	return v
}

// catalog is what the core publishes now, as an edge decodes it.
func (w *world) catalog() *catalog.Snapshot {
	w.Helper()
	var s *catalog.Snapshot
	err := w.db.InSnapshot(w.Context(), func(q *query.Queries) (err error) {
		s, err = publish.Read(w.Context(), q, w.now)
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	bytes, err := catalog.Encode(s)
	if err != nil {
		w.Fatal(err)
	}
	if s, err = catalog.Decode(bytes); err != nil {
		w.Fatal(err)
	}
	return s
}

func (w *world) flight(slug string) catalog.Flight {
	w.Helper()
	for _, f := range w.catalog().Flights {
		if f.Slug == slug {
			return f
		}
	}
	w.Fatalf("there is no flight %s", slug)
	return catalog.Flight{}
}

func (w *world) learn(job func(context.Context, time.Time) (string, error)) string {
	w.Helper()
	said, err := job(w.Context(), w.now)
	if err != nil {
		w.Fatal(err)
	}
	return said
}

// ctrs are the CTRs of the catalog that are known, as "kind slug ctr".
func (w *world) ctrs() string {
	w.Helper()
	var known []string
	say := func(kind, slug string, ctr float64) {
		if ctr != 0 {
			known = append(known, fmt.Sprintf("%s %s %.4g", kind, slug, ctr))
		}
	}
	s := w.catalog()
	for _, p := range s.Publishers {
		say("publisher", p.Slug, p.SampledCTR)
	}
	for _, f := range s.Flights {
		say("flight", f.Slug, f.SampledCTR)
	}
	for _, a := range s.Ads {
		say("ad", a.Slug, a.SampledCTR)
	}
	return strings.Join(known, ", ")
}

// TestSampledCTR: rollups in, CTRs in the catalog out. It is 2026-03-17 03:30.
func TestSampledCTR(t *testing.T) {
	w := open(t)
	for _, c := range []struct {
		about   string
		rollups string // time, flight, ad, publisher, country, views, clicks
		want    string
	}{
		{"nothing was counted", ``, ``},
		{"a publisher needs one view, a flight and an ad need 1000", `
			2026-03-16 12:00  spring spring-ad  site NL  999 1`,
			`publisher site 0.1001`},
		{"a thousand views", `
			2026-03-16 12:00  spring spring-ad  site NL  1000 1`,
			`publisher site 0.1, flight spring 0.1, ad spring-ad 0.1`},
		{"they may come from anywhere, and any hour", `
			2026-03-14 12:00  spring spring-ad  site NL  500 1
			2026-03-16 12:00  spring spring-ad  site DE  300 1
			2026-03-17 02:00  spring spring-ad  blog -   200 0`,
			`publisher site 0.25, flight spring 0.2, ad spring-ad 0.2`},
		{"the first hour of seven days ago counts", `
			2026-03-10 00:00  spring spring-ad  site NL  1000 3`,
			`publisher site 0.3, flight spring 0.3, ad spring-ad 0.3`},
		{"seven days and an hour ago do not", `
			2026-03-09 23:00  spring spring-ad  site NL  1000000 30`,
			``},
		{"no clicks are a CTR of nothing", `
			2026-03-16 12:00  spring spring-ad  site NL  100000 0`,
			``},
		{"a flight without a view, but with late clicks", `
			2026-03-16 12:00  spring spring-ad  site NL  0 5`,
			``},
		{"more clicks than views, of views before the sample began", `
			2026-03-10 00:00  spring spring-ad  site NL  1000 1001`,
			`publisher site 100, flight spring 100, ad spring-ad 100`},
		{"house campaigns say nothing of a publisher", `
			2026-03-16 12:00  ours ours-ad  site NL  1000 5`,
			`flight ours 0.5, ad ours-ad 0.5`},
		{"nor is a publisher sampled that allows no paid campaigns", `
			2026-03-16 12:00  spring spring-ad  free NL  1000 5`,
			`flight spring 0.5, ad spring-ad 0.5`},
		{"an ad that is not live is not sampled, its flight and publisher are", `
			2026-03-16 12:00  spring spring-dead site NL  1000 5`,
			`publisher site 0.5, flight spring 0.5`},
		{"nor are the flights that are not live and their ads", `
			2026-03-16 12:00  off off-ad site NL  1000 5`,
			`publisher site 0.5`},
	} {
		w.sql("TRUNCATE sampled_ctrs")
		w.rollups(c.rollups)
		w.learn(w.learner.CTRs)
		if got := w.ctrs(); got != c.want {
			t.Errorf("%s: %s\nwant %s", c.about, got, c.want)
		}
	}
}

// TestSampledCTRNights: when does a night make a catalog version, and what
// stays of the night before?
func TestSampledCTRNights(t *testing.T) {
	w := open(t)
	for _, night := range []struct {
		about   string
		rollups string
		version bool
		want    string
	}{
		{"nothing was counted", ``, false, ``},
		{"the first samples", `
			2026-03-16 12:00  spring spring-ad  site NL  1000000 1000
			2026-03-16 12:00  spring spring-ad  blog NL  1000000 2000`,
			true, `publisher site 0.1, publisher blog 0.2, flight spring 0.15, ad spring-ad 0.15`},
		{"nothing new", `
			2026-03-16 12:00  spring spring-ad  site NL  1000000 1000
			2026-03-16 12:00  spring spring-ad  blog NL  1000000 2000`,
			false, `publisher site 0.1, publisher blog 0.2, flight spring 0.15, ad spring-ad 0.15`},
		{"nearly a hundredth more is the same", `
			2026-03-16 12:00  spring spring-ad  site NL  1000000 1009
			2026-03-16 12:00  spring spring-ad  blog NL  1000000 2000`,
			false, `publisher site 0.1, publisher blog 0.2, flight spring 0.15, ad spring-ad 0.15`},
		{"two hundredths are not; what came with it is taken along", `
			2026-03-16 12:00  spring spring-ad  site NL  1000000 1020
			2026-03-16 12:00  spring spring-ad  blog NL  1000000 2010`,
			true, `publisher site 0.102, publisher blog 0.201, flight spring 0.1515, ad spring-ad 0.1515`},
		{"too few views: the last sample of flight and ad stays, the publisher's is new", `
			2026-03-16 12:00  spring spring-ad  site NL  999 9`,
			true, `publisher site 0.9009, publisher blog 0.201, flight spring 0.1515, ad spring-ad 0.1515`},
		{"no views at all: everything stays", ``, false,
			`publisher site 0.9009, publisher blog 0.201, flight spring 0.1515, ad spring-ad 0.1515`},
		{"down to nothing", `
			2026-03-16 12:00  spring spring-ad  site NL  100000 0`,
			true, `publisher blog 0.201`},
	} {
		before, woken := w.version(), w.woken
		w.rollups(night.rollups)
		said := w.learn(w.learner.CTRs)
		if got := w.ctrs(); got != night.want {
			t.Errorf("%s: %s\nwant %s", night.about, got, night.want)
		}
		if made := w.version() - before; made != map[bool]int64{true: 1}[night.version] || w.woken-woken != int(made) {
			t.Errorf("%s: made %d versions, woke %d times, want %v (%s)", night.about, made, w.woken-woken, night.version, said)
		}
	}
	entries, err := w.db.Queries().ListAuditOf(t.Context(), "sampled_ctrs", math.MaxInt64, 10)
	if err != nil || len(entries) != 4 || entries[0].Actor != "the core" || entries[0].Action != "learn" {
		t.Errorf("the audit log says %+v, %v; want the four versions", entries, err)
	}
}

// fill is a fill as "name share, name share".
func fill(shares map[string]float64) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(shares)) {
		parts = append(parts, fmt.Sprintf("%s %.4g", name, shares[name]))
	}
	return strings.Join(parts, ", ")
}

// TestTrafficFill: rollups in, the shares of a flight's views out. The flight
// spring caps NL at 0.5, DE at 0.001, benelux at 0.6 and blog at 0.25.
func TestTrafficFill(t *testing.T) {
	w := open(t)
	for _, c := range []struct {
		about                          string
		rollups                        string
		countries, regions, publishers string // of the flight spring, in the catalog
	}{
		{"nothing was counted", ``, ``, ``, ``},
		{"all its life counts, not the last days alone", `
			2025-06-01 00:00  spring spring-ad  site NL  600 0
			2026-03-16 12:00  spring spring-ad  blog BE  400 0`,
			`NL 0.6`, `benelux 1`, `blog 0.4`},
		{"unknown countries are part of the whole, and of no country", `
			2026-03-16 12:00  spring spring-ad  site NL  250 0
			2026-03-16 12:00  spring spring-ad  site -   750 0`,
			`NL 0.25`, `benelux 0.25`, ``},
		{"what is capped at little is kept, however little it has", `
			2026-03-16 12:00  spring spring-ad  site US  9980 0
			2026-03-16 12:00  spring spring-ad  site DE  20 0`,
			`DE 0.002`, ``, ``},
		{"unbilled views and clicks fill nothing; a flight without views has no fill", `
			2026-03-16 12:00  spring spring-ad  site NL  0 50`,
			``, ``, ``},
		{"other flights' views are not its own", `
			2026-03-16 12:00  spring spring-ad  site US  10 0
			2026-03-16 12:00  open   spring-ad  blog NL  990 0`,
			``, ``, ``},
	} {
		w.sql("TRUNCATE traffic_fills")
		w.rollups(c.rollups)
		w.learn(w.learner.Fill)
		got := w.flight("spring").TrafficFill
		if fill(got.Countries) != c.countries || fill(got.GeoRegions) != c.regions || fill(got.Publishers) != c.publishers {
			t.Errorf("%s: countries %s; regions %s; publishers %s\nwant %s; %s; %s", c.about,
				fill(got.Countries), fill(got.GeoRegions), fill(got.Publishers), c.countries, c.regions, c.publishers)
		}
	}
}

// TestTrafficFillIsKept: what people see is more than what edges get: all from
// a hundredth up, but the largest 20 only, and of flights without caps too.
func TestTrafficFillIsKept(t *testing.T) {
	w := open(t)
	lines := ""
	for i := range 25 {
		lines += fmt.Sprintf("2026-03-16 12:00 open spring-ad site %c%c %d 0\n", 'A'+i, 'A', 1000+i)
	}
	lines += "2026-03-16 12:00 open spring-ad blog ZZ 250 0\n2026-03-16 12:00 off off-ad blog ZZ 250 0\n2026-03-16 12:00 ours ours-ad blog ZZ 250 0\n"
	w.rollups(lines)
	before := w.version()
	if said := w.learn(w.learner.Fill); said != "1 flights, 0 have changed at a cap" {
		t.Error(said)
	}
	rows, err := w.db.Queries().LearntOfFlights(t.Context(), []int32{w.ids["open"], w.ids["off"], w.ids["ours"]})
	if err != nil || len(rows) != 3 {
		t.Fatal(rows, err)
	}
	for _, r := range rows {
		var kept catalog.Shares
		if r.ID != w.ids["open"] {
			if r.Fill != nil {
				t.Errorf("flight %d, which is not live or not paid, has the fill %s", r.ID, r.Fill)
			}
			continue
		}
		if err := json.Unmarshal(r.Fill, &kept); err != nil {
			t.Fatal(err)
		}
		if len(kept.Countries) != 20 || kept.Countries["YA"] == 0 || kept.Countries["EA"] != 0 || kept.Countries["ZZ"] != 0 {
			t.Errorf("kept countries %s, want the largest 20", fill(kept.Countries))
		}
		if got := fill(kept.Publishers); got != "site 0.9902" {
			t.Errorf("kept publishers %s, want those that have a hundredth", got)
		}
	}
	if w.version() != before {
		t.Error("a catalog version was made of what no edge looks at")
	}
	if got := w.flight("open").TrafficFill; len(got.Countries)+len(got.Publishers)+len(got.GeoRegions) != 0 {
		t.Errorf("the catalog has the fill %+v of a flight without caps", got)
	}
}

// TestTrafficFillNights: when does a night make a catalog version?
func TestTrafficFillNights(t *testing.T) {
	w := open(t)
	for _, night := range []struct {
		about   string
		nl, us  int
		version bool
		want    string
	}{
		{"the first fill", 4000, 6000, true, "NL 0.4"},
		{"a little more", 4040, 5960, false, "NL 0.4"},
		{"and more, too little since the last version", 4049, 5951, false, "NL 0.4"},
		{"more than half a hundredth since", 4051, 5949, true, "NL 0.4051"},
		{"near its cap", 4999, 5001, true, "NL 0.4999"},
		{"over its cap, by little", 5001, 4999, true, "NL 0.5001"},
		{"and under it again", 5000, 5000, true, "NL 0.5"},
	} {
		w.rollups(fmt.Sprintf("2026-03-16 12:00 spring spring-ad site NL %d 0\n2026-03-16 12:00 spring spring-ad site US %d 0", night.nl, night.us))
		w.sql("UPDATE flights SET traffic_cap = '{\"countries\": {\"NL\": 0.5}}' WHERE slug = 'spring'")
		before := w.version()
		w.learn(w.learner.Fill)
		if got := fill(w.flight("spring").TrafficFill.Countries); got != night.want {
			t.Errorf("%s: %s, want %s", night.about, got, night.want)
		}
		if made := w.version() - before; made != map[bool]int64{true: 1}[night.version] {
			t.Errorf("%s: made %d versions, want %v", night.about, made, night.version)
		}
	}
}

// TestNights runs the three as the core does, through its job runner and its
// publisher: rollups in, published bytes out.
func TestNights(t *testing.T) {
	w := open(t)
	publisher := publish.New(w.db, quiet)
	if err := publisher.Prime(t.Context()); err != nil {
		t.Fatal(err)
	}
	before, _ := publisher.Current()
	w.rollups("2026-03-16 12:00 spring spring-ad site NL 1000 5\n2026-03-16 12:00 spring spring-ad blog BE 3000 0")
	r := jobs.New(w.db, jobs.Options{Log: quiet}, w.learner.Jobs()...)
	for _, j := range r.Jobs() {
		ran, err := r.Look(t.Context(), j.Name, w.now)
		if !ran || err != nil {
			t.Errorf("%s: ran is %v, %v", j.Name, ran, err)
		}
	}
	if err := publisher.Prime(t.Context()); err != nil {
		t.Fatal(err)
	}
	version, bytes := publisher.Current()
	s, err := catalog.Decode(bytes)
	if err != nil || version != before+3 || s.Version != version {
		t.Fatalf("version %d after %d, %v", version, before, err)
	}
	i := slices.IndexFunc(s.Flights, func(f catalog.Flight) bool { return f.Slug == "spring" })
	f := s.Flights[i]
	if f.SampledCTR != 0.125 || f.TrafficFill.Countries["NL"] != 0.25 || f.TrafficFill.GeoRegions["benelux"] != 1 ||
		f.TrafficFill.Publishers["blog"] != 0.75 || s.Ads[0].SampledCTR != 0.125 || s.Publishers[0].SampledCTR != 0.5 {
		t.Errorf("published %+v", f)
	}
}

// asked is what came in one hour: decisions, offers among them of the flight
// waves, and how often that was refused because it was on pace.
type asked struct{ decisions, offers, onPace int64 }

// weeks replaces what was decided, from a day's start until now.
func (w *world) weeks(from string, of func(hour time.Time) asked) {
	w.Helper()
	w.sql("TRUNCATE decision_counts, refusals")
	var hours []time.Time
	var none, offers, onPace []int64
	for at := clock(from + " 00:00"); at.Before(w.now); at = at.Add(time.Hour) {
		n := of(at)
		if n.decisions == 0 {
			continue
		}
		hours = append(hours, at)
		none, offers, onPace = append(none, n.decisions-n.offers), append(offers, n.offers), append(onPace, n.onPace)
	}
	w.sql(`INSERT INTO decision_counts (hour, region, publisher, country, flight, decisions, offers)
		SELECT hour, 'eu', $1::integer, 'NL', 0, n, 0 FROM unnest($3::timestamptz[], $4::bigint[]) AS r (hour, n)
		UNION ALL SELECT hour, 'eu', $1::integer, 'NL', $2::integer, n, n FROM unnest($3::timestamptz[], $5::bigint[]) AS r (hour, n)`,
		w.ids["site"], w.ids["waves"], hours, none, offers)
	w.sql(`INSERT INTO refusals (hour, region, flight, reason, n)
		SELECT hour, 'eu', $1::integer, 'on_pace', n FROM unnest($2::timestamptz[], $3::bigint[]) AS r (hour, n)
		UNION ALL SELECT hour, 'eu', $1::integer, 'include_countries', 100000 * extract(hour FROM hour)::bigint FROM unnest($2::timestamptz[]) AS hour`,
		w.ids["waves"], hours, onPace)
}

// demand says the weights of a few hours of a flight in the catalog; a flat
// week is 1000 in each hour.
func (w *world) demand(flight string) (said string) {
	w.Helper()
	d := w.flight(flight).Demand
	if d == nil {
		return "not known"
	}
	return fmt.Sprintf("Mon 03:00 %d, Mon 12:00 %d, Tue 12:00 %d, Sun 03:00 %d", d[3], d[12], d[24+12], d[6*24+3])
}

// TestDemand: decisions and refusals in, the curve of a week out. All requests
// together come by day, 300 an hour from 08:00 to 20:00, and 100 by night; the
// flight waves is asked for in different ways.
func TestDemand(t *testing.T) {
	w := open(t)
	w.now = clock("2026-03-30 00:05") // a Monday, four weeks after 2026-03-02
	type hours func(at time.Time) int64
	day := func(at time.Time) int64 {
		if at.Hour() >= 8 && at.Hour() < 20 {
			return 300
		}
		return 100
	}
	night := func(at time.Time) int64 { return 400 - day(at) }
	scaled := func(h hours, part int64) hours { return func(at time.Time) int64 { return h(at) / part } }
	none := func(time.Time) int64 { return 0 }
	for _, c := range []struct {
		about    string
		requests hours
		offers   hours // of waves
		onPace   hours // how often waves was refused because it was on pace
		from     string
		waves    string
		mondays  string
	}{
		{"nothing was ever counted", none, none, none, "2026-03-02",
			"Mon 03:00 1000, Mon 12:00 1000, Tue 12:00 1000, Sun 03:00 1000", "Mon 03:00 1000, Mon 12:00 1000, Tue 12:00 0, Sun 03:00 0"},
		{"of a flight nothing is known: it goes by all requests; by day three times the night", day, none, none, "2026-03-02",
			"Mon 03:00 512, Mon 12:00 1488, Tue 12:00 1488, Sun 03:00 512", "Mon 03:00 512, Mon 12:00 1488, Tue 12:00 0, Sun 03:00 0"},
		{"it is asked for by night, when others are not", day, scaled(night, 4), none, "2026-03-02",
			"Mon 03:00 1410, Mon 12:00 590, Tue 12:00 590, Sun 03:00 1410", ""},
		{"what it was refused because it was on pace is demand as well", day, scaled(night, 400), scaled(night, 4), "2026-03-02",
			"Mon 03:00 1410, Mon 12:00 590, Tue 12:00 590, Sun 03:00 1410", ""},
		{"little is known of it: between what was seen and all requests", day, scaled(night, 100), none, "2026-03-02",
			"Mon 03:00 794, Mon 12:00 1206, Tue 12:00 1206, Sun 03:00 794", ""},
		{"a few requests, on Tuesdays at noon", day, func(at time.Time) int64 {
			if at.Weekday() == time.Tuesday && at.Hour() == 12 {
				return 25
			}
			return 0
		}, none, "2026-03-02",
			"Mon 03:00 497, Mon 12:00 1445, Tue 12:00 6300, Sun 03:00 497", ""},
		{"one day only: nothing about the other days", day, scaled(night, 4), none, "2026-03-29",
			"Mon 03:00 1000, Mon 12:00 1000, Tue 12:00 1000, Sun 03:00 1227", ""},
	} {
		w.sql("TRUNCATE demands")
		w.weeks(c.from, func(at time.Time) asked { return asked{c.requests(at), c.offers(at), c.onPace(at)} })
		w.learn(w.learner.Demand)
		if got := w.demand("waves"); got != c.waves {
			t.Errorf("%s: waves %s\nwant %s", c.about, got, c.waves)
		}
		if got := w.demand("mondays"); c.mondays != "" && got != c.mondays {
			t.Errorf("%s: mondays %s\nwant %s", c.about, got, c.mondays)
		}
		if got := w.demand("spring"); got != "not known" {
			t.Errorf("%s: spring, which is paced evenly, has the curve %s", c.about, got)
		}
	}
}

// TestDemandNights: when does a night make a catalog version?
func TestDemandNights(t *testing.T) {
	w := open(t)
	w.sql("UPDATE flights SET live = false WHERE slug = 'mondays'")
	w.now = clock("2026-03-30 00:05")
	for _, night := range []struct {
		about   string
		noon    int64 // requests at 12:00, where 100 come in other hours
		traffic bool  // is a flight paced by it?
		version bool
	}{
		{"a flat week is what edges go by anyway", 100, true, false},
		{"nearly flat", 130, true, false},
		{"a busy noon", 500, true, true},
		{"the same", 500, true, false},
		{"busier, but no flight goes by it", 1000, false, false},
		{"now one does", 1000, true, true},
	} {
		w.sql("UPDATE flights SET pacing = $1 WHERE slug = 'waves'", map[bool]string{true: "traffic", false: "even"}[night.traffic])
		w.weeks("2026-03-02", func(at time.Time) asked {
			if at.Hour() == 12 {
				return asked{decisions: night.noon}
			}
			return asked{decisions: 100}
		})
		before := w.version()
		said := w.learn(w.learner.Demand)
		if made := w.version() - before; made != map[bool]int64{true: 1}[night.version] {
			t.Errorf("%s: made %d versions, want %v (%s)", night.about, made, night.version, said)
		}
	}
}

func TestHourOfWeek(t *testing.T) {
	for at, want := range map[string]int{
		"2026-03-02 00:00": 0, "2026-03-02 00:59": 0, "2026-03-03 12:00": 36, "2026-03-08 23:00": 167, "1970-01-01 00:00": 72,
	} {
		if got := learn.HourOfWeek(clock(at)); got != want {
			t.Errorf("%s is hour %d, want %d", at, got, want)
		}
	}
}

// TestCurve holds for whatever was seen: a curve has a mean of 1, no hour is
// below 0, and where nothing was seen it is the prior.
func TestCurve(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var seen, hours, prior learn.Week
		sum := 0.0
		for h := range seen {
			hours[h] = float64(rapid.IntRange(0, 4).Draw(t, "hours"))
			if hours[h] > 0 {
				seen[h] = float64(rapid.IntRange(0, 1000).Draw(t, "seen"))
			}
			prior[h] = rapid.Float64Range(0.01, 5).Draw(t, "prior")
			sum += prior[h]
		}
		for h := range prior {
			prior[h] *= catalog.HoursPerWeek / sum
		}
		few, many := learn.Curve(&seen, &hours, &prior, 20), learn.Curve(&seen, &hours, &prior, 0.001)
		for _, curve := range []learn.Week{few, many} {
			sum := 0.0
			for h, x := range curve {
				if !(x >= 0) {
					t.Fatalf("hour %d has %v", h, x)
				}
				sum += x
			}
			if math.Abs(sum-catalog.HoursPerWeek) > 1e-6 {
				t.Fatalf("the mean is %v", sum/catalog.HoursPerWeek)
			}
		}
		var none learn.Week
		if learn.Curve(&none, &hours, &prior, 20) != prior || learn.Curve(&seen, &none, &prior, 20) != prior {
			t.Fatal("nothing was seen, and the curve is not the prior")
		}
	})
}
