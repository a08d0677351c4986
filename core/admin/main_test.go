package admin_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
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

// world is an admin API over a database of its own.
type world struct {
	t     testing.TB
	url   string
	db    *postgres.DB
	api   *admin.API
	token string // of role admin
	now   time.Time
	log   bytes.Buffer
}

func open(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, url: testpg.New(t), now: time.Now()}
	var err error
	if w.db, err = postgres.Open(t.Context(), w.url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.db.Close)
	w.api = admin.New(w.db, admin.Options{
		Version: "test", Log: slog.New(slog.NewTextHandler(&w.log, nil)), Now: func() time.Time { return w.now },
	})
	if w.token, _, err = w.api.CreateToken(t.Context(), "test", admin.Token{Name: "tests", Role: admin.RoleAdmin}); err != nil {
		t.Fatal(err)
	}
	return w
}

// sql runs a statement that no part of the API has a reason to run.
func (w *world) sql(statement string, args ...any) {
	w.t.Helper()
	conn, err := pgx.Connect(w.t.Context(), w.url)
	if err != nil {
		w.t.Fatal(err)
	}
	_, err = conn.Exec(w.t.Context(), statement, args...)
	if err := errors.Join(err, conn.Close(w.t.Context())); err != nil {
		w.t.Fatalf("%s: %v", statement, err)
	}
}

// answer is what the API said.
type answer struct {
	status int
	header http.Header
	text   string
	body   map[string]any
}

// call sends a request; body is a string, or something to be sent as JSON, or
// nil. headers are "Name: value".
func (w *world) call(method, path string, body any, headers ...string) answer {
	w.t.Helper()
	var text string
	switch body := body.(type) {
	case nil:
	case string:
		text = body
	default:
		raw, err := json.Marshal(body)
		if err != nil {
			w.t.Fatal(err)
		}
		text = string(raw)
	}
	r := httptest.NewRequest(method, path, strings.NewReader(text))
	r.Header.Set("Authorization", "Bearer "+w.token)
	if text != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	recorder := httptest.NewRecorder()
	w.api.ServeHTTP(recorder, r)
	a := answer{status: recorder.Code, header: recorder.Header(), text: recorder.Body.String()}
	_ = json.Unmarshal(recorder.Body.Bytes(), &a.body)
	return a
}

// must is call where only the status want will do.
func (w *world) must(want int, method, path string, body any, headers ...string) answer {
	w.t.Helper()
	a := w.call(method, path, body, headers...)
	if a.status != want {
		w.t.Fatalf("%s %s: %d %s\nwant %d\nlog: %s", method, path, a.status, a.text, want, w.log.String())
	}
	return a
}

// sample makes one of each kind: what flights and ads need.
func (w *world) sample() {
	w.t.Helper()
	for _, made := range []struct{ path, body string }{
		{"advertisers", `{"slug":"acme","name":"Acme"}`},
		{"publisher-groups", `{"slug":"docs","name":"Docs"}`},
		{"publishers", `{"slug":"site","name":"Site","groups":["docs"],"allow_paid_campaigns":true}`},
		{"ad-types", `{"slug":"image-v1","name":"Image"}`},
		{"topics", `{"slug":"python","name":"Python","keywords":["Django","python"]}`},
		{"geo-regions", `{"slug":"benelux","name":"Benelux","countries":["NL","BE","LU"]}`},
		{"campaigns", `{"slug":"paid","name":"Paid","advertiser":"acme","campaign_type":"paid","publisher_groups":["docs"]}`},
		{"flights", `{"slug":"autumn","name":"Autumn","campaign":"paid","live":true,"start_date":"2025-09-01","end_date":"2025-11-30","cpm_micros":2000000,"sold_views":1000}`},
		{"ads", `{"slug":"ad","name":"Ad","flight":"autumn","ad_types":["image-v1"],"headline":"H","content":"C","cta":"Go","link":"https://example.com/?a=b"}`},
	} {
		w.must(http.StatusCreated, "POST", "/v1/"+made.path, made.body)
	}
}

func parsed(t testing.TB, text string) map[string]any {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		t.Fatal(err)
	}
	return object
}

// same compares two JSON objects.
func same(t testing.TB, about string, got, want map[string]any) {
	t.Helper()
	a, _ := json.Marshal(got)
	b, _ := json.Marshal(want)
	if !bytes.Equal(a, b) {
		t.Errorf("%s:\n%s\nwant\n%s", about, a, b)
	}
}

// snapshot is what edges would get now.
func (w *world) snapshot() *catalog.Snapshot {
	w.t.Helper()
	var s *catalog.Snapshot
	err := w.db.InSnapshot(w.t.Context(), func(q *query.Queries) (err error) {
		s, err = publish.Read(w.t.Context(), q, w.now)
		return err
	})
	if err == nil {
		err = s.Validate()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}
