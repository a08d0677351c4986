package ingest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"nearside/core/ledger"
	"nearside/sync/exchange"
	"nearside/sync/lease"
	"nearside/sync/trust"
	"nearside/sync/wire"
)

// Publisher knows what edges should have. core/publish is one.
type Publisher interface {
	// Version is that of the newest published catalog; 0: there is none.
	Version() uint64
	// Newer is the newest published catalog, where that is above since: as
	// published, or as the deltas that lead there from since, if they may be used
	// and are worth it.
	Newer(since uint64, deltas bool) (version uint64, bytes []byte, steps [][]byte)
	// Controls are those above since, by version; ControlVersion is the highest.
	Controls(since uint64) []*wire.Control
	ControlVersion() uint64
	// Subscribe gives a channel that holds a token whenever the above may have
	// changed; it is forgotten when ctx ends.
	Subscribe(ctx context.Context) <-chan struct{}
}

// Options of a Server; zero values stand for the defaults.
type Options struct {
	Rules     ledger.Rules  // default ledger.DefaultRules()
	Window    time.Duration // how long a group gathers; default 20 ms
	Group     int           // most holders in a group; default 256
	Queue     int           // most requests waiting; default 4096
	Limit     time.Duration // of one transaction; default 15 s
	Heartbeat time.Duration // of a Watch stream; default 5 s
	// Patience is how long this core has to be up before it closes holders for
	// their silence; default 10 min. Edges come back within seconds.
	Patience time.Duration
	// Certificates signs and checks those of nodes; nil: secrets alone count.
	Certificates Certificates
	// Renewal is how old a credential gets before its holder is told to renew it;
	// default a third of trust.NodeLife.
	Renewal time.Duration
	Log     *slog.Logger
}

// Certificates are those of nodes. core/authority is one.
type Certificates interface {
	// Caller is the edge that a connection belongs to; with expired, one whose
	// certificate's time has run out counts too.
	Caller(connection *tls.ConnectionState, now time.Time, expired bool) (trust.Identity, error)
	// Sign answers a request; nil where this core signs none.
	Sign(csr []byte, id trust.Identity, now time.Time) (*x509.Certificate, error)
	// Roots are what nodes are to go by.
	Roots() *trust.Roots
}

func (o *Options) defaults() {
	if o.Rules == (ledger.Rules{}) {
		o.Rules = ledger.DefaultRules()
	}
	orDefault(&o.Window, 20*time.Millisecond)
	orDefault(&o.Group, 256)
	orDefault(&o.Queue, 4096)
	orDefault(&o.Limit, 15*time.Second)
	orDefault(&o.Heartbeat, 5*time.Second)
	orDefault(&o.Patience, 10*time.Minute)
	orDefault(&o.Renewal, trust.NodeLife/3)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Stats are counted since the process began.
type Stats struct {
	Exchanges  atomic.Int64 // answered
	Groups     atomic.Int64 // transactions
	GroupNanos atomic.Int64 // spent in them
	Rows       atomic.Int64 // leases written
	Failed     atomic.Int64 // groups that had to be repeated holder by holder, or failed
	Refused    atomic.Int64 // requests refused: malformed, or failing alone
	Full       atomic.Int64 // requests refused because the queue was full
	Denied     atomic.Int64 // wrong credentials
	Fenced     atomic.Int64 // holders fenced by what they said
	Forgotten  atomic.Int64 // proofs that the core lost history
	Doubted    atomic.Int64 // claims that only their holder spoke for
	Expired    atomic.Int64 // holders closed for their silence
	Judged     atomic.Int64 // foreign events judged by the core
	HomeLost   atomic.Int64 // of these, refused because their home is gone
	Watching   atomic.Int64 // open streams
	Waiting    atomic.Int64 // requests in the queue
}

// Server answers edges. Run must run for it to answer.
type Server struct {
	store     ledger.Store
	publisher Publisher
	o         Options
	log       *slog.Logger
	stats     Stats

	queue   chan *pending
	stopped chan struct{} // closed when Run will answer no more
	sweep   chan struct{} // holds a token where events wait for the core's verdict
	keys    atomic.Pointer[[]*wire.TokenKey]
	feed    *feed
	days    days
	known   credentials
	guesses guesses
	pace    pace

	mu       sync.Mutex
	watchers map[uint32]*watcher  // by holder
	keysSaid map[uint32]time.Time // when a holder was last told the keys
}

// New makes a server over a store; publisher knows what edges should have.
func New(store ledger.Store, publisher Publisher, o Options) *Server {
	o.defaults()
	return &Server{
		store: store, publisher: publisher, o: o, log: o.Log,
		queue:    make(chan *pending, o.Queue),
		stopped:  make(chan struct{}),
		sweep:    make(chan struct{}, 1),
		feed:     newFeed(),
		days:     days{none: map[lease.Budget]time.Time{}},
		known:    credentials{kept: map[uint32]remembered{}, lookups: make(chan struct{}, 8)},
		watchers: map[uint32]*watcher{},
		keysSaid: map[uint32]time.Time{},
	}
}

// Stats counts what happened.
func (s *Server) Stats() *Stats { return &s.stats }

// Ready says why edges would not be answered; nil: they are.
func (s *Server) Ready(context.Context) error {
	select {
	case <-s.stopped:
		return errors.New("stopping")
	default:
	}
	if s.keys.Load() == nil {
		return errors.New("no token keys were read yet")
	}
	return nil
}

// Run answers until ctx ends; what was taken by then is still answered. It may
// run once.
func (s *Server) Run(ctx context.Context) {
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() { s.every(ctx, time.Minute, "rotate token keys", s.rotate) })
	parts.Go(func() { s.every(ctx, max(s.o.Rules.Interval, 100*time.Millisecond), "read budgets", s.poll) })
	parts.Go(func() { s.sweeps(ctx) })
	parts.Go(func() { s.every(ctx, time.Hour, "tidy up", s.tidy) })
	s.groups(ctx)
	s.endWatchers()
}

// every does something now and each interval; what fails is tried again within
// a second or the interval.
func (s *Server) every(ctx context.Context, interval time.Duration, doing string, do func(context.Context) error) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		next := interval
		err := do(ctx)
		if err != nil && ctx.Err() == nil {
			next = min(interval, time.Second)
			if !failing {
				s.log.Error("cannot "+doing, "error", err)
			}
		}
		failing = err != nil
		timer.Reset(next)
	}
}

func (s *Server) rotate(ctx context.Context) error {
	keys, err := ledger.RotateKeys(ctx, s.store, time.Now().UnixMilli(), s.o.Rules, func() []byte {
		secret := make([]byte, 32)
		_, _ = rand.Read(secret) // never fails
		return secret
	})
	if err == nil {
		s.keys.Store(&keys)
	}
	return err
}

// poll brings what other cores, and people, have done to budgets.
func (s *Server) poll(ctx context.Context) error {
	oldest := ledger.OldestDay(time.Now().UnixMilli())
	mark := s.feed.mark()
	var budgets []ledger.Budget
	if err := s.store.Budgets(ctx, oldest, func(b ledger.Budget) { budgets = append(budgets, b) }); err != nil {
		return err
	}
	s.feed.read(budgets, mark)
	s.feed.forget(oldest)
	return nil
}

// tidy drops what nobody will ask for again.
func (s *Server) tidy(ctx context.Context) error {
	for {
		holders, events, err := ledger.Tidy(ctx, s.store, time.Now().UnixMilli())
		if err != nil || holders+events == 0 {
			return err
		}
		s.log.Info("tidied up", "holders", holders, "events", events)
	}
}

// sweepInterval is how often what is due is looked for.
const sweepInterval = 10 * time.Second

func (s *Server) sweeps(ctx context.Context) {
	started := time.Now()
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-s.sweep:
		}
		rules := s.o.Rules
		if time.Since(started) < s.o.Patience {
			rules.FenceAfter = 0
		}
		swept, err := ledger.Sweep(ctx, s.store, time.Now().UnixMilli(), rules)
		s.stats.Expired.Add(int64(len(swept.Expired)))
		s.stats.Judged.Add(int64(swept.Judged.Events))
		s.stats.HomeLost.Add(int64(swept.Judged.Lost))
		s.feed.note(swept.Judged.Budgets)
		for _, id := range swept.Expired {
			s.log.Error("holder closed for its silence", "holder", id, "fence_after", rules.FenceAfter)
		}
		if err != nil && ctx.Err() == nil {
			s.log.Error("cannot judge and expire", "error", err)
		}
	}
}

// wakeSweep asks for a sweep soon.
func (s *Server) wakeSweep() {
	select {
	case s.sweep <- struct{}{}:
	default:
	}
}

// Register implements wireconnect.ExchangeHandler. The join token was checked.
func (s *Server) Register(ctx context.Context, r *wire.RegisterRequest) (*wire.RegisterResponse, error) {
	keys := s.keys.Load()
	if keys == nil {
		return nil, connect.NewError(connect.CodeUnavailable, errors.New("the core is starting"))
	}
	if err := ledger.ValidateRegister(r); err != nil {
		return nil, s.invalid(err)
	}
	if only := callerOf(ctx).join.Region; only != "" && only != r.GetRegion() {
		return nil, connect.NewError(connect.CodePermissionDenied, fmt.Errorf("region: the join token is for %s", only))
	}
	if err := s.checkRequest(r.GetCsr()); err != nil {
		return nil, err
	}
	secret, now := newSecret(), time.Now()
	got, err := ledger.Register(ctx, s.store, r, ledger.Hash(secret), now.UnixMilli(), s.o.Rules)
	switch {
	case errors.Is(err, ledger.ErrNameHeld):
		return nil, connect.NewError(connect.CodeAlreadyExists, err)
	case errors.Is(err, ledger.ErrForgotten):
		return nil, connect.NewError(connect.CodeUnavailable, err)
	case err != nil:
		s.log.Error("cannot register", "region", r.GetRegion(), "node", r.GetNode(), "error", err)
		return nil, away()
	}
	if got.Fenced != 0 {
		s.log.Error("holder fenced: another state directory took its name", "holder", got.Fenced, "by", got.Holder, "region", r.GetRegion(), "node", r.GetNode())
	}
	id := trust.Identity{Region: r.GetRegion(), Node: r.GetNode(), Holder: got.Holder}
	certificate, authorities, issued, err := s.sign(r.GetCsr(), id, now)
	if err == nil {
		err = s.store.Issue(ctx, got.Holder, issued)
	}
	if err == nil {
		err = s.store.Joined(ctx, callerOf(ctx).join.ID, now.UnixMilli())
	}
	if err != nil { // it registers again, and stays the same holder
		s.log.Error("cannot register", "region", r.GetRegion(), "node", r.GetNode(), "error", err)
		return nil, away()
	}
	s.known.drop(got.Holder)
	s.log.Info("registered", "holder", got.Holder, "region", r.GetRegion(), "node", r.GetNode(), "version", r.GetVersion(),
		"join_token", callerOf(ctx).join.ID, "certificate", len(certificate) > 0)
	return &wire.RegisterResponse{
		Holder: got.Holder, Secret: fmt.Sprintf("%d.%s", got.Holder, secret), Keys: *keys,
		Certificate: certificate, Authorities: authorities, Stamp: got.Stamp,
	}, nil
}

// Renew implements wireconnect.ExchangeHandler.
func (s *Server) Renew(ctx context.Context, r *wire.RenewRequest) (*wire.RenewResponse, error) {
	if err := own(ctx, r.GetHolder()); err != nil {
		return nil, err
	}
	if r.GetProtocol() != exchange.Protocol {
		return nil, s.invalid(ledger.ErrProtocol)
	}
	if err := s.checkRequest(r.GetCsr()); err != nil {
		return nil, err
	}
	who, secret, now := callerOf(ctx), newSecret(), time.Now()
	id := trust.Identity{Region: who.credential.Region, Node: who.credential.Node, Holder: who.holder}
	certificate, authorities, issued, err := s.sign(r.GetCsr(), id, now)
	if err == nil {
		issued.NextSecret = ledger.Hash(secret)
		err = s.store.Issue(ctx, who.holder, issued)
	}
	if err != nil {
		s.log.Error("cannot renew a credential", "holder", who.holder, "error", err)
		return nil, away()
	}
	s.known.drop(who.holder)
	s.log.Info("credential renewed", "holder", who.holder, "region", id.Region, "node", id.Node, "certificate", len(certificate) > 0)
	return &wire.RenewResponse{Secret: fmt.Sprintf("%d.%s", who.holder, secret), Certificate: certificate, Authorities: authorities}, nil
}

func newSecret() string {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails
	return hex.EncodeToString(random[:])
}

// checkRequest refuses a request for a certificate that could not be answered.
func (s *Server) checkRequest(csr []byte) error {
	if len(csr) == 0 {
		return nil
	}
	if _, err := trust.ParseRequest(csr); err != nil {
		return s.invalid(err)
	}
	return nil
}

// sign answers a request for a certificate, where there is one and this core
// signs.
func (s *Server) sign(csr []byte, id trust.Identity, now time.Time) (chain [][]byte, authorities []byte, issued ledger.Issued, err error) {
	issued.At = now.UnixMilli()
	if s.o.Certificates == nil || len(csr) == 0 {
		return nil, nil, issued, nil
	}
	cert, err := s.o.Certificates.Sign(csr, id, now)
	if err != nil || cert == nil {
		return nil, nil, issued, err
	}
	roots := s.o.Certificates.Roots()
	if signer := roots.Signer(cert); signer != nil {
		issued.Authority = trust.Fingerprint(signer)
	}
	issued.Expires = cert.NotAfter.UnixMilli()
	return [][]byte{cert.Raw}, roots.PEM, issued, nil
}

// renewal reports whether a holder is to renew its credential, and notes what it
// goes by where that is new.
func (s *Server) renewal(ctx context.Context, c caller, trusts []byte) bool {
	now := time.Now()
	if s.o.Certificates != nil {
		sum := s.o.Certificates.Roots().Sum
		if !bytes.Equal(trusts, sum[:]) {
			return len(trusts) > 0 || c.credential.Authority != ""
		}
		if !bytes.Equal(c.credential.Trust, trusts) {
			if err := s.store.Trusted(ctx, c.holder, trusts); err != nil {
				s.log.Error("cannot note what a holder goes by", "holder", c.holder, "error", err)
			}
			s.known.drop(c.holder)
		}
	}
	return now.UnixMilli()-c.credential.IssuedAt > s.o.Renewal.Milliseconds()
}

// HandIn implements wireconnect.ExchangeHandler.
func (s *Server) HandIn(ctx context.Context, r *wire.HandInRequest) (*wire.HandInResponse, error) {
	by := callerOf(ctx).holder
	if by == 0 {
		return nil, errDenied
	}
	if err := ledger.ValidateHandIn(r); err != nil {
		return nil, s.invalid(err)
	}
	response, err := ledger.HandInBy(ctx, s.store, r, by, time.Now().UnixMilli())
	switch {
	case errors.Is(err, ledger.ErrStranger):
		return nil, connect.NewError(connect.CodePermissionDenied, err)
	case errors.Is(err, ledger.ErrNoHolder):
		return nil, connect.NewError(connect.CodeNotFound, err)
	case errors.Is(err, ledger.ErrForgotten):
		return nil, connect.NewError(connect.CodeUnavailable, err)
	case errors.Is(err, ledger.ErrNotFenced):
		return nil, connect.NewError(connect.CodeFailedPrecondition, err)
	case errors.Is(err, ledger.ErrBehind), errors.Is(err, ledger.ErrRetired): // asking again will not help
		return nil, connect.NewError(connect.CodeOutOfRange, err)
	case err != nil:
		s.log.Error("cannot take a hand-in", "holder", r.GetHolder(), "error", err)
		return nil, away()
	}
	if by != r.GetHolder() && len(r.GetWindows())+len(r.GetLate()) == 0 && !r.GetLast() {
		return response, nil // it only asked
	}
	s.log.Info("handed in", "holder", r.GetHolder(), "by", by, "windows", len(r.GetWindows()), "late", len(r.GetLate()), "last", r.GetLast())
	s.wakeSweep()
	return response, nil
}

// Fence implements wireconnect.ExchangeHandler. Saying it again changes nothing.
func (s *Server) Fence(ctx context.Context, r *wire.FenceRequest) (*wire.FenceResponse, error) {
	if err := own(ctx, r.GetHolder()); err != nil {
		return nil, err
	}
	if err := ledger.ValidateFence(r); err != nil {
		return nil, s.invalid(err)
	}
	err := ledger.Fence(ctx, s.store, r.GetHolder(), "by itself: "+r.GetReason(), time.Now().UnixMilli())
	switch {
	case errors.Is(err, ledger.ErrNotOpen): // it was before, or has drained
	case err != nil:
		s.log.Error("cannot fence a holder that asks for it", "holder", r.GetHolder(), "error", err)
		return nil, away()
	default:
		s.stats.Fenced.Add(1)
		s.log.Warn("holder fenced", "holder", r.GetHolder(), "reason", r.GetReason())
		s.drop(r.GetHolder())
	}
	return &wire.FenceResponse{}, nil
}

// State implements wireconnect.ExchangeHandler. Either the holder's credential
// or a join token was checked.
func (s *Server) State(ctx context.Context, r *wire.StateRequest) (*wire.StateResponse, error) {
	if err := ledger.ValidateState(r); err != nil {
		s.log.Warn("statement refused", "holder", r.GetStatement().GetHolder(), "error", err)
		return nil, s.invalid(err)
	}
	who := callerOf(ctx)
	if who.holder != 0 && who.holder != r.GetStatement().GetHolder() {
		return nil, own(ctx, r.GetStatement().GetHolder())
	}
	if only := who.join.Region; only != "" && only != r.GetStatement().GetRegion() {
		return nil, connect.NewError(connect.CodePermissionDenied, fmt.Errorf("statement.region: the join token is for %s", only))
	}
	taken, err := ledger.TakeStatement(ctx, s.store, r.GetStatement(), who.holder != 0, time.Now().UnixMilli())
	if err != nil {
		s.log.Error("cannot take a statement", "holder", r.GetStatement().GetHolder(), "error", err)
		return nil, away()
	}
	s.tell(taken.Notes)
	s.log.Info("a holder stated its account", "holder", r.GetStatement().GetHolder(), "answer", taken.Status, "leases", len(r.GetStatement().GetTotals().GetBudget()))
	return &wire.StateResponse{Status: taken.Status}, nil
}

// away is told instead of a store's error, which is nothing to an edge.
func away() error {
	return connect.NewError(connect.CodeUnavailable, errors.New("the core cannot reach its database"))
}

// invalid refuses what no edge of ours would say.
func (s *Server) invalid(err error) error {
	s.stats.Refused.Add(1)
	if errors.Is(err, ledger.ErrProtocol) {
		return connect.NewError(connect.CodeFailedPrecondition, err)
	}
	return connect.NewError(connect.CodeInvalidArgument, errors.New(strings.ReplaceAll(err.Error(), "\n", "; ")))
}
