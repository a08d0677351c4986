// Package latency measures what readers wait for, with an edge in their region
// and with the one central region that there would be otherwise.
//
// # What it promises
//
// Each reader does the same four times over: a decision, the view of what it
// offered and a click, at the edge of the reader's own region and at the
// central one, over a new connection for every request and over one that is
// kept. Near and central, new and kept take turns, so that a machine that gets
// slower does so for all of them. What is measured is the time from before the
// connection, or the request where it is kept, to the last byte of the answer.
// Every request must be answered as it should be, and every view and click be
// billed, or nothing is reported.
//
// # What it leaves out
//
// TLS, whose handshake adds a round trip to every new connection; DNS; and the
// browser. Where the readers are is up to the caller: Region.Dial.
package latency

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"nearside/dev/load"
)

// Region is where some of the readers are.
type Region struct {
	Name    string
	Near    string // URL of the edge of this region
	Central string // URL of the edge that all would ask
	Dial    load.Dial
	Reader  load.Reader
}

// Config says what to measure.
type Config struct {
	Regions []Region
	Query   url.Values // of a decision that is always filled
	Samples int        // of each cell
	Readers int        // at a time, in each region
	Log     io.Writer
}

// The names of a cell's coordinates.
var (
	Places      = []string{"central", "near"}
	Connections = []string{"new", "kept"}
	Requests    = []string{"decision", "view", "click"}
)

// Cell is what the readers of a region waited for, in milliseconds.
type Cell struct {
	Region     string  `json:"region"`
	Place      string  `json:"place"`
	Connection string  `json:"connection"`
	Request    string  `json:"request"`
	Samples    int     `json:"samples"`
	P50        float64 `json:"p50_ms"`
	P95        float64 `json:"p95_ms"`
	P99        float64 `json:"p99_ms"`
}

type key struct{ region, place, connection, request string }

// measurement collects.
type measurement struct {
	mu    sync.Mutex
	times map[key][]time.Duration
}

func (m *measurement) add(k key, d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.times[k] = append(m.times[k], d)
}

// Measure asks until every cell has its samples; the first wrong answer ends it.
func Measure(ctx context.Context, c Config) ([]Cell, error) {
	m := &measurement{times: map[key][]time.Duration{}}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	for _, region := range c.Regions {
		rounds := make(chan struct{})
		all.Go(func() {
			defer close(rounds)
			for i := range c.Samples {
				select {
				case rounds <- struct{}{}:
				case <-ctx.Done():
					return
				}
				if (i+1)%250 == 0 {
					fmt.Fprintf(c.Log, "%s: %d of %d rounds\n", region.Name, i+1, c.Samples)
				}
			}
		})
		for range c.Readers {
			all.Go(func() {
				r := newReader(region, c.Query)
				defer r.close()
				if err := r.warm(ctx); err != nil {
					cancel(err)
					return
				}
				for range rounds {
					if err := r.round(ctx, m); err != nil {
						cancel(err)
						return
					}
				}
			})
		}
	}
	all.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	var cells []Cell
	for _, region := range c.Regions {
		for _, connection := range Connections {
			for _, request := range Requests {
				for _, place := range Places {
					cells = append(cells, cell(key{region.Name, place, connection, request}, m.times))
				}
			}
		}
	}
	return cells, nil
}

func cell(k key, times map[key][]time.Duration) Cell {
	list := times[k]
	slices.Sort(list)
	at := func(q float64) float64 {
		i := min(int(q*float64(len(list))), len(list)-1)
		return float64(list[i].Microseconds()) / 1000
	}
	return Cell{k.region, k.place, k.connection, k.request, len(list), at(0.50), at(0.95), at(0.99)}
}

// reader is one at a time, with a connection of its own to each place.
type reader struct {
	region    Region
	query     string
	kept, new *http.Client
}

func newReader(region Region, query url.Values) *reader {
	client := func(keep bool) *http.Client {
		return &http.Client{
			Transport: &http.Transport{DialContext: region.Dial, DisableKeepAlives: !keep, DisableCompression: true, IdleConnTimeout: time.Minute},
			Timeout:   20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return &reader{region: region, query: query.Encode(), kept: client(true), new: client(false)}
}

func (r *reader) close() { r.kept.CloseIdleConnections() }

func (r *reader) place(name string) string {
	if name == "near" {
		return r.region.Near
	}
	return r.region.Central
}

// warm opens the connections that are kept.
func (r *reader) warm(ctx context.Context) error {
	for _, place := range Places {
		if _, _, err := r.get(ctx, r.kept, r.place(place)+"/api/v1/decision/?"+r.query, http.StatusOK); err != nil {
			return err
		}
	}
	return nil
}

// round is one sample of every cell of the reader's region.
func (r *reader) round(ctx context.Context, m *measurement) error {
	for _, connection := range Connections {
		client := r.kept
		if connection == "new" {
			client = r.new
		}
		for _, place := range Places {
			k := key{r.region.Name, place, connection, "decision"}
			took, answer, err := r.get(ctx, client, r.place(place)+"/api/v1/decision/?"+r.query, http.StatusOK)
			if err != nil {
				return err
			}
			var offer load.Offer
			if err := json.Unmarshal(answer.Body, &offer); err != nil {
				return fmt.Errorf("read the decision: %w", err)
			}
			if !offer.Filled() {
				return fmt.Errorf("%s offers nothing to a reader in %s", r.place(place), r.region.Name)
			}
			m.add(k, took)
			for _, beacon := range []struct {
				request, url, reason string
				status               int
			}{
				{"view", offer.ViewURL, "Billed view", http.StatusOK},
				{"click", offer.Link, "Billed click", http.StatusFound},
			} {
				k.request = beacon.request
				if took, answer, err = r.get(ctx, client, beacon.url, beacon.status); err != nil {
					return err
				}
				if reason := answer.Reason(); reason != beacon.reason {
					return fmt.Errorf("a %s in %s: %q, want %q", beacon.request, r.region.Name, reason, beacon.reason)
				}
				m.add(k, took)
			}
		}
	}
	return nil
}

func (r *reader) get(ctx context.Context, client *http.Client, address string, status int) (time.Duration, load.Answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, load.Answer{}, err
	}
	req.Header.Set("X-Forwarded-For", r.region.Reader.Addr.String())
	req.Header.Set("User-Agent", r.region.Reader.Agent)
	start := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return 0, load.Answer{}, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	took := time.Since(start)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return 0, load.Answer{}, err
	}
	if resp.StatusCode != status {
		path, _, _ := strings.Cut(address, "?")
		return 0, load.Answer{}, fmt.Errorf("%s is answered with %d, want %d: %.200s", path, resp.StatusCode, status, body)
	}
	return took, load.Answer{Status: resp.StatusCode, Header: resp.Header, Body: body}, nil
}
