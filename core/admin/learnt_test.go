package admin_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"nearside/core/admin"
	"nearside/core/jobs"
)

// TestLearnt shows what was learnt beside what people wrote, and takes none of
// it back as if they had.
func TestLearnt(t *testing.T) {
	w := open(t)
	w.sample()
	for _, path := range []string{"/v1/flights/autumn", "/v1/ads/ad", "/v1/publishers/site"} {
		a := w.must(200, "GET", path, nil)
		for _, field := range []string{"sampled_ctr", "traffic_fill", "demand"} {
			if _, shown := a.body[field]; shown {
				t.Errorf("%s says %s before any was learnt", path, field)
			}
		}
	}
	w.sql(`INSERT INTO sampled_ctrs (kind, id, ctr, views, clicks, sampled_at) VALUES
		('flight', 1, 0.5, 1000, 5, '2025-09-15 03:30Z'), ('ad', 1, 0.25, 2000, 5, '2025-09-15 03:30Z'), ('publisher', 1, 0.125, 8000, 10, '2025-09-15 03:30Z')`)
	w.sql(`INSERT INTO traffic_fills (flight, fill, views, filled_at) VALUES (1, '{"countries": {"NL": 0.5}, "publishers": {"site": 1}}', 1000, '2025-09-15 02:30Z')`)
	w.sql(`INSERT INTO demands (flight, weights, events, learnt_at) SELECT 1, array_agg(1000), 12, '2025-09-15 00:05Z' FROM generate_series(1, 168)`)
	for _, c := range []struct{ path, field, want string }{
		{"/v1/flights/autumn", "sampled_ctr", `{"as_of":"2025-09-15T03:30:00Z","clicks":5,"percent":0.5,"views":1000}`},
		{"/v1/flights/autumn", "traffic_fill", `{"as_of":"2025-09-15T02:30:00Z","countries":{"NL":0.5},"publishers":{"site":1}}`},
		{"/v1/ads/ad", "sampled_ctr", `{"as_of":"2025-09-15T03:30:00Z","clicks":5,"percent":0.25,"views":2000}`},
		{"/v1/publishers/site", "sampled_ctr", `{"as_of":"2025-09-15T03:30:00Z","clicks":10,"percent":0.125,"views":8000}`},
	} {
		read := w.must(200, "GET", c.path, nil)
		text, err := json.Marshal(read.body[c.field])
		if err != nil || string(text) != c.want {
			t.Errorf("%s: %s is %s, want %s", c.path, c.field, text, c.want)
		}
		collection := c.path[:strings.LastIndex(c.path, "/")]
		listed := w.must(200, "GET", collection, nil).body["items"].([]any)[0].(map[string]any)
		if text, _ := json.Marshal(listed[c.field]); string(text) != c.want {
			t.Errorf("%s: %s is %s, want %s", collection, c.field, text, c.want)
		}
		// What was read can be sent back: it changes nothing.
		back := w.must(200, "PUT", c.path, read.body)
		if back.header.Get("ETag") != read.header.Get("ETag") {
			t.Errorf("%s sent back as it was read is a change: %s", c.path, back.text)
		}
	}
	demand := w.must(200, "GET", "/v1/flights/autumn", nil).body["demand"].(map[string]any)
	if len(demand["weights"].([]any)) != 168 || demand["requests"] != 12.0 {
		t.Errorf("demand %v", demand)
	}
}

// TestSeries asks for a flight's plan against delivery.
func TestSeries(t *testing.T) {
	w := open(t)
	w.sample()
	w.must(201, "POST", "/v1/flights", `{"slug":"clicks","name":"C","campaign":"paid","live":true,"start_date":"2025-09-01","end_date":"2025-11-30","cpc_micros":2000000,"sold_clicks":10}`)
	w.now = time.Date(2025, 9, 2, 12, 30, 30, 0, time.UTC)
	w.sql(`INSERT INTO flight_series (at, flight, planned_views, planned_clicks, views, clicks, spent_micros)
		SELECT at, flight, 100, 10, 90, 9, 180 FROM unnest(ARRAY[1, 2]) AS flight, unnest(ARRAY['2025-09-02 12:28Z', '2025-09-02 12:30Z']::timestamptz[]) AS at`)
	const gap, last = "2025-09-02T12:29:00Z,,,\n", "2025-09-02T12:30:00Z,100,90,180\n"
	for _, c := range []struct{ about, path, ends string }{
		{"from a time to now", "autumn/series?from=2025-09-02T12:29:00Z&format=csv", gap + last},
		{"to a time", "autumn/series?from=2025-09-02T12:28:00Z&to=2025-09-02T12:30:00Z&format=csv", "spent_micros\n2025-09-02T12:28:00Z,100,90,180\n" + gap},
		{"by default clicks, where it sells no views", "clicks/series?format=csv", gap + "2025-09-02T12:30:00Z,10,9,180\n"},
		{"what it does not sell", "clicks/series?format=csv&unit=views", gap + last},
		{"days", "autumn/series?from=2025-09-01&step=86400&format=csv", "spent_micros\n2025-09-01T00:00:00Z,,,\n2025-09-02T00:00:00Z,100,90,180\n"},
		{"not from before the flight's start", "autumn/series?from=2025-08-20&to=2025-09-01&step=43200&format=csv", "spent_micros\n2025-09-01T00:00:00Z,,,\n2025-09-01T12:00:00Z,,,\n"},
		{"before the flight's start", "autumn/series?from=2025-08-20&to=2025-08-25&format=csv", "spent_micros\n"},
		{"not into what is to come", "autumn/series?from=2025-09-02T12:30:00Z&to=2025-10-01&format=csv", "spent_micros\n" + last},
	} {
		a := w.must(200, "GET", "/v1/flights/"+c.path, nil)
		if !strings.HasSuffix(a.text, c.ends) || !strings.HasPrefix(a.text, "time,planned,delivered,spent_micros\n") {
			t.Errorf("%s:\n%s\nwant at the end\n%s", c.about, a.text, c.ends)
		}
	}
	a := w.must(200, "GET", "/v1/flights/autumn/series?from=2025-09-02T12:29:00Z", nil)
	const want = `{"flight":"autumn","unit":"views","from":"2025-09-02T12:29:00Z","to":"2025-09-02T12:31:00Z","step_seconds":60,"points":[` +
		`{"time":"2025-09-02T12:29:00Z","planned":null,"delivered":null,"spent_micros":null},{"time":"2025-09-02T12:30:00Z","planned":100,"delivered":90,"spent_micros":180}]}`
	if a.text != want {
		t.Errorf("JSON:\n%s\nwant\n%s", a.text, want)
	}
	for query, field := range map[string]string{
		"from=noon": "query.from", "to=noon": "query.to", "from=2025-09-02&to=2025-09-01": "query.to", "from=2025-07-01": "query.from",
		"step=59": "query.step", "step=90": "query.step", "step=86460": "query.step", "unit=offers": "query.unit", "format=xml": "query.format",
	} {
		if a := w.must(422, "GET", "/v1/flights/autumn/series?"+query, nil); !strings.Contains(a.text, `"location":"`+field+`"`) {
			t.Errorf("%s: %s, want it to name %s", query, a.text, field)
		}
	}
	w.must(404, "GET", "/v1/flights/none/series", nil)
}

// TestJobs lists jobs that ran, and jobs that never did.
func TestJobs(t *testing.T) {
	w := open(t)
	list := []jobs.Job{
		{Name: "ran", About: "Runs.", Every: time.Hour, Run: func(context.Context, time.Time) (string, error) { return "3 things", nil }},
		{Name: "never", About: "Does not.", Every: time.Minute},
	}
	log := slog.New(slog.NewTextHandler(&w.log, nil))
	if _, err := jobs.New(w.db, jobs.Options{Log: log}, list...).Do(t.Context(), "ran"); err != nil {
		t.Fatal(err)
	}
	api := admin.New(w.db, admin.Options{Version: "test", Log: log, Jobs: list})
	r := httptest.NewRequest(http.MethodGet, "/v1/jobs", nil)
	r.Header.Set("Authorization", "Bearer "+w.token)
	recorder := httptest.NewRecorder()
	api.ServeHTTP(recorder, r)
	text := recorder.Body.String()
	for _, want := range []string{`"name":"ran"`, `"every_seconds":3600`, `"result":"3 things"`, `"failures":0`,
		`{"name":"never","about":"Does not.","every_seconds":60,"started_at":null,"finished_at":null,"succeeded_at":null,"result":"","error":"","failures":0}`} {
		if recorder.Code != 200 || !strings.Contains(text, want) {
			t.Errorf("%d %s, want %s", recorder.Code, text, want)
		}
	}
}
