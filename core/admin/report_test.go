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
	const heading = "decisions,offers,views,clicks,unbilled_views,unbilled_clicks,spent_micros,fill_rate,view_rate,ctr,ecpm_micros,refunded_views,refunded_clicks,refunded_micros"
	for _, c := range []struct{ about, query, want string }{
		{"no dimension: one row", "", "8000,7000,2000,19,5,3,6000000,0.875000,0.285714,0.009500,3000000,0,0,0"},
		{"nothing counted: one row of zeros", "from=2024-01-01&to=2024-01-31", "0,0,0,0,0,0,0,,,,,0,0,0"},
		{"a date ends with its last hour", "to=2025-09-01", "5000,4000,1500,10,5,1,3000000,0.800000,0.375000,0.006667,2000000,0,0,0"},
		{"a time ends before its hour", "to=2025-09-01T11:00:00Z", "5000,4000,1000,10,5,1,2000000,0.800000,0.250000,0.010000,2000000,0,0,0"},
		{"a time within an hour ends after it", "to=2025-09-01T11:00:01Z", "5000,4000,1500,10,5,1,3000000,0.800000,0.375000,0.006667,2000000,0,0,0"},
		{"another zone's time", "to=2025-09-01T13:00:00%2B02:00", "5000,4000,1000,10,5,1,2000000,0.800000,0.250000,0.010000,2000000,0,0,0"},
		{"by flight: the row without one is decisions without an ad", "group_by=flight", `
			autumn,4000,4000,2000,15,5,1,4000000,1.000000,0.500000,0.007500,2000000,0,0,0
			clicks,3000,3000,0,4,0,2,2000000,1.000000,0.000000,,,0,0,0
			,1000,0,0,0,0,0,0,0.000000,,,,0,0,0`},
		{"by region", "group_by=region", `
			eu,5000,4000,1500,10,5,1,3000000,0.800000,0.375000,0.006667,2000000,0,0,0
			us,3000,3000,500,9,0,2,3000000,1.000000,0.166667,0.018000,6000000,0,0,0`},
		{"by day", "group_by=day", `
			2025-09-01,5000,4000,1500,10,5,1,3000000,0.800000,0.375000,0.006667,2000000,0,0,0
			2025-09-02,3000,3000,500,9,0,2,3000000,1.000000,0.166667,0.018000,6000000,0,0,0`},
		{"by hour", "group_by=hour&flight=autumn", `
			2025-09-01T10:00:00Z,4000,4000,1000,10,5,1,2000000,1.000000,0.250000,0.010000,2000000,0,0,0
			2025-09-01T11:00:00Z,0,0,500,0,0,0,1000000,,,0.000000,2000000,0,0,0
			2025-09-02T10:00:00Z,0,0,500,5,0,0,1000000,,,0.010000,2000000,0,0,0`},
		{"by ad: decisions stand apart", "group_by=ad&flight=autumn", `
			ad,0,0,2000,15,5,1,4000000,,,0.007500,2000000,0,0,0
			,4000,4000,0,0,0,0,0,1.000000,0.000000,,,0,0,0`},
		{"by all of a name", "group_by=country,publisher,campaign,advertiser&country=DE", "acme,paid,site,DE,0,0,500,0,0,0,1000000,,,0.000000,2000000,0,0,0"},
		{"of one advertiser: not what had no ad", "advertiser=acme", "7000,7000,2000,19,5,3,6000000,1.000000,0.285714,0.009500,3000000,0,0,0"},
		{"of one campaign and region", "campaign=paid&region=us", "3000,3000,500,9,0,2,3000000,1.000000,0.166667,0.018000,6000000,0,0,0"},
		{"of one publisher", "publisher=site&to=2025-09-01", "5000,4000,1500,10,5,1,3000000,0.800000,0.375000,0.006667,2000000,0,0,0"},
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

// TestReportByTopic reads what pages were about: a page of two topics stands in
// the rows of both, and in one row of everything else.
func TestReportByTopic(t *testing.T) {
	w := open(t)
	delivered(w)
	w.must(201, "POST", "/v1/topics", `{"slug":"backend","name":"Backend","keywords":["django"]}`)
	w.must(201, "POST", "/v1/topics", `{"slug":"data","name":"Data","keywords":["pandas"]}`)
	w.sql(`INSERT INTO topic_counts (hour, region, topic, flight, country, decisions, offers, views, clicks, unbilled_views, unbilled_clicks, spent_micros)
		SELECT hour::timestamptz, region, coalesce(t.id, 0), coalesce(f.id, 0), country, decisions, offers, views, clicks, uv, uc, spent
		FROM (VALUES
			('2025-09-01T10:00Z', 'eu', 'backend', 'autumn', 'NL', 3000, 3000, 800, 8, 5, 1, 1600000),
			('2025-09-01T10:00Z', 'eu', 'data',    'autumn', 'NL', 1500, 1500, 400, 4, 5, 0,  800000),
			('2025-09-01T11:00Z', 'eu', 'backend', 'autumn', 'DE',    0,    0, 500, 0, 0, 0, 1000000),
			('2025-09-01T10:00Z', 'eu', 'data',    '',       'NL',  700,    0,   0, 0, 0, 0,       0),
			('2025-09-01T10:00Z', 'eu', '',        '',       'NL',  300,    0,   0, 0, 0, 0,       0),
			('2025-09-02T10:00Z', 'us', '',        'clicks', 'NL', 3000, 3000,   0, 4, 0, 2, 2000000)
		) AS v (hour, region, topic, flight, country, decisions, offers, views, clicks, uv, uc, spent)
		LEFT JOIN topics t ON t.slug = v.topic LEFT JOIN flights f ON f.slug = v.flight`)
	const all = "8000,7000,2000,19,5,3,6000000,0.875000,0.285714,0.009500,3000000,0,0,0"
	for _, c := range []struct{ about, query, want string }{
		{"by topic; the row without one is pages about none", "group_by=topic", `
			backend,3000,3000,1300,8,5,1,2600000,1.000000,0.433333,0.006154,2000000,0,0,0
			data,2200,1500,400,4,5,0,800000,0.681818,0.266667,0.010000,2000000,0,0,0
			,3300,3000,0,4,0,2,2000000,0.909091,0.000000,,,0,0,0`},
		{"what is not asked by topic is as before", "", all},
		{"by country and topic", "group_by=topic,country&flight=autumn", `
			DE,backend,0,0,500,0,0,0,1000000,,,0.000000,2000000,0,0,0
			NL,backend,3000,3000,800,8,5,1,1600000,1.000000,0.266667,0.010000,2000000,0,0,0
			NL,data,1500,1500,400,4,5,0,800000,1.000000,0.266667,0.010000,2000000,0,0,0`},
		{"by day, campaign and topic, in one region", "group_by=topic,campaign,day&region=us", `
			2025-09-02,paid,,3000,3000,0,4,0,2,2000000,1.000000,0.000000,,,0,0,0`},
		{"of one topic, by flight", "topic=data&group_by=flight", `
			autumn,1500,1500,400,4,5,0,800000,1.000000,0.266667,0.010000,2000000,0,0,0
			,700,0,0,0,0,0,0,0.000000,,,,0,0,0`},
		{"of one topic and advertiser", "topic=data&advertiser=acme", `
			1500,1500,400,4,5,0,800000,1.000000,0.266667,0.010000,2000000,0,0,0`},
		{"of one topic, before anything was counted", "topic=data&from=2024-01-01&to=2024-01-31", "0,0,0,0,0,0,0,,,,,0,0,0"},
	} {
		query := c.query
		if !strings.Contains(query, "from=") {
			query += "&from=2025-08-31&to=2025-09-30"
		}
		a := w.must(200, "GET", "/v1/reports/delivery?format=csv&"+query, nil)
		_, got, _ := strings.Cut(strings.TrimSpace(a.text), "\n")
		if want := strings.ReplaceAll(strings.TrimSpace(c.want), "\t", ""); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", c.about, got, want)
		}
	}
	for query, want := range map[string]string{
		"group_by=topic,publisher":        "query.group_by[1]",
		"group_by=ad,topic":               "query.group_by[0]",
		"group_by=ad&topic=data":          "query.group_by[0]",
		"group_by=topic&publisher=site":   "query.publisher",
		"topic=none":                      "query.topic",
		"topic=data'%20OR%20'1'='1":       "query.topic",
		"topic=data&publisher=site&to=2x": "query.to",
	} {
		a := w.call("GET", "/v1/reports/delivery?"+query, nil)
		if a.status != 422 || !strings.Contains(a.text, `"location":"`+want+`"`) {
			t.Errorf("%s: %d %s, want 422 that names %s", query, a.status, a.text, want)
		}
	}
}

// TestReportOfRefunds puts a refund where its flight is, when it was given.
func TestReportOfRefunds(t *testing.T) {
	w := open(t)
	delivered(w)
	w.sql(`INSERT INTO refunds (flight, kind, units, micros, reason, actor, at)
		SELECT id, 1, 100, 200000, 'bots', 'root', '2025-09-02T10:59:59Z' FROM flights WHERE slug = 'autumn'`)
	w.sql(`INSERT INTO refunds (flight, kind, units, micros, reason, actor, at)
		SELECT id, 2, 3, 1500000, 'a broken landing page', 'root', '2025-09-03T00:00:00Z' FROM flights WHERE slug = 'clicks'`)
	for _, c := range []struct{ about, query, want string }{
		{"in all", "", "100,3,1700000"},
		{"by flight", "group_by=flight", "autumn 100,0,200000; clicks 0,3,1500000;  0,0,0"},
		{"by day: a day without delivery may have a refund", "group_by=day", "2025-09-01 0,0,0; 2025-09-02 100,0,200000; 2025-09-03 0,3,1500000"},
		{"by region: refunds have none", "group_by=region", " 100,3,1700000; eu 0,0,0; us 0,0,0"},
		{"of one region: none", "region=eu", "0,0,0"},
		{"of one publisher: none", "publisher=site", "0,0,0"},
		{"of one advertiser", "advertiser=acme", "100,3,1700000"},
		{"before the hour in which it was given", "to=2025-09-02T10:00:00Z", "0,0,0"},
		{"topics do not tell them", "group_by=topic&flight=autumn", ""},
	} {
		query := "from=2025-08-31&" + c.query
		if !strings.Contains(query, "to=") {
			query += "&to=2025-09-30"
		}
		a := w.must(200, "GET", "/v1/reports/delivery?format=csv&"+query, nil)
		var got []string
		for _, line := range strings.Split(strings.TrimSpace(a.text), "\n")[1:] {
			fields := strings.Split(line, ",")
			said := strings.Join(fields[len(fields)-3:], ",")
			if len(fields) > 14 {
				said = fields[0] + " " + said
			}
			got = append(got, said)
		}
		if said := strings.Join(got, "; "); said != c.want {
			t.Errorf("%s: %s\nwant %s", c.about, said, c.want)
		}
	}
}
