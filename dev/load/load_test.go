package load

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"nearside/edge/visitor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func addresses(t *testing.T) (Addresses, *visitor.Places) {
	t.Helper()
	places, err := visitor.OpenPlaces("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(places.Close)
	addrs, err := FindAddresses(places, 1)
	if err != nil {
		t.Fatal(err)
	}
	return addrs, places
}

func TestAddressesAreOfTheirCountry(t *testing.T) {
	addrs, places := addresses(t)
	for country, list := range addrs {
		if len(list) != addressesEach {
			t.Errorf("%d addresses of %s, want %d", len(list), country, addressesEach)
		}
		for _, addr := range list {
			if place := places.Of(addr); string(place.Country[:]) != country {
				t.Errorf("%s is in %s, not in %s", addr, place.Country, country)
			}
		}
	}
}

func TestMixesAreDrawnByWeight(t *testing.T) {
	addrs, _ := addresses(t)
	for _, region := range []string{"us-east", "eu-west", "ap-south", "a region without a mix of its own"} {
		mix := Mix(region)
		readers, drawn, total := NewReaders(addrs, mix, 7), map[string]int{}, 0
		for _, s := range mix {
			total += s.Weight
		}
		const n = 50_000
		for range n {
			drawn[readers.Next().Country]++
		}
		for _, s := range mix {
			want := float64(s.Weight) / float64(total)
			if got := float64(drawn[s.Country]) / n; got < want*0.7-0.002 || got > want*1.3+0.002 {
				t.Errorf("%s: %s is %.3f of the readers, want about %.3f", region, s.Country, got, want)
			}
		}
	}
}

// TestReadersBehave: beacons come from whom the ad was shown to, only for
// offers, a click only after its view.
func TestReadersBehave(t *testing.T) {
	addrs, _ := addresses(t)
	var mu sync.Mutex
	state, asked := map[string]string{}, 0
	edge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		who := r.Header.Get("X-Forwarded-For") + r.UserAgent()
		step := func(path, from, to string) {
			id := r.URL.Path[len(path):]
			if state[id] != from+who {
				t.Errorf("%s in the state %q", r.URL.Path, state[id])
			}
			state[id] = to + who
		}
		switch path := r.URL.Path; {
		case path == "/api/v1/decision/":
			asked++
			if asked%2 == 0 {
				fmt.Fprint(w, `{}`)
				return
			}
			id := fmt.Sprint(asked)
			state[id] = "offered " + who
			fmt.Fprintf(w, `{"id":%q,"view_url":"http://%s/view/%s","link":"http://%s/click/%s"}`, id, r.Host, id, r.Host, id)
		case len(path) > 6 && path[:6] == "/view/":
			step("/view/", "offered ", "viewed ")
		default:
			step("/click/", "viewed ", "clicked ")
			w.WriteHeader(http.StatusFound)
		}
	}))
	defer edge.Close()
	traffic := Start(t.Context(), Config{
		Edges: []string{edge.URL}, Region: "eu-west", Rate: 500, ViewIn: time.Millisecond, ClickOf: 0.5,
		Log: func(err error) { t.Error(err) },
	}, addrs)
	wait(t, func() bool { return traffic.Clicks.Load() >= 20 })
	traffic.Stop()
	if d, o := traffic.Decisions.Load(), traffic.Offers.Load(); o == 0 || o > d/2+1 {
		t.Errorf("%d offers of %d decisions, want every second", o, d)
	}
	if n := traffic.Failed.Load(); n != 0 {
		t.Errorf("%d requests failed", n)
	}
}

func TestFailuresAreCounted(t *testing.T) {
	addrs, _ := addresses(t)
	edge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	defer edge.Close()
	traffic := Start(t.Context(), Config{Edges: []string{edge.URL}, Region: "us-east", Rate: 200}, addrs)
	defer traffic.Stop()
	wait(t, func() bool { return traffic.Failed.Load() >= 10 })
	if n := traffic.Decisions.Load(); n != 0 {
		t.Errorf("%d decisions counted of an edge that refuses them all", n)
	}
}

func wait(t *testing.T, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatal("it does not happen")
		case <-tick.C:
		}
	}
}
