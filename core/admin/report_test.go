package admin_test

import (
	"strings"
	"testing"
	"time"
)

// delivered puts two days of two flights, two regions and two countries into
// the tables that the ledger fills.
func delivered(w *world) {
	w.sample()
	w.must(201, "POST", "/v1/flights", `{"slug":"clicks","name":"Clicks","campaign":"paid","live":true,"start_date":"2025-09-01","end_date":"2025-11-30","cpc_micros":500000,"sold_clicks":10}`)
	w.sql(`INSERT INTO rollups (hour, region, flight, ad, publisher, country, views, clicks, unbilled_views, unbilled_clicks, spent_micros)
		SELECT hour::timestamptz, region, f.id, 1, p.id, country, views, clicks, uv, uc, spent
		FROM (VALUES
			('2025-09-01T10:00Z', 'eu', 'autumn', 'NL', 1000, 10, 5, 1, 2000000),
			('2025-09-01T11:00Z', 'eu', 'autumn', 'DE',  500,  0, 0, 0, 1000000),
			('2025-09-02T10:00Z', 'us', 'autumn', 'NL',  500,  5, 0, 0, 1000000),
			('2025-09-02T10:00Z', 'us', 'clicks', 'NL',    0,  4, 0, 2, 2000000)
		) AS v (hour, region, flight, country, views, clicks, uv, uc, spent)
		JOIN flights f ON f.slug = v.flight CROSS JOIN publishers p`)
	w.sql(`INSERT INTO decision_counts (hour, region, flight, publisher, country, decisions, offers)
		SELECT hour::timestamptz, region, coalesce(f.id, 0), p.id, country, decisions, offers
		FROM (VALUES
			('2025-09-01T10:00Z', 'eu', 'autumn', 'NL', 4000, 4000),
			('2025-09-01T10:00Z', 'eu', '',       'NL', 1000, 0),
			('2025-09-02T10:00Z', 'us', 'clicks', 'NL', 3000, 3000)
		) AS v (hour, region, flight, country, decisions, offers)
		LEFT JOIN flights f ON f.slug = v.flight CROSS JOIN publishers p`)
}

// TestReport reads the delivery by every dimension.
func TestReport(t *testing.T) {
	w := open(t)
	delivered(w)
	const heading = "decisions,offers,views,clicks,unbilled_views,unbilled_clicks,spent_micros,fill_rate,view_rate,ctr,ecpm_micros"
	for _, c := range []struct{ about, query, want string }{
		{"no dimension: one row", "", "8000,7000,2000,19,5,3,6000000,0.875000,0.285714,0.009500,3000000"},
		{"nothing counted: one row of zeros", "from=2024-01-01&to=2024-01-31", "0,0,0,0,0,0,0,,,,"},
		{"a date ends with its last hour", "to=2025-09-01", "5000,4000,1500,10,5,1,3000000,0.800000,0.375000,0.006667,2000000"},
		{"a time ends before its hour", "to=2025-09-01T11:00:00Z", "5000,4000,1000,10,5,1,2000000,0.800000,0.250000,0.010000,2000000"},
		{"a time within an hour ends after it", "to=2025-09-01T11:00:01Z", "5000,4000,1500,10,5,1,3000000,0.800000,0.375000,0.006667,2000000"},
		{"another zone's time", "to=2025-09-01T13:00:00%2B02:00", "5000,4000,1000,10,5,1,2000000,0.800000,0.250000,0.010000,2000000"},
		{"by flight: the row without one is decisions without an ad", "group_by=flight", `
			autumn,4000,4000,2000,15,5,1,4000000,1.000000,0.500000,0.007500,2000000
			clicks,3000,3000,0,4,0,2,2000000,1.000000,0.000000,,
			,1000,0,0,0,0,0,0,0.000000,,,`},
		{"by region", "group_by=region", `
			eu,5000,4000,1500,10,5,1,3000000,0.800000,0.375000,0.006667,2000000
			us,3000,3000,500,9,0,2,3000000,1.000000,0.166667,0.018000,6000000`},
		{"by day", "group_by=day", `
			2025-09-01,5000,4000,1500,10,5,1,3000000,0.800000,0.375000,0.006667,2000000
			2025-09-02,3000,3000,500,9,0,2,3000000,1.000000,0.166667,0.018000,6000000`},
		{"by hour", "group_by=hour&flight=autumn", `
			2025-09-01T10:00:00Z,4000,4000,1000,10,5,1,2000000,1.000000,0.250000,0.010000,2000000
			2025-09-01T11:00:00Z,0,0,500,0,0,0,1000000,,,0.000000,2000000
			2025-09-02T10:00:00Z,0,0,500,5,0,0,1000000,,,0.010000,2000000`},
		{"by ad: decisions stand apart", "group_by=ad&flight=autumn", `
			ad,0,0,2000,15,5,1,4000000,,,0.007500,2000000
			,4000,4000,0,0,0,0,0,1.000000,0.000000,,`},
		{"by all of a name", "group_by=country,publisher,campaign,advertiser&country=DE", "acme,paid,site,DE,0,0,500,0,0,0,1000000,,,0.000000,2000000"},
		{"of one advertiser: not what had no ad", "advertiser=acme", "7000,7000,2000,19,5,3,6000000,1.000000,0.285714,0.009500,3000000"},
		{"of one campaign and region", "campaign=paid&region=us", "3000,3000,500,9,0,2,3000000,1.000000,0.166667,0.018000,6000000"},
		{"of one publisher", "publisher=site&to=2025-09-01", "5000,4000,1500,10,5,1,3000000,0.800000,0.375000,0.006667,2000000"},
	} {
		query := c.query
		if !strings.Contains(query, "from=") {
			query += "&from=2025-08-31"
		}
		if !strings.Contains(query, "to=") {
			query += "&to=2025-09-30"
		}
		a := w.must(200, "GET", "/v1/reports/delivery?format=csv&"+query, nil)
		lines := strings.Split(strings.TrimSpace(a.text), "\n")
		if !strings.HasSuffix(lines[0], heading) {
			t.Errorf("%s: heading %s", c.about, lines[0])
		}
		want := strings.ReplaceAll(strings.TrimSpace(c.want), "\t", "")
		if got := strings.Join(lines[1:], "\n"); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", c.about, got, want)
		}
		if kind := a.header.Get("Content-Type"); kind != "text/csv; charset=utf-8" {
			t.Errorf("%s: Content-Type %s", c.about, kind)
		}
	}
}

// TestReportPages walks a report in JSON and finds in its pages what is in its
// CSV.
func TestReportPages(t *testing.T) {
	w := open(t)
	delivered(w)
	const query = "/v1/reports/delivery?from=2025-08-31&to=2025-09-30&group_by=flight,region,country,day"
	whole := strings.Count(w.must(200, "GET", query+"&format=csv", nil).text, "\n") - 1
	cursor, rows, pages := "", 0, 0
	for {
		a := w.must(200, "GET", query+"&limit=2&cursor="+cursor, nil)
		rows += len(a.body["items"].([]any))
		pages++
		if cursor = a.body["next"].(string); cursor == "" {
			break
		}
	}
	if rows != whole || pages != (whole+1)/2 {
		t.Errorf("%d rows in %d pages, want %d rows", rows, pages, whole)
	}
}

// TestReportRefuses names what is wrong with a query.
func TestReportRefuses(t *testing.T) {
	w := open(t)
	w.now = time.Date(2025, 9, 15, 12, 30, 0, 0, time.UTC)
	for _, c := range []struct{ query, want string }{
		{"from=yesterday", "query.from"},
		{"to=2025-13-01", "query.to"},
		{"from=1999-01-01", "query.from"},
		{"from=2025-09-10&to=2025-09-09", "query.to"},
		{"from=2023-01-01", "query.from"},
		{"group_by=weekday", "query.group_by[0]"},
		{"group_by=flight,flight", "query.group_by"},
		{"group_by=hour,day", "query.group_by"},
		{"format=xml", "query.format"},
		{"flight=none", "query.flight"},
		{"publisher=none", "query.publisher"},
		{"country=nl", "query.country"},
		{"limit=0", "query.limit"},
		{"limit=10001", "query.limit"},
		{"cursor=x", "query.cursor"},
		{"colour=blue", "query.colour"},
		{"flight=x'%20OR%20'1'='1", "query.flight"},
		{"region=x'%3B%20DROP%20TABLE%20rollups%3B--", ""},
	} {
		a := w.call("GET", "/v1/reports/delivery?"+c.query, nil)
		if c.want == "" {
			if a.status != 200 {
				t.Errorf("%s: %d %s, want an empty report", c.query, a.status, a.text)
			}
			continue
		}
		if a.status != 422 || !strings.Contains(a.text, `"location":"`+c.want+`"`) {
			t.Errorf("%s: %d %s, want 422 that names %s", c.query, a.status, a.text, c.want)
		}
	}
}
