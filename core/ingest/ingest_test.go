package ingest

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"nearside/core/ledger"
	"nearside/dev/testpg"
	"nearside/sync/lease"
	"nearside/sync/wire"
	"nearside/sync/wire/wireconnect"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(int) { testpg.Stop() }))
}

const joinToken = "join us"

var views = lease.Of(lease.FlightViews, 1, 0)

// catalogs is a Publisher whose versions a test sets.
type catalogs struct {
	mu          sync.Mutex
	version     uint64
	bytes       []byte
	steps       map[uint64][][]byte // deltas by the version they lead on from
	controls    []*wire.Control
	subscribers map[chan struct{}]struct{}
}

func (c *catalogs) Version() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.version
}

func (c *catalogs) Newer(since uint64, deltas bool) (uint64, []byte, [][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.version <= since:
		return c.version, nil, nil
	case deltas && c.steps[since] != nil:
		return c.version, nil, c.steps[since]
	}
	return c.version, c.bytes, nil
}

func (c *catalogs) Controls(since uint64) (newer []*wire.Control) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, control := range c.controls {
		if control.GetVersion() > since {
			newer = append(newer, control)
		}
	}
	return newer
}

func (c *catalogs) ControlVersion() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return uint64(len(c.controls))
}

func (c *catalogs) Subscribe(ctx context.Context) <-chan struct{} {
	changed := make(chan struct{}, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.subscribers == nil {
		c.subscribers = map[chan struct{}]struct{}{}
	}
	c.subscribers[changed] = struct{}{}
	context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.subscribers, changed)
	})
	return changed
}

// change publishes another catalog, or a control where flight is not 0.
func (c *catalogs) change(bytes string, flight uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if flight != 0 {
		c.controls = append(c.controls, &wire.Control{Version: uint64(len(c.controls) + 1), Flight: flight, State: 1})
	} else {
		c.version++
		c.bytes = []byte(bytes)
	}
	for changed := range c.subscribers {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
}

// core is a running server.
type core struct {
	*Server
	t        testing.TB
	catalogs *catalogs
	url      string
	http     *http.Client
	stop     func()
}

func start(t testing.TB, store ledger.Store, o Options) *core {
	t.Helper()
	c := &core{t: t, catalogs: &catalogs{}}
	c.Server = New(store, c.catalogs, o)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { c.Run(ctx) })
	path, handler := c.Handler()
	mux := http.NewServeMux()
	mux.Handle(path, handler)
	server := httptest.NewUnstartedServer(mux)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Config.Protocols.SetHTTP1(true)
	server.Start()
	c.url = server.URL
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	c.http = &http.Client{Transport: transport}
	var once sync.Once
	c.stop = func() {
		once.Do(func() {
			cancel()
			running.Wait()
			transport.CloseIdleConnections()
			server.Close()
		})
	}
	t.Cleanup(c.stop)
	eventually(t, "the server is ready", func() bool { return c.Ready(t.Context()) == nil })
	return c
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond) // a poll, not a wait for a result
	}
}

// client speaks with a credential.
func (c *core) client(credential string) wireconnect.ExchangeClient {
	return wireconnect.NewExchangeClient(c.http, c.url, connect.WithInterceptors(connect.UnaryInterceptorFunc(
		func(next connect.UnaryFunc) connect.UnaryFunc {
			return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
				r.Header().Set("Authorization", "Bearer "+credential)
				return next(ctx, r)
			}
		})))
}

// watch opens a stream.
func (c *core) watch(ctx context.Context, credential string, r *wire.WatchRequest) *connect.ServerStreamForClient[wire.WatchEvent] {
	c.t.Helper()
	ctx, info := connect.NewClientContext(ctx)
	info.RequestHeader().Set("Authorization", "Bearer "+credential)
	stream, err := wireconnect.NewExchangeClient(c.http, c.url).Watch(ctx, r)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = stream.Close() })
	return stream
}

// node is a registered edge.
type node struct {
	id     uint32
	secret string
	wireconnect.ExchangeClient
}

func (c *core) join(name string) *node {
	c.t.Helper()
	r, err := c.client(joinToken).Register(c.t.Context(), registration(name))
	if err != nil {
		c.t.Fatalf("register %s: %v", name, err)
	}
	return &node{r.GetHolder(), r.GetSecret(), c.client(r.GetSecret())}
}

func (c *core) joinIn(region, name string) *node {
	c.t.Helper()
	registration := registration(name)
	registration.Region = region
	r, err := c.client(joinToken).Register(c.t.Context(), registration)
	if err != nil {
		c.t.Fatalf("register %s: %v", name, err)
	}
	return &node{r.GetHolder(), r.GetSecret(), c.client(r.GetSecret())}
}

func withProof(r *wire.HandInRequest, proof *wire.Cursor) *wire.HandInRequest {
	r = proto.CloneOf(r)
	r.Proof = proof
	return r
}

func registration(name string) *wire.RegisterRequest {
	return &wire.RegisterRequest{Protocol: 1, Region: "us", Node: name, Disk: strings.Repeat("0", 32), Version: "test"}
}

func (n *node) request() *wire.SyncRequest {
	return &wire.SyncRequest{Protocol: 1, Holder: n.id, Boot: 1, BootOrdinal: 1, Side: &wire.Side{}}
}

// memory is a store in which joinToken is valid, with a budget.
func memory() *ledger.Memory {
	m := ledger.NewMemory()
	m.AllowJoin(joinToken)
	m.SetBudget(views, 1000, 1)
	return m
}

func TestAnEdgeJoinsAndSpends(t *testing.T) {
	m := memory()
	c := start(t, m, Options{})
	c.catalogs.change("one", 0)
	c.catalogs.change("", 7)
	n := c.join("a")
	r := n.request()
	r.First = true
	r.Side.Wants = []*wire.Want{{Budget: int64(views), Target: 100, VelocityMilli: 1000}}
	reply, err := n.Sync(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if l := reply.GetLeases(); len(l) != 1 || l[0].GetGranted() != 100 || l[0].GetRecallTo() != -1 {
		t.Errorf("leases %v, want 100 of the budget", l)
	}
	if len(reply.GetKeys()) != 2 || reply.GetCatalog() != 1 || reply.GetControl() != 1 || len(reply.GetControls()) != 1 {
		t.Errorf("keys %d, catalog %d, control %d %v", len(reply.GetKeys()), reply.GetCatalog(), reply.GetControl(), reply.GetControls())
	}
	if d := reply.GetDelivered(); len(d) != 1 || d[0].GetUnleased() != 900 || d[0].GetLimit() != 1000 || d[0].GetVelocityMilli() != 1000 {
		t.Errorf("delivered %v", d)
	}
	r = n.request()
	r.Side.DeliveredSeen, r.Side.AppliedControl = reply.GetDeliveredVersion(), 1
	r.Batch = &wire.Batch{
		Seal:   &wire.Cursor{Batch: 1, Position: 10, Hash: []byte("one")},
		Totals: &wire.Totals{Budget: []int64{int64(views)}, Granted: []int64{100}, Spent: []int64{7}, Returned: []int64{3}},
	}
	reply, err = n.Sync(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if reply.GetCursor().GetBatch() != 1 || len(reply.GetKeys()) != 0 || len(reply.GetControls()) != 0 {
		t.Errorf("second reply %v", reply)
	}
	if d := reply.GetDelivered(); len(d) != 1 || d[0].GetSettled() != 7 || d[0].GetUnleased() != 903 {
		t.Errorf("delivered %v", d)
	}
	r = n.request()
	r.Seal = &wire.Cursor{Batch: 1, Position: 10, Hash: []byte("one")}
	r.Side.DeliveredSeen = reply.GetDeliveredVersion()
	if reply, err = n.Sync(t.Context(), r); err != nil || len(reply.GetDelivered()) != 0 {
		t.Errorf("nothing changed, and yet delivered %v, %v", reply.GetDelivered(), err)
	}
	// A person changes the limit.
	m.SetBudget(views, 2000, 1)
	eventually(t, "the new limit is told", func() bool {
		reply, err := n.Sync(t.Context(), r)
		return err == nil && len(reply.GetDelivered()) == 1 && reply.GetDelivered()[0].GetLimit() == 2000
	})
}

func TestCredentials(t *testing.T) {
	m := memory()
	c := start(t, m, Options{})
	a, b := c.join("a"), c.join("b")
	sync := func(credential string, as *node) error {
		_, err := c.client(credential).Sync(t.Context(), as.request())
		return err
	}
	for _, test := range []struct {
		name string
		err  error
		want connect.Code // 0: none
	}{
		{"its own secret", sync(a.secret, a), 0},
		{"another holder's secret", sync(b.secret, a), connect.CodePermissionDenied},
		{"its number with another's secret", sync("1."+strings.SplitN(b.secret, ".", 2)[1], a), connect.CodeUnauthenticated},
		{"a join token", sync(joinToken, a), connect.CodeUnauthenticated},
		{"nothing", sync("", a), connect.CodeUnauthenticated},
		{"a holder that never was", sync("99."+strings.Repeat("0", 64), a), connect.CodeUnauthenticated},
		{"a number too large", sync("4294967297."+strings.Repeat("0", 64), a), connect.CodeUnauthenticated},
		{"a very long one", sync(strings.Repeat("1", 10_000), a), connect.CodeUnauthenticated},
		{"registering with a secret", register(t, c, a.secret, "c"), connect.CodeUnauthenticated},
		{"registering with a wrong token", register(t, c, "let me in", "c"), connect.CodeUnauthenticated},
		{"registering under a bad name", register(t, c, joinToken, "No Spaces"), connect.CodeInvalidArgument},
	} {
		if got := connect.CodeOf(test.err); (test.err == nil) != (test.want == 0) || test.err != nil && got != test.want {
			t.Errorf("%s: %v, want %v", test.name, test.err, test.want)
		}
		if test.err != nil && strings.Contains(test.err.Error(), strings.SplitN(b.secret, ".", 2)[1]) {
			t.Errorf("%s: the error tells a secret: %v", test.name, test.err)
		}
	}
	other := registration("a")
	other.Disk = strings.Repeat("1", 32)
	if _, err := c.client(joinToken).Register(t.Context(), other); connect.CodeOf(err) != connect.CodeAlreadyExists {
		t.Errorf("a second disk at once: %v", err)
	}
	// The same directory registers again: the old secret ends.
	again := c.join("a")
	if again.id != a.id {
		t.Errorf("the same directory became holder %d, was %d", again.id, a.id)
	}
	if err := sync(again.secret, a); err != nil {
		t.Errorf("the new secret: %v", err)
	}
	if err := sync(a.secret, a); connect.CodeOf(err) != connect.CodeUnauthenticated {
		t.Errorf("the old secret: %v", err)
	}
}

func register(t *testing.T, c *core, token, name string) error {
	_, err := c.client(token).Register(t.Context(), registration(name))
	return err
}

func TestMalformed(t *testing.T) {
	c := start(t, memory(), Options{})
	n := c.join("a")
	for name, test := range map[string]struct {
		spoil func(*wire.SyncRequest)
		code  connect.Code
		says  string
	}{
		"protocol": {func(r *wire.SyncRequest) { r.Protocol = 2 }, connect.CodeFailedPrecondition, "protocol: expected 1"},
		"boot":     {func(r *wire.SyncRequest) { r.Boot = 0 }, connect.CodeInvalidArgument, "boot: expected a random number"},
		"arrays": {func(r *wire.SyncRequest) {
			r.Batch = &wire.Batch{Seal: &wire.Cursor{Batch: 1}, Totals: &wire.Totals{Budget: []int64{int64(views)}}}
		}, connect.CodeInvalidArgument, "batch.totals: expected arrays of one length"},
		"budget":  {func(r *wire.SyncRequest) { r.Side.Wants = []*wire.Want{{Budget: 5}} }, connect.CodeInvalidArgument, "side.wants[0].budget"},
		"batch 0": {func(r *wire.SyncRequest) { r.Batch = &wire.Batch{} }, connect.CodeInvalidArgument, "batch.seal.batch"},
	} {
		r := n.request()
		test.spoil(r)
		if _, err := n.Sync(t.Context(), r); connect.CodeOf(err) != test.code || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want %v %q", name, err, test.code, test.says)
		}
	}
	large := registration("b")
	large.Version = strings.Repeat("x", 100_000)
	if _, err := c.client(joinToken).Register(t.Context(), large); err == nil {
		t.Error("a registration of 100 KB was read")
	}
	if got := c.Stats().Refused.Load(); got == 0 {
		t.Error("nothing was counted as refused")
	}
}

// faulty fails transactions as a test says.
type faulty struct {
	ledger.Store
	before func(holders []uint32) error // of Load
	after  func() error                 // the commit
}

type faultyTx struct {
	ledger.Tx
	f *faulty
}

func (f *faulty) Update(ctx context.Context, do func(ledger.Tx) error) error {
	if err := f.Store.Update(ctx, func(tx ledger.Tx) error { return do(&faultyTx{tx, f}) }); err != nil {
		return err
	}
	if f.after != nil {
		return f.after()
	}
	return nil
}

func (t *faultyTx) Load(ctx context.Context, n ledger.Needs, l *ledger.Loaded) error {
	if t.f.before != nil {
		if err := t.f.before(n.Holders); err != nil {
			return err
		}
	}
	return t.Tx.Load(ctx, n, l)
}

// together syncs several nodes at once, so that they are likely one group.
func together(t *testing.T, nodes []*node) (replies []*wire.SyncResponse, errs []error) {
	replies, errs = make([]*wire.SyncResponse, len(nodes)), make([]error, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() { replies[i], errs[i] = n.Sync(t.Context(), n.request()) })
	}
	wg.Wait()
	return replies, errs
}

func TestManyGoInOneTransaction(t *testing.T) {
	c := start(t, memory(), Options{Window: 100 * time.Millisecond})
	var nodes []*node
	for i := range 20 {
		nodes = append(nodes, c.join(string(rune('a'+i))))
	}
	_, errs := together(t, nodes)
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if groups := c.Stats().Groups.Load(); groups > 5 {
		t.Errorf("20 exchanges at once took %d transactions", groups)
	}
	if got := c.Stats().Exchanges.Load(); got != 20 {
		t.Errorf("%d exchanges, want 20", got)
	}
}

func TestOneOffenderDoesNotHoldUpOthers(t *testing.T) {
	var bad atomic.Uint32
	store := &faulty{Store: memory(), before: func(holders []uint32) error {
		for _, h := range holders {
			if h == bad.Load() && h != 0 {
				return errors.New("this one breaks")
			}
		}
		return nil
	}}
	c := start(t, store, Options{Window: 100 * time.Millisecond})
	var nodes []*node
	for i := range 8 {
		nodes = append(nodes, c.join(string(rune('a'+i))))
	}
	bad.Store(nodes[3].id)
	_, errs := together(t, nodes)
	for i, err := range errs {
		if (err != nil) != (i == 3) {
			t.Errorf("node %d: %v", i, err)
		}
	}
	if c.Stats().Failed.Load() == 0 {
		t.Error("the failed group was not counted")
	}
	bad.Store(0)
	if _, errs = together(t, nodes); errors.Join(errs...) != nil {
		t.Errorf("afterwards: %v", errors.Join(errs...))
	}
}

func TestStoreAway(t *testing.T) {
	var gone atomic.Bool
	store := &faulty{Store: memory(), before: func([]uint32) error {
		if gone.Load() {
			return errors.New("connection refused to secret-host:5432")
		}
		return nil
	}}
	c := start(t, store, Options{Window: 50 * time.Millisecond})
	var nodes []*node
	for i := range 8 {
		nodes = append(nodes, c.join(string(rune('a'+i))))
	}
	gone.Store(true)
	_, errs := together(t, nodes)
	for i, err := range errs {
		if connect.CodeOf(err) != connect.CodeUnavailable || strings.Contains(err.Error(), "secret-host") {
			t.Errorf("node %d: %v, want unavailable and nothing of the database", i, err)
		}
	}
	gone.Store(false)
	if _, errs = together(t, nodes); errors.Join(errs...) != nil {
		t.Errorf("once it is back: %v", errors.Join(errs...))
	}
}

// A reply that is lost after the commit: the edge sends again and is counted
// once.
func TestCommitWithoutReply(t *testing.T) {
	m := memory()
	var lose atomic.Bool
	store := &faulty{Store: m, after: func() error {
		if lose.Load() {
			return errors.New("connection reset while committing")
		}
		return nil
	}}
	c := start(t, store, Options{})
	n := c.join("a")
	r := n.request()
	r.Side.Wants = []*wire.Want{{Budget: int64(views), Target: 100, VelocityMilli: 1000}}
	if _, err := n.Sync(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	r.Side.Wants = nil
	r.Batch = &wire.Batch{
		Seal:    &wire.Cursor{Batch: 1, Position: 10, Hash: []byte("one")},
		Totals:  &wire.Totals{Budget: []int64{int64(views)}, Granted: []int64{100}, Spent: []int64{7}, Returned: []int64{0}},
		Rollups: &wire.Rollups{Hour: []int64{3600}, Flight: []uint32{1}, Ad: []uint32{1}, Publisher: []uint32{1}, Country: []string{""}, Views: []int64{7}, Clicks: []int64{0}, UnbilledViews: []int64{0}, UnbilledClicks: []int64{0}, SpentMicros: []int64{70}},
	}
	lose.Store(true)
	for range 3 {
		if _, err := n.Sync(t.Context(), r); connect.CodeOf(err) != connect.CodeUnavailable {
			t.Errorf("the reply was not lost: %v", err)
		}
	}
	lose.Store(false)
	reply, err := n.Sync(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if reply.GetCursor().GetBatch() != 1 || len(reply.GetLeases()) != 1 || reply.GetLeases()[0].GetSpent() != 7 {
		t.Errorf("the repeat was answered with %v", reply)
	}
	truth := m.Dump()
	if got := truth.Totals[1]; got.Views != 7 || got.Spent != 70 || truth.Budgets[views].Settled != 7 {
		t.Errorf("counted %+v, settled %d, want 7 once", got, truth.Budgets[views].Settled)
	}
}

func TestFullQueue(t *testing.T) {
	hold := make(chan struct{})
	var holding atomic.Bool
	store := &faulty{Store: memory(), before: func([]uint32) error {
		if holding.Load() {
			<-hold
		}
		return nil
	}}
	c := start(t, store, Options{Queue: 2, Group: 1})
	release := sync.OnceFunc(func() { holding.Store(false); close(hold) })
	t.Cleanup(release)
	var nodes []*node
	for i := range 8 {
		nodes = append(nodes, c.join(string(rune('a'+i))))
	}
	if _, errs := together(t, nodes); errors.Join(errs...) != nil { // now their credentials are known
		t.Logf("some of the first were refused: %v", errors.Join(errs...))
	}
	holding.Store(true)
	var full, done atomic.Int64
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(func() {
			_, err := n.Sync(t.Context(), n.request())
			if connect.CodeOf(err) == connect.CodeResourceExhausted && err != nil {
				full.Add(1)
			} else if err == nil {
				done.Add(1)
			}
		})
	}
	eventually(t, "some are refused", func() bool { return full.Load() > 0 })
	release()
	wg.Wait()
	if full.Load()+done.Load() != 8 {
		t.Errorf("%d refused and %d answered of 8", full.Load(), done.Load())
	}
}

func TestWatch(t *testing.T) {
	c := start(t, memory(), Options{Heartbeat: 50 * time.Millisecond})
	c.catalogs.change("one", 0)
	n := c.join("a")
	stream := c.watch(t.Context(), n.secret, &wire.WatchRequest{Protocol: 1, Holder: n.id})
	next := func(what string, is func(*wire.WatchEvent) bool) {
		t.Helper()
		for stream.Receive() {
			if is(stream.Msg()) {
				return
			}
			if m := stream.Msg(); len(m.GetCatalog())+len(m.GetControls()) > 0 {
				t.Fatalf("%v came before %s", m, what)
			}
		}
		t.Fatalf("the stream ended before %s: %v", what, stream.Err())
	}
	catalog := func(bytes string) func(*wire.WatchEvent) bool {
		return func(e *wire.WatchEvent) bool { return string(e.GetCatalog()) == bytes }
	}
	next("the catalog", catalog("one"))
	next("a heartbeat", func(e *wire.WatchEvent) bool { return len(e.GetCatalog())+len(e.GetControls()) == 0 })
	c.catalogs.change("", 7)
	next("the control", func(e *wire.WatchEvent) bool {
		return len(e.GetControls()) == 1 && e.GetControls()[0].GetFlight() == 7 && e.GetControlVersion() == 1
	})
	c.catalogs.change("two", 0)
	next("the second catalog", catalog("two"))

	// Deltas go to who takes them.
	c.catalogs.mu.Lock()
	c.catalogs.steps = map[uint64][][]byte{1: {[]byte("one to two")}}
	c.catalogs.mu.Unlock()
	for deltas, want := range map[bool]string{true: "one to two", false: "two"} {
		m := c.join("b")
		other := c.watch(t.Context(), m.secret, &wire.WatchRequest{Protocol: 1, Holder: m.id, Catalog: 1, Control: 1, Deltas: deltas})
		if !other.Receive() || string(slices.Concat(append(other.Msg().GetDeltas(), other.Msg().GetCatalog())...)) != want {
			t.Errorf("deltas %v: %v, want %s", deltas, other.Msg(), want)
		}
		_ = other.Close()
	}

	// Another stream of the same holder ends this one; it has the catalog.
	second := c.watch(t.Context(), n.secret, &wire.WatchRequest{Protocol: 1, Holder: n.id, Catalog: 2, Control: 1})
	for stream.Receive() {
		if len(stream.Msg().GetCatalog()) > 0 {
			t.Error("the first stream went on")
		}
	}
	if !second.Receive() || len(second.Msg().GetCatalog())+len(second.Msg().GetControls()) > 0 {
		t.Errorf("the second stream said %v, %v, want a heartbeat", second.Msg(), second.Err())
	}
	if c.Stats().Watching.Load() != 1 {
		t.Errorf("%d streams are open", c.Stats().Watching.Load())
	}
	c.stop()
	for second.Receive() {
	}
	if second.Err() == nil {
		t.Error("the stream ended without a word when the core stopped")
	}
	denied := c.Stats().Denied.Load()
	if denied != 0 {
		t.Errorf("%d were denied", denied)
	}
}

func TestWatchNeedsACredential(t *testing.T) {
	c := start(t, memory(), Options{})
	n := c.join("a")
	stream := c.watch(t.Context(), "1.wrong", &wire.WatchRequest{Protocol: 1, Holder: n.id})
	if stream.Receive() || connect.CodeOf(stream.Err()) != connect.CodeUnauthenticated {
		t.Errorf("a wrong secret: %v", stream.Err())
	}
	other := c.join("b")
	stream = c.watch(t.Context(), other.secret, &wire.WatchRequest{Protocol: 1, Holder: n.id})
	if stream.Receive() || connect.CodeOf(stream.Err()) != connect.CodePermissionDenied {
		t.Errorf("another's secret: %v", stream.Err())
	}
}

func TestAFencedHolderHandsInAndIsJudged(t *testing.T) {
	m := memory()
	c := start(t, m, Options{})
	n, away := c.join("a"), c.join("b")
	if _, err := n.Sync(t.Context(), n.request()); err != nil {
		t.Fatal(err)
	}
	if err := ledger.Fence(t.Context(), m, n.id, "test", time.Now().UnixMilli()); err != nil {
		t.Fatal(err)
	}
	reply, err := n.Sync(t.Context(), n.request())
	if err != nil || reply.GetStatus() != wire.SyncResponse_FENCED {
		t.Fatalf("%v, %v, want FENCED", reply, err)
	}
	event := &wire.Event{Kind: 1, Holder: n.id, Boot: 1, Seq: 4, Ad: 1, Flight: 1, Publisher: 1, ViewPrice: 2000, Issued: time.Now().UnixMilli(), At: time.Now().UnixMilli(), Flags: 1}
	r := away.request()
	r.Batch = &wire.Batch{Seal: &wire.Cursor{Batch: 1, Position: 1, Hash: []byte("x")}, Foreign: []*wire.Event{event}}
	if _, err := away.Sync(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	behind := &wire.HandInRequest{Holder: n.id, Windows: []*wire.Window{{Boot: 1, Next: 8, Bits: make([]byte, 2)}}, Last: true}
	for _, c := range []struct {
		name string
		by   *node
		what *wire.HandInRequest
		want connect.Code // 0: taken
	}{
		{"a node of another region", c.joinIn("eu", "far"), behind, connect.CodePermissionDenied},
		{"a node of the region with a copy of another history", away, withProof(behind, &wire.Cursor{Batch: 3, Position: 3, Hash: []byte("another")}), connect.CodeOutOfRange},
		{"of a holder that nobody knows", away, &wire.HandInRequest{Holder: 999}, connect.CodeNotFound},
		{"a node of the region that asks", away, &wire.HandInRequest{Holder: n.id}, 0},
	} {
		if _, err := c.by.HandIn(t.Context(), c.what); err == nil != (c.want == 0) || err != nil && connect.CodeOf(err) != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if open, err := n.HandIn(t.Context(), &wire.HandInRequest{Holder: away.id}); connect.CodeOf(err) != connect.CodePermissionDenied {
		t.Errorf("a fenced node asked for another: %v, %v", open, err)
	}
	if _, err := n.HandIn(t.Context(), behind); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the event is judged and the holder closed", func() bool {
		truth := m.Dump()
		return truth.Totals[1].Views == 1 && truth.Holders[n.id].State == ledger.Closed
	})
	if _, err := away.HandIn(t.Context(), &wire.HandInRequest{Holder: away.id, Last: true}); connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("an open holder handed in: %v", err)
	}
}

func TestBudgetsOfDaysAreOpened(t *testing.T) {
	m := memory()
	day := lease.Of(lease.FlightDay, 1, int32(time.Now().Unix()/86400))
	m.SetCap(lease.FlightDay, 1, ledger.Cap{Micros: 10_000, Unit: 2000})
	c := start(t, m, Options{})
	n := c.join("a")
	r := n.request()
	r.Side.Wants = []*wire.Want{
		{Budget: int64(day), Target: 4000, VelocityMilli: 1000},
		{Budget: int64(lease.Of(lease.FlightDay, 2, day.Day())), Target: 4000, VelocityMilli: 1000}, // has no cap
	}
	reply, err := n.Sync(t.Context(), r)
	if err != nil || len(reply.GetLeases()) != 1 || reply.GetLeases()[0].GetGranted() != 4000 {
		t.Errorf("%v, %v, want 4000 of the day", reply.GetLeases(), err)
	}
}

func TestAStoppedServerSaysSo(t *testing.T) {
	n := &node{id: 1}
	s := New(memory(), &catalogs{}, Options{})
	running, stop := context.WithCancel(t.Context())
	stop()
	s.Run(running)
	if err := s.Ready(t.Context()); err == nil {
		t.Error("a stopped server is ready")
	}
	if _, err := s.Sync(context.WithValue(t.Context(), callerKey{}, caller{holder: n.id}), n.request()); connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("%v, want unavailable", err)
	}
}
