package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

const viewsName = "edge_views"

// views measures how many views one edge takes a second over HTTP, each answered
// once it is on the disk, in turn with the same requests sent again: those are
// the same work for the server but for the journal, which a duplicate does not
// reach.
func (conf *Config) views(ctx context.Context) (_ []Result, err error) {
	const flights, connections = 1000, 256
	addresses, err := addressesOf(countries)
	if err != nil {
		return nil, err
	}
	var asks [][]byte // of one reader: a view must come from where its offer went
	for i, ask := range decisions(flights, addresses) {
		if i%len(countries) == 0 {
			asks = append(asks, ask)
		}
	}
	_, reader, _ := bytes.Cut(asks[0], []byte("\r\n"))
	w, err := conf.serveEdge(ctx, viewsName, flights, asks)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	var turns pairs
	for round := range conf.Rounds {
		offers, err := w.offers(ctx, asks, reader, conf)
		if err != nil {
			return nil, err
		}
		before, err := w.edge.billed(ctx)
		if err != nil {
			return nil, err
		}
		sent := 0
		first := script{next: func() []byte {
			if sent == len(offers) {
				return nil
			}
			sent++
			return offers[sent-1]
		}}
		m, err := w.edge.measure(ctx, first, connections, conf.Each)
		if err != nil {
			return nil, err
		}
		after, err := w.edge.billed(ctx)
		if err != nil {
			return nil, err
		}
		if after-before != sent {
			return nil, fmt.Errorf("%d views were sent and answered, %d were billed", sent, after-before)
		}
		again, err := w.edge.measure(ctx, inTurn(offers[:sent]), connections, conf.Each)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(conf.Log, "%s: round %d: %.0f durable views/s, p99 %.1f ms; %.0f duplicates/s, p99 %.1f ms\n",
			viewsName, round+1, m.rps, m.p99/1000, again.rps, again.p99/1000)
		turns.add(m, again)
	}
	return turns.results(viewsName, "views/s", "µs/view"), nil
}

// offers are requests for the views of new offers, enough for one turn.
func (w *world) offers(ctx context.Context, asks [][]byte, reader []byte, conf *Config) (views [][]byte, err error) {
	const before, path, after = `"view_url":"`, "/proxy/view/", `"`
	s := inTurn(asks)
	s.heard = func(body []byte) {
		_, at, _ := bytes.Cut(body, []byte(before))
		url, _, _ := bytes.Cut(at, []byte(after))
		if i := bytes.Index(url, []byte(path)); i >= 0 {
			views = append(views, fmt.Appendf(nil, "GET %s HTTP/1.1\r\n%s", url[i:], reader))
		}
	}
	if _, err := drive(ctx, w.edge.addr, s, 64, conf.Each); err != nil {
		return nil, fmt.Errorf("gather offers: %w", err)
	}
	if len(views) == 0 {
		return nil, errors.New("gather offers: there were none")
	}
	return views, nil
}

// billed is how many views the edge says that it has billed.
func (p *process) billed(ctx context.Context) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.ops+"/metrics", nil)
	if err != nil {
		return 0, fmt.Errorf("read the edge's metrics: %w", err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, fmt.Errorf("read the edge's metrics: %w", err)
	}
	defer res.Body.Close()
	const line = `nearside_edge_beacons_total{event="view",reason="Billed impression"} `
	for s := bufio.NewScanner(res.Body); s.Scan(); {
		if count, ok := strings.CutPrefix(s.Text(), line); ok {
			n, err := strconv.ParseFloat(count, 64)
			if err != nil {
				return 0, fmt.Errorf("read the edge's metrics: %w", err)
			}
			return int(n), nil
		}
	}
	return 0, fmt.Errorf("the edge's metrics have no line %s", line)
}
