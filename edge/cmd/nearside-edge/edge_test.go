package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	"nearside/edge/keeper/fakecore"
	"nearside/edge/uplink"
	"nearside/sync/catalog"
	"nearside/sync/lease"
	"nearside/sync/wire"
	"nearside/sync/wire/wireconnect"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// These two of fasthttp's end some seconds after their server.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		// A probe in flight when the pool closes ends by itself; memberlist does not wait for it.
		goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode"),
	)
}

const (
	chrome = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_13_4) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/66.0.3359.181 Safari/537.36"
	reader = "8.8.8.8"
	join   = "a-join-token"
)

// core is a core without a database on a port of its own.
type core struct {
	wireconnect.UnimplementedExchangeHandler
	ledger    *fakecore.Core
	http      *httptest.Server
	published []byte
	away      atomic.Bool
}

var errAway = connect.NewError(connect.CodeUnavailable, errors.New("away"))

func newCore(t *testing.T) *core {
	t.Helper()
	c := &core{ledger: fakecore.New()}
	today := catalog.DayOf(time.Now())
	published, err := catalog.Encode(&catalog.Snapshot{
		Version:     5,
		Advertisers: []catalog.Advertiser{{ID: 1, Slug: "acme", Name: "Acme"}},
		Groups:      []catalog.Group{{ID: 1, Slug: "all", Name: "All"}},
		Publishers: []catalog.Publisher{{
			ID: 1, Slug: "docs", Name: "Docs", Groups: []uint32{1}, UnauthedAdDecisions: true, AllowPaid: true,
		}},
		Campaigns: []catalog.Campaign{{ID: 1, Slug: "paid", Name: "Paid", Advertiser: 1, Type: catalog.Paid, PublisherGroups: []uint32{1}}},
		Flights: []catalog.Flight{{
			ID: 1, Slug: "flight", Name: "Flight", Campaign: 1, Live: true, StartDate: today - 1, EndDate: today + 30,
			CPM: 10_000_000, SoldViews: 1000, Pacing: catalog.ASAP, PacingInterval: 3600, PriorityMultiplier: 1,
		}, { // never shown to the tests' reader
			ID: 2, Slug: "dutch", Name: "Dutch", Campaign: 1, Live: true, StartDate: today - 1, EndDate: today + 30,
			CPM: 10_000_000, SoldViews: 1000, Pacing: catalog.ASAP, PacingInterval: 3600, PriorityMultiplier: 1,
			Targeting: catalog.Targeting{IncludeCountries: []string{"NL"}},
		}},
		Ads: []catalog.Ad{
			{ID: 7, Slug: "ad", Name: "Ad", Flight: 1, AdTypes: []uint32{1}, Content: "Words", Link: "https://example.com/", Live: true},
			{ID: 8, Slug: "dutch-ad", Name: "Dutch ad", Flight: 2, AdTypes: []uint32{1}, Content: "Woorden", Link: "https://example.com/", Live: true},
		},
		AdTypes: []catalog.AdType{{ID: 1, Slug: "text-v1", Name: "Text", HasText: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.published = published
	c.ledger.Sell(lease.Of(lease.FlightViews, 1, 0), 1000)
	mux := http.NewServeMux()
	mux.Handle(wireconnect.NewExchangeHandler(c))
	c.http = httptest.NewUnstartedServer(mux)
	c.http.Config.Protocols = new(http.Protocols)
	c.http.Config.Protocols.SetUnencryptedHTTP2(true)
	c.http.Start()
	t.Cleanup(c.http.Close)
	return c
}

func bearer(ctx context.Context) string {
	info, ok := connect.CallInfoForHandlerContext(ctx)
	if !ok {
		return ""
	}
	return strings.TrimPrefix(info.RequestHeader().Get("Authorization"), "Bearer ")
}

func (c *core) Register(ctx context.Context, r *wire.RegisterRequest) (*wire.RegisterResponse, error) {
	if c.away.Load() || bearer(ctx) != join {
		return nil, errAway
	}
	return c.ledger.Register(r), nil
}

func (c *core) Sync(ctx context.Context, r *wire.SyncRequest) (*wire.SyncResponse, error) {
	if c.away.Load() || !c.ledger.Allow(r.GetHolder(), bearer(ctx)) {
		return nil, errAway
	}
	return c.ledger.Sync(r)
}

func (c *core) Watch(ctx context.Context, r *wire.WatchRequest, stream *connect.ServerStream[wire.WatchEvent]) error {
	if c.away.Load() {
		return errAway
	}
	event := &wire.WatchEvent{}
	if r.GetCatalog() < 5 {
		event.Catalog = c.published
	}
	if err := stream.Send(event); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// spent is what all holders have settled of the flight's views.
func (c *core) spent() (views int64) {
	c.ledger.Do(func() {
		for _, h := range c.ledger.Holders {
			if t := h.Leases[lease.Of(lease.FlightViews, 1, 0)]; t != nil {
				views += t.Spent
			}
		}
	})
	return views
}

// process is a nearside-edge in this process.
type process struct {
	*testing.T
	core        *core
	dir         string
	public, ops string
	stop        context.CancelFunc
	ended       chan error
	log         lockedBuffer
	client      http.Client
	more        []string // arguments
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// free is an address that nobody listens on now.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func newProcess(t *testing.T, c *core) *process {
	t.Helper()
	p := &process{T: t, core: c, dir: t.TempDir(), public: free(t), ops: free(t)}
	p.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	p.client.Transport = &http.Transport{DisableKeepAlives: true}
	if err := os.WriteFile(filepath.Join(p.dir, "join"), []byte(join+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.stop != nil {
			_ = p.end()
		}
		if t.Failed() {
			t.Log(p.log.String())
		}
	})
	return p
}

func (p *process) start() {
	p.Helper()
	ctx, stop := context.WithCancel(context.Background())
	p.stop, p.ended = stop, make(chan error, 1)
	args := []string{
		"--region", "eu", "--node", "eu-1", "--core", p.core.http.URL, "--state-dir", filepath.Join(p.dir, "state"), "--join-token-file", filepath.Join(p.dir, "join"),
		"--listen", p.public, "--ops-listen", p.ops, "--public-url", "http://" + p.public, "--trusted-proxies", "1", "--debug-headers",
		"--exchange-interval", "50ms",
	}
	args = append(args, p.more...)
	go func() { p.ended <- run(ctx, args, io.Discard, &p.log) }()
}

// end stops the process as SIGTERM does and waits for it.
func (p *process) end() error {
	p.stop()
	p.stop = nil
	select {
	case err := <-p.ended:
		return err
	case <-time.After(60 * time.Second):
		p.Fatal("the edge does not end")
		return nil
	}
}

func (p *process) get(url string) (status int, header http.Header, body string, err error) {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, "", err
	}
	req.Header.Set("User-Agent", chrome)
	req.Header.Set("X-Forwarded-For", reader)
	res, err := p.client.Do(req)
	if err != nil {
		return 0, nil, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, res.Header, string(b), err
}

func (p *process) until(what string, cond func() bool) {
	p.Helper()
	for deadline := time.Now().Add(30 * time.Second); !cond(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.Fatalf("waited too long until %s\n%s", what, p.log.String())
		}
	}
}

func (p *process) untilStatus(url string, want int) {
	p.Helper()
	p.until(fmt.Sprintf("%s is %d", url, want), func() bool {
		status, _, _, err := p.get(url)
		return err == nil && status == want
	})
}

// offer asks until there is an ad: leases come with the first exchange.
func (p *process) offer() (o struct {
	ViewURL string `json:"view_url"`
	Link    string
	ID      string
}) {
	p.Helper()
	p.until("an ad is offered", func() bool {
		_, _, body, err := p.get("http://" + p.public + "/api/v1/decision/?publisher=docs&div_ids=a&ad_types=text-v1")
		return err == nil && json.Unmarshal([]byte(body), &o) == nil && o.ID == "ad"
	})
	return o
}

// From nothing to a drained holder: registers, serves, counts, stops.
func TestLifeOfAnEdge(t *testing.T) {
	c := newCore(t)
	p := newProcess(t, c)
	p.start()
	p.untilStatus("http://"+p.ops+"/readyz", 200)
	p.untilStatus("http://"+p.public+"/readyz", 200)

	o := p.offer()
	for i, want := range []string{"Billed view", "Old/Invalid nonce"} {
		status, header, _, err := p.get(o.ViewURL)
		if err != nil || status != 200 || header.Get("X-Adserver-Reason") != want {
			t.Errorf("view %d: %d %q %v, want %q", i+1, status, header.Get("X-Adserver-Reason"), err, want)
		}
	}
	status, header, _, err := p.get(o.Link)
	if err != nil || status != 302 || header.Get("Location") != "https://example.com/?ea-publisher=docs" || header.Get("X-Adserver-Reason") != "Billed click" {
		t.Errorf("click: %d %v %v", status, header, err)
	}
	p.until("the core knows of the view", func() bool { return c.spent() == 1 })

	var metrics string
	p.until("the metrics have the view", func() bool {
		_, _, metrics, err = p.get("http://" + p.ops + "/metrics")
		return err == nil && strings.Contains(metrics, `nearside_edge_spent_total{unit="events"} 1`)
	})
	for _, line := range []string{
		`nearside_edge_beacons_total{event="view",reason="Billed impression"} 1`,
		`nearside_edge_beacons_total{event="click",reason="Billed impression"} 1`,
		`nearside_edge_catalog_version 5`, `nearside_edge_spent_total{unit="events"} 1`, `nearside_edge_ready 1`, `nearside_edge_stream_open 1`,
	} {
		if !strings.Contains(metrics, "\n"+line+"\n") {
			t.Errorf("%q is missing", line)
		}
	}

	left := p.offer() // in flight when the drain begins
	p.stop()
	p.untilStatus("http://"+p.ops+"/readyz", 503)
	if status, header, _, err := p.get(left.ViewURL); err != nil || status != 200 || header.Get("X-Adserver-Reason") != "Billed view" {
		t.Errorf("a view while draining: %d %q %v", status, header.Get("X-Adserver-Reason"), err)
	}
	p.until("no more ads are offered", func() bool {
		_, _, body, err := p.get("http://" + p.public + "/api/v1/decision/?publisher=docs&div_ids=a&ad_types=text-v1")
		return err == nil && body == "{}"
	})
	if err := p.end(); err != nil {
		t.Fatalf("the drain: %v", err)
	}
	if c.spent() != 2 {
		t.Errorf("%d views at the core, want 2", c.spent())
	}
	c.ledger.Do(func() {
		for id, h := range c.ledger.Holders {
			if h.State != fakecore.Closed {
				t.Errorf("holder %d is not closed", id)
			}
		}
	})
	if broken := c.ledger.Broken(); len(broken) > 0 {
		t.Errorf("the core objects: %v", broken)
	}
}

// What an edge refuses a flight for is known at the core: of few requests, and
// counted for all.
func TestRefusalsReachTheCore(t *testing.T) {
	c := newCore(t)
	p := newProcess(t, c)
	p.start()
	p.offer()
	refused := func() (n int64) {
		c.ledger.Do(func() { n = c.ledger.Refused["include_countries"] })
		return n
	}
	p.until("the core knows that the country was not the one", func() bool {
		p.offer()
		return refused() > 0
	})
}

// An edge that starts while the core is away serves from its disk.
func TestStartWithoutTheCore(t *testing.T) {
	defer func(before time.Duration) { drainFor = before }(drainFor)
	drainFor = time.Second
	c := newCore(t)
	p := newProcess(t, c)
	p.start()
	o := p.offer()
	c.away.Store(true)
	c.http.CloseClientConnections()
	if err := p.end(); !errors.Is(err, uplink.ErrOpen) { // cannot close its holder, and keeps it
		t.Fatalf("a drain without the core: %v", err)
	}
	p.start()
	p.untilStatus("http://"+p.public+"/readyz", 200)
	if status, header, _, err := p.get(o.ViewURL); err != nil || status != 200 || header.Get("X-Adserver-Reason") != "Billed view" {
		t.Errorf("a view of the boot before: %d %q %v", status, header.Get("X-Adserver-Reason"), err)
	}
	again := p.offer()
	if _, header, _, err := p.get(again.ViewURL); err != nil || header.Get("X-Adserver-Reason") != "Billed view" {
		t.Errorf("a view without the core: %q %v", header.Get("X-Adserver-Reason"), err)
	}
	c.away.Store(false)
	p.until("the core knows of both views", func() bool { return c.spent() == 2 })
}

// Two edges cannot have one state directory, nor one port.
func TestTaken(t *testing.T) {
	c := newCore(t)
	p := newProcess(t, c)
	p.start()
	p.untilStatus("http://"+p.ops+"/readyz", 200)
	args := func(dir, listen string) []string {
		return []string{"--region", "eu", "--node", "eu-2", "--core", c.http.URL, "--state-dir", dir, "--listen", listen, "--ops-listen", "127.0.0.1:0"}
	}
	if err := run(t.Context(), args(filepath.Join(p.dir, "state"), "127.0.0.1:0"), io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("the same state directory: %v", err)
	}
	if err := run(t.Context(), args(t.TempDir(), p.public), io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "--listen") {
		t.Errorf("the same port: %v", err)
	}
}

// Told to stop before it has begun, an edge stops.
func TestStoppedAtOnce(t *testing.T) {
	c := newCore(t)
	for range 3 {
		p := newProcess(t, c)
		p.start()
		if err := p.end(); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	}
}
