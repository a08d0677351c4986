package serve

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"nearside/edge/decision"
	"nearside/edge/decision/conformance"
	"nearside/edge/visitor"
	"nearside/sync/catalog"
)

// everywhere says of any address that it is in one place.
type everywhere struct{ visitor.Place }

func (e *everywhere) Of(netip.Addr) visitor.Place { return e.Place }

// The rules of choosing an ad, row by row, through the HTTP API.
func TestRulesOverHTTP(t *testing.T) {
	cases, err := conformance.Cases()
	if err != nil {
		t.Fatal(err)
	}
	var now time.Time
	place := &everywhere{}
	cfg := config()
	cfg.Now = func() time.Time { return now }
	s, err := New(cfg, newJudge(t), silentTally{}, Visitors{Places: place, Agents: who.Agents, Pseudonyms: who.Pseudonyms}, func() bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	rows, beyond := 0, 0
	for _, c := range cases {
		t.Run(fmt.Sprintf("%d %s", c.Line, c.Name), func(t *testing.T) {
			for i := range c.Snapshot.Publishers {
				c.Snapshot.Publishers[i].UnauthedAdDecisions = true // who may ask is no matter of these rules
			}
			compiled, err := decision.Compile(c.Snapshot, c.Books(), catalog.DayOf(c.Request.Now))
			if err != nil {
				t.Fatal(err)
			}
			s.Apply(compiled)
			now = c.Request.Now
			place.Place = visitor.Place{Metro: c.Request.Metro}
			copy(place.Country[:], c.Request.Country)
			copy(place.State[:], c.Request.State)
			rows++
			agent := chrome
			if c.Request.Mobile {
				agent = phone
			}
			for range 20 {
				ctx := &fasthttp.RequestCtx{}
				ctx.Request.SetRequestURI(decisionPath + "?" + query(&c.Request).Encode())
				ctx.Request.Header.SetUserAgent(agent)
				s.Handle(ctx)
				checkRule(t, c, compiled, ctx)
			}
			if alternatives(&c.Request) {
				beyond++
				return
			}
			for range 20 {
				ctx := &fasthttp.RequestCtx{}
				ctx.Request.Header.SetMethod("POST")
				ctx.Request.SetRequestURI(nativePath)
				ctx.Request.Header.SetContentType("application/json")
				ctx.Request.Header.SetUserAgent(agent)
				ctx.Request.SetBody(object(t, &c.Request))
				s.Handle(ctx)
				checkRule(t, c, compiled, ctx)
			}
		})
	}
	if rows < 300 || beyond > 12 {
		t.Errorf("%d rows, of which the native API does not run %d; want 300 or more, and at most 12", rows, beyond)
	}
}

// alternatives reports whether a row has placements of several div ids of which
// one is to be filled. The native API fills each of them, which is another
// question.
func alternatives(r *conformance.Request) bool {
	for _, p := range r.Placements {
		if p.DivID != r.Placements[0].DivID {
			return true
		}
	}
	return false
}

// object is the body of a POST that asks the same.
func object(t *testing.T, r *conformance.Request) []byte {
	t.Helper()
	q := query(r)
	body := map[string]any{"publisher": r.Publisher, "keywords": r.Keywords, "placement_index": r.PlacementIndex}
	if r.Keywords == nil {
		delete(body, "keywords")
	}
	for _, name := range []string{"url", "force_ad", "force_campaign"} {
		if q.Has(name) {
			body[name] = q.Get(name)
		}
	}
	if len(r.CampaignTypes) > 0 {
		body["campaign_types"] = strings.Split(q.Get("campaign_types"), "|")
	}
	var placements []map[string]any
	for _, p := range r.Placements {
		placements = append(placements, map[string]any{"div_id": p.DivID, "ad_type": p.AdType, "priority": p.Priority})
	}
	body["placements"] = placements
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func query(r *conformance.Request) url.Values {
	var divs, types, priorities, kinds []string
	for _, p := range r.Placements {
		divs, types, priorities = append(divs, p.DivID), append(types, p.AdType), append(priorities, strconv.Itoa(p.Priority))
	}
	for _, k := range r.CampaignTypes {
		kinds = append(kinds, k.String())
	}
	q := url.Values{
		"publisher": {r.Publisher}, "div_ids": {strings.Join(divs, "|")}, "ad_types": {strings.Join(types, "|")},
		"priorities": {strings.Join(priorities, "|")}, "keywords": {strings.Join(r.Keywords, "|")},
		"campaign_types": {strings.Join(kinds, "|")}, "placement_index": {strconv.Itoa(r.PlacementIndex)},
	}
	for name, value := range map[string]string{"url": r.URL, "force_ad": r.ForceAd, "force_campaign": r.ForceCampaign} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}

func checkRule(t *testing.T, c *conformance.Case, compiled *decision.Catalog, ctx *fasthttp.RequestCtx) {
	t.Helper()
	body := ctx.Response.Body()
	if ctx.Response.StatusCode() != 200 {
		t.Fatalf("%d %s", ctx.Response.StatusCode(), body)
	}
	var got struct {
		ID  string
		Div string `json:"div_id"`
	}
	native := string(ctx.Path()) == nativePath
	if native { // which does not say why
		_, body, _ = bytes.Cut(bytes.TrimSuffix(body, []byte("]}}")), []byte(":["))
		if len(body) == 0 {
			body = []byte("{}")
		}
	}
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	if got.ID == "" {
		reason := string(ctx.Response.Header.Peek("X-Adserver-Reason"))
		if len(c.Want.Options) > 0 || !native && c.Want.Reason != decision.None && reason != c.Want.Reason.String() {
			t.Fatalf("no ad (%s), want %+v", reason, c.Want)
		}
		return
	}
	flight := compiled.AdBySlug(got.ID).Of.Slug
	for _, o := range c.Want.Options {
		if o.Flight == flight && (o.Ad == "" || o.Ad == got.ID) && (o.Div == "" || o.Div == got.Div) {
			return
		}
	}
	t.Fatalf("%s of %s in %s, want %+v", got.ID, flight, got.Div, c.Want)
}
