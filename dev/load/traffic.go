package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// Config is one stream of page views.
type Config struct {
	Edges   []string // public URLs of the nodes of a region, asked in turn
	Region  string   // whose mix of readers
	Rate    float64  // page views per second
	Seed    uint64
	Query   func(*rand.Rand) url.Values // what a page asks for; nil: SamplePage
	ViewIn  time.Duration               // median time from decision to view; 0: 800 ms
	ViewOf  float64                     // share of offers that are seen; 0: 0.85
	ClickOf float64                     // share of views that are clicked on; 0: 0.004
	Dial    Dial                        // how the readers connect; nil: from here
	Log     func(error)                 // told of failures, one a second at most; may be nil
}

// maxOpen bounds the page views that are open at once.
const maxOpen = 4096

// Counts are what a stream has done so far.
type Counts struct {
	Decisions, Offers, Views, Clicks atomic.Int64
	Failed                           atomic.Int64 // requests that were not answered as they should be
	Billed, BilledClicks             atomic.Int64 // of the views and clicks, where the edge says so
	Skipped                          atomic.Int64 // arrivals that found too many page views open
}

// Traffic is a running stream.
type Traffic struct {
	Counts
	config   Config
	client   *Client
	stop     context.CancelFunc
	enough   chan struct{} // closed: nobody arrives any more
	arriving sync.Once
	running  sync.WaitGroup
	logged   atomic.Int64 // unix second of the last failure that was told
}

// Start begins a stream; it goes on until ctx ends or Stop is called.
func Start(ctx context.Context, c Config, addrs Addresses) *Traffic {
	if c.ViewIn == 0 {
		c.ViewIn = 800 * time.Millisecond
	}
	if c.ViewOf == 0 {
		c.ViewOf = 0.85
	}
	if c.ClickOf == 0 {
		c.ClickOf = 0.004
	}
	if c.Query == nil {
		c.Query = SamplePage
	}
	ctx, stop := context.WithCancel(ctx)
	t := &Traffic{config: c, client: NewClientFrom(c.Dial, 64), stop: stop, enough: make(chan struct{})}
	t.running.Go(func() { t.arrive(ctx, NewReaders(addrs, Mix(c.Region), c.Seed)) })
	return t
}

// Stop ends the stream, page views in flight included, and waits for it.
func (t *Traffic) Stop() {
	t.stop()
	t.running.Wait()
	t.client.Close()
}

// arrive starts page views at random times whose mean is the rate.
func (t *Traffic) arrive(ctx context.Context, readers *Readers) {
	random := rand.New(rand.NewPCG(t.config.Seed, 2))
	open := make(chan struct{}, maxOpen)
	next := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := 0; ; n++ {
		timer.Reset(time.Until(next))
		select {
		case <-ctx.Done():
			return
		case <-t.enough:
			return
		case <-timer.C:
		}
		next = next.Add(time.Duration(random.ExpFloat64() / t.config.Rate * float64(time.Second)))
		if late := time.Since(next); late > time.Second {
			next = time.Now() // the machine is too slow for the rate: do not pile up
		}
		page := page{
			edge:    t.config.Edges[n%len(t.config.Edges)],
			query:   t.config.Query(random),
			reader:  readers.Next(),
			seen:    random.Float64() < t.config.ViewOf,
			clicked: random.Float64() < t.config.ClickOf,
			looked:  time.Duration((0.3 + 1.4*random.Float64()) * float64(t.config.ViewIn)),
		}
		select {
		case open <- struct{}{}:
		default:
			t.Skipped.Add(1)
			continue
		}
		t.running.Go(func() {
			defer func() { <-open }()
			if err := t.show(ctx, page); err != nil && ctx.Err() == nil {
				t.fail(err)
			}
		})
	}
}

type page struct {
	edge          string
	query         url.Values
	reader        Reader
	seen, clicked bool
	looked        time.Duration
}

func (t *Traffic) show(ctx context.Context, p page) error {
	offer, err := t.client.Decide(ctx, p.edge, p.query, p.reader)
	if err != nil {
		return err
	}
	t.Decisions.Add(1)
	if !offer.Filled() {
		return nil
	}
	t.Offers.Add(1)
	if !p.seen {
		return nil
	}
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(p.looked):
	}
	reason, err := t.beacon(ctx, offer.ViewURL, p.reader, http.StatusOK)
	if err != nil {
		return err
	}
	t.Views.Add(1)
	if reason == "Billed view" {
		t.Billed.Add(1)
	}
	if !p.clicked {
		return nil
	}
	if reason, err = t.beacon(ctx, offer.Link, p.reader, http.StatusFound); err != nil {
		return err
	}
	t.Clicks.Add(1)
	if reason == "Billed click" {
		t.BilledClicks.Add(1)
	}
	return nil
}

func (t *Traffic) beacon(ctx context.Context, address string, r Reader, want int) (reason string, err error) {
	answer, err := t.client.Get(ctx, address, r)
	if err == nil && answer.Status != want {
		err = fmt.Errorf("%s was answered with %d, not %d", address, answer.Status, want)
	}
	return answer.Reason(), err
}

func (t *Traffic) fail(err error) {
	t.Failed.Add(1)
	now := time.Now().Unix()
	if last := t.logged.Load(); t.config.Log != nil && now > last && t.logged.CompareAndSwap(last, now) {
		t.config.Log(err)
	}
}

// SamplePage asks for an ad on one of the sample catalog's publishers, more
// often on sample-docs than on the others.
func SamplePage(random *rand.Rand) url.Values {
	pages := []struct {
		publisher, host string
		keywords        []string
	}{
		{"sample-docs", "docs.example.com", []string{"python|sphinx", "django|backend", "javascript|react", "kubernetes|devops", "security|tls", "pandas|jupyter", ""}},
		{"sample-docs", "api.docs.example.com", []string{"api|rest", "go|graphql", "postgres"}},
		{"sample-docs", "archive.docs.example.com", []string{"", "markdown|documentation"}},
		{"sample-blog", "blog.example.com", []string{"typescript", "linux|containers", "game-dev|shaders"}},
		{"sample-tutorials", "learn.example.com", []string{""}},
		{"sample-magazine", "news.example.com", []string{"privacy", "machine-learning", "blockchain"}},
		{"sample-community", "forum.example.com", []string{"python", ""}},
	}
	i := 0
	if random.IntN(2) == 0 {
		i = random.IntN(len(pages))
	}
	page := pages[i]
	q := url.Values{
		"publisher": {page.publisher},
		"div_ids":   {"ad"},
		"ad_types":  {"image-v1"},
		"url":       {fmt.Sprintf("https://%s/page-%d", page.host, random.IntN(200))},
	}
	if random.IntN(3) == 0 {
		q.Set("ad_types", "text-v1")
	}
	if keywords := page.keywords[random.IntN(len(page.keywords))]; keywords != "" {
		q.Set("keywords", keywords)
	}
	return q
}

// Drain ends the stream like Stop, but lets page views that have begun go on to
// their end.
func (t *Traffic) Drain() {
	t.arriving.Do(func() { close(t.enough) })
	t.running.Wait()
	t.Stop()
}
