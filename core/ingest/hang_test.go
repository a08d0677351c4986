package ingest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"nearside/core/ledger"
	"nearside/core/postgres"
	"nearside/dev/testpg"
	"nearside/sync/wire"
)

// hanging is a line to Postgres that stops forwarding, both ways and without
// closing anything, as where packets are dropped.
type hanging struct {
	net.Listener
	network, address string

	mu     sync.Mutex
	after  func(sent []byte) bool // called with what the core sends; true: forward this, and nothing after it
	gone   chan struct{}          // closed where it has stopped
	thawed chan struct{}          // closed where it goes on
	conns  []net.Conn
	served sync.WaitGroup
}

func newHanging(t *testing.T, network, address string) *hanging {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &hanging{Listener: l, network: network, address: address, gone: make(chan struct{}), thawed: make(chan struct{})}
	h.served.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			h.served.Go(func() { h.serve(from) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		h.hangUp()
		h.served.Wait()
	})
	return h
}

// hangUp ends all connections.
func (h *hanging) hangUp() {
	h.mu.Lock()
	for _, c := range h.conns {
		_ = c.Close()
	}
	h.mu.Unlock()
	h.goOn()
}

// serve forwards one connection until it ends. One that was there when the line
// stopped forwards again only where the line goes on.
func (h *hanging) serve(from net.Conn) {
	defer from.Close()
	to, err := net.Dial(h.network, h.address)
	if err != nil {
		return
	}
	defer to.Close()
	h.mu.Lock()
	h.conns = append(h.conns, from, to)
	gone, thawed := h.gone, h.thawed
	h.mu.Unlock()
	held := func() {
		select {
		case <-gone:
			<-thawed
		default:
		}
	}
	var both sync.WaitGroup
	copyTo := func(w io.WriteCloser, r io.Reader, mine bool) {
		defer w.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := r.Read(buf)
			held()
			last := mine && n > 0 && h.last(buf[:n])
			if _, failed := w.Write(buf[:n]); err != nil || failed != nil {
				return
			}
			if last {
				held()
			}
		}
	}
	both.Go(func() { copyTo(to, from, true) })
	both.Go(func() { copyTo(from, to, false) })
	both.Wait()
}

// last says that what is sent now is the last to be forwarded.
func (h *hanging) last(sent []byte) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.after == nil || !h.after(sent) {
		return false
	}
	h.after = nil
	close(h.gone)
	return true
}

// stop stops the line once the core has sent what after waits for.
func (h *hanging) stop(after func(sent []byte) bool) (stopped <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.after = after
	return h.gone
}

// fresh lets new connections through; those that were there stay dead, for good.
func (h *hanging) fresh() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gone = make(chan struct{})
}

// goOn lets everything through, what was held up first.
func (h *hanging) goOn() {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.thawed:
	default:
		close(h.thawed)
	}
}

// The line to Postgres stops in the middle of a transaction, with locks held there.
// The core says that it is away within the time that a transaction may take; once
// the line goes on, or where only new connections get through, it answers again
// within seconds, and everything is counted once.
func TestTheDatabaseHangs(t *testing.T) {
	contains := func(what string) func([]byte) bool {
		return func(sent []byte) bool { return bytes.Contains(bytes.ToLower(sent), []byte(what)) }
	}
	second := func() func([]byte) bool { // the statement after begin, which takes the locks
		begun := false
		return func(sent []byte) bool {
			defer func() { begun = begun || contains("begin")(sent) }()
			return begun
		}
	}
	for _, at := range []struct {
		name string
		stop func() func([]byte) bool
	}{
		{"as a transaction begins", func() func([]byte) bool { return contains("begin") }},
		{"with locks taken", second},
		{"at the commit", func() func([]byte) bool { return contains("commit") }},
	} {
		for _, end := range []struct {
			name string
			end  func(*hanging)
		}{
			{"the line goes on", func(h *hanging) { h.fresh(); h.goOn() }},
			{"only new connections get through", (*hanging).fresh},
		} {
			t.Run(at.name+", "+end.name, func(t *testing.T) {
				t.Parallel()
				hangs(t, at.stop(), end.end)
			})
		}
	}
}

func hangs(t *testing.T, stop func([]byte) bool, end func(*hanging)) {
	const (
		edges = 6
		limit = 500 * time.Millisecond // of a transaction
		soon  = 12 * time.Second       // a ping of each dead connection, and the locks of one
	)
	direct := testpg.New(t)
	u, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	config, err := pgx.ParseConfig(direct)
	if err != nil {
		t.Fatal(err)
	}
	network, address := pgconn.NetworkAddress(config.Host, config.Port)
	h := newHanging(t, network, address)
	u.Host = h.Addr().String()
	query := u.Query()
	query.Del("host")
	query.Del("port")
	query.Set("idle_in_transaction_session_timeout", "1s")
	u.RawQuery = query.Encode()
	db, err := postgres.Open(t.Context(), u.String())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	defer h.hangUp() // else Close waits for what is dead
	if err := db.InTx(t.Context(), func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `INSERT INTO join_tokens (name, hash) VALUES ('test', $1)`, ledger.Hash(joinToken)); err != nil {
			return err
		}
		return db.SetBudget(t.Context(), tx, views, 1000)
	}); err != nil {
		t.Fatal(err)
	}
	c := start(t, db.Ledger(), Options{Window: 5 * time.Millisecond, Limit: limit})
	var nodes [edges]*node
	var requests [edges]*wire.SyncRequest
	for i := range nodes {
		nodes[i] = c.join(fmt.Sprintf("node-%d", i))
		r := nodes[i].request()
		r.Side.Wants = []*wire.Want{{Budget: int64(views), Target: 50, VelocityMilli: 1000}}
		reply, err := nodes[i].Sync(t.Context(), r)
		if err != nil || len(reply.GetLeases()) != 1 {
			t.Fatalf("%v, %v", reply, err)
		}
		spent := int64(i + 1)
		r.Side.Wants = nil
		r.Batch = &wire.Batch{
			Seal:    &wire.Cursor{Batch: 1, Position: 10, Hash: []byte("one")},
			Totals:  &wire.Totals{Budget: []int64{int64(views)}, Granted: []int64{reply.GetLeases()[0].GetGranted()}, Spent: []int64{spent}, Returned: []int64{0}},
			Rollups: &wire.Rollups{Hour: []int64{3600}, Flight: []uint32{1}, Ad: []uint32{1}, Publisher: []uint32{1}, Country: []string{""}, Views: []int64{spent}, Clicks: []int64{0}, UnbilledViews: []int64{0}, UnbilledClicks: []int64{0}, SpentMicros: []int64{spent * 10}},
		}
		requests[i] = r
	}

	// All at once: each is told within the time of two transactions that the core is
	// away, or was answered before.
	stopped := h.stop(stop)
	failed := make([]error, edges)
	began := time.Now()
	var all sync.WaitGroup
	for i := range nodes {
		all.Go(func() { _, failed[i] = nodes[i].Sync(t.Context(), requests[i]) })
	}
	<-stopped
	all.Wait()
	if took := time.Since(began); took > 20*limit {
		t.Errorf("the core held its edges for %s", took)
	}
	away := 0
	for _, err := range failed {
		if err != nil {
			away++
		}
	}
	if away == 0 {
		t.Error("the line had stopped, and every edge was answered")
	}

	end(h)
	began = time.Now()
	for i, n := range nodes {
		for {
			reply, err := n.Sync(t.Context(), requests[i])
			if err == nil {
				if reply.GetCursor().GetBatch() != 1 {
					t.Errorf("edge %d is answered with %v", i, reply)
				}
				break
			}
			if time.Since(began) > soon {
				t.Fatalf("after %s edge %d is not answered: %v", soon, i, err)
			}
		}
	}
	t.Logf("of %d edges %d were told that the core is away; all are answered after %s", edges, away, time.Since(began).Round(time.Millisecond))

	const want = edges * (edges + 1) / 2
	diff, err := db.Reconcile(t.Context())
	if err != nil || len(diff) > 0 {
		t.Errorf("the books differ: %v, %v", diff, err)
	}
	if err := db.Ledger().Budgets(t.Context(), 0, func(b ledger.Budget) {
		if b.ID == views && b.Settled != want {
			t.Errorf("settled %d, want %d", b.Settled, want)
		}
	}); err != nil {
		t.Fatal(err)
	}
	deliveries, err := db.FlightDeliveries(t.Context(), []uint32{1})
	if err != nil || deliveries[1].Views != want {
		t.Errorf("counted %+v, want %d views: %v", deliveries, want, err)
	}
}
