package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"nearside/edge/journal"
)

const (
	viewsName        = "edge_views"
	viewsConnections = 256
	picture          = `<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>`
)

// views measures how many views one edge takes a second over HTTP, each answered
// once it is on the disk. The edge and the client share all processors, and the
// client sleeps while it waits, as both do in life. In turn with it, on the same
// connections and the same disk, are measured what it is made of: a bare server
// that answers with the same picture, the same requests sent again (which reach
// no journal), a journal alone with a waiter for each connection, and one
// write with its fdatasync after the other.
func (conf *Config) views(ctx context.Context) (_ []Result, err error) {
	const flights = 1000
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
	shared := *conf
	shared.everywhere = true
	w, err := shared.serveEdge(ctx, viewsName, flights, asks)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	bare, err := shared.start(ctx, conf.Self, "bench-bare", strconv.Itoa(len(picture)))
	if err != nil {
		return nil, err
	}
	defer bare.stop()
	var turns, again pairs
	var alone, groups, mean, half, slow []float64
	for round := range conf.Rounds {
		offers, err := w.offers(ctx, asks, reader, conf)
		if err != nil {
			return nil, err
		}
		disk, err := syncs(w.dir, conf.Each/4)
		if err != nil {
			return nil, err
		}
		acks, err := acks(ctx, w.dir, conf.Each)
		if err != nil {
			return nil, err
		}
		b, err := bare.measure(ctx, patient(inTurn(offers)), viewsConnections, conf.Each)
		if err != nil {
			return nil, err
		}
		before, err := w.edge.counted(ctx)
		if err != nil {
			return nil, err
		}
		sent := 0
		v, err := w.edge.measure(ctx, patient(script{next: func() []byte {
			if sent == len(offers) {
				return nil
			}
			sent++
			return offers[sent-1]
		}}), viewsConnections, conf.Each)
		if err != nil {
			return nil, err
		}
		after, err := w.edge.counted(ctx)
		if err != nil {
			return nil, err
		}
		if billed := int(after.billed - before.billed); billed != sent {
			return nil, fmt.Errorf("%d views were sent and answered, %d were billed", sent, billed)
		}
		if kept := int(after.records - before.records); kept < sent {
			return nil, fmt.Errorf("%d views were answered, %d records were made durable", sent, kept)
		}
		d, err := w.edge.measure(ctx, patient(inTurn(offers[:sent])), viewsConnections, conf.Each)
		if err != nil {
			return nil, err
		}
		commits := max(1, after.commits-before.commits)
		group, syncing := float64(sent)/commits, (after.syncing-before.syncing)/commits*1e6
		fmt.Fprintf(conf.Log, "%s: round %d: %.0f durable views/s, p99 %.1f ms, %.0f in a group, whose sync took %.2f ms; bare %.0f/s, p99 %.1f ms; duplicates %.0f/s, p99 %.1f ms; journal alone %.0f/s; sync %.2f ms, p99 %.1f ms\n",
			viewsName, round+1, v.rps, v.p99/1000, group, syncing/1000, b.rps, b.p99/1000, d.rps, d.p99/1000, acks, disk.median/1000, disk.p99/1000)
		turns.add(v, b)
		again.add(v, d)
		alone, groups = append(alone, acks), append(groups, group)
		mean, half, slow = append(mean, syncing), append(half, disk.median), append(slow, disk.p99)
	}
	out := append(turns.results(viewsName, "views/s", "µs/view"), again.results(viewsName+"_duplicates", "views/s", "µs/view")...)
	return append(out,
		Result{viewsName + "_journal_alone", median(turns.rps), "views/s", median(alone), median(turns.rps) / median(alone)},
		Result{viewsName + "_group", median(groups), "views", 0, 0},
		Result{viewsName + "_sync", median(mean), "µs", median(half), median(mean) / median(half)},
		Result{viewsName + "_sync_p99", median(slow), "µs", 0, 0},
	), nil
}

// patient is a client that sleeps until something has arrived.
func patient(s script) script {
	s.sleeps = true
	return s
}

// record is a record of a view as long as most are.
var record = bytes.Repeat([]byte("v"), 60)

// acks is how many records a journal makes durable a second in dir, where so many
// goroutines as there are connections append one and wait for it.
func acks(ctx context.Context, dir string, lasting time.Duration) (perSecond float64, err error) {
	at, err := os.MkdirTemp(dir, "journal-")
	if err != nil {
		return 0, fmt.Errorf("measure a journal alone: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(at)) }()
	j, err := journal.Open(at, journal.Options{})
	if err != nil {
		return 0, fmt.Errorf("measure a journal alone: %w", err)
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	if err := j.Replay(func(journal.Position, []byte) error { return nil }, func(journal.Position, journal.Hash) error { return nil }); err != nil {
		return 0, fmt.Errorf("measure a journal alone: %w", err)
	}
	var wg sync.WaitGroup
	failed := make([]error, viewsConnections)
	start := time.Now()
	for i := range viewsConnections {
		wg.Go(func() {
			for time.Since(start) < lasting && failed[i] == nil {
				var pos journal.Position
				if pos, failed[i] = j.Append(record); failed[i] == nil {
					_, failed[i] = j.Wait(ctx, pos)
				}
			}
		})
	}
	wg.Wait()
	return float64(j.Stats().Appends.Load()) / time.Since(start).Seconds(), errors.Join(failed...)
}

// quantiles are of one operation, in µs.
type quantiles struct{ median, p99 float64 }

// syncs measures writes of 4 KiB into an allocated file in dir, each followed by
// what a journal calls, one after the other.
func syncs(dir string, lasting time.Duration) (q quantiles, err error) {
	name := filepath.Join(dir, "syncs")
	f, err := journal.OS().Create(name)
	if err != nil {
		return q, fmt.Errorf("measure the disk: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(name)) }()
	const size, block = 1 << 20, 4 << 10
	if _, err = f.WriteAt(make([]byte, size), 0); err == nil {
		err = f.Sync()
	}
	var took []float64
	b := bytes.Repeat([]byte("v"), block)
	for start := time.Now(); err == nil && time.Since(start) < lasting; {
		began := time.Now()
		if _, err = f.WriteAt(b, int64(len(took))*block%size); err == nil {
			err = f.Sync()
		}
		took = append(took, float64(time.Since(began).Nanoseconds())/1000)
	}
	if err != nil {
		return q, fmt.Errorf("measure the disk: %w", err)
	}
	slices.Sort(took)
	return quantiles{took[len(took)/2], took[len(took)*99/100]}, nil
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
	if _, err := drive(ctx, w.edge.addr, s, 64, 2*conf.Each); err != nil {
		return nil, fmt.Errorf("gather offers: %w", err)
	}
	if len(views) == 0 {
		return nil, errors.New("gather offers: there were none")
	}
	return views, nil
}

// counts are what the edge says of itself.
type counts struct {
	billed  float64 // views
	records float64 // appended to the journal
	commits float64 // groups of them made durable
	syncing float64 // seconds spent on that
}

func (p *process) counted(ctx context.Context) (c counts, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.ops+"/metrics", nil)
	if err != nil {
		return c, fmt.Errorf("read the edge's metrics: %w", err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return c, fmt.Errorf("read the edge's metrics: %w", err)
	}
	defer res.Body.Close()
	lines := map[string]*float64{
		`nearside_edge_beacons_total{event="view",reason="Billed impression"}`: &c.billed,
		"nearside_edge_journal_records_total":                                  &c.records,
		"nearside_edge_journal_commits_total":                                  &c.commits,
		"nearside_edge_journal_sync_seconds_total":                             &c.syncing,
	}
	for s := bufio.NewScanner(res.Body); s.Scan(); {
		at := strings.LastIndexByte(s.Text(), ' ')
		if at < 0 || lines[s.Text()[:at]] == nil {
			continue
		}
		n, err := strconv.ParseFloat(s.Text()[at+1:], 64)
		if err != nil {
			return c, fmt.Errorf("read the edge's metrics: %w", err)
		}
		*lines[s.Text()[:at]] = n
		delete(lines, s.Text()[:at])
	}
	for line := range lines {
		return c, fmt.Errorf("the edge's metrics have no line %s", line)
	}
	return c, nil
}
