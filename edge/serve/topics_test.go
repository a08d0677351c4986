package serve

import (
	"fmt"
	"testing"

	"nearside/sync/catalog"
	"nearside/sync/token"
)

// What a page is about goes into the token and into the counts of decisions,
// whether some flight asks for the topic or not.
func TestTopics(t *testing.T) {
	w := newWorld(t)
	s := sample()
	s.Topics = []catalog.Topic{
		{ID: 3, Slug: "containers", Name: "Containers", Keywords: []string{"docker", "podman"}},
		{ID: 4, Slug: "data", Name: "Data", Keywords: []string{"pandas"}},
	}
	for i := range uint32(10) {
		s.Topics = append(s.Topics, catalog.Topic{ID: 20 + i, Slug: fmt.Sprint("wide-", i), Name: "Wide", Keywords: []string{"wide"}})
	}
	s.Topics = append(s.Topics, catalog.Topic{ID: 70_000, Slug: "later", Name: "Later", Keywords: []string{"podman"}})
	s.Flights[1].Targeting.IncludeKeywords = nil
	s.Flights[1].Targeting.IncludeTopics = []string{"containers"}
	w.apply(s)
	const (
		filled  = "publisher=open&div_ids=a&ad_types=image-v1"
		empty   = "publisher=open&div_ids=a&ad_types=image-v1&campaign_types=community"
		native  = `{"publisher":"open","keywords":["pandas"],"placements":[{"div_id":"a","ad_type":"image-v1"}]}`
		unasked = "publisher=desktop&div_ids=a&ad_types=image-v1&keywords=docker"
	)
	for _, tt := range []struct {
		name, ask string
		headers   []string
		token     string // topics; "" where there is no offer
		counted   string // of decisions, topic/flight
	}{
		{"a topic that a flight asks for", filled + "&keywords=docker", nil, "[3]", "map[3/1:1]"},
		{"one that none asks for", filled + "&keywords=Pandas", nil, "[4]", "map[4/1:1]"},
		{"two, each once, and one whose id is too large", filled + "&keywords=podman|docker|pandas", nil, "[3 4]", "map[3/1:1 4/1:1]"},
		{"none of the catalog's", filled + "&keywords=gardening", nil, "[0]", "map[0/1:1]"},
		{"no keyword", filled, nil, "[0]", "map[0/1:1]"},
		{"more than there is room for", filled + "&keywords=wide", nil, "[20 21 22 23 24 25 26 27]", "map[20/1:1 21/1:1 22/1:1 23/1:1 24/1:1 25/1:1 26/1:1 27/1:1]"},
		{"no ad", empty + "&keywords=pandas", nil, "", "map[4/0:1]"},
		{"a forced ad", filled + "&force_ad=ad-house&keywords=pandas", nil, "[4]", "map[4/5:1]"},
		{"the gate looks at no keyword", unasked, []string{"User-Agent", phone}, "", "map[]"},
		{"the native API", native, nil, "[4]", "map[4/1:1]"},
	} {
		for _, recorded := range []bool{true, false} { // the first of a second is recorded, on a way of its own
			clear(w.tally.topics)
			if recorded {
				w.clock.Add(2000)
			}
			var r response
			var nonce string
			if tt.ask == native {
				r = w.do("POST", "/v1/decisions", native)
				nonce = r.json(t)["decisions"].(map[string]any)["a"].([]any)[0].(map[string]any)["nonce"].(string)
			} else {
				r = w.get(decisionPath+"?"+tt.ask, tt.headers...)
				nonce, _ = r.json(t)["nonce"].(string)
			}
			got := ""
			if nonce != "" {
				var c token.Claims
				if err := w.judge.Open(&c, []byte(nonce), noon); err != nil {
					t.Fatal(err)
				}
				got = fmt.Sprint(c.Topics)
			}
			if counted := fmt.Sprint(w.tally.topics); got != tt.token || counted != tt.counted {
				t.Errorf("%s (recorded %v): token %s, counted %s; want %s and %s", tt.name, recorded, got, counted, tt.token, tt.counted)
			}
		}
	}
	s.Topics = nil
	s.Flights[1].Targeting.IncludeTopics = nil
	w.apply(s)
	var c token.Claims
	if err := w.judge.Open(&c, []byte(w.offer(filled + "&keywords=docker")["nonce"].(string)), noon); err != nil || len(c.Topics) != 0 {
		t.Errorf("a catalog without topics: %v (%v)", c.Topics, err)
	}
}
