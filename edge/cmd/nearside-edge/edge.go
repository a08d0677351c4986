package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"nearside/edge/credential"
	"nearside/edge/decision"
	"nearside/edge/keeper"
	"nearside/edge/ops"
	"nearside/edge/peer"
	"nearside/edge/replica"
	"nearside/edge/serve"
	"nearside/edge/uplink"
	"nearside/edge/visitor"
	"nearside/sync/catalog"
	"nearside/sync/gossip"
	"nearside/sync/trust"
	"nearside/sync/wire"
)

const (
	// rollEvery is how often daily caps are prepared for the next day.
	rollEvery = 10 * time.Minute
	// readyEvery is how old the public port's word about readiness may be.
	readyEvery = 200 * time.Millisecond
	// judgeLimit is how long a beacon waits for its home one hop away.
	judgeLimit = 500 * time.Millisecond
	// maxSkew is how far this clock may be from the core's.
	maxSkew = 30 * time.Second
	// tailBytes is how much of the journal's end is in memory for the peer that
	// keeps a copy.
	tailBytes = 8 << 20
	// goodbye is how long requests under way may take once all is drained.
	goodbye = 5 * time.Second
)

// drainFor is how long the last views and the last batch may take. Who stops an
// edge waits for 30 s. Tests shorten it.
var drainFor = 20 * time.Second

// edge is one node with all its parts.
type edge struct {
	log        *slog.Logger
	keeper     *keeper.Keeper
	tally      *uplink.Tally
	up         *uplink.Uplink
	server     *serve.Server
	places     *visitor.Places
	agents     *visitor.Agents
	ops        *ops.Ops
	line       *replica.Line     // nil: the journal is not copied
	copies     *replica.Store    // nil: alone in its region
	region     *peer.Region      // nil: alone in its region
	credential *credential.Store // nil: none is shown
	files      secrets
	home       atomic.Pointer[peer.Region]
	ready      atomic.Bool
	status     atomic.Pointer[keeper.Status] // of the last look, readyEvery ago at most

	public            []net.Listener
	operations, peers net.Listener
}

// open makes the parts and takes the state directory and the ports, but serves
// nothing yet.
func open(ctx context.Context, s *settings, log *slog.Logger) (e *edge, err error) {
	e = &edge{log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	visitors, err := e.openVisitors(s)
	if err != nil {
		return e, err
	}
	keep := keeper.Config{
		Dir: s.StateDir, Interval: s.ExchangeInterval, MaxOffline: s.MaxOffline, FenceAfter: s.FenceAfter,
		Log: log, Home: e.askHome, FS: disk(),
	}
	keep.Journal.SegmentSize = segment()
	if s.Replicate {
		e.line = replica.NewLine(replica.LineConfig{Peers: e.others, Call: caller{e}, Log: log})
		keep.Replica, keep.Journal.Tail, keep.Journal.Written = e.line, tailBytes, e.line.Nudge
	}
	if e.keeper, err = keeper.Open(ctx, keep); err != nil {
		return e, err
	}
	if err := writePID(s.StateDir); err != nil {
		return e, err
	}
	up := uplink.Config{
		Core: s.Core, JoinToken: s.joinToken, Region: s.Region, Node: s.Node, PublicURL: s.PublicURL,
		Version: versionText(), Interval: s.ExchangeInterval, DrainFor: drainFor, Apply: e.apply, Log: log,
	}
	if len(s.gossipKeys) > 0 { // copies are kept for others, and old ones handed in, whether this node has one or not
		if e.copies, err = replica.OpenStore(replica.StoreConfig{Dir: filepath.Join(s.StateDir, "copies"), Log: log}); err != nil {
			return e, err
		}
		up.Copies = e.copies
	}
	names := make([]string, decision.Reasons)
	for r := range names {
		names[r] = decision.Reason(r).String()
	}
	e.tally = uplink.NewTally(names, uint8(decision.Lease), uint8(decision.OnPace))
	if err := e.openCredential(s); err != nil {
		return e, err
	}
	up.Credential = e.credential
	if e.up, err = uplink.New(up, e.keeper, e.tally); err != nil {
		return e, err
	}
	e.server, err = serve.New(serve.Config{
		PublicURL:     s.PublicURL,
		Addresses:     visitor.Addresses{Proxies: s.TrustedProxies, Header: s.cdnHeader(0)},
		CountryHeader: s.cdnHeader(1),
		DebugHeaders:  s.DebugHeaders,
		RateLimits:    s.RateLimits,
		InternalIPs:   s.blocklist.Internal,
		BlockedIPs:    s.blocklist.IPs, BlockedAgents: s.blocklist.Agents, BlockedReferrers: s.blocklist.Referrers,
		LimitedASNs: s.blocklist.ASNs, ASNRates: s.blocklist.ASNRates,
		OperatorTokens: s.operators,
		Log:            log,
	}, judge{e.keeper}, e.tally, visitors, e.ready.Load)
	if err != nil {
		return e, err
	}
	if err := e.openPublic(s); err != nil {
		return e, err
	}
	if e.operations, err = net.Listen("tcp", s.OpsListen); err != nil {
		return e, fmt.Errorf("--ops-listen: %w", err)
	}
	if err := e.joinRegion(s); err != nil {
		return e, err
	}
	if err := e.openFiles(s); err != nil {
		return e, err
	}
	e.look()
	e.ops = ops.New(versionText(), e.checks()...)
	e.expose()
	e.ops.Handle("GET /records", http.HandlerFunc(e.records))
	return e, nil
}

// openPublic takes the addresses of the public port.
func (e *edge) openPublic(s *settings) (err error) {
	var secure *tls.Config
	if s.TLSDir != "" {
		if secure, err = credential.Public(s.TLSDir, e.log); err != nil {
			return configError{fmt.Errorf("--tls-dir: %w", err)}
		}
	}
	for _, listen := range s.Listen {
		at, bare := strings.CutPrefix(listen, plain)
		l, err := net.Listen("tcp", at)
		if err != nil {
			return fmt.Errorf("--listen: %w", err)
		}
		if secure != nil && !bare {
			l = tls.NewListener(l, secure)
		}
		e.public = append(e.public, l)
	}
	return nil
}

func (e *edge) openVisitors(s *settings) (v serve.Visitors, err error) {
	if e.places, err = visitor.OpenPlaces(s.GeoFile); err != nil {
		return v, configError{fmt.Errorf("--geo-file: %w", err)}
	}
	if e.agents, err = visitor.NewAgents(); err != nil {
		return v, err
	}
	key := serve.RandomKey()
	if len(s.gossipKeys) > 0 { // the nodes of a region know a client by the same name
		key = sha256.Sum256(append([]byte("nearside pseudonyms v1"), s.gossipKeys[0]...))
	}
	return serve.Visitors{Places: e.places, Agents: e.agents, Pseudonyms: visitor.NewPseudonyms(key)}, nil
}

// joinRegion takes the gossip and peer ports, where the region has a key.
func (e *edge) joinRegion(s *settings) (err error) {
	if len(s.gossipKeys) == 0 {
		return nil
	}
	bind, err := netip.ParseAddrPort(s.GossipListen)
	if err != nil {
		return configError{fmt.Errorf("--gossip-listen: expected an IP address and a port, not %q", s.GossipListen)}
	}
	if e.peers, err = net.Listen("tcp", s.PeerListen); err != nil {
		return fmt.Errorf("--peer-listen: %w", err)
	}
	e.region, err = peer.OpenRegion(peer.RegionConfig{
		Gossip: gossip.Config{Region: s.Region, Name: s.Node, Bind: bind, Seeds: s.Seeds, Keys: s.gossipKeys},
		Listen: e.peers, JudgeLimit: judgeLimit, Credential: e.credential, Copies: e.copies, Log: e.log,
	}, node{e.keeper, e.up})
	if err != nil {
		return fmt.Errorf("--gossip-listen: %w", err)
	}
	e.home.Store(e.region)
	if at, ok := e.peers.Addr().(*net.TCPAddr); e.credential == nil && ok && !at.IP.IsLoopback() {
		e.log.Warn("the peer port speaks plain HTTP beyond this machine: give the node a ca.pem in --tls-dir, or keep the network private")
	}
	return nil
}

// openCredential takes up what this node shows other machines.
func (e *edge) openCredential(s *settings) (err error) {
	if s.TLSDir != "" {
		if e.credential, err = credential.Open(s.TLSDir, e.keeper, e.log); err != nil {
			return configError{fmt.Errorf("--tls-dir: %w", err)}
		}
	}
	for _, core := range s.Core {
		if u, err := url.Parse(core); err == nil && u.Scheme == "http" && !local(u.Hostname()) {
			e.log.Warn("this core is called by plain HTTP: whoever is on the way can read this node's secret and the token keys", "core", core)
		}
	}
	return nil
}

// local reports whether a host is this machine.
func local(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// reread takes up files of secrets that have changed.
func (e *edge) reread() {
	if keys := e.files.keys; keys != nil && e.region != nil {
		if now := keys.Now(); !sameKeys(now, e.files.ring) {
			if err := e.region.UseKeys(now); err != nil {
				e.log.Error("the gossip keys cannot be used", "err", err)
			} else {
				e.files.changes.Add(1)
				e.log.Info("gossip keys replaced", "keys", len(now))
			}
			e.files.ring = now
		}
	}
	if tokens := e.files.operators; tokens != nil {
		e.server.Operators(tokens.Now())
	}
}

func sameKeys(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }

// secrets are files that are read again while the edge runs; nil: not given.
type secrets struct {
	keys      *trust.Reread[[][]byte]
	operators *trust.Reread[[][32]byte]
	ring      [][]byte // of keys, as in use; only tend uses it
	changes   atomic.Uint64
}

func (e *edge) openFiles(s *settings) (err error) {
	said := func(flag string) func(error) {
		return func(err error) {
			if err != nil {
				e.log.Error("a file cannot be read again: what it held stays in force", "flag", flag, "err", err)
			}
		}
	}
	if file := s.GossipKeyFile; file != "" {
		e.files.ring = s.gossipKeys
		if e.files.keys, err = trust.Open(func() ([][]byte, error) { return readKeys(file) }, said("--gossip-key-file"), file); err != nil {
			return configError{fmt.Errorf("--gossip-key-file: %w", err)}
		}
	}
	if file := s.OperatorTokenFile; file != "" {
		if e.files.operators, err = trust.Open(func() ([][32]byte, error) { return readTokens(file) }, said("--operator-token-file"), file); err != nil {
			return configError{fmt.Errorf("--operator-token-file: %w", err)}
		}
	}
	return nil
}

// askHome has an event judged by its home, where that is a node of this region.
func (e *edge) askHome(ctx context.Context, event *wire.Event) (uint32, error) {
	if r := e.home.Load(); r != nil {
		return r.Home(ctx, event)
	}
	return 0, peer.ErrNotHome
}

// others are the nodes that may keep a copy of this one's journal.
func (e *edge) others() []replica.Peer {
	if r := e.home.Load(); r != nil {
		return r.Others()
	}
	return nil
}

// caller asks peers for edge.line.
type caller struct{ e *edge }

func (c caller) Follow(ctx context.Context, p replica.Peer, r *wire.FollowRequest) (*wire.FollowResponse, error) {
	return c.e.home.Load().Client().Follow(ctx, p, r)
}

func (c caller) Append(ctx context.Context, p replica.Peer, r *wire.AppendRequest) (*wire.AppendResponse, error) {
	return c.e.home.Load().Client().Append(ctx, p, r)
}

// apply puts a catalog in force.
func (e *edge) apply(s *catalog.Snapshot) error {
	c, err := decision.Compile(s, e.keeper, catalog.DayOf(time.Now()))
	if err != nil {
		return err
	}
	e.server.Apply(c)
	e.log.Info("catalog in force", "version", s.Version, "flights", len(s.Flights))
	return nil
}

// run serves until ctx ends and the last batch has been sent.
func (e *edge) run(ctx context.Context) error {
	// What answers outlives ctx: while draining, views still land.
	g, serving := errgroup.WithContext(context.WithoutCancel(ctx))
	serving, stop := context.WithCancel(serving)
	defer stop()
	defer context.AfterFunc(ctx, e.ops.Drain)()
	operations := &http.Server{Handler: e.ops, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}

	// Before anybody asks: what is on disk is in force.
	if err := e.up.Load(); err != nil {
		return err
	}
	upstream, cancel := context.WithCancel(ctx)
	defer cancel()
	g.Go(func() error {
		defer stop()
		return e.up.Run(upstream)
	})
	for _, l := range e.public {
		g.Go(func() error { return e.server.Serve(l) })
	}
	g.Go(func() error {
		if err := operations.Serve(e.operations); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error { return e.tend(serving) })
	if e.region != nil {
		g.Go(func() error { return e.region.Run(serving) })
	}
	if e.line != nil {
		g.Go(func() error {
			e.line.Run(serving)
			return nil
		})
	}
	g.Go(func() error {
		<-serving.Done()
		cancel() // where a port failed, the holder drains all the same
		bounded, done := context.WithTimeout(context.Background(), goodbye)
		defer done()
		err := errors.Join(e.server.Shutdown(bounded), operations.Shutdown(bounded))
		if errors.Is(err, context.DeadlineExceeded) {
			e.log.Warn("requests were still under way", "after", goodbye)
			err = nil
		}
		for _, l := range e.public {
			if closed := l.Close(); !errors.Is(closed, net.ErrClosed) { // where it was not served yet
				err = errors.Join(err, closed)
			}
		}
		return err
	})
	e.log.Info("serving", "public", addresses(e.public), "ops", e.operations.Addr())
	err := g.Wait()
	e.log.Info("stopped")
	return err
}

func addresses(listeners []net.Listener) (list []string) {
	for _, l := range listeners {
		list = append(list, l.Addr().String())
	}
	return list
}

// tend keeps readiness and the accounts of daily caps current.
func (e *edge) tend(ctx context.Context) error {
	ready, roll := time.NewTicker(readyEvery), time.NewTicker(rollEvery)
	defer ready.Stop()
	defer roll.Stop()
	for {
		e.look()
		e.reread()
		e.ready.Store(e.ops.Ready())
		select {
		case <-ctx.Done():
			e.ready.Store(false)
			return nil
		case <-ready.C:
		case <-roll.C:
			e.server.Roll(e.keeper)
		}
	}
}

// look notes how the keeper is, for readiness and metrics: a look takes the
// keeper's lock.
func (e *edge) look() {
	s := e.keeper.Status()
	e.status.Store(&s)
}

// checks are what /readyz asks for.
func (e *edge) checks() []ops.Check {
	return []ops.Check{
		{Name: "state_dir", Look: e.keeper.Err},
		{Name: "catalog", Look: func() error {
			if e.server.Version() == 0 {
				return errors.New("no catalog has come yet")
			}
			return nil
		}},
		{Name: "token_key", Look: func() error {
			if e.keeper.Ring() == nil {
				return errors.New("no token key has come yet")
			}
			return nil
		}},
		{Name: "holder", Look: func() error {
			if !e.status.Load().Offering {
				return errors.New("the core has not registered this node")
			}
			return nil
		}},
		{Name: "clock", Look: func() error {
			if skew := time.Duration(e.status.Load().Skew) * time.Millisecond; skew.Abs() > maxSkew {
				return fmt.Errorf("this clock is %v from the core's, expected at most %v", skew, maxSkew)
			}
			return nil
		}},
	}
}

// close frees what open took.
func (e *edge) close() error {
	var errs []error
	if e.keeper != nil {
		errs = append(errs, e.keeper.Close())
	}
	if e.copies != nil {
		errs = append(errs, e.copies.Close())
	}
	for _, l := range slices.Concat(e.public, []net.Listener{e.operations, e.peers}) {
		if l != nil {
			if err := l.Close(); !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	if e.server != nil {
		e.server.Close()
	}
	if e.places != nil {
		e.places.Close()
	}
	if e.agents != nil {
		e.agents.Close()
	}
	return errors.Join(errs...)
}
