// Package regions drives the real binaries as a company would run them: two
// cores on one Postgres, three regions of two edges each that gossip. It shows
// what one node per region cannot: events that come to the wrong node, nodes
// that are killed while others go on, news that comes by way of a peer, a core
// that is gone while another is there.
//
// One world serves all tests, which run one after another; each brings its own
// publishers and flights, and leaves everything running.
package regions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nearside/dev/load"
	"nearside/dev/world"
	"nearside/edge/visitor"
)

const (
	cores = 2
	nodes = 2 // in each region
)

var (
	programs string         // directory of the binaries under test
	here     *world.World   // the one that the tests share
	edges    []world.Edge   // region by region
	readers  load.Addresses // of all countries
	browser  = load.NewClient(256)

	// proxies[node][core] is between an edge and a core.
	proxies = map[string][]*world.Proxy{}
)

func TestMain(m *testing.M) {
	code, err := runAll(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runAll(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("/var/tmp", "nearside-regions-") // where Postgres' user can go too
	if err != nil {
		return 0, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return 0, err
	}
	defer func() {
		if code == 0 && err == nil {
			err = os.RemoveAll(dir)
		} else {
			fmt.Fprintln(os.Stderr, "what the processes said is in", filepath.Join(dir, "world", "log"))
		}
	}()
	programs = filepath.Join(dir, "bin")
	build := exec.Command("go", "build", "-o", programs+"/", "./core/cmd/nearside-core", "./edge/cmd/nearside-edge", "./dev/cmd/nearside-dev")
	build.Dir = "../../.."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("build the programs: %w: %s", err, out)
	}
	places, err := visitor.OpenPlaces("")
	if err != nil {
		return 0, err
	}
	defer places.Close()
	if readers, err = load.FindAddresses(places, 1); err != nil {
		return 0, err
	}
	base, err := freePorts()
	if err != nil {
		return 0, err
	}
	defer func() {
		for _, of := range proxies {
			for _, p := range of {
				p.Close()
			}
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	here, err = world.Start(ctx, world.Config{
		Dir: filepath.Join(dir, "world"), BasePort: base, Regions: []string{"us-east", "eu-west", "ap-south"}, Nodes: nodes, Cores: cores,
		RestartAfter: world.Never, Programs: programs, TLS: true,
		Via: func(edge, url string) (string, error) {
			p, err := world.NewProxy(url, filepath.Join(dir, "world", "tls"))
			if err != nil {
				return "", err
			}
			proxies[edge] = append(proxies[edge], p)
			return p.URL(), nil
		},
	})
	if err != nil {
		return 0, err
	}
	defer here.Stop()
	edges = here.Ready().Edges
	return m.Run(), nil
}

// freePorts finds a base port whose whole range is free.
func freePorts() (int, error) {
next:
	for base := 25000; base < 60000; base += 1000 {
		for port := base; port < base+500; port++ {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				continue next
			}
			if err := l.Close(); err != nil {
				return 0, err
			}
		}
		return base, nil
	}
	return 0, errors.New("no 500 free ports in a row")
}

// cut takes an edge off every core, or puts it back.
func cut(edge world.Edge, off bool) {
	for _, p := range proxies[edge.Node] {
		p.Cut(off)
	}
}

// exchanges are how many of an edge's have been answered, by which core.
func exchanges(edge world.Edge, core int) int64 { return proxies[edge.Node][core].Done(world.Pass) }

// call asks the admin API of a core and wants a status of 2xx.
func call(t *testing.T, core int, method, path string, send, receive any) {
	t.Helper()
	status, body, err := here.AdminOf(t.Context(), core, method, path, send)
	if err != nil {
		t.Fatal(err)
	}
	if status/100 != 2 {
		t.Fatalf("%s %s is answered with %d: %s", method, path, status, body)
	}
	if receive != nil {
		if err := json.Unmarshal(body, receive); err != nil {
			t.Fatalf("%s %s: %v: %s", method, path, err, body)
		}
	}
}

type object map[string]any

// line is what a test sells.
type line struct {
	views, clicks int64 // sold
	cpm, cpc      int64 // micros
}

// flight is one that only a test's own publisher shows.
type flight struct {
	line
	slug string // its publisher's and its ad's too
}

var flights int

// newFlight makes a flight with a publisher of its own and waits until every
// edge knows it.
func newFlight(t *testing.T, l line) flight {
	t.Helper()
	flights++
	name := fmt.Sprintf("regions-%d", flights)
	f := flight{line: l, slug: name}
	day := func(n int) string { return time.Now().UTC().AddDate(0, 0, n).Format(time.DateOnly) }
	call(t, 0, http.MethodPost, "/v1/publisher-groups", object{"slug": name, "name": t.Name()}, nil)
	call(t, 0, http.MethodPost, "/v1/publishers", object{
		"slug": name, "name": t.Name(), "groups": []string{name}, "unauthed_ad_decisions": true, "allow_paid_campaigns": true,
		"cache_ads": false,
	}, nil)
	call(t, 0, http.MethodPost, "/v1/campaigns", object{
		"slug": name, "name": t.Name(), "advertiser": "sample-advertiser", "campaign_type": "paid", "publisher_groups": []string{name},
	}, nil)
	call(t, 0, http.MethodPost, "/v1/flights", object{
		"slug": name, "name": t.Name(), "campaign": name, "live": true, "start_date": day(-1), "end_date": day(30), "pacing": "asap",
		"cpm_micros": l.cpm, "sold_views": l.views, "cpc_micros": l.cpc, "sold_clicks": l.clicks,
	}, nil)
	f.newAd(t, 0, name)
	for _, e := range edges {
		eventually(t, 10*time.Second, e.Node+" knows the new ad", func() bool { return f.knows(t, e, name) })
	}
	return f
}

// newAd adds an ad to the flight, by way of a core.
func (f flight) newAd(t *testing.T, core int, slug string) {
	t.Helper()
	call(t, core, http.MethodPost, "/v1/ads", object{
		"slug": slug, "name": t.Name(), "flight": f.slug, "ad_types": []string{"image-v1"}, "headline": "It works",
		"link": "https://www.example.com/", "image_url": "https://images.example.com/a.png", "live": true,
	}, nil)
}

// knows reports whether an edge's catalog has an ad; to force one costs nothing.
func (f flight) knows(t *testing.T, e world.Edge, ad string) bool {
	t.Helper()
	forced := f.query()
	forced.Set("force_ad", ad)
	offer, err := browser.Decide(t.Context(), e.Public, forced, reader())
	return err == nil && offer.Filled()
}

// query is a request for an ad that only this flight can fill.
func (f flight) query() url.Values {
	return url.Values{"publisher": {f.slug}, "div_ids": {"ad"}, "ad_types": {"image-v1"}, "url": {"https://docs.example.com/page"}}
}

// reader is somebody on a desktop.
func reader() load.Reader {
	return load.Reader{Addr: readers["DE"][0], Country: "DE", Agent: load.Desktop()}
}

// offered reports whether an edge offers the flight; it must answer.
func (f flight) offered(t *testing.T, e world.Edge) bool {
	t.Helper()
	offer, err := browser.Decide(t.Context(), e.Public, f.query(), reader())
	if err != nil {
		t.Fatal(err)
	}
	return offer.Filled()
}

// offer asks an edge until it offers the flight: its lease may be on its way.
func (f flight) offer(t *testing.T, e world.Edge) (offer load.Offer) {
	t.Helper()
	eventually(t, 15*time.Second, e.Node+" offers "+f.slug, func() (ok bool) {
		var err error
		if offer, err = browser.Decide(t.Context(), e.Public, f.query(), reader()); err != nil {
			t.Fatal(err)
		}
		return offer.Filled()
	})
	return offer
}

// at is the same beacon at another node.
func at(e world.Edge, beacon string) string {
	_, path, _ := strings.Cut(beacon, "/proxy/")
	return e.Public + "/proxy/" + path
}

// view sends a view beacon, wants it answered, and returns what the edge says
// has become of it.
func view(t *testing.T, beacon string) (reason string) {
	t.Helper()
	answer, err := browser.Get(t.Context(), beacon, reader())
	if err != nil {
		t.Fatal(err)
	}
	if answer.Status != http.StatusOK {
		t.Fatalf("%s is answered with %d: %.200s", beacon, answer.Status, answer.Body)
	}
	return answer.Reason()
}

// delivery is what the admin API has counted of a flight.
type delivery struct {
	Views          int64 `json:"views"`
	Clicks         int64 `json:"clicks"`
	SpentMicros    int64 `json:"spent_micros"`
	UnbilledViews  int64 `json:"unbilled_views"`
	UnbilledClicks int64 `json:"unbilled_clicks"`
}

func (d delivery) String() string {
	return fmt.Sprintf("views %d+%d clicks %d+%d micros %d", d.Views, d.UnbilledViews, d.Clicks, d.UnbilledClicks, d.SpentMicros)
}

// delivery asks a core and makes sure that its budgets add up.
func (f flight) delivery(t *testing.T, core int) delivery {
	t.Helper()
	var s struct {
		Delivery delivery `json:"delivery"`
		Budgets  []struct {
			Kind        string `json:"kind"`
			Limit       int64  `json:"limit"`
			Unleased    int64  `json:"unleased"`
			Outstanding int64  `json:"outstanding"`
			Settled     int64  `json:"settled"`
		} `json:"budgets"`
	}
	call(t, core, http.MethodGet, "/v1/flights/"+f.slug, nil, &s)
	if len(s.Budgets) == 0 {
		t.Fatalf("%s has no budgets", f.slug)
	}
	for _, b := range s.Budgets {
		if b.Limit != b.Unleased+b.Outstanding+b.Settled || b.Unleased < 0 || b.Outstanding < 0 || b.Settled > b.Limit {
			t.Fatalf("%s: a budget does not add up: %+v", f.slug, b)
		}
	}
	return s.Delivery
}

// settles waits until every core's account of the flight is right, and makes
// sure that it stays so while every edge exchanges again.
func (f flight) settles(t *testing.T, within time.Duration, right func(delivery) bool, want string) {
	t.Helper()
	for core := range cores {
		var got delivery
		for deadline := time.Now().Add(within); ; time.Sleep(20 * time.Millisecond) {
			if got = f.delivery(t, core); right(got) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("after %s %s has\n  %s, want\n  %s", within, f.slug, got, want)
			}
		}
	}
	allExchange(t)
	if got := f.delivery(t, 0); !right(got) {
		t.Fatalf("once %s had been right it became\n  %s, want\n  %s", f.slug, got, want)
	}
}

// settlesAt wants the core's count to be these billed views and clicks, and
// no others.
func (f flight) settlesAt(t *testing.T, within time.Duration, views, clicks int64) {
	t.Helper()
	want := delivery{Views: views, Clicks: clicks, SpentMicros: views*f.cpm/1000 + clicks*f.cpc}
	f.settles(t, within, func(got delivery) bool { return got == want }, want.String())
}

// allExchange waits until every edge has heard from a core twice from now on.
func allExchange(t *testing.T) {
	t.Helper()
	heard := func(e world.Edge) (n int64) {
		for core := range cores {
			n += exchanges(e, core)
		}
		return n
	}
	for _, e := range edges {
		from := heard(e)
		eventually(t, 20*time.Second, e.Node+" exchanges with a core", func() bool { return heard(e) >= from+2 })
	}
}

// eventually waits for a condition and says how long that took.
func eventually(t *testing.T, within time.Duration, what string, done func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !done() {
		if time.Since(start) > within {
			t.Fatalf("not within %s: %s", within, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(start)
}

// metric is a value at an operations port; labels as Prometheus writes them.
func metric(t *testing.T, ops, name string) (value float64) {
	t.Helper()
	answer, err := browser.Get(t.Context(), ops+"/metrics", load.Reader{})
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(answer.Body)) {
		if text, ok := strings.CutPrefix(line, name+" "); ok {
			if _, err := fmt.Sscan(text, &value); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			return value
		}
	}
	t.Fatalf("%s has no metric %s", ops, name)
	return 0
}
