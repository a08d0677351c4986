package admin_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"nearside/core/admin"
	"nearside/core/postgres/query"
)

// TestAccess asks with every kind of credential.
func TestAccess(t *testing.T) {
	w := open(t)
	w.sample()
	token := func(body string) string { return w.must(201, "POST", "/v1/tokens", body).body["token"].(string) }
	viewer := token(`{"name":"v","role":"viewer"}`)
	publisher := token(`{"name":"p","role":"publisher","publisher":"site"}`)
	revoked := w.must(201, "POST", "/v1/tokens", `{"name":"r","role":"admin"}`)
	w.must(204, "DELETE", revoked.header.Get("Location"), nil)
	w.must(204, "DELETE", revoked.header.Get("Location"), nil) // again changes nothing

	// What edges have: a join token and a holder's secret.
	join, hash := admin.NewSecret()
	if _, err := w.db.Queries().InsertJoinToken(t.Context(), query.InsertJoinTokenParams{Name: "edges", Hash: hash}); err != nil {
		t.Fatal(err)
	}

	ways := []struct{ about, header string }{
		{"admin", "Bearer " + w.token},
		{"bearer in small letters", "bearer " + w.token},
		{"viewer", "Bearer " + viewer},
		{"publisher", "Bearer " + publisher},
		{"none", ""},
		{"revoked", "Bearer " + revoked.body["token"].(string)},
		{"edge", "Bearer " + join},
		{"unknown", "Bearer nearside_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
		{"hash instead of text", "Bearer " + hex.EncodeToString(admin.Hash(w.token))},
		{"one letter changed", "Bearer " + w.token[:len(w.token)-1] + "~"},
		{"one letter more", "Bearer " + w.token + "x"},
		{"empty", "Bearer "},
		{"basic", "Basic " + w.token},
		{"no scheme", w.token},
		{"long", "Bearer " + strings.Repeat("x", 10000)},
		{"injection", "Bearer ' OR 1=1 --"},
	}
	want := map[string][2]int{ // status of a read and of a write
		"admin": {200, 200}, "bearer in small letters": {200, 200}, "viewer": {200, 403}, "publisher": {403, 403},
	}
	for _, way := range ways {
		expect, ok := want[way.about]
		if !ok {
			expect = [2]int{401, 401}
		}
		for i, method := range []string{"GET", "PATCH"} {
			var body any
			if method == "PATCH" {
				body = `{}`
			}
			a := w.call(method, "/v1/flights/autumn", body, "Authorization: "+way.header)
			if a.status != expect[i] {
				t.Errorf("%s %s: %d %s, want %d", way.about, method, a.status, a.text, expect[i])
			}
			if a.status == 401 && a.header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s %s: 401 without WWW-Authenticate", way.about, method)
			}
			if strings.Contains(a.text, "autumn") != (a.status == 200) {
				t.Errorf("%s %s: the answer %s", way.about, method, a.text)
			}
		}
	}
	if strings.Contains(w.log.String(), w.token) || strings.Contains(w.log.String(), viewer) {
		t.Error("a token is in the log")
	}
}

// TestEveryRoomIsLocked asks every operation without a token.
func TestEveryRoomIsLocked(t *testing.T) {
	w := open(t)
	n := 0
	for path, item := range w.openAPI().Paths {
		path = strings.NewReplacer("{slug}", "x", "{id}", "1", "{version}", "1").Replace(path)
		for method := range item {
			n++
			r := httptest.NewRequest(strings.ToUpper(method), path, strings.NewReader(`{}`))
			recorder := httptest.NewRecorder()
			w.api.ServeHTTP(recorder, r)
			if recorder.Code != http.StatusUnauthorized {
				t.Errorf("%s %s without a token: %d", method, path, recorder.Code)
			}
		}
	}
	if n < 50 {
		t.Errorf("only %d operations were asked", n)
	}
}

// TestTokensAreKeptAsHashes looks for the text of tokens in every table.
func TestTokensAreKeptAsHashes(t *testing.T) {
	w := open(t)
	w.sample()
	made := w.must(201, "POST", "/v1/tokens", `{"name":"ci","role":"publisher","publisher":"site"}`, "Idempotency-Key: k")
	text := made.body["token"].(string)
	if again := w.must(201, "POST", "/v1/tokens", `{"name":"ci","role":"publisher","publisher":"site"}`, "Idempotency-Key: k"); again.body["token"] == text {
		t.Error("a token was said twice")
	}
	for _, path := range []string{"/v1/tokens", "/v1/tokens/2", "/v1/audit"} {
		if a := w.must(200, "GET", path, nil); strings.Contains(a.text, text) {
			t.Errorf("%s says a token's text", path)
		}
	}
	conn, err := pgx.Connect(t.Context(), w.url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	rows, _ := conn.Query(t.Context(), `SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'`)
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if len(tables) < 20 {
		t.Fatalf("only %d tables", len(tables))
	}
	for _, secret := range []string{text, w.token} {
		for _, table := range tables {
			var found bool
			err := conn.QueryRow(t.Context(), `SELECT count(*) > 0 FROM `+pgx.Identifier{table}.Sanitize()+` AS t
				WHERE position($1 in t::text) > 0 OR position($2 in t::text) > 0`, secret, hex.EncodeToString([]byte(secret))).Scan(&found)
			if err != nil {
				t.Fatal(err)
			}
			if found {
				t.Errorf("table %s holds a token's text", table)
			}
		}
	}
	// The hash is there, so that the search above can find something.
	var n int
	if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM api_tokens AS t WHERE position($1 in t::text) > 0`, hex.EncodeToString(admin.Hash(text))).Scan(&n); err != nil || n != 1 {
		t.Errorf("the token's hash is in %d rows, %v; want 1", n, err)
	}
	if !bytes.HasPrefix([]byte(text), []byte("nearside_")) || len(text) != len("nearside_")+43 {
		t.Errorf("a token of %d characters", len(text))
	}
}

// TestPublisherTokensReachEdges finds a publisher's token in the catalog until
// it is revoked, and nobody else's.
func TestPublisherTokensReachEdges(t *testing.T) {
	w := open(t)
	w.sample()
	before := w.version()
	w.must(201, "POST", "/v1/tokens", `{"name":"v","role":"viewer"}`)
	if after := w.version(); after != before {
		t.Errorf("a viewer's token made catalog version %d", after)
	}
	made := w.must(201, "POST", "/v1/tokens", `{"name":"p","role":"publisher","publisher":"site"}`)
	w.wrote(made, before+1)
	if got := w.snapshot().Publishers[0].TokenHashes; len(got) != 1 || !bytes.Equal(got[0], admin.Hash(made.body["token"].(string))) {
		t.Errorf("hashes in the catalog: %x", got)
	}
	w.must(204, "DELETE", made.header.Get("Location"), nil)
	if got := w.snapshot().Publishers[0].TokenHashes; len(got) != 0 {
		t.Errorf("hashes in the catalog after it was revoked: %x", got)
	}
}

// TestWithoutDatabase answers 503 while the database takes nobody.
func TestWithoutDatabase(t *testing.T) {
	w := open(t)
	w.sample()
	away := func(is bool) {
		t.Helper()
		config, err := pgx.ParseConfig(w.url)
		if err != nil {
			t.Fatal(err)
		}
		name := config.Database
		config.Database = "postgres"
		conn, err := pgx.ConnectConfig(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
		allow := "true"
		if is {
			allow = "false"
		}
		if _, err := conn.Exec(t.Context(), "ALTER DATABASE "+pgx.Identifier{name}.Sanitize()+" ALLOW_CONNECTIONS "+allow); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name); err != nil {
			t.Fatal(err)
		}
	}
	away(true)
	for range 3 {
		for _, c := range []struct{ method, path, body string }{
			{"GET", "/v1/flights", ""}, {"PATCH", "/v1/flights/autumn", `{"sold_views":5}`}, {"POST", "/v1/topics", `{"slug":"x","name":"X"}`},
		} {
			if a := w.call(c.method, c.path, c.body); a.status != 503 || a.header.Get("Retry-After") == "" {
				t.Errorf("%s %s: %d %s, want 503", c.method, c.path, a.status, a.text)
			}
		}
	}
	away(false)
	w.must(200, "PATCH", "/v1/flights/autumn", `{"sold_views":5}`)
}
