package latency

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"nearside/dev/load"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// edge answers like one; what it is asked for is counted, and spoil may change
// an answer.
type edge struct {
	*httptest.Server
	decisions, views, clicks, connections atomic.Int64
	spoil                                 func(path string) (status int, reason string)
}

func newEdge(t *testing.T) *edge {
	t.Helper()
	e := &edge{spoil: func(path string) (int, string) {
		switch {
		case strings.Contains(path, "/view/"):
			return http.StatusOK, "Billed view"
		case strings.Contains(path, "/click/"):
			return http.StatusFound, "Billed click"
		}
		return http.StatusOK, ""
	}}
	e.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, reason := e.spoil(r.URL.Path)
		w.Header().Set("X-Adserver-Reason", reason)
		switch {
		case strings.Contains(r.URL.Path, "/view/"):
			e.views.Add(1)
		case strings.Contains(r.URL.Path, "/click/"):
			e.clicks.Add(1)
		default:
			e.decisions.Add(1)
			if reason == "nothing" {
				_, _ = io.WriteString(w, "{}")
				return
			}
			_ = json.NewEncoder(w).Encode(load.Offer{ID: "a", ViewURL: e.URL + "/view/1", Link: e.URL + "/click/1"})
			return
		}
		w.WriteHeader(status)
	}))
	e.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			e.connections.Add(1)
		}
	}
	e.Start()
	t.Cleanup(e.Close)
	return e
}

func config(near, central *edge) Config {
	return Config{
		Regions: []Region{{Name: "here", Near: near.URL, Central: central.URL, Dial: new(net.Dialer).DialContext, Reader: load.Reader{Addr: netip.MustParseAddr("192.0.2.1")}}},
		Samples: 6, Readers: 2, Log: io.Discard,
	}
}

func TestEveryCellHasItsSamplesAndNewMeansNew(t *testing.T) {
	near, central := newEdge(t), newEdge(t)
	cells, err := Measure(t.Context(), config(near, central))
	if err != nil {
		t.Fatal(err)
	}
	if len(cells) != len(Places)*len(Connections)*len(Requests) {
		t.Fatalf("%d cells", len(cells))
	}
	for _, c := range cells {
		if c.Samples != 6 || c.P50 <= 0 || c.P95 < c.P50 || c.P99 < c.P95 {
			t.Errorf("%+v", c)
		}
	}
	for name, e := range map[string]*edge{"near": near, "central": central} {
		// six rounds over new connections and six over kept ones; each of the two readers warms up once
		if d, v, c := e.decisions.Load(), e.views.Load(), e.clicks.Load(); d != 14 || v != 12 || c != 12 {
			t.Errorf("%s: %d decisions, %d views, %d clicks", name, d, v, c)
		}
		if n := e.connections.Load(); n != 6*3+2 {
			t.Errorf("%s: %d connections, want one for each of 18 requests and one kept by each of 2 readers", name, n)
		}
	}
}

func TestAWrongAnswerEndsIt(t *testing.T) {
	for name, spoil := range map[string]func(string) (int, string){
		"offers nothing": func(string) (int, string) { return http.StatusOK, "nothing" },
		"answered with 503": func(path string) (int, string) {
			return map[bool]int{true: 503, false: 200}[strings.Contains(path, "/view/")], "Billed view"
		},
		`"Budget exhausted"`: func(string) (int, string) { return http.StatusOK, "Budget exhausted" },
	} {
		near, central := newEdge(t), newEdge(t)
		central.spoil = spoil
		if cells, err := Measure(t.Context(), config(near, central)); err == nil || !strings.Contains(err.Error(), name) || cells != nil {
			t.Errorf("%v, want an error that says %s", err, name)
		}
	}
	near := newEdge(t)
	c := config(near, near)
	c.Regions[0].Dial = func(context.Context, string, string) (net.Conn, error) { return nil, fmt.Errorf("no way") }
	if _, err := Measure(t.Context(), c); err == nil || !strings.Contains(err.Error(), "no way") {
		t.Errorf("%v, want the dialer's error", err)
	}
}

func TestPercentiles(t *testing.T) {
	k := key{"r", "near", "new", "view"}
	var times []time.Duration
	for i := 100; i >= 1; i-- {
		times = append(times, time.Duration(i)*time.Millisecond)
	}
	if c := cell(k, map[key][]time.Duration{k: times}); c.P50 != 51 || c.P95 != 96 || c.P99 != 100 || c.Samples != 100 {
		t.Errorf("%+v", c)
	}
}

// What docs/ shows is what was measured: table and picture are made of the
// figures, and nobody has touched them since.
func TestTheDocsShowTheFigures(t *testing.T) {
	const docs = "../../docs"
	r, err := Read(docs)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]byte{TableFile: r.Table(), PictureFile: r.Picture()} {
		if got, err := os.ReadFile(docs + "/" + name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("docs/%s is not what docs/%s says (%v): run make latency", name, FiguresFile, err)
		}
	}
	for _, region := range r.Regions {
		for _, connection := range Connections {
			for _, request := range Requests {
				for _, place := range Places {
					if c := r.cell(region, place, connection, request); c.Samples != r.Samples || c.P50 <= 0 {
						t.Errorf("%s has no %s %s over a %s connection", region, place, request, connection)
					}
				}
			}
		}
	}
}
