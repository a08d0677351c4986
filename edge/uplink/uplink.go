package uplink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	"nearside/edge/credential"
	"nearside/edge/keeper"
	"nearside/sync/catalog"
	"nearside/sync/exchange"
	"nearside/sync/wire"
	"nearside/sync/wire/wireconnect"
)

// ErrSuperseded ends Run: another process serves from this state directory's
// holder.
var ErrSuperseded = errors.New("a newer boot of this holder has spoken to the core")

// ErrOpen says that Run drained, but could not have the core close the holder,
// or take in one that was fenced: it stays as it is, with what it was granted
// and what it counted, until this directory starts again.
var ErrOpen = errors.New("stopped while the holder is still open: the core could not be told in time")

const (
	tickEvery = 100 * time.Millisecond
	// unregistered is how often the stream looks whether there is a holder now.
	unregistered = 5 * time.Second
	// silence is how long the stream may say nothing: three of the core's beats.
	silence = 30 * time.Second
	// renewAgain is how often the core may have the credential renewed.
	renewAgain = 5 * time.Second
	// soon is the pause before the next exchange when more is waiting.
	soon = 20 * time.Millisecond

	maxReply   = 64 << 20  // bytes of a reply
	maxCatalog = 256 << 20 // bytes of a published catalog
)

// Config is what Run needs. Zero values are the defaults.
type Config struct {
	Core      []string               // URLs of the sync API, tried in turn
	JoinToken func() (string, error) // read when the directory registers
	Region    string
	Node      string
	PublicURL string
	Version   string        // of this binary
	Interval  time.Duration // between exchanges; 1 s
	Timeout   time.Duration // of one exchange; 10 s
	DrainFor  time.Duration // how long a drain may take; 20 s
	HTTP      connect.HTTPClient
	// Credential is what the node shows a core that it calls by https, and whom
	// it believes; nil: the system's roots, and its secret alone.
	Credential *credential.Store
	// Apply puts a catalog in force. It is called from one goroutine.
	Apply func(*catalog.Snapshot) error
	// OnControls is told of controls that were new here; it must not block.
	OnControls func([]*wire.Control)
	// Copies are what this node keeps of its peers' journals; nil: nothing.
	Copies Copies
	// OnChange is called when the holder, the catalog or a control changed.
	OnChange func(holder uint32, catalogVersion, controlVersion uint64)
	Log      *slog.Logger
}

func (c *Config) defaults() {
	if c.Interval == 0 {
		c.Interval = time.Second
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	if c.DrainFor == 0 {
		c.DrainFor = 20 * time.Second
	}
	if c.HTTP == nil {
		c.HTTP = newLine(c.Credential)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.OnControls == nil {
		c.OnControls = func([]*wire.Control) {}
	}
	if c.OnChange == nil {
		c.OnChange = func(uint32, uint64, uint64) {}
	}
}

// line speaks HTTP/2 only, without TLS to http:// addresses, and notices a
// connection that died. Calls under a new certificate take new connections.
type line struct {
	credential *credential.Store // may be nil

	mu         sync.Mutex
	client     *http.Client
	generation uint64 // of the credential that client's connections show
}

func newLine(c *credential.Store) *line { return &line{credential: c} }

// Do implements connect.HTTPClient.
func (l *line) Do(r *http.Request) (*http.Response, error) { return l.current().Do(r) }

func (l *line) current() *http.Client {
	l.mu.Lock()
	defer l.mu.Unlock()
	config, generation := &tls.Config{MinVersion: tls.VersionTLS12}, uint64(0)
	if l.credential != nil {
		config, generation = l.credential.CoreClient(), l.credential.Generation()
	}
	if l.client == nil || generation != l.generation {
		if l.client != nil {
			l.client.CloseIdleConnections()
		}
		l.client, l.generation = client(config), generation
	}
	return l.client
}

// CloseIdleConnections is called when nothing is asked any more.
func (l *line) CloseIdleConnections() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client != nil {
		l.client.CloseIdleConnections()
	}
}

func client(config *tls.Config) *http.Client {
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: &http.Transport{
		Protocols:           &protocols,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 5 * time.Second},
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSClientConfig:     config,
		TLSHandshakeTimeout: 5 * time.Second,
		IdleConnTimeout:     90 * time.Second,
	}}
}

// Stats count since Run began.
type Stats struct {
	Exchanges atomic.Uint64 // answered
	Failures  atomic.Uint64 // not answered
	Withheld  atomic.Uint64 // answered, but no grants taken
	Nanos     atomic.Uint64 // from sending to the answer, of those answered
	Streams   atomic.Uint64 // opened
	Catalogs  atomic.Uint64 // applied
	Deltas    atomic.Uint64 // of those, made from deltas
	BadNews   atomic.Uint64 // catalogs that could not be read or applied
	Renewals  atomic.Uint64 // of the credential
	Fences    atomic.Uint64
	Copies    atomic.Uint64 // of lost holders' journals, handed in
	// Statements of the account, which a core that lost history took.
	Statements atomic.Uint64
	Connected  atomic.Bool // the stream is open
}

// Uplink is one edge's line to the core.
type Uplink struct {
	cfg   Config
	k     *keeper.Keeper
	tally *Tally
	stats Stats

	cores []wireconnect.ExchangeClient
	at    atomic.Uint32 // which of them is in use
	wake  chan struct{} // the next exchange should not wait
	again chan struct{} // the stream should be opened anew: another holder
	hand  chan struct{} // a former holder is to be handed in
	said  changes
	told  told // of the account, to a core that lost history

	renewed time.Time // when it was last tried; only the exchange uses it

	applying sync.Mutex        // one catalog after the other
	snapshot *catalog.Snapshot // in force; applying guards it
	whole    bool              // deltas did not fit; only the stream uses it
}

type changes struct {
	holder           uint32
	catalog, control uint64
}

// New makes an uplink for a keeper. What is counted for reports comes from the
// tally.
func New(cfg Config, k *keeper.Keeper, tally *Tally) (*Uplink, error) {
	cfg.defaults()
	if len(cfg.Core) == 0 {
		return nil, errors.New("core: expected at least one URL")
	}
	u := &Uplink{
		cfg: cfg, k: k, tally: tally,
		wake: make(chan struct{}, 1), again: make(chan struct{}, 1), hand: make(chan struct{}, 1),
	}
	for _, url := range cfg.Core {
		if !strings.HasPrefix(url, "http://") && !strings.HasPrefix(url, "https://") {
			return nil, fmt.Errorf("core %q: expected http:// or https://", url)
		}
		u.cores = append(u.cores, wireconnect.NewExchangeClient(cfg.HTTP, url, connect.WithReadMaxBytes(maxCatalog)))
	}
	return u, nil
}

// Stats are the uplink's counters, live.
func (u *Uplink) Stats() *Stats { return &u.stats }

// Load applies the catalog on disk, if there is one and nothing newer is in
// force.
func (u *Uplink) Load() error {
	published, err := u.k.StoredCatalog()
	if err != nil || published == nil {
		return err
	}
	if inForce, _ := u.k.Catalog(); inForce > 0 {
		if stored, err := catalog.Version(published); err == nil && stored <= inForce {
			return nil
		}
	}
	s, err := catalog.Decode(published)
	if err != nil {
		// The core has a good one; without it there is nothing to serve.
		u.cfg.Log.Error("the catalog on disk cannot be read", "err", err)
		return nil
	}
	u.applying.Lock()
	defer u.applying.Unlock()
	if version, _ := u.k.Catalog(); s.Version <= version {
		return nil
	}
	return u.apply(s, published)
}

func (u *Uplink) apply(s *catalog.Snapshot, published []byte) error {
	if err := u.k.UseCatalog(s, published, time.Now().UnixMilli()); err != nil {
		return err
	}
	if err := u.cfg.Apply(s); err != nil {
		return fmt.Errorf("apply catalog %d: %w", s.Version, err)
	}
	u.snapshot = s
	u.stats.Catalogs.Add(1)
	return nil
}

// Run keeps the edge and the core in step until ctx ends, then drains. It
// begins with Load.
func (u *Uplink) Run(ctx context.Context) error {
	if err := u.Load(); err != nil {
		return err
	}
	nudge(u.hand)
	// The parts outlive ctx: draining needs them.
	g, all := errgroup.WithContext(context.WithoutCancel(ctx))
	all, stop := context.WithCancel(all)
	defer stop()
	g.Go(func() error { return u.tick(all) })
	g.Go(func() error { return u.watch(all) })
	g.Go(func() error { return u.handIn(all) })
	if u.cfg.Copies != nil {
		g.Go(func() error { return u.handInCopies(all) })
	}
	g.Go(func() error {
		defer stop()
		return u.exchange(ctx, all)
	})
	g.Go(func() error {
		select {
		case <-u.k.Failed():
			return fmt.Errorf("the journal failed: %w", u.k.Err())
		case <-all.Done():
			return nil
		}
	})
	return g.Wait()
}

func (u *Uplink) tick(ctx context.Context) error {
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-t.C:
			if err := u.k.Tick(now.UnixMilli()); err != nil {
				return fmt.Errorf("tick: %w", err)
			}
		}
	}
}

// exchange registers where that is needed and exchanges every interval. When
// ctx ends it drains, within what all allows.
func (u *Uplink) exchange(ctx, all context.Context) error {
	failures := 0
	for ctx.Err() == nil {
		pause, err := u.once(ctx)
		if fatal(err) && ctx.Err() == nil {
			return err
		}
		switch {
		case err == nil:
			failures = 0
		case ctx.Err() != nil:
		default:
			failures++
			pause = backoff(u.cfg.Interval, u.cfg.Interval, failures)
			u.at.Add(1)
			u.stats.Failures.Add(1)
			u.cfg.Log.Warn("no exchange with the core", "err", err, "failures", failures)
		}
		sleep(ctx, pause, u.wake)
	}
	return u.drain(all)
}

// fatal reports whether err must end the process.
func fatal(err error) bool {
	var transient *lineError
	return err != nil && !errors.As(err, &transient)
}

// lineError is a failure of the line or of the core: it passes.
type lineError struct{ err error }

func (e *lineError) Error() string { return e.err.Error() }
func (e *lineError) Unwrap() error { return e.err }

// backoff is how long to wait after failures in a row: half to one and a half
// intervals at most, so that edges are back within two of them, and 300 edges
// that knock make no more calls than 300 that exchange. The jitter keeps them
// from knocking together.
func backoff(first, interval time.Duration, failures int) time.Duration {
	d := first << min(failures-1, 6)
	if d <= 0 || d > interval {
		d = interval
	}
	return d/2 + rand.N(d+1)
}

// sleep pauses, unless it is woken.
func sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-wake:
	}
}

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (u *Uplink) core() wireconnect.ExchangeClient {
	return u.cores[int(u.at.Load())%len(u.cores)]
}

// as is a context whose calls show a credential.
func as(ctx context.Context, secret string) context.Context {
	ctx, info := connect.NewClientContext(ctx)
	info.RequestHeader().Set("Authorization", "Bearer "+secret)
	return ctx
}

// once is one exchange, after a registration where one is needed. It returns
// how long to wait for the next.
func (u *Uplink) once(ctx context.Context) (time.Duration, error) {
	_, secret, ok := u.k.Registered()
	if !ok {
		if u.k.Draining() {
			return 0, &lineError{errors.New("draining: no new holder is asked for")}
		}
		if err := u.register(ctx); err != nil {
			return 0, err
		}
		_, secret, _ = u.k.Registered()
	}
	if c := u.cfg.Credential; c != nil && !c.Has() && u.certified() {
		// It joined when there were no certificates.
		if err := u.renew(ctx); err != nil {
			return 0, err
		}
		_, secret, _ = u.k.Registered()
	}
	req, err := u.k.Prepare(ctx)
	if err != nil {
		return 0, err
	}
	report := u.tally.take(time.Now(), u.k)
	req.Side.Decisions, req.Side.Topics, req.Side.Refusals, req.Side.Version = report.decisions, report.topics, report.refusals, u.cfg.Version
	if u.cfg.Credential != nil {
		req.Trust = u.cfg.Credential.Sum()
	}
	call, cancel := context.WithTimeout(as(ctx, secret), u.cfg.Timeout)
	defer cancel()
	began := time.Now()
	reply, err := u.core().Sync(call, req)
	if err != nil {
		u.tally.giveBack(report)
		u.k.Unheard()
		err = fmt.Errorf("exchange with %s: %w", u.address(), err)
		if connect.CodeOf(err) == connect.CodeUnauthenticated { // the core may have forgotten this holder
			return 0, u.unknown(ctx, err)
		}
		return 0, &lineError{err}
	}
	u.stats.Nanos.Add(uint64(time.Since(began)))
	u.stats.Exchanges.Add(1)
	step, err := u.k.Heard(ctx, reply)
	if err != nil {
		return 0, err
	}
	switch step.Course {
	case exchange.Superseded:
		return 0, ErrSuperseded
	case exchange.Withhold:
		u.stats.Withheld.Add(1)
		u.cfg.Log.Warn("no grants are taken", "reason", step.Reason)
		if reply.GetStateWanted() {
			if _, err := u.state(ctx, secret); err != nil {
				return 0, err
			}
		}
	case exchange.Fence:
		return 0, u.fence(ctx, step.Reason) // and register anew at once
	}
	u.changed()
	if len(reply.GetControls()) > 0 {
		u.cfg.OnControls(reply.GetControls())
	}
	if reply.GetRenew() && time.Since(u.renewed) > renewAgain {
		u.renewed = time.Now()
		if err := u.renew(ctx); fatal(err) {
			return 0, err
		} else if err != nil {
			u.cfg.Log.Warn("the credential was not renewed", "err", err)
		}
	}
	if step.Acked != nil && u.k.Outstanding() > 0 {
		return soon, nil
	}
	if ms := reply.GetNextMs(); ms > 0 {
		return time.Duration(min(ms, time.Hour.Milliseconds())) * time.Millisecond, nil
	}
	return u.cfg.Interval, nil
}

func (u *Uplink) fence(ctx context.Context, reason string) error {
	u.stats.Fences.Add(1)
	if err := u.k.Fence(ctx, reason); err != nil {
		return err
	}
	u.changed()
	return nil
}

func (u *Uplink) address() string { return u.cfg.Core[int(u.at.Load())%len(u.cores)] }

// changed tells OnChange of what others of the region want to know.
func (u *Uplink) changed() {
	var now changes
	now.holder, now.catalog, now.control = u.k.Versions()
	if u.said != now {
		u.said = now
		u.cfg.OnChange(now.holder, now.catalog, now.control)
	}
}

func (u *Uplink) register(ctx context.Context) error {
	join, err := u.cfg.JoinToken()
	if err != nil {
		return &lineError{fmt.Errorf("read the join token: %w", err)}
	}
	csr, certified, err := u.request()
	if err != nil {
		return err
	}
	call, cancel := context.WithTimeout(as(ctx, strings.TrimSpace(join)), u.cfg.Timeout)
	defer cancel()
	reply, err := u.core().Register(call, &wire.RegisterRequest{
		Protocol: exchange.Protocol, Region: u.cfg.Region, Node: u.cfg.Node, Disk: u.k.Disk(),
		Version: u.cfg.Version, PublicUrl: u.cfg.PublicURL, Csr: csr,
	})
	if err != nil {
		return &lineError{fmt.Errorf("register %s/%s at %s: %w", u.cfg.Region, u.cfg.Node, u.address(), err)}
	}
	if err := certified(reply.GetCertificate(), reply.GetAuthorities()); err != nil {
		return &lineError{fmt.Errorf("register %s/%s at %s: %w", u.cfg.Region, u.cfg.Node, u.address(), err)}
	}
	if err := u.k.Enroll(ctx, reply); err != nil {
		return fmt.Errorf("register %s/%s: %w", u.cfg.Region, u.cfg.Node, err)
	}
	u.cfg.Log.Info("registered", "holder", reply.GetHolder(), "region", u.cfg.Region, "node", u.cfg.Node)
	nudge(u.again)
	nudge(u.hand)
	return nil
}

// certified reports whether the core in use is one that signs certificates: it
// is called by https.
func (u *Uplink) certified() bool { return strings.HasPrefix(u.address(), "https://") }

// request is a request for a certificate, and what to do with the answer;
// nothing where no certificates are used.
func (u *Uplink) request() (csr []byte, take func(chain [][]byte, authorities []byte) error, err error) {
	if u.cfg.Credential == nil || !u.certified() {
		return nil, func([][]byte, []byte) error { return nil }, nil
	}
	csr, keep, err := u.cfg.Credential.Request()
	return csr, func(chain [][]byte, authorities []byte) error {
		if len(chain) == 0 {
			u.cfg.Log.Warn("the core signs no certificates: this node shows its peers none, and they will not listen to it")
			return nil
		}
		return keep(chain, authorities)
	}, err
}

// renew takes the next credential: a new secret, and a new certificate where
// certificates are used.
func (u *Uplink) renew(ctx context.Context) error {
	id, secret, ok := u.k.Registered()
	if !ok {
		return nil
	}
	csr, certified, err := u.request()
	if err != nil {
		return err
	}
	call, cancel := context.WithTimeout(as(ctx, secret), u.cfg.Timeout)
	defer cancel()
	reply, err := u.core().Renew(call, &wire.RenewRequest{Protocol: exchange.Protocol, Holder: id, Csr: csr})
	if err != nil {
		return &lineError{fmt.Errorf("renew the credential at %s: %w", u.address(), err)}
	}
	// Either may be lost: the former secret counts until the new one was used, and
	// so does the former certificate.
	if err := u.k.UseSecret(reply.GetSecret()); errors.Is(err, keeper.ErrFull) {
		return &lineError{err} // the former one counts still
	} else if err != nil {
		return err
	}
	if err := certified(reply.GetCertificate(), reply.GetAuthorities()); err != nil {
		return &lineError{err}
	}
	u.stats.Renewals.Add(1)
	u.cfg.Log.Info("credential renewed", "holder", id)
	nudge(u.again) // the stream shows the new one
	return nil
}

// drain lets the views in flight land and sends the last batch. A core that
// cannot be reached in time leaves the holder open (ErrOpen): the next start
// goes on.
func (u *Uplink) drain(all context.Context) error {
	u.k.Drain()
	ctx, cancel := context.WithTimeout(all, u.cfg.DrainFor)
	defer cancel()
	if _, _, ok := u.k.Registered(); !ok {
		return u.open()
	}
	for landing := time.Now(); u.k.InFlight() > 0 && time.Since(landing) < u.cfg.DrainFor/2; {
		if _, err := u.once(ctx); fatal(err) && ctx.Err() == nil {
			return err
		}
		sleep(ctx, min(u.cfg.Interval, 200*time.Millisecond), nil)
	}
	u.k.Finish()
	for ctx.Err() == nil {
		if _, err := u.once(ctx); fatal(err) && ctx.Err() == nil {
			return err
		}
		done, err := u.k.Drained()
		if err != nil {
			return err
		}
		if done {
			break
		}
		if _, _, ok := u.k.Registered(); !ok {
			break // fenced meanwhile: the next start registers anew
		}
		sleep(ctx, min(u.cfg.Interval, 100*time.Millisecond), nil)
	}
	for len(u.k.Former()) > 0 && ctx.Err() == nil { // handIn is at it
		sleep(ctx, 100*time.Millisecond, nil)
	}
	return u.open()
}

// open is ErrOpen where this directory still holds what the core has not been
// told: of its holder, or of one that was fenced.
func (u *Uplink) open() error {
	if id, _, _ := u.k.Versions(); id != 0 || u.k.Status().Fenced || len(u.k.Former()) > 0 {
		return ErrOpen
	}
	return nil
}
