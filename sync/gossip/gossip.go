// Package gossip tells the nodes of one region who is here, whose home a token
// is, and which controls are in force.
//
// # What it promises
//
// Every node hears of a join, a leave, a control or what another one announced
// within a few gossip intervals. A node that was cut off finds the others again, since each node
// rejoins its seeds every 15 s. Traffic is encrypted (AES-256-GCM) with keys
// that can be rotated without a pause: add the new key everywhere, use it
// everywhere, drop the old one. Pools of two regions never merge: the region is
// the label on every packet.
//
// # What it does not do
//
// Gossip creates no credit (invariant I12): nothing that it says lets anybody
// spend. A wrong answer to Home costs one hop; a control only ever stops or
// resumes what the core has already decided. Anything larger than a packet goes
// over the peer port, whose address the metadata carries.
//
// # Merge laws
//
// Of two controls for one flight the higher version wins, so merging is
// commutative, associative and idempotent. Of two nodes that claim one holder,
// the one whose name sorts first is answered; the judge's own dedupe makes the
// other choice harmless.
//
// # Format
//
// Metadata and messages begin with a format byte, 1. Metadata: holder u32,
// catalog version u64, control version u64, peer address (the rest). A control:
// version u64, flight u32, state u8. State that is pushed and pulled: the
// format byte, then controls. Integers are little endian. Other format bytes
// are ignored, so that a newer node may speak beside an older one.
package gossip

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"nearside/sync/catalog"
)

const (
	format      = 1
	metaFixed   = 1 + 4 + 8 + 8
	controlSize = 8 + 4 + 1
	// maxControls bounds what a peer can make us remember.
	maxControls = 1 << 18

	rejoinEvery  = 15 * time.Second
	reclaimAfter = 30 * time.Second
	leaveWithin  = 2 * time.Second

	// How long a change of this node's metadata may wait in the queue before it
	// is taken for lost and put there again: the first time, and at most.
	announceWithin = time.Second
	announceAtMost = 8 * time.Second
)

// Config is what a node brings to its region's pool.
type Config struct {
	Region string         // names the pool
	Name   string         // unique in the region
	Bind   netip.AddrPort // UDP and TCP; port 0 takes a free one
	// Advertise is what others are told where it differs from Bind; zero: Bind.
	Advertise netip.AddrPort
	Peer      string   // host:port of this node's peer port
	Seeds     []string // host:port of some members; may name this node itself
	// Keys are 32 bytes each; the first one encrypts, all of them decrypt. Empty: no encryption.
	Keys [][]byte
	// OnControls is called with controls that are newer than any heard before,
	// from a goroutine of the pool. It must not block.
	OnControls func([]Control)
	Log        *slog.Logger
}

// Control is what an operator said about a flight; the highest version wins.
type Control struct {
	Version uint64
	Flight  uint32
	State   catalog.State
}

// Peer is one live node of the region, this one included.
type Peer struct {
	Name    string
	Holder  uint32 // 0: not registered yet
	Addr    string // host:port of its peer port
	Catalog uint64 // versions it has applied
	Control uint64
	Self    bool

	gossip string // host:port of its gossip port
}

// Pool is this node's membership. Its methods may be called from any goroutine.
type Pool struct {
	conf    Config
	addr    string // where this node listens
	list    *memberlist.Memberlist
	keyring *memberlist.Keyring
	queue   *memberlist.TransmitLimitedQueue

	announce chan struct{} // holds one where meta must be told (again)

	peers atomic.Pointer[[]Peer] // sorted by name; replaced on each change

	mu       sync.Mutex
	meta     []byte             // encoded metadata of this node
	nodes    map[string]Peer    // by name; the live ones
	controls map[uint32]Control // newest by flight
}

// Open binds the ports and starts to listen; Run joins the others. It fails
// where the address is taken or a key has the wrong length.
func Open(conf Config) (*Pool, error) {
	switch {
	case conf.Name == "" || conf.Region == "":
		return nil, errors.New("open gossip: region and name must not be empty")
	case !conf.Bind.IsValid():
		return nil, errors.New("open gossip: no address to bind")
	case metaFixed+len(conf.Peer) > memberlist.MetaMaxSize:
		return nil, fmt.Errorf("open gossip: peer address of %d bytes is too long", len(conf.Peer))
	}
	if conf.Log == nil {
		conf.Log = slog.New(slog.DiscardHandler)
	}
	p := &Pool{
		conf:     conf,
		announce: make(chan struct{}, 1),
		meta:     encodeMeta(Peer{Addr: conf.Peer}),
		nodes:    make(map[string]Peer),
		controls: make(map[uint32]Control),
	}
	p.publish()

	mc := memberlist.DefaultLANConfig()
	mc.Name = conf.Name
	mc.Label = "nearside/" + conf.Region
	mc.BindAddr = conf.Bind.Addr().String()
	mc.BindPort = int(conf.Bind.Port())
	if conf.Advertise.IsValid() {
		mc.AdvertiseAddr = conf.Advertise.Addr().String()
		mc.AdvertisePort = int(conf.Advertise.Port())
	} else {
		mc.AdvertisePort = mc.BindPort
	}
	mc.GossipInterval = 100 * time.Millisecond
	mc.GossipNodes = 4
	mc.PushPullInterval = 15 * time.Second
	mc.DeadNodeReclaimTime = reclaimAfter
	mc.UDPBufferSize = 1400
	mc.Delegate = (*delegate)(p)
	mc.Events = (*delegate)(p)
	mc.Logger = log.New(&slogWriter{conf.Log}, "", 0)
	if len(conf.Keys) > 0 {
		for i, k := range conf.Keys {
			if len(k) != 32 {
				return nil, fmt.Errorf("open gossip: key %d has %d bytes, 32 are wanted", i+1, len(k))
			}
		}
		ring, err := memberlist.NewKeyring(conf.Keys, conf.Keys[0])
		if err != nil {
			return nil, fmt.Errorf("open gossip: %w", err)
		}
		p.keyring = ring
		mc.Keyring = ring
		mc.GossipVerifyIncoming = true
		mc.GossipVerifyOutgoing = true
	}
	p.queue = newQueue(mc.RetransmitMult, func() int { return max(1, len(*p.peers.Load())) })
	list, err := memberlist.Create(mc)
	if err != nil {
		return nil, fmt.Errorf("open gossip on %s: %w", conf.Bind, err)
	}
	p.list = list
	p.addr = list.LocalNode().Address()
	return p, nil
}

// Run joins the seeds, joins them again every 15 s, tells the others what is
// announced, and when ctx ends leaves the pool and frees the ports. It returns
// once nothing of the pool runs, but for a probe of memberlist's that was in
// flight: that one ends within some seconds.
func (p *Pool) Run(ctx context.Context) error {
	told := make(chan struct{})
	go func() {
		defer close(told)
		p.tellMeta(ctx)
	}()
	defer func() { <-told }()
	tick := time.NewTicker(rejoinEvery)
	defer tick.Stop()
	for {
		if seeds := p.missingSeeds(); len(seeds) > 0 {
			if _, err := p.list.Join(seeds); err != nil {
				p.conf.Log.Debug("gossip: a seed did not answer", "err", err)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return p.Close()
		}
	}
}

// tellMeta tells the others this node's metadata whenever it changed. memberlist
// says when such a message has left its queue, and never says so of one that it
// lost there (see newQueue): that one is told again.
func (p *Pool) tellMeta(ctx context.Context) {
	within := announceWithin
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.announce:
		}
		if err := p.list.UpdateNode(within); err != nil {
			p.conf.Log.Debug("gossip: metadata is told again", "err", err)
			p.mustAnnounce()
			within = min(2*within, announceAtMost)
			continue
		}
		within = announceWithin
	}
}

// mustAnnounce has tellMeta tell the metadata. It does not block.
func (p *Pool) mustAnnounce() {
	select {
	case p.announce <- struct{}{}:
	default:
	}
}

// Close leaves the pool, telling the others, and frees the ports.
func (p *Pool) Close() error {
	leave := p.list.Leave(leaveWithin)
	if err := p.list.Shutdown(); err != nil {
		return fmt.Errorf("close gossip: %w", err)
	}
	if leave != nil {
		p.conf.Log.Debug("gossip: left without telling everybody", "err", leave)
	}
	return nil
}

// missingSeeds are the seeds that are not members now: a node that is alone
// must go on asking, one that sees them all has nothing to ask.
func (p *Pool) missingSeeds() []string {
	present := make(map[string]bool)
	for _, n := range p.Peers() {
		present[n.gossip] = true
	}
	var out []string
	for _, s := range p.conf.Seeds {
		if !present[s] {
			out = append(out, s)
		}
	}
	return out
}

// Addr is where this node listens, with the port that it got.
func (p *Pool) Addr() string { return p.addr }

// Peers are the live nodes, sorted by name, this one included. The slice must
// not be changed.
func (p *Pool) Peers() []Peer { return *p.peers.Load() }

// Home finds the live node whose holder it is. Of two that claim it, the one
// whose name sorts first.
func (p *Pool) Home(holder uint32) (Peer, bool) {
	if holder == 0 {
		return Peer{}, false
	}
	for _, n := range *p.peers.Load() {
		if n.Holder == holder {
			return n, true
		}
	}
	return Peer{}, false
}

// Ahead is a live peer whose catalog or control version is above the given
// ones, the furthest of them; a node that lost the core takes what is new from
// there.
func (p *Pool) Ahead(catalogVersion, controlVersion uint64) (Peer, bool) {
	var best Peer
	found := false
	for _, n := range *p.peers.Load() {
		if n.Self || n.Catalog <= catalogVersion && n.Control <= controlVersion {
			continue
		}
		if !found || n.Catalog > best.Catalog || n.Catalog == best.Catalog && n.Control > best.Control {
			best, found = n, true
		}
	}
	return best, found
}

// Announce has Run tell the others this node's holder and what it has applied.
// It does not wait for that.
func (p *Pool) Announce(holder uint32, catalogVersion, controlVersion uint64) {
	meta := encodeMeta(Peer{Holder: holder, Addr: p.conf.Peer, Catalog: catalogVersion, Control: controlVersion})
	p.mu.Lock()
	same := slices.Equal(meta, p.meta)
	p.meta = meta
	p.mu.Unlock()
	if !same {
		p.mustAnnounce()
	}
}

// Tell passes controls on. What is not newer than what is known is dropped.
func (p *Pool) Tell(controls []Control) {
	for _, c := range p.merge(controls) {
		p.queue.QueueBroadcast(newBroadcast(c))
	}
}

// Controls are the newest controls known, by flight, sorted.
func (p *Pool) Controls() []Control {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.SortedFunc(maps.Values(p.controls), func(a, b Control) int { return cmp.Compare(a.Flight, b.Flight) })
}

// UseKeys replaces the keyring: the first key encrypts, all of them decrypt.
func (p *Pool) UseKeys(keys [][]byte) error {
	if p.keyring == nil {
		return errors.New("rotate gossip keys: this pool runs without encryption")
	}
	if len(keys) == 0 {
		return errors.New("rotate gossip keys: at least one key is wanted")
	}
	for i, k := range keys {
		if len(k) != 32 {
			return fmt.Errorf("rotate gossip keys: key %d has %d bytes, 32 are wanted", i+1, len(k))
		}
		if err := p.keyring.AddKey(k); err != nil {
			return fmt.Errorf("rotate gossip keys: %w", err)
		}
	}
	if err := p.keyring.UseKey(keys[0]); err != nil {
		return fmt.Errorf("rotate gossip keys: %w", err)
	}
	for _, old := range p.keyring.GetKeys() {
		if !slices.ContainsFunc(keys, func(k []byte) bool { return slices.Equal(k, old) }) {
			if err := p.keyring.RemoveKey(old); err != nil {
				return fmt.Errorf("rotate gossip keys: %w", err)
			}
		}
	}
	return nil
}

// merge keeps what is newer and returns it.
func (p *Pool) merge(controls []Control) []Control {
	p.mu.Lock()
	var news []Control
	for _, c := range controls {
		old, known := p.controls[c.Flight]
		if known && c.Version <= old.Version || !known && len(p.controls) >= maxControls {
			continue
		}
		p.controls[c.Flight] = c
		news = append(news, c)
	}
	p.mu.Unlock()
	return news
}

// hear merges what came from others, passes the news on and reports it.
func (p *Pool) hear(controls []Control) {
	news := p.merge(controls)
	if len(news) == 0 {
		return
	}
	for _, c := range news {
		p.queue.QueueBroadcast(newBroadcast(c))
	}
	if p.conf.OnControls != nil {
		p.conf.OnControls(news)
	}
}

// publish replaces the slice that readers see. The caller holds mu, or is Open.
func (p *Pool) publish() {
	peers := slices.SortedFunc(maps.Values(p.nodes), func(a, b Peer) int { return strings.Compare(a.Name, b.Name) })
	p.peers.Store(&peers)
}

// delegate is Pool as memberlist sees it.
type delegate Pool

func (d *delegate) NodeMeta(int) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.meta)
}

func (d *delegate) NotifyMsg(b []byte) {
	if controls, ok := decodeControls(b); ok {
		(*Pool)(d).hear(controls)
	}
}

func (d *delegate) GetBroadcasts(overhead, limit int) [][]byte {
	if d.queue == nil {
		return nil
	}
	return d.queue.GetBroadcasts(overhead, limit)
}

func (d *delegate) LocalState(bool) []byte { return encodeControls((*Pool)(d).Controls()) }

func (d *delegate) MergeRemoteState(b []byte, _ bool) {
	if controls, ok := decodeControls(b); ok {
		(*Pool)(d).hear(controls)
	}
}

func (d *delegate) NotifyJoin(n *memberlist.Node)   { d.put(n) }
func (d *delegate) NotifyUpdate(n *memberlist.Node) { d.put(n) }

func (d *delegate) NotifyLeave(n *memberlist.Node) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.nodes, n.Name)
	(*Pool)(d).publish()
}

func (d *delegate) put(n *memberlist.Node) {
	peer, ok := decodeMeta(n.Meta)
	if !ok {
		return
	}
	peer.Name = n.Name
	peer.Self = n.Name == d.conf.Name
	peer.gossip = n.Address() // here, since memberlist writes to n later
	d.mu.Lock()
	defer d.mu.Unlock()
	d.nodes[n.Name] = peer
	(*Pool)(d).publish()
	if len(d.nodes) == 2 && !peer.Self {
		// The first other one: what was told before, nobody heard.
		(*Pool)(d).mustAnnounce()
	}
}

// newQueue is a queue of memberlist's that never becomes empty. One that does
// begins to number its messages anew although the message that it is about to
// take has a number already; a later message of that number and length then
// replaces it, and it is lost, silently (memberlist pull request 263, open in
// v0.7.0). Controls are all of one length, so a pause could go missing.
func newQueue(retransmit int, nodes func() int) *memberlist.TransmitLimitedQueue {
	q := &memberlist.TransmitLimitedQueue{NumNodes: nodes, RetransmitMult: retransmit}
	q.QueueBroadcast(keeper{})
	return q
}

// keeper is a broadcast that fits into no packet, and so stays in its queue.
type keeper struct{}

var noPacket = make([]byte, 1<<16)

func (keeper) UniqueBroadcast()                      {}
func (keeper) Invalidates(memberlist.Broadcast) bool { return false }
func (keeper) Message() []byte                       { return noPacket }
func (keeper) Finished()                             {}

// broadcast carries one control; a newer one for the same flight replaces it
// in the queue.
type broadcast struct {
	name string
	msg  []byte
}

func newBroadcast(c Control) *broadcast {
	var key [4]byte
	binary.LittleEndian.PutUint32(key[:], c.Flight)
	return &broadcast{name: string(key[:]), msg: encodeControls([]Control{c})}
}

func (b *broadcast) Name() string { return b.name }
func (b *broadcast) Invalidates(o memberlist.Broadcast) bool {
	other, ok := o.(*broadcast)
	return ok && other.name == b.name
}
func (b *broadcast) Message() []byte { return b.msg }
func (b *broadcast) Finished()       {}

func encodeMeta(p Peer) []byte {
	b := make([]byte, 0, metaFixed+len(p.Addr))
	b = append(b, format)
	b = binary.LittleEndian.AppendUint32(b, p.Holder)
	b = binary.LittleEndian.AppendUint64(b, p.Catalog)
	b = binary.LittleEndian.AppendUint64(b, p.Control)
	return append(b, p.Addr...)
}

func decodeMeta(b []byte) (Peer, bool) {
	if len(b) < metaFixed || len(b) > memberlist.MetaMaxSize || b[0] != format {
		return Peer{}, false
	}
	return Peer{
		Holder:  binary.LittleEndian.Uint32(b[1:]),
		Catalog: binary.LittleEndian.Uint64(b[5:]),
		Control: binary.LittleEndian.Uint64(b[13:]),
		Addr:    string(b[metaFixed:]),
	}, true
}

func encodeControls(controls []Control) []byte {
	b := make([]byte, 0, 1+controlSize*len(controls))
	b = append(b, format)
	for _, c := range controls {
		b = binary.LittleEndian.AppendUint64(b, c.Version)
		b = binary.LittleEndian.AppendUint32(b, c.Flight)
		b = append(b, byte(c.State))
	}
	return b
}

// decodeControls reads whole messages only: of one that is cut or carries an
// unknown state nothing is taken.
func decodeControls(b []byte) ([]Control, bool) {
	if len(b) < 1 || b[0] != format || (len(b)-1)%controlSize != 0 || (len(b)-1)/controlSize > maxControls {
		return nil, false
	}
	controls := make([]Control, 0, (len(b)-1)/controlSize)
	for b = b[1:]; len(b) > 0; b = b[controlSize:] {
		c := Control{
			Version: binary.LittleEndian.Uint64(b),
			Flight:  binary.LittleEndian.Uint32(b[8:]),
			State:   catalog.State(b[12]),
		}
		if c.State > catalog.Kill {
			return nil, false
		}
		controls = append(controls, c)
	}
	return controls, true
}

// slogWriter turns memberlist's log lines into slog records at a level that
// their prefix names.
type slogWriter struct{ log *slog.Logger }

var _ io.Writer = (*slogWriter)(nil)

func (w *slogWriter) Write(b []byte) (int, error) {
	line := strings.TrimSpace(string(b))
	level := slog.LevelDebug
	switch {
	case strings.HasPrefix(line, "[ERR]"):
		level = slog.LevelWarn // one peer's trouble is not ours
	case strings.HasPrefix(line, "[WARN]"):
		level = slog.LevelInfo
	}
	w.log.Log(context.Background(), level, "gossip", "detail", line)
	return len(b), nil
}
