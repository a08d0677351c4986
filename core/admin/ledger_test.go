package admin_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"nearside/sync/catalog"
	"nearside/sync/lease"
)

// budgets writes a flight's budgets as lines of kind, unit and amounts.
func (w *world) budgets(slug string) string {
	w.t.Helper()
	var lines []string
	for _, one := range w.must(200, "GET", "/v1/flights/"+slug, nil).body["budgets"].([]any) {
		b := one.(map[string]any)
		lines = append(lines, fmt.Sprintf("%v %v limit %v unleased %v out %v settled %v",
			b["kind"], b["unit"], b["limit"], b["unleased"], b["outstanding"], b["settled"]))
	}
	return strings.Join(lines, "; ")
}

// TestBudgets follows a flight's budgets through its changes.
func TestBudgets(t *testing.T) {
	w := open(t)
	w.sample()
	views := func(limit, unleased, out, settled int) string {
		return fmt.Sprintf("views events limit %d unleased %d out %d settled %d", limit, unleased, out, settled)
	}
	check := func(about, want string) {
		t.Helper()
		if got := w.budgets("autumn"); got != want {
			t.Errorf("%s: %s\nwant %s", about, got, want)
		}
	}
	check("created with 1000 views", views(1000, 1000, 0, 0))
	w.must(200, "PATCH", "/v1/flights/autumn", `{"sold_views":1500}`)
	check("500 more", views(1500, 1500, 0, 0))
	w.must(200, "PATCH", "/v1/flights/autumn", `{"name":"Same"}`)
	check("another name", views(1500, 1500, 0, 0))
	w.must(200, "PATCH", "/v1/flights/autumn", `{"sold_clicks":10}`)
	check("clicks too", views(1500, 1500, 0, 0)+"; clicks events limit 10 unleased 10 out 0 settled 0")
	w.must(200, "PATCH", "/v1/flights/autumn", `{"sold_clicks":0}`)
	check("no clicks any more", views(1500, 1500, 0, 0)+"; clicks events limit 0 unleased 0 out 0 settled 0")

	w.sql(`UPDATE budgets SET unleased = 300, outstanding = 700, settled = 500 WHERE id >> 56 = 1`)
	w.must(200, "PATCH", "/v1/flights/autumn", `{"sold_views":600}`)
	check("cut below what is out", views(1200, 0, 700, 500)+"; clicks events limit 0 unleased 0 out 0 settled 0")
	w.must(200, "PATCH", "/v1/flights/autumn", `{"sold_views":2000}`)
	check("raised again", views(2000, 800, 700, 500)+"; clicks events limit 0 unleased 0 out 0 settled 0")

	// A refused change leaves them as they are.
	w.must(422, "PATCH", "/v1/flights/autumn", `{"sold_views":9,"targeting":{"days":["never"]}}`)
	w.must(412, "PATCH", "/v1/flights/autumn", `{"sold_views":9}`, `If-Match: "1"`)
	check("after refusals", views(2000, 800, 700, 500)+"; clicks events limit 0 unleased 0 out 0 settled 0")

	w.must(204, "DELETE", "/v1/flights/autumn", nil)
	w.must(201, "POST", "/v1/flights", `{"slug":"house","name":"H","campaign":"paid","start_date":"2025-09-01","end_date":"2025-09-02","sold_views":5}`)
	if got := w.budgets("house"); got != views(5, 5, 0, 0) {
		t.Errorf("a flight without a price: %s", got)
	}
}

// TestDailyCap starts a cap today for what is new and tomorrow for what was
// there, and changes the budget of a day that has one.
func TestDailyCap(t *testing.T) {
	w := open(t)
	w.now = time.Date(2025, 9, 15, 23, 59, 0, 0, time.UTC)
	w.sample()
	starts := func(about, want string) {
		t.Helper()
		got := "none"
		if f := w.snapshot().Flights[0]; f.DailyCap > 0 {
			got = fmt.Sprintf("%d from %s", f.DailyCap, f.DailyCapFrom)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", about, got, want)
		}
	}
	starts("no cap", "none")
	w.must(200, "PATCH", "/v1/flights/autumn", `{"daily_cap_micros":5000000}`)
	starts("new on the 15th", "5000000 from 2025-09-16")
	w.now = w.now.Add(24 * time.Hour)
	w.must(200, "PATCH", "/v1/flights/autumn", `{"daily_cap_micros":7000000}`)
	starts("changed on the 16th", "7000000 from 2025-09-16")
	w.must(200, "PATCH", "/v1/flights/autumn", `{"daily_cap_micros":null}`)
	starts("taken away", "none")
	w.must(200, "PATCH", "/v1/flights/autumn", `{"daily_cap_micros":1000000}`)
	starts("new again on the 16th", "1000000 from 2025-09-17")

	w.must(201, "POST", "/v1/flights", `{"slug":"new","name":"N","campaign":"paid","start_date":"2025-09-16","end_date":"2025-09-20","daily_cap_micros":3000000,"cpm_micros":1000}`)
	if f := w.snapshot().Flights[1]; f.DailyCapFrom.String() != "2025-09-16" {
		t.Errorf("a flight created with a cap has it from %s", f.DailyCapFrom)
	}
	w.must(201, "POST", "/v1/publishers", `{"slug":"capped","name":"C","daily_cap_micros":3000000}`)
	w.must(200, "PATCH", "/v1/publishers/site", `{"daily_cap_micros":2000000}`)
	for _, p := range w.snapshot().Publishers {
		if want := map[string]string{"capped": "2025-09-16", "site": "2025-09-17"}[p.Slug]; p.DailyCapFrom.String() != want {
			t.Errorf("publisher %s has its cap from %s, want %s", p.Slug, p.DailyCapFrom, want)
		}
	}

	// The budget of a day, as the ledger makes it on the first want.
	day := lease.Of(lease.FlightDay, 0, int32(catalog.DayOf(w.now)))
	w.sql(`INSERT INTO budgets (id, asked, "limit", unleased, unit) SELECT $1::bigint + id, 3000000, 3000000, 3000000, 1 FROM flights WHERE slug = 'new'`, int64(day))
	if got := w.budgets("new"); got != "day micros limit 3e+06 unleased 3e+06 out 0 settled 0" {
		t.Errorf("today's budget: %s", got)
	}
	w.must(200, "PATCH", "/v1/flights/new", `{"daily_cap_micros":4000000}`)
	if got := w.budgets("new"); got != "day micros limit 4e+06 unleased 4e+06 out 0 settled 0" {
		t.Errorf("today's budget after the cap was raised: %s", got)
	}
}

// TestDayBudgetsFollowPrices: what is granted of a day's money is a multiple of
// the largest price that can debit it.
func TestDayBudgetsFollowPrices(t *testing.T) {
	w := open(t)
	w.now = time.Date(2025, 9, 16, 12, 0, 0, 0, time.UTC)
	w.sample()
	today := int32(catalog.DayOf(w.now))
	w.must(201, "POST", "/v1/flights", `{"slug":"new","name":"N","campaign":"paid","live":true,"start_date":"2025-09-16","end_date":"2025-09-20","sold_clicks":10,"daily_cap_micros":3000000,"cpc_micros":1000}`)
	w.sql(`INSERT INTO budgets (id, asked, "limit", unleased, unit) SELECT k.first + f.id, 3000000, 3000000, 3000000, k.unit
		FROM flights f, (VALUES ($1::bigint, 1000), ($2::bigint, 1000), ($3::bigint, 77)) AS k (first, unit) WHERE f.slug = 'new'`,
		int64(lease.Of(lease.FlightDay, 0, today)), int64(lease.Of(lease.FlightDay, 0, today+1)), int64(lease.Of(lease.FlightDay, 0, today-1)))
	w.sql(`INSERT INTO budgets (id, asked, "limit", unleased, unit) SELECT $1::bigint + id, 9000000, 9000000, 9000000, 5 FROM publishers WHERE slug = 'site'`,
		int64(lease.Of(lease.PublisherDay, 0, today)))
	units := func() (list []int64) {
		t.Helper()
		conn, err := pgx.Connect(t.Context(), w.url)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(t.Context()) }()
		rows, err := conn.Query(t.Context(), `SELECT unit FROM budgets WHERE id >= $1 ORDER BY id`, int64(lease.Of(lease.FlightDay, 0, 0)))
		if err == nil {
			list, err = pgx.CollectRows(rows, pgx.RowTo[int64])
		}
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	for _, c := range []struct {
		patch string
		want  []int64 // of yesterday, today, tomorrow; of the publisher's today
	}{
		{`{"cpc_micros":2500000}`, []int64{77, 2_500_000, 2_500_000, 2_500_000}},
		{`{"name":"another"}`, []int64{77, 2_500_000, 2_500_000, 2_500_000}},
		{`{"cpc_micros":0,"cpm_micros":9000000000}`, []int64{77, 9_000_000, 9_000_000, 9_000_000}},
	} {
		w.must(200, "PATCH", "/v1/flights/new", c.patch)
		if got := units(); !slices.Equal(got, c.want) {
			t.Errorf("after %s the units are %v, want %v", c.patch, got, c.want)
		}
	}
	w.must(200, "PATCH", "/v1/flights/new", `{"live":false}`)
	if got := units(); got[3] >= 9_000_000 {
		t.Errorf("the publisher's unit is still %d, the price of a flight that is not live", got[3])
	}
}

// edges puts three holders, a lease, delivery and refusals into the tables that
// the ledger fills.
func edges(w *world) {
	w.sample()
	w.sql(`INSERT INTO holders (region, node, disk, secret_hash, state, state_reason, public_url, version, boot_ordinal, seen_at, applied_catalog, applied_control, closed_at)
		VALUES ('eu', 'eu-1', 'd1', 'h1', 'open', '', 'http://eu-1', 'v1', 3, now(), 9, 1, NULL),
			('us', 'us-1', 'd2', 'h2', 'fenced', 'by hand', 'http://us-1', 'v1', 1, now() - interval '1 hour', 8, 0, NULL),
			('us', 'us-0', 'd3', 'h3', 'closed', 'drained', '', 'v0', 1, now() - interval '1 day', 7, 0, now() - interval '1 day'),
			('us', 'us-9', 'd4', 'h4', 'closed', 'drained', '', 'v0', 1, now() - interval '30 days', 7, 0, now() - interval '30 days')`)
	w.sql(`UPDATE budgets SET unleased = 900, outstanding = 70, settled = 30`)
	w.sql(`INSERT INTO leases (holder, budget, granted, spent, returned) SELECT h.id, b.id, 110, 30, 10 FROM holders h, budgets b WHERE h.node = 'eu-1'`)
	w.sql(`INSERT INTO flight_totals (flight, views, clicks, unbilled_views, unbilled_clicks, spent_micros, as_of)
		SELECT id, 30, 2, 4, 1, 60000, '2025-09-15T12:00:00Z' FROM flights`)
	w.sql(`INSERT INTO refusals (hour, region, flight, reason, n)
		SELECT date_trunc('hour', now()) - age::interval, region, f.id, reason, n FROM flights f, (VALUES
			('0 hours', 'eu', 'include_countries', 100), ('1 hours', 'eu', 'include_countries', 50), ('0 hours', 'us', 'lease', 70),
			('3 days', 'us', 'days', 1000), ('0 hours', 'us', 'brand_new', 1)
		) AS v (age, region, reason, n)`)
	w.sql(`INSERT INTO receipts (holder, kind, version, applied_at)
		SELECT h.id, v.kind, v.version, '2025-09-15T12:00:00Z'::timestamptz + v.version * interval '1 second'
		FROM holders h, (VALUES ('eu-1', 'catalog', 6), ('eu-1', 'catalog', 9), ('us-1', 'catalog', 8), ('us-0', 'catalog', 7), ('eu-1', 'control', 1)) AS v (node, kind, version)
		WHERE h.node = v.node`)
}

// TestDelivery reads what the ledger counted of a flight.
func TestDelivery(t *testing.T) {
	w := open(t)
	edges(w)
	one := w.must(200, "GET", "/v1/flights/autumn", nil).body
	same(t, "delivery", one["delivery"].(map[string]any),
		parsed(t, `{"views":30,"clicks":2,"spent_micros":60000,"unbilled_views":4,"unbilled_clicks":1,"refunded_views":0,"refunded_clicks":0,"refunded_micros":0,"as_of":"2025-09-15T12:00:00Z"}`))
	if got := w.budgets("autumn"); got != "views events limit 1000 unleased 900 out 70 settled 30" {
		t.Errorf("budgets: %s", got)
	}
	listed := w.must(200, "GET", "/v1/flights", nil).body["items"].([]any)[0].(map[string]any)
	same(t, "listed", listed, one)
	w.must(201, "POST", "/v1/flights", `{"slug":"new","name":"N","campaign":"paid","start_date":"2025-09-16","end_date":"2025-09-20"}`)
	fresh := w.must(200, "GET", "/v1/flights/new", nil).body
	same(t, "delivery of a new flight", fresh["delivery"].(map[string]any),
		parsed(t, `{"views":0,"clicks":0,"spent_micros":0,"unbilled_views":0,"unbilled_clicks":0,"refunded_views":0,"refunded_clicks":0,"refunded_micros":0,"as_of":null}`))
	if got := fresh["budgets"].([]any); len(got) != 0 {
		t.Errorf("budgets of a flight that sells nothing: %v", got)
	}
}

// TestRefunds gives billed views back.
func TestRefunds(t *testing.T) {
	w := open(t)
	edges(w)
	for _, c := range []struct {
		status int
		body   string
	}{
		{201, `{"views":10,"reason":"bots"}`},
		{409, `{"views":21,"reason":"more than is left"}`},
		{409, `{"clicks":1,"reason":"it sells none"}`},
		{422, `{"views":1,"clicks":1,"reason":"both"}`},
		{422, `{"reason":"neither"}`},
		{422, `{"views":1}`},
		{422, `{"views":-1,"reason":"less"}`},
		{400, `[]`},
	} {
		w.must(c.status, "POST", "/v1/flights/autumn/refunds", c.body)
	}
	w.must(404, "POST", "/v1/flights/none/refunds", `{"views":1,"reason":"none"}`)
	one := w.must(200, "GET", "/v1/flights/autumn", nil).body
	delivery := one["delivery"].(map[string]any)
	if delivery["refunded_views"] != 10.0 || delivery["views"] != 30.0 || delivery["refunded_micros"] == 0.0 {
		t.Errorf("delivery: %v", delivery)
	}
	budget := one["budgets"].([]any)[0].(map[string]any)
	if budget["limit"] != 1000.0 || budget["unleased"] != 910.0 || budget["outstanding"] != 70.0 || budget["settled"] != 30.0 || budget["refunded"] != 10.0 {
		t.Errorf("budget: %v", budget)
	}
	items := w.must(200, "GET", "/v1/flights/autumn/refunds", nil).body["items"].([]any)
	if len(items) != 1 || items[0].(map[string]any)["reason"] != "bots" || items[0].(map[string]any)["views"] != 10.0 {
		t.Errorf("refunds: %v", items)
	}
	// Sent again under the same key it is the same refund.
	first := w.must(201, "POST", "/v1/flights/autumn/refunds", `{"views":20,"reason":"the rest"}`, "Idempotency-Key: rest")
	again := w.must(201, "POST", "/v1/flights/autumn/refunds", `{"views":20,"reason":"the rest"}`, "Idempotency-Key: rest")
	if first.body["id"] != again.body["id"] {
		t.Errorf("sent twice: %v and %v", first.body, again.body)
	}
	w.must(422, "POST", "/v1/flights/autumn/refunds", `{"views":2,"reason":"another body under the same key"}`, "Idempotency-Key: rest")
	if entries := w.must(200, "GET", "/v1/audit?resource=flights/autumn", nil).body["items"].([]any); !strings.Contains(fmt.Sprint(entries[0]), "the rest") {
		t.Errorf("the audit log: %v", entries)
	}
	day := time.Now().UTC().Format(time.DateOnly) // refunds take the database's clock
	report := w.must(200, "GET", "/v1/reports/delivery?group_by=flight&flight=autumn&from="+day+"&to="+time.Now().UTC().Add(24*time.Hour).Format(time.DateOnly), nil)
	if row := report.body["items"].([]any)[0].(map[string]any); row["refunded_views"] != 30.0 || row["refunded_micros"] != 60000.0 {
		t.Errorf("the report: %v", row)
	}
	w.must(409, "POST", "/v1/flights/autumn/refunds", `{"views":1,"reason":"there is no more"}`)
}

// TestHoldings names who holds how much, the most silent first.
func TestHoldings(t *testing.T) {
	w := open(t)
	edges(w)
	items := w.must(200, "GET", "/v1/holders", nil).body["items"].([]any)
	var lines []string
	for _, one := range items {
		h := one.(map[string]any)
		lines = append(lines, fmt.Sprintf("%v %v events %v", h["node"], h["state"], h["available_events"]))
	}
	if got := strings.Join(lines, ", "); got != "us-1 fenced events 0, eu-1 open events 70" {
		t.Errorf("holders: %s", got)
	}
}

// TestLeases reads who holds what.
func TestLeases(t *testing.T) {
	w := open(t)
	edges(w)
	items := w.must(200, "GET", "/v1/flights/autumn/leases", nil).body["items"].([]any)
	if len(items) != 1 {
		t.Fatalf("%d leases", len(items))
	}
	lease := items[0].(map[string]any)
	delete(lease, "last_seen")
	same(t, "lease", lease, parsed(t, `{"holder":1,"region":"eu","node":"eu-1","state":"open","kind":"views","unit":"events",
		"granted":110,"spent":30,"returned":10,"available":70,"velocity_milli":0}`))
	w.must(404, "GET", "/v1/flights/none/leases", nil)
}

// TestRefusals reads why a flight was not offered.
func TestRefusals(t *testing.T) {
	w := open(t)
	edges(w)
	read := func(query string) string {
		t.Helper()
		var lines []string
		for _, one := range w.must(200, "GET", "/v1/flights/autumn/refusals"+query, nil).body["items"].([]any) {
			r := one.(map[string]any)
			lines = append(lines, fmt.Sprintf("%v %v %v", r["reason"], r["region"], r["n"]))
			if !strings.HasSuffix(r["diagnosis"].(string), ".") {
				t.Errorf("the diagnosis of %v: %v", r["reason"], r["diagnosis"])
			}
		}
		return strings.Join(lines, ", ")
	}
	if got := read(""); got != "include_countries eu 150, lease us 70, brand_new us 1" {
		t.Errorf("since yesterday: %s", got)
	}
	if got := read("?since=" + w.now.UTC().AddDate(0, 0, -10).Format(time.DateOnly)); got != "days us 1000, include_countries eu 150, lease us 70, brand_new us 1" {
		t.Errorf("since ten days: %s", got)
	}
	w.must(422, "GET", "/v1/flights/autumn/refusals?since=2020-01-01", nil)
	w.must(422, "GET", "/v1/flights/autumn/refusals?since=yesterday", nil)
	w.must(404, "GET", "/v1/flights/none/refusals", nil)
}

// TestDiagnoses has a sentence for every reason that edges know about flights.
func TestDiagnoses(t *testing.T) {
	source, err := os.ReadFile("../../edge/decision/reason.go")
	if err != nil {
		t.Fatal(err)
	}
	// What is about the request, not about a flight.
	request := []string{"none", "multiple_placements", "mobile_ignored", "unknown_forced", "forced_ad_type", "no_candidates", "none_eligible"}
	w := open(t)
	w.sample()
	n := 0
	for _, found := range regexp.MustCompile(`(?m)^\t\w+:\s+"(\w+)",$`).FindAllStringSubmatch(string(source), -1) {
		reason := found[1]
		if slices.Contains(request, reason) {
			continue
		}
		n++
		w.sql(`INSERT INTO refusals (hour, region, flight, reason, n) SELECT date_trunc('hour', now()), 'eu', id, $1, 1 FROM flights`, reason)
	}
	items := w.must(200, "GET", "/v1/flights/autumn/refusals", nil).body["items"].([]any)
	if n < 30 || len(items) != n {
		t.Fatalf("%d reasons, %d answered", n, len(items))
	}
	for _, one := range items {
		r := one.(map[string]any)
		if strings.Contains(r["diagnosis"].(string), "does not know") {
			t.Errorf("there is no sentence for %v", r["reason"])
		}
	}
}

// TestEdges reads where edges run.
func TestEdges(t *testing.T) {
	w := open(t)
	edges(w)
	body := w.must(200, "GET", "/v1/edges", nil).body
	var lines []string
	for _, one := range body["items"].([]any) {
		region := one.(map[string]any)
		for _, one := range region["nodes"].([]any) {
			n := one.(map[string]any)
			lines = append(lines, fmt.Sprintf("%v %v %v catalog %v control %v boots %v", region["region"], n["node"], n["state"], n["applied_catalog"], n["applied_control"], n["boots"]))
			for _, at := range []string{"last_seen", "joined_at"} {
				if _, err := time.Parse(time.RFC3339, n[at].(string)); err != nil {
					t.Errorf("%v: %s: %v", n["node"], at, err)
				}
			}
		}
	}
	want := []string{
		"eu eu-1 open catalog 9 control 1 boots 3",
		"us us-0 closed catalog 7 control 0 boots 1",
		"us us-1 fenced catalog 8 control 0 boots 1",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("edges:\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	if text := fmt.Sprint(body); strings.Contains(text, "secret") || strings.Contains(text, "disk") {
		t.Errorf("it says what is an edge's own: %s", text)
	}
}

// TestReceipts reads which edge has applied what, and who waits.
func TestReceipts(t *testing.T) {
	w := open(t)
	edges(w)
	// An edge has applied control version 1, which this database never issued:
	// it was restored. The next one is above it.
	if a := w.must(200, "POST", "/v1/flights/autumn/pause", nil); a.body["control_version"] != 2.0 {
		t.Errorf("control version %v, want 2", a.body["control_version"])
	}
	read := func(path string) string {
		t.Helper()
		body := w.must(200, "GET", path+"/receipts", nil).body
		var lines []string
		for _, one := range body["items"].([]any) {
			r := one.(map[string]any)
			at, err := time.Parse(time.RFC3339, r["applied_at"].(string))
			if err != nil {
				t.Error(err)
			}
			lines = append(lines, fmt.Sprintf("%v with %v at :%02d", r["node"], r["applied_version"], at.Second()))
		}
		for _, one := range body["waiting"].([]any) {
			lines = append(lines, fmt.Sprintf("%v waits", one.(map[string]any)["node"]))
		}
		return strings.Join(lines, ", ")
	}
	for _, c := range []struct{ path, want string }{
		{"/v1/catalog/versions/6", "eu-1 with 6 at :06, us-1 with 8 at :08, us-0 with 7 at :07"},
		{"/v1/catalog/versions/7", "eu-1 with 9 at :09, us-1 with 8 at :08, us-0 with 7 at :07"},
		{"/v1/catalog/versions/9", "eu-1 with 9 at :09"},
		{"/v1/catalog/versions/10", "eu-1 waits"}, // us-1 is fenced: nobody waits for it
		{"/v1/controls/1", "eu-1 with 1 at :01"},
		{"/v1/controls/2", "eu-1 waits"},
	} {
		if got := read(c.path); got != c.want {
			t.Errorf("%s: %s, want %s", c.path, got, c.want)
		}
	}
	w.must(404, "GET", "/v1/controls/3/receipts", nil)
	cursor := w.must(200, "GET", "/v1/catalog/versions/6/receipts?limit=2", nil).body["next"].(string)
	if rest := w.must(200, "GET", "/v1/catalog/versions/6/receipts?limit=2&cursor="+cursor, nil).body; len(rest["items"].([]any)) != 1 || rest["next"] != "" {
		t.Errorf("the second page: %v", rest)
	}
}

// TestHolders fences and closes a holder: what it held and did not spend goes
// back to the budget when it is closed, not before.
func TestHolders(t *testing.T) {
	w := open(t)
	edges(w)
	const before = "views events limit 1000 unleased 900 out 70 settled 30"
	for _, c := range []struct {
		path   string
		status int
		state  string
		budget string
	}{
		{"1/close", 409, "", before},
		{"1/fence", 200, "fenced", before},
		{"1/fence", 200, "fenced", before},
		{"1/close", 200, "closed", "views events limit 1000 unleased 970 out 0 settled 30"},
		{"1/close", 200, "closed", "views events limit 1000 unleased 970 out 0 settled 30"},
		{"1/fence", 409, "", "views events limit 1000 unleased 970 out 0 settled 30"},
		{"99/fence", 404, "", "views events limit 1000 unleased 970 out 0 settled 30"},
	} {
		a := w.must(c.status, "POST", "/v1/holders/"+c.path, nil)
		if state, _ := a.body["state"].(string); state != c.state {
			t.Errorf("%s: state %s, want %s", c.path, state, c.state)
		}
		if got := w.budgets("autumn"); got != c.budget {
			t.Errorf("%s: %s\nwant %s", c.path, got, c.budget)
		}
	}
	if a := w.must(200, "GET", "/v1/holders/1", nil); a.body["node"] != "eu-1" || a.body["region"] != "eu" || a.body["reason"] != "by token 1 tests" {
		t.Errorf("the holder is %s", a.text)
	}
	w.must(404, "GET", "/v1/holders/99", nil)
	if entries := w.must(200, "GET", "/v1/audit?resource=holders/1", nil).body["items"].([]any); len(entries) != 2 {
		t.Errorf("the log has %d entries, want one for fence and one for close", len(entries))
	}
}
