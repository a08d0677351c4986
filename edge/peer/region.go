package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"nearside/edge/credential"
	"nearside/edge/replica"
	"nearside/sync/catalog"
	"nearside/sync/gossip"
	"nearside/sync/wire"
)

const (
	tellEvery = 100 * time.Millisecond
	// A node asks a peer for a catalog only when the peer has been ahead for this
	// long: the core's own stream is nearly always faster.
	behindFor = time.Second
	// newsLimit bounds one fetch of a catalog from a peer.
	newsLimit = 30 * time.Second
	grace     = 2 * time.Second
)

// Node is what a region needs of the node it runs on.
type Node interface {
	Judge
	Source
	// Registered is the node's holder; not ok before it has one.
	Registered() (holder uint32, secret string, ok bool)
	// TakeControls applies controls that are newer than what the node knows.
	TakeControls(controls []*wire.Control) error
	// Members says who may be a flight's broker: the registered nodes of the
	// region, by name, this one under the name of self.
	Members(self string, nodes []string)
	// TakeCatalog applies a newer catalog.
	TakeCatalog(ctx context.Context, published []byte) error
}

// Region is this node's part in its region: membership and the peer port.
type Region struct {
	node   Node
	pool   *gossip.Pool
	server *Server
	client *Client
	listen net.Listener
	log    *slog.Logger
	heard  chan []gossip.Control

	members []string // of the last look; only follow uses it
}

// RegionConfig is what a node brings to its region.
type RegionConfig struct {
	Gossip gossip.Config // its Peer and OnControls are set here
	Listen net.Listener  // of the peer port
	// JudgeLimit is how long a beacon waits for its home one hop away before the
	// event is kept as a foreign one.
	JudgeLimit time.Duration
	// Credential is for the peer port; nil: it speaks plain HTTP.
	Credential *credential.Store
	Copies     Copies // nil: this node keeps no copies of others' journals
	Log        *slog.Logger
}

// OpenRegion binds the gossip ports; Run does the rest. The keys of the gossip
// configuration also open the peer port, so at least one is needed.
func OpenRegion(conf RegionConfig, node Node) (*Region, error) {
	server, err := NewServer(node, node, conf.Copies, conf.Gossip.Keys)
	if err != nil {
		return nil, err
	}
	client, err := NewClient(conf.Gossip.Keys, conf.JudgeLimit)
	if err != nil {
		return nil, err
	}
	if conf.Credential != nil {
		server.UseTLS(conf.Credential, conf.Gossip.Region)
		client.UseTLS(conf.Credential, conf.Gossip.Region)
	}
	if conf.Log == nil {
		conf.Log = slog.New(slog.DiscardHandler)
	}
	r := &Region{node: node, server: server, client: client, listen: conf.Listen, log: conf.Log, heard: make(chan []gossip.Control, 64)}
	conf.Gossip.Peer = conf.Listen.Addr().String()
	conf.Gossip.Log = conf.Log
	conf.Gossip.OnControls = func(controls []gossip.Control) {
		select {
		case r.heard <- controls:
		default: // push-pull repeats them
		}
	}
	if r.pool, err = gossip.Open(conf.Gossip); err != nil {
		return nil, err
	}
	return r, nil
}

// UseKeys replaces the region's keys, for gossip and for the peer port: the
// first one is used, all of them are understood.
func (r *Region) UseKeys(keys [][]byte) error {
	if err := errors.Join(r.server.UseKeys(keys), r.pool.UseKeys(keys)); err != nil {
		return err
	}
	return r.client.UseKeys(keys)
}

// Addr is where this node gossips.
func (r *Region) Addr() string { return r.pool.Addr() }

// Peers are the live nodes of the region, this one included.
func (r *Region) Peers() []gossip.Peer { return r.pool.Peers() }

// Others are the peer ports of the other live nodes that have a holder, for
// edge/replica.
func (r *Region) Others() []replica.Peer {
	peers := r.pool.Peers()
	others := make([]replica.Peer, 0, len(peers))
	for _, p := range peers {
		if !p.Self && p.Holder != 0 {
			others = append(others, replica.Peer{Name: p.Name, Addr: p.Addr, Holder: p.Holder})
		}
	}
	return others
}

// Client asks the other nodes.
func (r *Region) Client() *Client { return r.client }

// Home has an event of another holder judged by its home, if that is a live
// node of this region: it returns the outcome of wire.Verdict once it is
// durable there. ErrNotHome: its home is not in this region now. Any other
// error leaves open whether it was judged.
func (r *Region) Home(ctx context.Context, event *wire.Event) (uint32, error) {
	p, ok := r.pool.Home(event.GetHolder())
	if !ok || p.Self {
		return 0, ErrNotHome
	}
	return r.client.Judge(ctx, p.Addr, event)
}

// Run takes part in the region until ctx ends.
func (r *Region) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 2)
	go func() { ended <- r.server.Serve(ctx, r.listen, grace) }()
	go func() { ended <- r.pool.Run(ctx) }()
	first := r.follow(ctx, ended)
	stop()
	second := <-ended
	r.client.Close()
	return errors.Join(first, second)
}

// follow tells the region what this node has applied and takes what others
// have, until ctx ends; it returns what the first of the two others ended with.
func (r *Region) follow(ctx context.Context, ended <-chan error) error {
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	var told uint64
	var behindSince time.Time
	for {
		select {
		case err := <-ended:
			return err
		case controls := <-r.heard:
			r.takeControls(controls)
		case now := <-tick.C:
			news, control := r.node.Controls(told)
			if len(news) > 0 {
				r.pool.Tell(fromWire(news))
			}
			told = control
			version, _ := r.node.Catalog()
			holder, _, _ := r.node.Registered()
			r.pool.Announce(holder, version, control)
			r.tellMembers()

			source, ahead := r.pool.Ahead(version, control)
			switch {
			case !ahead:
				behindSince = time.Time{}
			case behindSince.IsZero():
				behindSince = now
			case now.Sub(behindSince) >= behindFor:
				behindSince = now
				if err := r.fetch(ctx, source, version, control); err != nil && ctx.Err() == nil {
					r.log.Warn("news from a peer not taken", "peer", source.Name, "err", err)
				}
			}
		}
	}
}

// tellMembers says who is here, from what gossip knows now. A node without a
// holder can offer nothing, and is nobody's broker.
func (r *Region) tellMembers() {
	self, nodes := "", r.members[:0]
	for _, p := range r.pool.Peers() {
		if p.Self {
			self = p.Name
		}
		if p.Holder != 0 {
			nodes = append(nodes, p.Name)
		}
	}
	r.members = nodes
	r.node.Members(self, nodes)
}

func (r *Region) takeControls(controls []gossip.Control) {
	list := make([]*wire.Control, len(controls))
	for i, c := range controls {
		list[i] = &wire.Control{Version: c.Version, Flight: c.Flight, State: uint32(c.State)}
	}
	if err := r.node.TakeControls(list); err != nil {
		r.log.Warn("controls heard by gossip not taken", "err", err)
	}
}

func (r *Region) fetch(ctx context.Context, source gossip.Peer, version, control uint64) error {
	ctx, cancel := context.WithTimeout(ctx, newsLimit)
	defer cancel()
	news, err := r.client.News(ctx, source.Addr, source.Holder, version, control)
	if err != nil {
		return err
	}
	if len(news.GetControls()) > 0 {
		if err := r.node.TakeControls(news.GetControls()); err != nil {
			return fmt.Errorf("take controls: %w", err)
		}
	}
	if len(news.GetCatalog()) > 0 {
		if err := r.node.TakeCatalog(ctx, news.GetCatalog()); err != nil {
			return fmt.Errorf("take the catalog: %w", err)
		}
		r.log.Info("catalog taken from a peer", "peer", source.Name, "had", version)
	}
	return nil
}

func fromWire(controls []*wire.Control) []gossip.Control {
	list := make([]gossip.Control, 0, len(controls))
	for _, c := range controls {
		if c.GetState() <= uint32(catalog.Kill) {
			list = append(list, gossip.Control{Version: c.GetVersion(), Flight: c.GetFlight(), State: catalog.State(c.GetState())})
		}
	}
	return list
}
