package admin_test

import (
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"nearside/core/admin"
	"nearside/core/ledger"
	"nearside/core/postgres/query"
	"nearside/sync/wire"
)

// What an operation of the API does, by its id. A new one needs a row: who may
// call it follows from that.
const (
	reads  = "reads"  // admin and viewer
	writes = "writes" // admin alone
)

var does = map[string]string{
	"change-ad": writes, "change-ad-type": writes, "change-advertiser": writes, "change-campaign": writes, "change-flight": writes,
	"change-geo-region": writes, "change-publisher": writes, "change-publisher-group": writes, "change-topic": writes,
	"create-ad": writes, "create-ad-type": writes, "create-advertiser": writes, "create-campaign": writes, "create-flight": writes,
	"create-geo-region": writes, "create-publisher": writes, "create-publisher-group": writes, "create-topic": writes,
	"replace-ad": writes, "replace-ad-type": writes, "replace-advertiser": writes, "replace-campaign": writes, "replace-flight": writes,
	"replace-geo-region": writes, "replace-publisher": writes, "replace-publisher-group": writes, "replace-topic": writes,
	"pause-flight": writes, "resume-flight": writes, "kill-flight": writes, "delete-flight": writes,
	"fence-holder": writes, "close-holder": writes, "refund-flight": writes, "create-token": writes, "revoke-token": writes,

	"list-ad-types": reads, "list-ads": reads, "list-advertisers": reads, "list-campaigns": reads, "list-flights": reads,
	"list-geo-regions": reads, "list-publisher-groups": reads, "list-publishers": reads, "list-topics": reads,
	"read-ad": reads, "read-ad-type": reads, "read-advertiser": reads, "read-campaign": reads, "read-flight": reads,
	"read-geo-region": reads, "read-publisher": reads, "read-publisher-group": reads, "read-topic": reads,
	"get-catalog-bytes": reads, "list-catalog-receipts": reads, "list-catalog-versions": reads, "list-control-receipts": reads,
	"list-edges": reads, "read-holder": reads, "list-holders": reads, "list-flight-refunds": reads, "list-flight-leases": reads, "list-flight-refusals": reads, "read-flight-series": reads,
	"list-jobs": reads, "list-audit": reads, "list-tokens": reads, "read-token": reads, "report-delivery": reads,
}

// TestWhoMayCallWhat asks every operation of the API's own description with
// every kind of credential that there is, the edges' among them.
func TestWhoMayCallWhat(t *testing.T) {
	w := open(t)
	w.sample()
	token := func(body string) string { return w.must(201, "POST", "/v1/tokens", body).body["token"].(string) }
	join, hash := admin.NewSecret()
	if _, err := w.db.Queries().InsertJoinToken(t.Context(), query.InsertJoinTokenParams{Name: "edges", Hash: hash}); err != nil {
		t.Fatal(err)
	}
	// An edge that is there, with a secret that the core knows.
	secret := strings.Repeat("ab", 32)
	edge, err := ledger.Register(t.Context(), w.db.Ledger(), &wire.RegisterRequest{
		Protocol: 1, Region: "eu", Node: "eu-1", Disk: strings.Repeat("0", 32),
	}, ledger.Hash(secret), w.now.UnixMilli(), ledger.DefaultRules())
	if err != nil || edge.Holder != 1 {
		t.Fatalf("%+v, %v", edge, err)
	}
	const (
		in      = 0 // whatever it says, it is not about who asks
		unknown = http.StatusUnauthorized
		not     = http.StatusForbidden
	)
	for _, kind := range []struct {
		about, credential string
		read, write       int
	}{
		{"an admin", "Bearer " + w.token, in, in},
		{"a viewer", "Bearer " + token(`{"name":"v","role":"viewer"}`), in, not},
		{"a publisher", "Bearer " + token(`{"name":"p","role":"publisher","publisher":"site"}`), not, not},
		{"nobody", "", unknown, unknown},
		{"an edge's secret", "Bearer 1." + secret, unknown, unknown},
		{"an edge's secret without its number", "Bearer " + secret, unknown, unknown},
		{"an edge's secret as a token", "Bearer nearside_" + secret[:43], unknown, unknown},
		{"a join token", "Bearer " + join, unknown, unknown},
		{"the hash of an admin's token", "Bearer " + hex.EncodeToString(admin.Hash(w.token)), unknown, unknown},
	} {
		n := 0
		for path, item := range w.openAPI().Paths {
			for method, operation := range item {
				n++
				want := kind.read
				switch does[operation.OperationID] {
				case writes:
					want = kind.write
				case reads:
					if method != "get" {
						t.Errorf("%s is a %s: expected it among those that write", operation.OperationID, method)
					}
				default:
					t.Errorf("%s: expected a row in this table, since it is new", operation.OperationID)
					continue
				}
				r := httptest.NewRequest(strings.ToUpper(method), strings.NewReplacer("{slug}", "x", "{id}", "9999", "{version}", "1").Replace(path), strings.NewReader(`{}`))
				r.Header.Set("Content-Type", "application/json")
				if kind.credential != "" {
					r.Header.Set("Authorization", kind.credential)
				}
				recorder := httptest.NewRecorder()
				w.api.ServeHTTP(recorder, r)
				got := recorder.Code
				if got != unknown && got != not && got < 500 {
					got = in
				}
				if got != want {
					t.Errorf("%s %s by %s: %d %s", method, path, kind.about, recorder.Code, recorder.Body)
				}
			}
		}
		if n != len(does) {
			t.Errorf("%d operations, and %d rows", n, len(does))
		}
	}
}
