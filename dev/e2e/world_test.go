// Package e2e drives the real binaries: a core, three edges in three regions
// and a Postgres of their own, as make run starts them. Each test says in its
// first line what it proves; together they are what the project promises.
//
// One world serves all tests, which run one after another; each brings its own
// publisher and flight, so that no other campaign competes, and leaves
// everything running. Between each edge and the core stands a proxy that spoils
// exchanges where a test says so.
package e2e

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
	"sync"
	"testing"
	"time"

	"nearside/dev/load"
	"nearside/dev/world"
	"nearside/edge/visitor"
)

var (
	programs string         // directory of the binaries under test
	here     *world.World   // the one that the tests share
	edges    []world.Edge   // its edges
	proxies  []*world.Proxy // between edges[i] and the core
	readers  load.Addresses // of all countries
	browser  = load.NewClient(256)
)

var regions = []string{"us-east", "eu-west", "ap-south"}

func TestMain(m *testing.M) {
	code, err := runAll(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runAll(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("/var/tmp", "nearside-e2e-") // where Postgres' user can go too
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
	build.Dir = "../.."
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
		for _, p := range proxies {
			p.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	here, err = world.Start(ctx, world.Config{
		Dir: filepath.Join(dir, "world"), BasePort: base, Regions: regions, Nodes: 1, RestartAfter: world.Never, Programs: programs,
		Via: func(_, url string) (string, error) {
			p, err := world.NewProxy(url, "")
			if err != nil {
				return "", err
			}
			proxies = append(proxies, p)
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
	for base := 21000; base < 60000; base += 1000 {
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

// call asks the admin API and wants a status of 2xx.
func call(t *testing.T, method, path string, send, receive any) {
	t.Helper()
	status, body, err := here.Admin(t.Context(), method, path, send)
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

// line is what a test sells.
type line struct {
	views, clicks int64 // sold
	cpm, cpc      int64 // micros
}

// flight is one that only a test's own publisher shows.
type flight struct {
	slug, publisher, ad string
}

var flights int

// newFlight makes a flight with a publisher of its own and waits until every
// edge knows it.
func newFlight(t *testing.T, l line) flight {
	t.Helper()
	flights++
	name := fmt.Sprintf("e2e-%d", flights)
	f := flight{slug: name, publisher: name, ad: name}
	day := func(n int) string { return time.Now().UTC().AddDate(0, 0, n).Format(time.DateOnly) }
	type object map[string]any
	call(t, http.MethodPost, "/v1/publisher-groups", object{"slug": name, "name": t.Name()}, nil)
	call(t, http.MethodPost, "/v1/publishers", object{
		"slug": name, "name": t.Name(), "groups": []string{name}, "unauthed_ad_decisions": true, "allow_paid_campaigns": true,
		"cache_ads": false,
	}, nil)
	call(t, http.MethodPost, "/v1/campaigns", object{
		"slug": name, "name": t.Name(), "advertiser": "sample-advertiser", "campaign_type": "paid", "publisher_groups": []string{name},
	}, nil)
	call(t, http.MethodPost, "/v1/flights", object{
		"slug": name, "name": t.Name(), "campaign": name, "live": true, "start_date": day(-1), "end_date": day(30), "pacing": "asap",
		"cpm_micros": l.cpm, "sold_views": l.views, "cpc_micros": l.cpc, "sold_clicks": l.clicks,
	}, nil)
	call(t, http.MethodPost, "/v1/ads", object{
		"slug": name, "name": t.Name(), "flight": name, "ad_types": []string{"image-v1", "text-v1"}, "headline": "It works",
		"link": "https://www.example.com/?publisher=${publisher}", "image_url": "https://images.example.com/a.png", "live": true,
	}, nil)
	forced := f.query()
	forced.Set("force_ad", f.ad) // a forced paid ad costs nothing
	for _, e := range edges {
		eventually(t, 10*time.Second, e.Node+" knows the new ad", func() bool {
			offer, err := browser.Decide(t.Context(), e.Public, forced, reader())
			return err == nil && offer.Filled()
		})
	}
	return f
}

// query is a request for an ad that only this flight can fill.
func (f flight) query() url.Values {
	return url.Values{"publisher": {f.publisher}, "div_ids": {"ad"}, "ad_types": {"image-v1"}, "url": {"https://docs.example.com/page"}}
}

// reader is somebody on a desktop.
func reader() load.Reader {
	return load.Reader{Addr: readers["DE"][0], Country: "DE", Agent: load.Desktop()}
}

// ask asks an edge until it offers the flight: its lease may be on its way.
func (f flight) ask(ctx context.Context, edge world.Edge) (load.Offer, error) {
	for deadline := time.Now().Add(15 * time.Second); ; {
		offer, err := browser.Decide(ctx, edge.Public, f.query(), reader())
		if err != nil || offer.Filled() {
			return offer, err
		}
		if time.Now().After(deadline) {
			return offer, fmt.Errorf("%s does not offer %s", edge.Node, f.slug)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// offer is one offer of an edge.
func (f flight) offer(t *testing.T, edge world.Edge) load.Offer {
	t.Helper()
	offer, err := f.ask(t.Context(), edge)
	if err != nil {
		t.Fatal(err)
	}
	return offer
}

// offers are n of them.
func (f flight) offers(t *testing.T, edge world.Edge, n int) []load.Offer {
	t.Helper()
	all := make([]load.Offer, n)
	f.offer(t, edge) // from here on it has a lease
	each(t, n, 32, func(i int) (err error) {
		all[i], err = f.ask(t.Context(), edge)
		return err
	})
	return all
}

// each calls f for 0 to n-1, so many at a time, and wants no error.
func each(t *testing.T, n, atOnce int, f func(i int) error) {
	t.Helper()
	var wg sync.WaitGroup
	next, failed := make(chan int), make(chan error, n)
	for range atOnce {
		wg.Go(func() {
			for i := range next {
				if err := f(i); err != nil {
					failed <- err
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	close(failed)
	for err := range failed {
		t.Fatal(err)
	}
}

// seen sends the view beacon and wants it answered.
func seen(ctx context.Context, o load.Offer) error {
	answer, err := browser.Get(ctx, o.ViewURL, reader())
	if err == nil && answer.Status != http.StatusOK {
		err = fmt.Errorf("a view is answered with %d: %.200s", answer.Status, answer.Body)
	}
	return err
}

// beacon sends a view or a click and wants it answered with a status; it
// returns the reason that the edge gives.
func beacon(t *testing.T, address string, status int) (reason string) {
	t.Helper()
	answer, err := browser.Get(t.Context(), address, reader())
	if err != nil {
		t.Fatal(err)
	}
	if answer.Status != status {
		t.Fatalf("%s is answered with %d, not %d: %.200s", address, answer.Status, status, answer.Body)
	}
	return answer.Reason()
}

// state is what the admin API says of a flight.
type state struct {
	State    string `json:"state"`
	Delivery struct {
		Views          int64 `json:"views"`
		Clicks         int64 `json:"clicks"`
		SpentMicros    int64 `json:"spent_micros"`
		UnbilledViews  int64 `json:"unbilled_views"`
		UnbilledClicks int64 `json:"unbilled_clicks"`
	} `json:"delivery"`
	Budgets []struct {
		Kind        string `json:"kind"`
		Limit       int64  `json:"limit"`
		Unleased    int64  `json:"unleased"`
		Outstanding int64  `json:"outstanding"`
		Settled     int64  `json:"settled"`
		Refunded    int64  `json:"refunded"`
	} `json:"budgets"`
}

func (f flight) state(t *testing.T) state {
	t.Helper()
	var s state
	call(t, http.MethodGet, "/v1/flights/"+f.slug, nil, &s)
	for _, b := range s.Budgets {
		if b.Limit+b.Refunded != b.Unleased+b.Outstanding+b.Settled || b.Unleased < 0 || b.Outstanding < 0 || b.Settled-b.Refunded > b.Limit {
			t.Fatalf("%s: a budget does not add up: %+v", f.slug, b)
		}
	}
	return s
}

// totals are a flight's delivery in one line.
func (s state) totals() string {
	d := s.Delivery
	return fmt.Sprintf("views %d+%d clicks %d+%d micros %d", d.Views, d.UnbilledViews, d.Clicks, d.UnbilledClicks, d.SpentMicros)
}

// wantTotals waits until a flight's delivery is as wanted, and makes sure that
// it stays so while every edge exchanges with the core again.
func (f flight) wantTotals(t *testing.T, within time.Duration, want string) {
	t.Helper()
	var got string
	deadline := time.Now().Add(within)
	for got = f.state(t).totals(); got != want && time.Now().Before(deadline); got = f.state(t).totals() {
		time.Sleep(20 * time.Millisecond)
	}
	if got != want {
		t.Fatalf("after %s %s has\n  %s, want\n  %s", within, f.slug, got, want)
	}
	exchanged(t)
	if got := f.state(t).totals(); got != want {
		t.Fatalf("once %s had been right it became\n  %s, want\n  %s", f.slug, got, want)
	}
}

// exchanged waits until every edge has heard from the core twice from now on.
func exchanged(t *testing.T) {
	t.Helper()
	from := make([]int64, len(proxies))
	for i, p := range proxies {
		from[i] = p.Done(world.Pass)
	}
	for i, p := range proxies {
		eventually(t, 20*time.Second, edges[i].Node+" exchanges with the core", func() bool { return p.Done(world.Pass) >= from[i]+2 })
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, within time.Duration, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !done(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", within, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// restart starts an edge again and waits until it is ready.
func restart(t *testing.T, i int) {
	t.Helper()
	if err := here.Edges[i].Start(); err != nil {
		t.Fatal(err)
	}
	if err := here.WaitReady(t.Context(), i); err != nil {
		t.Fatal(err)
	}
}
