//go:build linux

package drill

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"nearside/dev/load"
	"nearside/dev/planet"
	"nearside/dev/world"
)

// stage is what a drill plays on.
type stage struct {
	Options
	*planet.Planet
	config  *world.Config
	dir     string
	began   time.Time
	readers load.Addresses
	failed  int // checks
	line    world.Line
	streams map[string]*load.Traffic // by node
	sums    sums                     // of the streams that have ended
	other   string                   // directory of other programs, where the drill has some
}

// sums are what readers were answered.
type sums struct{ decisions, offers, views, clicks, billed, billedClicks, failed int64 }

func (a *sums) add(t *load.Traffic) {
	a.decisions += t.Decisions.Load()
	a.offers += t.Offers.Load()
	a.views += t.Views.Load()
	a.clicks += t.Clicks.Load()
	a.billed += t.Billed.Load()
	a.billedClicks += t.BilledClicks.Load()
	a.failed += t.Failed.Load() + t.Skipped.Load()
}

// scaled is how long a time of the runbook lasts here.
func (s *stage) scaled(d time.Duration) time.Duration {
	return time.Duration(float64(d) * s.Scale).Round(time.Millisecond)
}

// say tells what happens.
func (s *stage) say(format string, args ...any) {
	at := time.Since(s.began)
	fmt.Fprintf(s.Out, "  %02d:%02d  %s\n", int(at.Minutes()), int(at.Seconds())%60, fmt.Sprintf(format, args...))
}

// check is one thing that the runbook promises, with what was seen.
func (s *stage) check(ok bool, format string, args ...any) {
	verdict := "ok   "
	if !ok {
		verdict = "FAIL "
		s.failed++
	}
	fmt.Fprintf(s.Out, "  %s  %s\n", verdict, fmt.Sprintf(format, args...))
}

// let lets a time of the runbook pass.
func (s *stage) let(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(s.scaled(d)):
		return nil
	}
}

// until waits for a condition and says how long that took.
func (s *stage) until(ctx context.Context, within time.Duration, what string, done func() (bool, error)) (time.Duration, error) {
	start := time.Now()
	for {
		ok, err := done()
		if err == nil && ok {
			return time.Since(start), nil
		}
		if time.Since(start) > within {
			return 0, fmt.Errorf("not within %s: %s: %w", within, what, errors.Join(errors.New("it is not so"), err))
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// call asks the admin API and wants a status of 2xx.
func (s *stage) call(ctx context.Context, method, path string, receive any) error {
	status, answer, err := s.Admin(ctx, method, path, nil)
	if err != nil {
		return err
	}
	if status/100 != 2 {
		return fmt.Errorf("%s %s is answered with %d: %s", method, path, status, answer)
	}
	if receive == nil {
		return nil
	}
	return json.Unmarshal(answer, receive)
}

// node is an edge by its name: its index and what is known of it.
func (s *stage) node(name string) (int, world.Edge) {
	for i, e := range s.Ready().Edges {
		if e.Node == name {
			return i, e
		}
	}
	panic("there is no edge " + name)
}

// dial connects as a reader of the region.
func (s *stage) dial(region string) load.Dial {
	return func(ctx context.Context, _, address string) (net.Conn, error) { return s.Dial(ctx, region, address) }
}

// someone is a reader on a desktop.
func (s *stage) someone() load.Reader {
	return load.Reader{Addr: s.readers["DE"][0], Country: "DE", Agent: load.Desktop()}
}

// browse does something as one reader of the edge's region.
func (s *stage) browse(e world.Edge, f func(c *load.Client) error) error {
	c := load.NewClientFrom(s.dial(e.Region), 4)
	defer c.Close()
	return f(c)
}

// ask asks an edge once, as a reader of its region.
func (s *stage) ask(ctx context.Context, e world.Edge) (offer load.Offer, err error) {
	err = s.browse(e, func(c *load.Client) (err error) {
		offer, err = c.Decide(ctx, s.Address(e.Node, e.Public), s.line.Query(), s.someone())
		return err
	})
	return offer, err
}

// offered asks an edge until it offers the line.
func (s *stage) offered(ctx context.Context, e world.Edge) (offer load.Offer, err error) {
	_, err = s.until(ctx, 30*time.Second, e.Node+" offers "+s.line.Slug, func() (bool, error) {
		offer, err = s.ask(ctx, e)
		return offer.Filled(), err
	})
	return offer, err
}

// see sends a view beacon to an edge, as a reader of its region, and returns
// the reason that it gives.
func (s *stage) see(ctx context.Context, e world.Edge, o load.Offer) (reason string, err error) {
	_, path, _ := strings.Cut(o.ViewURL, "/proxy/")
	err = s.browse(e, func(c *load.Client) error {
		answer, err := c.Get(ctx, s.Address(e.Node, e.Public)+"/proxy/"+path, s.someone())
		if err == nil && answer.Status != http.StatusOK {
			err = fmt.Errorf("a view is answered with %d: %.200s", answer.Status, answer.Body)
		}
		reason = answer.Reason()
		return err
	})
	return reason, err
}

// sell makes the line that the drill is about and waits until every edge that
// runs offers it.
func (s *stage) sell(ctx context.Context, l world.Line) error {
	s.line = l
	if err := s.Sell(ctx, l); err != nil {
		return err
	}
	for i, e := range s.Ready().Edges {
		if s.Edges[i].PID() != 0 {
			if _, err := s.offered(ctx, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// visit starts page views at an edge, by readers of its region.
func (s *stage) visit(ctx context.Context, node string, rate float64) {
	_, e := s.node(node)
	s.streams[node] = load.Start(ctx, load.Config{
		Edges: []string{s.Address(node, e.Public)}, Region: e.Region, Rate: rate, Seed: uint64(len(s.streams)), Dial: s.dial(e.Region),
		Query:  func(*rand.Rand) url.Values { return s.line.Query() },
		ViewIn: 300 * time.Millisecond, ClickOf: 0.05,
		Log: func(err error) { s.say("a reader in %s: %v", e.Region, err) },
	}, s.readers)
}

// visitAll starts page views at every edge that runs.
func (s *stage) visitAll(ctx context.Context, rate float64) {
	for i, e := range s.Ready().Edges {
		if s.Edges[i].PID() != 0 {
			s.visit(ctx, e.Node, rate)
		}
	}
}

// leave sends no more readers to an edge, as a load balancer does; who is on a
// page goes on to its end.
func (s *stage) leave(node string) {
	if t := s.streams[node]; t != nil {
		t.Drain()
		s.sums.add(t)
		delete(s.streams, node)
	}
}

func (s *stage) leaveAll() {
	for node := range s.streams {
		s.leave(node)
	}
}

// answered are what readers were answered so far, by all edges or by one that
// is visited now.
func (s *stage) answered(nodes ...string) sums {
	total := s.sums
	if len(nodes) > 0 {
		total = sums{}
	}
	for node, t := range s.streams {
		if len(nodes) == 0 || node == nodes[0] {
			total.add(t)
		}
	}
	return total
}

// viewsCome waits until so many more views have been answered.
func (s *stage) viewsCome(ctx context.Context, n int64, nodes ...string) error {
	from := s.answered(nodes...).views
	_, err := s.until(ctx, time.Minute, fmt.Sprintf("%d more views", n), func() (bool, error) { return s.answered(nodes...).views >= from+n, nil })
	return err
}

// flight is what the core says of the line.
type flight struct {
	State    string `json:"state"`
	Delivery struct {
		Views          int64 `json:"views"`
		Clicks         int64 `json:"clicks"`
		SpentMicros    int64 `json:"spent_micros"`
		UnbilledViews  int64 `json:"unbilled_views"`
		UnbilledClicks int64 `json:"unbilled_clicks"`
	} `json:"delivery"`
	Budgets []budget `json:"budgets"`
}

type budget struct {
	Kind        string `json:"kind"`
	Limit       int64  `json:"limit"`
	Unleased    int64  `json:"unleased"`
	Outstanding int64  `json:"outstanding"`
	Settled     int64  `json:"settled"`
}

func (f flight) views() budget {
	for _, b := range f.Budgets {
		if b.Kind == "views" {
			return b
		}
	}
	return budget{}
}

func (s *stage) flight(ctx context.Context) (f flight, err error) {
	err = s.call(ctx, http.MethodGet, "/v1/flights/"+s.line.Slug, &f)
	return f, err
}

// settle ends the page views and waits until the core has counted what readers
// were answered: to the event, or, where answers were lost on their way, no
// fewer and no more than those besides. Then it checks the money. So many of
// the answered views may be lost, where the runbook says so.
func (s *stage) settle(ctx context.Context, lost int64) error {
	s.leaveAll()
	a := s.sums
	var f flight
	took, err := s.until(ctx, 90*time.Second, "the core has counted what readers were answered", func() (ok bool, err error) {
		if f, err = s.flight(ctx); err != nil {
			return false, err
		}
		all := f.Delivery.Views + f.Delivery.UnbilledViews
		return all >= a.views-lost && all <= a.views+a.failed && f.Delivery.Views >= a.billed-lost && f.Delivery.Views <= a.billed+a.failed, nil
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	b := f.views()
	s.check(err == nil, "readers were answered %d views, %d of them billed; the core has %d and %d after %.1f s (%d requests were not answered)",
		a.views, a.billed, f.Delivery.Views+f.Delivery.UnbilledViews, f.Delivery.Views, took.Seconds(), a.failed)
	money := f.Delivery.Views*s.line.CPM/1000 + f.Delivery.Clicks*s.line.CPC
	s.check(f.Delivery.SpentMicros == money && b.Settled == f.Delivery.Views, "the money is that of the views: %d micros", f.Delivery.SpentMicros)
	s.check(b.Settled <= b.Limit, "no more was billed than was sold: %d of %d views", b.Settled, b.Limit)
	return nil
}

// reconcile is how every drill ends.
func (s *stage) reconcile(ctx context.Context) error {
	said, err := s.Tool(ctx, s.Programs, "reconcile")
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		said = strings.TrimSpace(said + " " + err.Error())
	}
	s.check(err == nil, "nearside-core reconcile: %s", said)
	return nil
}

// metric is a value at an operations port; labels as Prometheus writes them.
func (s *stage) metric(ctx context.Context, ops, name string) (value float64, err error) {
	c := load.NewClient(1)
	defer c.Close()
	answer, err := c.Get(ctx, ops+"/metrics", load.Reader{})
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(answer.Body)) {
		if text, ok := strings.CutPrefix(line, name+" "); ok {
			_, err := fmt.Sscan(text, &value)
			return value, err
		}
	}
	return 0, fmt.Errorf("%s has no metric %s", ops, name)
}

// exchanged waits until each of the edges, all that run where none is named,
// has heard from the core again.
func (s *stage) exchanged(ctx context.Context, nodes ...string) error {
	if len(nodes) == 0 {
		for i, e := range s.Ready().Edges {
			if s.Edges[i].PID() != 0 {
				nodes = append(nodes, e.Node)
			}
		}
	}
	from := map[string]float64{}
	for _, node := range nodes {
		_, e := s.node(node)
		var err error
		if from[node], err = s.metric(ctx, e.Ops, "nearside_edge_exchanges_total"); err != nil {
			return err
		}
	}
	for _, node := range nodes {
		_, e := s.node(node)
		if _, err := s.until(ctx, 90*time.Second, node+" exchanges with the core", func() (bool, error) {
			n, err := s.metric(ctx, e.Ops, "nearside_edge_exchanges_total")
			return n >= from[node]+2, err
		}); err != nil {
			return err
		}
	}
	return nil
}

// readyz is what an edge answers there.
func (s *stage) readyz(ctx context.Context, e world.Edge) (int, string) {
	c := load.NewClient(1)
	defer c.Close()
	answer, err := c.Get(ctx, e.Ops+"/readyz", load.Reader{})
	if err != nil {
		return 0, err.Error()
	}
	return answer.Status, strings.TrimSpace(string(answer.Body))
}

// holder is what /v1/edges says of a state directory.
type holder struct {
	ID     int64  `json:"holder"`
	Node   string `json:"node"`
	State  string `json:"state"`
	region string
}

// holders are those of a node, the newest last.
func (s *stage) holders(ctx context.Context, node string) (list []holder, err error) {
	var edges struct {
		Items []struct {
			Region string   `json:"region"`
			Nodes  []holder `json:"nodes"`
		} `json:"items"`
	}
	if err := s.call(ctx, http.MethodGet, "/v1/edges", &edges); err != nil {
		return nil, err
	}
	for _, r := range edges.Items {
		for _, h := range r.Nodes {
			if h.Node == node {
				h.region = r.Region
				list = append(list, h)
			}
		}
	}
	slices.SortFunc(list, func(a, b holder) int { return cmp.Compare(a.ID, b.ID) })
	return list, nil
}

// drain asks an edge to end and says with which status it did.
func (s *stage) drain(node string) int {
	i, _ := s.node(node)
	s.Edges[i].Stop(syscall.SIGTERM, 40*time.Second)
	return s.Edges[i].ExitCode()
}

// start starts an edge and waits until it is ready.
func (s *stage) start(ctx context.Context, node string) error {
	i, _ := s.node(node)
	if err := s.Edges[i].Start(); err != nil {
		return err
	}
	return s.WaitReady(ctx, i)
}
