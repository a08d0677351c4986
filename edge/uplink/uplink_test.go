package uplink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	"nearside/edge/holder"
	"nearside/edge/journal"
	"nearside/edge/journal/faultfs"
	"nearside/edge/keeper"
	"nearside/edge/keeper/fakecore"
	"nearside/sync/catalog"
	"nearside/sync/lease"
	"nearside/sync/token"
	"nearside/sync/wire"
	"nearside/sync/wire/wireconnect"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	flight = 40
	price  = 2000
	join   = "join token"
)

var views = lease.Of(lease.FlightViews, flight, 0)

// server is a core behind HTTP/2 on pipes, with a line that fails on demand.
type server struct {
	wireconnect.UnimplementedExchangeHandler
	core *fakecore.Core
	http *http.Server
	l    *pipes

	mu        sync.Mutex
	down      bool // no connection is made or kept
	drop      func() fault
	syncs     []time.Time
	registers []time.Time
	requests  []*wire.SyncRequest
	streams   int
	asked     *wire.WatchRequest // of the last stream
	push      map[chan *wire.WatchEvent]bool
	silent    bool // no beats
	noHandIn  bool
}

type fault uint8

const (
	none      fault = iota
	lost            // the request does not arrive
	replyLost       // it is applied, the reply does not arrive
	twice           // it is applied twice
	late            // it takes a while
)

func newServer() *server {
	s := &server{core: fakecore.New(), push: map[chan *wire.WatchEvent]bool{}, l: newPipes()}
	mux := http.NewServeMux()
	mux.Handle(wireconnect.NewExchangeHandler(s))
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s.http = &http.Server{Handler: mux, Protocols: &protocols, ErrorLog: nil}
	go func() { _ = s.http.Serve(s.l) }()
	return s
}

func (s *server) close() { s.http.Close() }

func bearer(ctx context.Context) string {
	info, ok := connect.CallInfoForHandlerContext(ctx)
	if !ok {
		return ""
	}
	return strings.TrimPrefix(info.RequestHeader().Get("Authorization"), "Bearer ")
}

var errAway = connect.NewError(connect.CodeUnavailable, errors.New("away"))

func (s *server) Register(ctx context.Context, r *wire.RegisterRequest) (*wire.RegisterResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.registers = append(s.registers, time.Now())
	if s.down {
		return nil, errAway
	}
	if bearer(ctx) != join {
		return nil, connect.NewError(connect.CodeUnauthenticated, errors.New("join token"))
	}
	return s.core.Register(r), nil
}

func (s *server) Sync(ctx context.Context, r *wire.SyncRequest) (*wire.SyncResponse, error) {
	s.mu.Lock()
	s.syncs = append(s.syncs, time.Now())
	s.requests = append(s.requests, r)
	f := none
	if s.drop != nil {
		f = s.drop()
	}
	down := s.down
	s.mu.Unlock()
	if down || f == lost {
		return nil, errAway
	}
	if !s.core.Allow(r.GetHolder(), bearer(ctx)) {
		return nil, connect.NewError(connect.CodeUnauthenticated, errors.New("secret"))
	}
	if f == late {
		time.Sleep(3 * time.Second)
	}
	reply, err := s.core.Sync(r)
	if err == nil && f == twice {
		reply, err = s.core.Sync(r)
	}
	if f == replyLost {
		return nil, errAway
	}
	return reply, err
}

func (s *server) HandIn(ctx context.Context, r *wire.HandInRequest) (*wire.HandInResponse, error) {
	s.mu.Lock()
	no := s.noHandIn
	s.mu.Unlock()
	if no {
		return nil, errAway
	}
	if !s.core.Allow(r.GetHolder(), bearer(ctx)) {
		return nil, connect.NewError(connect.CodeUnauthenticated, errors.New("secret"))
	}
	return s.core.HandIn(r)
}

func (s *server) Watch(ctx context.Context, r *wire.WatchRequest, stream *connect.ServerStream[wire.WatchEvent]) error {
	c := make(chan *wire.WatchEvent, 16)
	s.mu.Lock()
	if s.down {
		s.mu.Unlock()
		return errAway
	}
	s.streams++
	s.asked = r
	s.push[c] = true
	silent := s.silent
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.push, c)
		s.mu.Unlock()
	}()
	beat := time.NewTicker(10 * time.Second)
	defer beat.Stop()
	if err := stream.Send(&wire.WatchEvent{}); err != nil {
		return err
	}
	for {
		event := &wire.WatchEvent{}
		select {
		case <-ctx.Done():
			return nil
		case event = <-c:
			if event == nil {
				return errAway
			}
		case <-beat.C:
			if silent {
				continue
			}
		}
		if err := stream.Send(event); err != nil {
			return err
		}
	}
}

// tell sends an event to every stream; nil ends them.
func (s *server) tell(event *wire.WatchEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.push {
		c <- event
	}
}

func (s *server) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *server) away(down bool) {
	s.set(func() { s.down = down })
	if down {
		s.tell(nil)
	}
}

// pipes is a listener in memory.
type pipes struct {
	c      chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{c: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.c:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.c <- there:
		return here, nil
	case <-p.closed:
		return nil, io.ErrClosedPipe
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// edge is a keeper and its uplink, running.
type edge struct {
	testing.TB
	*keeper.Keeper
	s       *server
	fs      *faultfs.FS
	u       *Uplink
	tally   *Tally
	applied []uint64
	control []*wire.Control
	mu      sync.Mutex
	end     context.CancelFunc
	done    chan error
	http    *http.Transport
}

func snapshot(version uint64) *catalog.Snapshot {
	day := catalog.DayOf(time.Now())
	return &catalog.Snapshot{
		Version:     version,
		Advertisers: []catalog.Advertiser{{ID: 1, Slug: "a", Name: "A"}},
		Groups:      []catalog.Group{{ID: 1, Slug: "g", Name: "G"}},
		Campaigns:   []catalog.Campaign{{ID: 1, Slug: "c", Name: "C", Advertiser: 1, PublisherGroups: []uint32{1}}},
		Flights: []catalog.Flight{{
			ID: flight, Slug: "f", Name: "F", Campaign: 1, Live: true, StartDate: day - 1, EndDate: day + 30,
			CPM: price * 1000, SoldViews: 1_000_000, Pacing: catalog.ASAP, PacingInterval: 3600, PriorityMultiplier: 1,
		}},
	}
}

func published(t testing.TB, version uint64) []byte {
	t.Helper()
	b, err := catalog.Encode(snapshot(version))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newEdge(t testing.TB, s *server) *edge {
	return &edge{TB: t, s: s, fs: faultfs.New(1)}
}

func (e *edge) start() {
	e.Helper()
	k, err := keeper.Open(context.Background(), keeper.Config{Dir: "/state", FS: e.fs, Journal: journal.Options{SegmentSize: 1 << 16}})
	if err != nil {
		e.Fatal(err)
	}
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	e.http = &http.Transport{Protocols: &protocols, DialContext: e.s.l.dial}
	e.Keeper, e.tally = k, NewTally([]string{"none", "lease"}, 1)
	e.u, err = New(Config{
		Core: []string{"http://core"}, JoinToken: func() (string, error) { return join + "\n", nil },
		Region: "eu-west", Node: "a", HTTP: &http.Client{Transport: e.http},
		Apply: func(s *catalog.Snapshot) error {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.applied = append(e.applied, s.Version)
			return nil
		},
		OnControls: func(c []*wire.Control) {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.control = append(e.control, c...)
		},
	}, k, e.tally)
	if err != nil {
		e.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	e.end, e.done = cancel, make(chan error, 1)
	go func() { e.done <- e.u.Run(ctx) }()
}

// stop drains and closes.
func (e *edge) stop() error {
	e.end()
	err := <-e.done
	if closeErr := e.Close(); closeErr != nil {
		e.Error(closeErr)
	}
	e.http.CloseIdleConnections()
	return err
}

// offer makes an offer and gives its token.
func (e *edge) offer() *token.Claims {
	now := time.Now()
	sealer, seq, ok := e.Offer(flight, 0, price, now.UnixMilli())
	if !ok {
		return nil
	}
	c := &token.Claims{Seq: seq, Ad: 1, Flight: flight, ViewPrice: price, Issued: now.UnixMilli(), Flags: token.FlagViews}
	opened := new(token.Claims)
	if err := e.Open(opened, sealer.Seal(nil, c), now); err != nil {
		e.Fatal(err)
	}
	return opened
}

func (e *edge) view(c *token.Claims) keeper.Verdict {
	e.Helper()
	v, err := e.View(context.Background(), c, time.Now().UnixMilli())
	if err != nil {
		e.Fatal(err)
	}
	return v
}

func (e *edge) healthy() {
	e.Helper()
	for _, s := range e.s.core.Broken() {
		e.Error(s)
	}
}

// inBubble runs a test in virtual time with a core that sold a million views.
func inBubble(t *testing.T, f func(t *testing.T, s *server, e *edge)) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		s.core.Sell(views, 1_000_000)
		f(t, s, newEdge(t, s))
		s.close()
		synctest.Wait()
	})
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestExchangesEveryInterval(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, e *edge) {
		e.start()
		pass(10*time.Second + 500*time.Millisecond)
		s.set(func() {
			if len(s.syncs) != 11 {
				t.Errorf("%d exchanges in 10.5 s", len(s.syncs))
			}
			for i, r := range s.requests {
				if r.GetFirst() != (i == 0) {
					t.Errorf("request %d: first is %v", i, r.GetFirst())
				}
			}
		})
		if err := e.stop(); err != nil {
			t.Error(err)
		}
		e.healthy()
	})
}

func TestBacksOffWhileTheCoreIsAway(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, e *edge) {
		s.away(true)
		e.start()
		pass(time.Minute)
		s.set(func() {
			if n := len(s.registers); n < 45 || n > 75 { // no more than the exchanges of a minute
				t.Errorf("%d registrations tried in a minute", n)
			}
		})
		s.away(false)
		pass(2 * time.Second)
		if id, _, ok := e.Registered(); !ok || id != 1 {
			t.Errorf("not registered 2 intervals after the core came back: %d %v", id, ok)
		}
		if err := e.stop(); err != nil {
			t.Error(err)
		}
	})
}

// However long the core could not be used, an edge exchanges within one and a
// half intervals once it can, and never knocks oftener than it would exchange.
func TestExchangesSoonAfterTheCoreIsBack(t *testing.T) {
	for _, outage := range []time.Duration{time.Second, time.Minute, time.Hour} {
		inBubble(t, func(t *testing.T, s *server, e *edge) {
			e.start()
			pass(5 * time.Second)
			s.away(true)
			from := time.Now()
			pass(outage)
			s.away(false)
			back := time.Now()
			pass(3 * time.Second)
			s.set(func() {
				tried, first := 0, time.Time{}
				for _, at := range s.syncs {
					switch {
					case at.After(back) && first.IsZero():
						first = at
					case at.After(from) && at.Before(back):
						tried++
					}
				}
				if first.IsZero() || first.Sub(back) > 1500*time.Millisecond {
					t.Errorf("after %v the first exchange came %v after the core was back", outage, first.Sub(back))
				}
				if most := int(outage.Seconds()*1.1) + 10; tried > most {
					t.Errorf("%d exchanges were tried in %v, want at most %d", tried, outage, most)
				}
			})
			if err := e.stop(); err != nil {
				t.Error(err)
			}
			e.healthy()
		})
	}
}

func TestCatalogAndControlApplyAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, e *edge) {
		e.start()
		pass(2 * time.Second)
		s.tell(&wire.WatchEvent{Catalog: published(t, 5)})
		pass(10 * time.Millisecond)
		if version, _ := e.Catalog(); version != 5 || len(e.applied) != 1 || e.applied[0] != 5 {
			t.Errorf("catalog %d, applied %v", version, e.applied)
		}
		s.core.Do(func() {
			if !s.core.Receipts[5] {
				t.Error("no receipt for the catalog")
			}
		})
		if e.Account(views).Left.Load() == 0 {
			t.Error("nothing was leased for the new flight")
		}
		s.tell(&wire.WatchEvent{Catalog: published(t, 4)})
		s.tell(&wire.WatchEvent{Catalog: []byte("nonsense")})
		pass(10 * time.Millisecond)
		if version, _ := e.Catalog(); version != 5 || e.u.Stats().BadNews.Load() != 1 {
			t.Errorf("catalog %d after an older and a bad one", version)
		}
		s.tell(&wire.WatchEvent{Controls: []*wire.Control{{Version: 9, Flight: flight, State: 1}}})
		pass(10 * time.Millisecond)
		if sw := e.Switch(flight); sw.Version.Load() != 9 || sw.State.Load() != 1 || len(e.control) != 1 {
			t.Errorf("switch: version %d, state %d", sw.Version.Load(), sw.State.Load())
		}
		if err := e.stop(); err != nil {
			t.Error(err)
		}
		e.healthy()
	})
}

// steps are deltas from one version to the next.
func steps(t testing.TB, versions ...uint64) (all [][]byte) {
	t.Helper()
	for i, version := range versions[1:] {
		d, err := catalog.Diff(snapshot(versions[i]), snapshot(version))
		if err != nil {
			t.Fatal(err)
		}
		b, err := d.Encode()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}

// Deltas are applied in a row and kept as a whole; those that do not fit make
// the edge ask for the whole, once.
func TestDeltas(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, e *edge) {
		e.start()
		pass(2 * time.Second)
		s.tell(&wire.WatchEvent{Catalog: published(t, 5)})
		s.tell(&wire.WatchEvent{Deltas: steps(t, 5, 6, 8)})
		pass(10 * time.Millisecond)
		if version, whole := e.Catalog(); version != 8 || fmt.Sprint(e.applied) != "[5 8]" || e.u.Stats().Deltas.Load() != 1 {
			t.Errorf("catalog %d, applied %v", version, e.applied)
		} else if kept, err := catalog.Decode(whole); err != nil || kept.Version != 8 {
			t.Errorf("what a peer would get: %+v, %v", kept, err)
		}
		s.tell(&wire.WatchEvent{Deltas: steps(t, 6, 8, 9)}) // the first has been applied
		pass(10 * time.Millisecond)
		if version, _ := e.Catalog(); version != 9 {
			t.Errorf("catalog %d", version)
		}
		for _, bad := range [][][]byte{steps(t, 10, 11), {[]byte("nonsense")}} {
			s.tell(&wire.WatchEvent{Deltas: bad})
			pass(3 * time.Second)
			s.set(func() {
				if s.asked.GetDeltas() || s.asked.GetCatalog() != 9 {
					t.Errorf("after deltas that do not fit it asks %v", s.asked)
				}
			})
		}
		s.tell(&wire.WatchEvent{Catalog: published(t, 12)})
		pass(10 * time.Millisecond)
		s.tell(nil) // the stream ends
		pass(3 * time.Second)
		s.set(func() {
			if !s.asked.GetDeltas() || s.asked.GetCatalog() != 12 {
				t.Errorf("after the whole it asks %v", s.asked)
			}
		})
		if err := e.stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestServesFromDiskBeforeTheCoreIsReached(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, e *edge) {
		e.start()
		pass(2 * time.Second)
		s.tell(&wire.WatchEvent{Catalog: published(t, 5), Controls: []*wire.Control{{Version: 3, Flight: 99, State: 1}}})
		pass(3 * time.Second)
		e.fs.Kill() // no drain
		e.end()
		if err := <-e.done; err == nil {
			t.Error("a disk that is gone ended nothing")
		}
		_ = e.Close()
		e.http.CloseIdleConnections()

		s.away(true)
		e.applied = nil
		e.start()
		pass(50 * time.Millisecond)
		if len(e.applied) != 1 || e.applied[0] != 5 {
			t.Errorf("applied %v before the core was reached", e.applied)
		}
		if e.Account(views).Left.Load() == 0 {
			t.Error("its leases are not there")
		}
		if e.Switch(99).State.Load() != 1 {
			t.Error("its controls are not there")
		}
		c := e.offer()
		if c == nil {
			t.Fatal("no offer while the core is away")
		}
		if v := e.view(c); v != holder.Billed {
			t.Errorf("view while the core is away: %v", v)
		}
		s.away(false)
		pass(10 * time.Second)
		s.core.Do(func() {
			if s.core.Counts.Views != 1 {
				t.Errorf("the core counts %+v", s.core.Counts)
			}
		})
		if err := e.stop(); err != nil {
			t.Error(err)
		}
		e.healthy()
	})
}

func TestSilentStreamIsOpenedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, e *edge) {
		e.start()
		pass(65 * time.Second)
		s.set(func() {
			if s.streams != 1 {
				t.Errorf("%d streams in a minute of beats", s.streams)
			}
			s.silent = true
		})
		s.tell(nil)
		pass(2 * time.Second)
		before := 0
		s.set(func() { before = s.streams })
		pass(40 * time.Second)
		s.set(func() {
			if before != 2 || s.streams != 3 {
				t.Errorf("%d streams, then %d after 40 s of silence", before, s.streams)
			}
		})
		if err := e.stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestDrain(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, e *edge) {
		e.start()
		pass(2 * time.Second)
		s.tell(&wire.WatchEvent{Catalog: published(t, 5)})
		pass(2 * time.Second)
		a, b := e.offer(), e.offer()
		e.view(a)
		e.end()
		pass(500 * time.Millisecond)
		if e.offer() != nil {
			t.Error("offered while draining")
		}
		if v := e.view(b); v != holder.Billed { // in flight when the drain began
			t.Errorf("a view in flight: %v", v)
		}
		if err := e.stop(); err != nil {
			t.Error(err)
		}
		s.core.Do(func() {
			h, budget := s.core.Holders[1], s.core.Budgets[views]
			if h.State != fakecore.Closed || budget.Outstanding != 0 || budget.Settled != 2 || s.core.Counts.Views != 2 {
				t.Errorf("after a drain: holder %d, %+v, %+v", h.State, *budget, s.core.Counts)
			}
		})
		e.start()
		pass(2 * time.Second)
		if id, _, _ := e.Registered(); id != 2 {
			t.Errorf("the next start is holder %d", id)
		}
		if err := e.stop(); err != nil {
			t.Error(err)
		}
		e.healthy()
	})
}

func TestDrainGivesUpWhileTheCoreIsAway(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, e *edge) {
		e.start()
		pass(2 * time.Second)
		s.away(true)
		began := time.Now()
		if err := e.stop(); !errors.Is(err, ErrOpen) {
			t.Errorf("Run ended with %v", err)
		}
		if took := time.Since(began); took < 19*time.Second || took > 22*time.Second {
			t.Errorf("the drain took %v", took)
		}
		s.away(false)
		e.start()
		pass(20 * time.Second)
		if id, _, ok := e.Registered(); !ok || id != 2 {
			t.Errorf("the next start should close holder 1 and be 2; it is %d", id)
		}
		s.core.Do(func() {
			if s.core.Holders[1].State != fakecore.Closed {
				t.Errorf("holder 1 is %d", s.core.Holders[1].State)
			}
		})
		if err := e.stop(); err != nil {
			t.Error(err)
		}
		e.healthy()
	})
}

func TestAnEdgeThatWasNeverRegisteredStops(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, e *edge) {
		s.away(true)
		e.start()
		pass(3 * time.Second)
		if err := e.stop(); err != nil {
			t.Errorf("Run ended with %v", err)
		}
	})
}

// A fenced holder that is still to be handed in must not be lost with the disk
// unseen.
func TestDrainSaysThatAFormerHolderIsLeft(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, e *edge) {
		e.start()
		pass(2 * time.Second)
		s.set(func() { s.noHandIn = true })
		s.core.Fence(1)
		pass(3 * time.Second)
		if err := e.stop(); !errors.Is(err, ErrOpen) {
			t.Errorf("Run ended with %v", err)
		}
		s.set(func() { s.noHandIn = false })
		e.start()
		pass(20 * time.Second)
		if n := len(e.Former()); n != 0 {
			t.Errorf("%d former holders left", n)
		}
		if err := e.stop(); err != nil {
			t.Error(err)
		}
		e.healthy()
	})
}

// Whatever call of the disk fails while a former holder is read, it stays until
// the core has all of it.
func TestAFormerHolderOutlivesAFailingDisk(t *testing.T) {
	for n := 1; n <= 24; n++ {
		inBubble(t, func(t *testing.T, s *server, e *edge) {
			e.start()
			pass(2 * time.Second)
			s.set(func() { s.noHandIn = true })
			s.core.Fence(1)
			pass(3 * time.Second)
			if left := len(e.Former()); left != 1 {
				t.Fatalf("%d former holders, want 1", left)
			}
			e.fs.FailAt(faultfs.Any, n, "journal-1/", faultfs.ErrIO)
			s.set(func() { s.noHandIn = false })
			pass(40 * time.Second)
			s.core.Do(func() {
				if left := len(e.Former()); left != 0 || !s.core.Holders[1].Handed {
					t.Errorf("call %d failed: %d former holders left, handed in: %v", n, left, s.core.Holders[1].Handed)
				}
			})
			// The process ends where the journal cannot be removed afterwards.
			if err := e.stop(); err != nil && !errors.Is(err, faultfs.ErrIO) {
				t.Error(err)
			}
		})
	}
}

func TestSupersededEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, e *edge) {
		e.start()
		pass(2 * time.Second)
		s.core.Do(func() { s.core.Holders[1].Ordinal = 7 })
		pass(2 * time.Second)
		if err := e.stop(); !errors.Is(err, ErrSuperseded) {
			t.Errorf("Run ended with %v", err)
		}
	})
}

func TestFencedEdgeGoesOnAsAnotherHolder(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, e *edge) {
		e.start()
		pass(2 * time.Second)
		s.tell(&wire.WatchEvent{Catalog: published(t, 5)})
		pass(2 * time.Second)
		a, b := e.offer(), e.offer()
		e.view(a)
		s.core.Fence(1)
		pass(3 * time.Second)
		if id, _, ok := e.Registered(); !ok || id != 2 {
			t.Fatalf("holder %d %v", id, ok)
		}
		if e.offer() == nil {
			t.Error("no offers")
		}
		if v := e.view(b); v != holder.Foreign {
			t.Errorf("a view of the former holder: %v", v)
		}
		pass(15 * time.Second)
		s.core.Do(func() {
			h := s.core.Holders[1]
			if h.State != fakecore.Closed || !h.Handed {
				t.Errorf("the former holder: %+v", h)
			}
			if s.core.Counts.Views < 1 {
				t.Errorf("the core counts %+v", s.core.Counts)
			}
		})
		if n := e.Status().Former; n != 0 {
			t.Errorf("%d former holders left", n)
		}
		if err := e.stop(); err != nil {
			t.Error(err)
		}
		e.healthy()
	})
}

func TestForgottenTakesNoGrantsAndGoesOn(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, e *edge) {
		e.start()
		pass(2 * time.Second)
		s.tell(&wire.WatchEvent{Catalog: published(t, 5)})
		pass(2 * time.Second)
		s.core.Do(func() { s.core.Forgot = true })
		pass(2 * time.Second)
		c := e.offer()
		if c == nil || e.view(c) != holder.Billed {
			t.Error("what is held cannot be spent")
		}
		pass(2 * time.Second)
		if e.u.Stats().Withheld.Load() == 0 {
			t.Error("nothing was withheld")
		}
		s.core.Do(func() { s.core.Forgot = false })
		pass(3 * time.Second)
		s.core.Do(func() {
			if s.core.Counts.Views != 1 {
				t.Errorf("after the recovery the core counts %+v", s.core.Counts)
			}
		})
		if err := e.stop(); err != nil {
			t.Error(err)
		}
		e.healthy()
	})
}

// Whatever the line does, in the end every answered view is counted once.
func TestBadLine(t *testing.T) {
	for seed := range uint64(8) {
		inBubble(t, func(t *testing.T, s *server, e *edge) {
			r := rand.New(rand.NewPCG(seed, 1))
			e.start()
			pass(2 * time.Second)
			s.tell(&wire.WatchEvent{Catalog: published(t, 5)})
			pass(2 * time.Second)
			line := rand.New(rand.NewPCG(seed, 2))
			s.set(func() {
				s.drop = func() fault {
					return []fault{none, none, lost, replyLost, twice, late}[line.IntN(6)]
				}
			})
			answered := int64(0)
			var last *token.Claims
			for range 300 {
				pass(time.Duration(r.IntN(400)) * time.Millisecond)
				if c := e.offer(); c != nil {
					last = c
				}
				switch v := e.view(last); v {
				case holder.Billed, holder.Exhausted:
					answered++
				case holder.Duplicate:
				default:
					t.Fatalf("seed %d: %v", seed, v)
				}
				if r.IntN(60) == 0 {
					s.tell(nil) // the stream breaks
				}
			}
			s.set(func() { s.drop = nil })
			pass(15 * time.Second)
			s.core.Do(func() {
				if got := s.core.Counts.Views + s.core.Counts.UnbilledViews; got != answered || s.core.Budgets[views].Settled != s.core.Counts.Views {
					t.Errorf("seed %d: %d answered, the core counts %+v and has settled %d", seed, answered, s.core.Counts, s.core.Budgets[views].Settled)
				}
			})
			if err := e.stop(); err != nil {
				t.Error(err)
			}
			e.healthy()
		})
	}
}

func TestTallyReachesTheCoreOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, s *server, e *edge) {
		e.start()
		pass(2 * time.Second)
		s.set(func() {
			n := 0
			s.drop = func() fault {
				if n++; n < 3 {
					return lost
				}
				return none
			}
		})
		for i := range 10 {
			e.tally.Decision(1, [2]byte{'D', 'E'}, uint32(i%2)*flight, token.TopicsOf([][]uint16{{4, 5}, {4}, {0}, nil, {5}}[i/2]))
			e.tally.Refusals(flight, 1, 1)
		}
		pass(10 * time.Second)
		s.core.Do(func() {
			if s.core.Decided != 10 || s.core.Refused["lease"] != 10 {
				t.Errorf("the core was told of %d decisions and %v", s.core.Decided, s.core.Refused)
			}
			if got := fmt.Sprint(s.core.Topics); got != "map[0:2 4:4 5:4]" {
				t.Errorf("the core was told of decisions by topic %v, want 2 of none, 4 of topic 4 and 4 of topic 5", got)
			}
		})
		if err := e.stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestTallyIsBoundedAndDoesNotAllocate(t *testing.T) {
	tally := NewTally([]string{"none"}, 9)
	for i := range uint32(300_000) {
		tally.Decision(i, [2]byte{'D', 'E'}, i%7, token.TopicsOf([]uint16{uint16(i), 0}))
		tally.Refusals(i, 0, 1)
	}
	if tally.Dropped() == 0 {
		t.Error("a tally without bounds")
	}
	for i := range tally.shards {
		if n := tally.shards[i].decisions.used; n > 2*maxKeys {
			t.Errorf("shard %d has %d keys", i, n)
		}
	}
	eight := []uint16{1, 2, 3, 4, 5, 6, 7, 8}
	if n := testing.AllocsPerRun(1000, func() {
		tally.Decision(1, [2]byte{'D', 'E'}, 3, token.TopicsOf(eight))
		tally.Refusals(3, 0, 1)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestNewRefusesWhatIsNoURL(t *testing.T) {
	for _, core := range [][]string{nil, {"core:8081"}} {
		if _, err := New(Config{Core: core}, nil, nil); err == nil {
			t.Errorf("took %q", core)
		}
	}
}
