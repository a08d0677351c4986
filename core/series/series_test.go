package series_test

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"nearside/core/admin"
	"nearside/core/postgres"
	"nearside/core/series"
	"nearside/dev/testpg"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		testpg.Stop()
		os.Exit(code)
	}))
}

const document = `
advertisers: [{slug: acme, name: Acme}]
campaigns: [{slug: paid, name: Paid, advertiser: acme, campaign_type: paid}]
flights:
  - {slug: even, name: A, campaign: paid, live: true, start_date: 2026-03-10, end_date: "2026-03-19", cpm_micros: 2000, sold_views: 10000}
  - {slug: clicks, name: A, campaign: paid, live: true, start_date: 2026-03-10, end_date: "2026-03-19", cpc_micros: 2000, sold_clicks: 1000}
  - {slug: asap, name: A, campaign: paid, live: true, start_date: 2026-03-10, end_date: "2026-03-19", cpm_micros: 2000, sold_views: 10000, pacing: asap}
  - {slug: traffic, name: A, campaign: paid, live: true, start_date: 2026-03-10, end_date: "2026-03-19", cpm_micros: 2000, sold_views: 10000, pacing: traffic}
  - {slug: "off", name: A, campaign: paid, live: false, start_date: 2026-03-10, end_date: "2026-03-19", cpm_micros: 2000, sold_views: 10000}
  - {slug: later, name: A, campaign: paid, live: true, start_date: 2026-03-11, end_date: "2026-03-19", cpm_micros: 2000, sold_views: 10000}
  - {slug: nothing, name: A, campaign: paid, live: true, start_date: 2026-03-10, end_date: "2026-03-19"}
  - {slug: stopped, name: A, campaign: paid, live: true, start_date: 2026-03-01, end_date: "2026-03-09", cpm_micros: 2000, sold_views: 10000, hard_stop: true}
  - {slug: overdue, name: A, campaign: paid, live: true, start_date: 2026-03-01, end_date: "2026-03-09", cpm_micros: 2000, sold_views: 10000}
  - {slug: done, name: A, campaign: paid, live: true, start_date: 2026-03-01, end_date: "2026-03-09", cpm_micros: 2000, sold_views: 10}
  - {slug: forgotten, name: A, campaign: paid, live: true, start_date: 2026-02-01, end_date: "2026-02-07", cpm_micros: 2000, sold_views: 10000}
`

type world struct {
	*testing.T
	db  *postgres.DB
	ids map[string]int32
}

func open(t *testing.T) *world {
	t.Helper()
	db, err := postgres.Open(t.Context(), testpg.New(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	api := admin.New(db, admin.Options{Version: "test", Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if _, err := api.Import(t.Context(), "test", []byte(document)); err != nil {
		t.Fatal(admin.Explain(err))
	}
	w := &world{t, db, map[string]int32{}}
	rows, err := db.Queries().ListFlights(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		w.ids[r.Slug] = r.ID
	}
	return w
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

// delivered says how much was counted of a flight so far.
func (w *world) delivered(flight string, views, clicks, spent int64) {
	w.Helper()
	w.sql(`INSERT INTO flight_totals (flight, views, clicks, spent_micros) VALUES ($1, $2, $3, $4)
		ON CONFLICT (flight) DO UPDATE SET views = excluded.views, clicks = excluded.clicks, spent_micros = excluded.spent_micros`,
		w.ids[flight], views, clicks, spent)
}

func (w *world) sample(at string) int64 {
	w.Helper()
	n, err := series.Sample(w.Context(), w.db, clock(at))
	if err != nil {
		w.Fatal(err)
	}
	return n
}

// csv is a series as CSV without its heading.
func (w *world) csv(flight string, unit series.Unit, from, to string, step time.Duration) string {
	w.Helper()
	begin, end, n := series.Range(clock(from), clock(to), step)
	points, err := series.Read(w.Context(), w.db, w.ids[flight], unit, begin, end, step)
	if err != nil {
		w.Fatal(err)
	}
	if len(points) != n {
		w.Errorf("%d points, Range said %d", len(points), n)
	}
	var out bytes.Buffer
	if err := series.WriteCSV(&out, points); err != nil {
		w.Fatal(err)
	}
	heading, rest, _ := strings.Cut(out.String(), "\n")
	if heading != "time,planned,delivered,spent_micros" {
		w.Errorf("heading %s", heading)
	}
	return strings.ReplaceAll(rest, "2026-03-10T", "")
}

func clock(text string) time.Time {
	if !strings.Contains(text, "-") {
		text = "2026-03-10 " + text
	}
	at, err := time.Parse("2006-01-02 15:04:05", text)
	if err != nil {
		panic(err)
	}
	return at
}

// TestPlan: what is sampled, and what is planned by then, on the first of ten
// days at noon and in the morning.
func TestPlan(t *testing.T) {
	w := open(t)
	// Three quarters of a week's requests come in the first half of its days.
	w.sql(`INSERT INTO demands (flight, weights, events, learnt_at)
		SELECT 0, array_agg(CASE WHEN h % 24 < 12 THEN 3000 ELSE 1000 END ORDER BY h), 1, now() FROM generate_series(0, 167) AS h`)
	w.delivered("done", 10, 0, 20)
	w.delivered("overdue", 9000, 3, 18)
	w.sample("06:00:30")
	w.sample("12:00:00")
	for _, c := range []struct{ flight, morning, noon string }{
		{"even", "250", "500"},
		{"clicks", "25", "50"},
		{"asap", "10000", "10000"},
		{"traffic", "375", "750"},
		{"off", "", ""},
		{"later", "", ""},
		{"nothing", "", ""},
		{"stopped", "", ""},
		{"overdue", "10000", "10000"},
		{"done", "", ""},
		{"forgotten", "", ""},
	} {
		unit := series.Views
		if c.flight == "clicks" {
			unit = series.Clicks
		}
		for at, want := range map[string]string{"06:00:00": c.morning, "12:00:00": c.noon} {
			got := w.csv(c.flight, unit, at, at[:6]+"01", time.Minute)
			if planned := strings.Split(got, ",")[1]; planned != want {
				t.Errorf("%s at %s: %q planned, want %q", c.flight, at, planned, want)
			}
		}
	}
	if got := w.csv("overdue", series.Views, "12:00:00", "12:01:00", time.Minute); got != "12:00:00Z,10000,9000,18\n" {
		t.Errorf("overdue: %s", got)
	}
}

// TestSeries: minutes in, points out; a core that was away is a gap.
func TestSeries(t *testing.T) {
	w := open(t)
	for _, minute := range []struct {
		at           string
		views, spent int64
	}{
		{"12:00:00", 480, 960},
		{"12:01:00", 481, 962},
		{"12:01:59", 999, 9999}, // the same minute, by a core that is late: the first stays
		{"12:02:00", 483, 966},
		// nobody looked from 12:03 to 12:06
		{"12:07:01", 490, 980},
		{"12:08:00", 491, 982},
	} {
		w.delivered("even", minute.views, 0, minute.spent)
		w.sample(minute.at)
	}
	for _, c := range []struct {
		about    string
		from, to string
		step     time.Duration
		want     string
	}{
		{"minutes, with a gap", "12:00:00", "12:09:00", time.Minute, `12:00:00Z,500,480,960
			12:01:00Z,500,481,962
			12:02:00Z,501,483,966
			12:03:00Z,,,
			12:04:00Z,,,
			12:05:00Z,,,
			12:06:00Z,,,
			12:07:00Z,504,490,980
			12:08:00Z,505,491,982`},
		{"two minutes: the last sample of each", "12:00:00", "12:09:00", 2 * time.Minute, `12:00:00Z,500,481,962
			12:02:00Z,501,483,966
			12:04:00Z,,,
			12:06:00Z,504,490,980
			12:08:00Z,505,491,982`},
		{"an hour, which begins before the range", "12:03:00", "12:05:00", time.Hour, `12:00:00Z,505,491,982`},
		{"before anything was sampled", "11:58:00", "12:00:00", time.Minute, `11:58:00Z,,,
			11:59:00Z,,,`},
		{"an end that no step ends at", "12:07:30", "12:07:31", time.Minute, `12:07:00Z,504,490,980`},
	} {
		got := strings.TrimSpace(w.csv("even", series.Views, c.from, c.to, c.step))
		if want := strings.ReplaceAll(c.want, "\t", ""); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", c.about, got, want)
		}
	}
	if got := w.csv("even", series.Clicks, "12:00:00", "12:01:00", time.Minute); got != "12:00:00Z,0,0,960\n" {
		t.Errorf("of clicks, which it does not sell: %s", got)
	}
}
