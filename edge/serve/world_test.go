package serve

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp/fasthttputil"
	"go.uber.org/goleak"

	"nearside/edge/decision"
	"nearside/edge/visitor"
	"nearside/sync/catalog"
	"nearside/sync/lease"
	"nearside/sync/token"
)

// who is shared: compiling the rules of user agents takes long.
var who Visitors

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	places, err := visitor.OpenPlaces("")
	if err != nil {
		return 1, err
	}
	agents, err := visitor.NewAgents()
	if err != nil {
		return 1, err
	}
	who = Visitors{Places: places, Agents: agents, Pseudonyms: visitor.NewPseudonyms([32]byte{1})}
	code = m.Run()
	places.Close()
	agents.Close()
	if code != 0 {
		return code, nil
	}
	return code, goleak.Find(
		// These two of fasthttp's end some seconds after their server.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
	)
}

const (
	chrome  = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_13_4) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/66.0.3359.181 Safari/537.36"
	windows = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
	firefox = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:127.0) Gecko/20100101 Firefox/127.0"
	phone   = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Mobile/15E148 Safari/604.1"

	american = "8.8.8.8"
	dutch    = "193.0.6.139"
)

// noon is a Wednesday.
var noon = time.Date(2030, 5, 15, 12, 0, 0, 0, time.UTC)

// sample is the snapshot of most tests: what each flight is for stands in its
// slug. Publisher `open` needs no token; `closed` needs its own.
func sample() *catalog.Snapshot {
	today := catalog.DayOf(noon)
	hash := func(s string) []byte { h := sha256.Sum256([]byte(s)); return h[:] }
	s := &catalog.Snapshot{
		Version:     7,
		Advertisers: []catalog.Advertiser{{ID: 1, Slug: "acme", Name: "Acme"}},
		Groups:      []catalog.Group{{ID: 1, Slug: "all", Name: "All"}},
		AdTypes: []catalog.AdType{
			{ID: 1, Slug: "image-v1", Name: "Image", HasImage: true, HasText: true},
			{ID: 2, Slug: "text-v1", Name: "Text", HasText: true},
		},
		Campaigns: []catalog.Campaign{
			{ID: 1, Slug: "paid-campaign", Advertiser: 1, Type: catalog.Paid, PublisherGroups: []uint32{1}},
			{ID: 2, Slug: "house-campaign", Advertiser: 1, Type: catalog.House, PublisherGroups: []uint32{1}},
		},
		Topics: []catalog.Topic{}, GeoRegions: []catalog.GeoRegion{},
	}
	for i, p := range []catalog.Publisher{
		{Slug: "open", Name: "Open & Free", UnauthedAdDecisions: true},
		{Slug: "closed", Name: "Closed", TokenHashes: [][]byte{hash("closed-token")}},
		{Slug: "other", Name: "Other", TokenHashes: [][]byte{hash("other-token")}},
		{Slug: "gone", Name: "Gone", Disabled: true},
		{Slug: "sticky", Name: "Sticky", UnauthedAdDecisions: true, CacheAds: true},
		{Slug: "bids", Name: "Bids", UnauthedAdDecisions: true, SendBidRate: true, RenderPixel: true},
		{Slug: "desktop", Name: "Desktop", UnauthedAdDecisions: true, IgnoreMobileTraffic: true},
		{Slug: "many", Name: "Many", UnauthedAdDecisions: true, AllowMultiplePlacements: true},
		{Slug: "capped", Name: "Capped", UnauthedAdDecisions: true, DailyCap: 100_000_000, DailyCapFrom: today},
	} {
		p.ID, p.Groups = uint32(i+1), []uint32{1}
		p.AllowPaid, p.AllowHouse, p.AllowAPIKeywords = true, true, true
		s.Publishers = append(s.Publishers, p)
	}
	flight := func(f catalog.Flight, types []uint32, live bool) {
		f.ID = uint32(len(s.Flights) + 1)
		f.Name = "Flight " + f.Slug
		f.StartDate, f.EndDate = today, today+30
		f.Pacing, f.PacingInterval, f.PriorityMultiplier = catalog.ASAP, 3600, 1
		s.Flights = append(s.Flights, f)
		s.Ads = append(s.Ads, catalog.Ad{
			ID: f.ID + 100, Slug: "ad-" + f.Slug, Name: "Ad of " + f.Slug, Flight: f.ID, AdTypes: types, Live: live,
			Headline: "Headline", Content: "Content of " + f.Slug, CTA: "Go", ImageURL: "https://img.example.com/1.png",
			Link: "https://" + f.Slug + ".example.com/landing?utm_source=${publisher}&c=$country-$continent",
		})
	}
	flight(catalog.Flight{Slug: "views", Campaign: 1, Live: true, CPM: 10_000_000, SoldViews: 1_000_000, CPC: 1_000_000, SoldClicks: 1_000_000}, []uint32{1}, true)
	flight(catalog.Flight{Slug: "docker", Campaign: 1, Live: true, CPM: 5_000_000, SoldViews: 1000, Targeting: catalog.Targeting{IncludeKeywords: []string{"docker"}}}, []uint32{2}, true)
	flight(catalog.Flight{Slug: "dutch", Campaign: 1, Live: true, CPM: 5_000_000, SoldViews: 1000, Targeting: catalog.Targeting{IncludeCountries: []string{"NL"}}}, []uint32{2}, true)
	flight(catalog.Flight{Slug: "domain", Campaign: 1, Live: true, CPM: 5_000_000, SoldViews: 1000, Targeting: catalog.Targeting{IncludeDomains: []string{"docs.example.com"}}}, []uint32{2}, true)
	flight(catalog.Flight{Slug: "house", Campaign: 2, Live: true, SoldViews: 1000}, []uint32{1}, true)
	flight(catalog.Flight{Slug: "stopped", Campaign: 1, CPM: 5_000_000, SoldViews: 1000, DailyCap: 1_000_000, DailyCapFrom: today}, []uint32{1}, false)
	return s
}

// books has room for everything.
type books struct {
	mu       sync.Mutex
	accounts map[lease.Budget]*decision.Account
	switches map[uint32]*decision.Switch
}

func newBooks() *books {
	return &books{accounts: map[lease.Budget]*decision.Account{}, switches: map[uint32]*decision.Switch{}}
}

func compile(b *books) (*decision.Catalog, error) {
	return decision.Compile(sample(), b, catalog.DayOf(noon))
}

func (b *books) Account(id lease.Budget) *decision.Account {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.accounts[id] == nil {
		b.accounts[id] = &decision.Account{}
		b.accounts[id].Left.Store(1 << 40)
	}
	return b.accounts[id]
}

func (b *books) Switch(flight uint32) *decision.Switch {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.switches[flight] == nil {
		b.switches[flight] = &decision.Switch{}
	}
	return b.switches[flight]
}

// judge is a Judge with a real ring, and its windows in a map.
type judge struct {
	ring   *token.Ring
	sealer *token.Sealer
	seq    atomic.Uint64

	mu      sync.Mutex
	seen    map[uint64]*seen
	stopped bool   // no offers
	blind   bool   // Peek knows nothing, as of another node's offers
	broken  error  // the journal's
	verdict Reason // instead of Billed
}

type seen struct{ viewed, clicked, timed bool }

func newJudge(t testing.TB) *judge {
	ring, err := token.NewRing([]token.Key{{ID: 1, Secret: token.Secret{1}}})
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := ring.Sealer(3, 99)
	if err != nil {
		t.Fatal(err)
	}
	return &judge{ring: ring, sealer: sealer, seen: map[uint64]*seen{}, verdict: Billed}
}

func (j *judge) Open(c *token.Claims, nonce []byte, now time.Time) error {
	if j.ring == nil {
		return ErrNoKeys
	}
	return j.ring.Open(c, nonce, now)
}

func (j *judge) Offer(flight, publisher uint32, viewPrice, now int64) (*token.Sealer, uint64, bool) {
	return j.sealer, j.seq.Add(1), !j.stopped
}

func (j *judge) at(seq uint64) *seen {
	if j.seen[seq] == nil {
		j.seen[seq] = &seen{}
	}
	return j.seen[seq]
}

func (j *judge) Peek(c *token.Claims) (known, viewed, clicked bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.at(c.Seq)
	return !j.blind, s.viewed && !j.blind, s.clicked && !j.blind
}

func (j *judge) View(_ context.Context, c *token.Claims, _ int64) (Reason, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.at(c.Seq)
	switch {
	case j.broken != nil:
		return 0, j.broken
	case s.viewed:
		return OldNonce, nil
	}
	s.viewed = true
	return j.verdict, nil
}

func (j *judge) Click(_ context.Context, c *token.Claims, _ int64) (Reason, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.at(c.Seq)
	switch {
	case j.broken != nil:
		return 0, j.broken
	case s.clicked:
		return OldNonce, nil
	case !s.viewed: // it counts with its view
		s.clicked = true
		return Waiting, nil
	}
	s.clicked = true
	return j.verdict, nil
}

func (j *judge) ViewTime(c *token.Claims, seconds int) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.at(c.Seq)
	if !s.viewed || s.timed || seconds < 1 || seconds > 300 {
		return false
	}
	s.timed = true
	return true
}

// tally remembers.
type tally struct {
	mu        sync.Mutex
	decisions map[string]int // publisher/country/flight
	topics    map[string]int // topic/flight
	refusals  map[string]int
}

func (t *tally) Decision(publisher uint32, country [2]byte, flight uint32, topics token.Topics) {
	t.mu.Lock()
	for _, topic := range topics.All() {
		t.topics[fmt.Sprintf("%d/%d", topic, flight)]++
	}
	t.decisions[fmt.Sprintf("%d/%s/%d", publisher, bytes.TrimRight(country[:], "\x00"), flight)]++
	t.mu.Unlock()
}

func (t *tally) Refusals(flight uint32, reason uint8, n int64) {
	t.mu.Lock()
	t.refusals[fmt.Sprintf("%d/%s", flight, decision.Reason(reason))] += int(n)
	t.mu.Unlock()
}

// world is a server on a listener in memory, and a client.
type world struct {
	*testing.T
	server *Server
	judge  *judge
	books  *books
	tally  *tally
	clock  atomic.Int64 // unix milliseconds
	client *http.Client
	listen *fasthttputil.InmemoryListener
	ready  atomic.Bool
}

func config() Config {
	return Config{PublicURL: "https://eu.example.com", Addresses: visitor.Addresses{Proxies: 1}, DebugHeaders: true}
}

func newWorld(t *testing.T, change ...func(*Config)) *world {
	t.Helper()
	w := &world{
		T: t, judge: newJudge(t),
		books: newBooks(),
		tally: &tally{decisions: map[string]int{}, topics: map[string]int{}, refusals: map[string]int{}},
	}
	w.clock.Store(noon.UnixMilli())
	w.ready.Store(true)
	cfg := config()
	cfg.Now = func() time.Time { return time.UnixMilli(w.clock.Load()) }
	for _, c := range change {
		c(&cfg)
	}
	s, err := New(cfg, w.judge, w.tally, who, w.ready.Load)
	if err != nil {
		t.Fatal(err)
	}
	w.server = s
	w.apply(sample())
	w.listen = fasthttputil.NewInmemoryListener()
	served := make(chan error, 1)
	go func() { served <- s.Serve(w.listen) }()
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return w.listen.Dial() }}
	w.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shut down: %v", err)
		}
		w.listen.Close() // where Shutdown came before Serve
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		s.Close()
	})
	return w
}

func (w *world) apply(s *catalog.Snapshot) {
	w.Helper()
	c, err := decision.Compile(s, w.books, catalog.DayOf(noon))
	if err != nil {
		w.Fatal(err)
	}
	w.server.Apply(c)
}

type response struct {
	status int
	header http.Header
	body   string
}

func (r response) reason() string { return r.header.Get("X-Adserver-Reason") }

// json decodes an object.
func (r response) json(t testing.TB) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(r.body), &m); err != nil {
		t.Fatalf("%s: %v", r.body, err)
	}
	return m
}

// do asks as an American with Chrome on a Mac, unless headers (name, value,
// name, value, …) say otherwise.
func (w *world) do(method, path, body string, headers ...string) response {
	w.Helper()
	req, err := http.NewRequest(method, "http://ads.example.com"+path, bytes.NewReader([]byte(body)))
	if err != nil {
		w.Fatal(err)
	}
	req.Header.Set("User-Agent", chrome)
	req.Header.Set("X-Forwarded-For", american)
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
			continue
		}
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := w.client.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		w.Fatal(err)
	}
	return response{res.StatusCode, res.Header, string(b)}
}

func (w *world) get(path string, headers ...string) response {
	w.Helper()
	return w.do(http.MethodGet, path, "", headers...)
}

// offer asks for an ad and fails where there is none.
func (w *world) offer(query string, headers ...string) map[string]any {
	w.Helper()
	r := w.get(decisionPath+"?"+query, headers...)
	if r.status != 200 || len(r.body) < 3 {
		w.Fatalf("%s: %d %s %s", query, r.status, r.body, r.reason())
	}
	return r.json(w)
}

const ask1 = "publisher=open&div_ids=a&ad_types=image-v1"

// path is the path of an absolute URL in an offer.
func path(offer map[string]any, name string) string {
	return offer[name].(string)[len("https://eu.example.com"):]
}
