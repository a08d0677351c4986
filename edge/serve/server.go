package serve

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/ristretto/v2"
	"github.com/valyala/fasthttp"

	"nearside/edge/creative"
	"nearside/edge/decision"
	"nearside/edge/visitor"
	"nearside/sync/catalog"
	"nearside/sync/token"
)

// Config is what an operator decides about the public port.
type Config struct {
	// PublicURL is what beacon URLs begin with, the region's own name. Empty:
	// whatever host a request came for.
	PublicURL string
	// Addresses says where a client's address is found.
	Addresses visitor.Addresses
	// CountryHeader names a header in which a trusted CDN sends the country.
	CountryHeader string
	// DebugHeaders sends X-Adserver-Reason and what is known of the visitor.
	DebugHeaders bool
	// RateLimits counts the views and clicks of one address.
	RateLimits bool
	// Views and clicks from these do not count.
	InternalIPs, BlockedIPs         []netip.Prefix
	BlockedAgents, BlockedReferrers []*regexp.Regexp
	LimitedASNs                     map[uint32]bool
	ASNRates                        []Rate
	OperatorTokens                  [][32]byte       // SHA-256 of each token that may have any decision explained
	Now                             func() time.Time // nil: the clock
	ReadTimeout                     time.Duration    // of one whole request; 0: 5 s
	Log                             *slog.Logger     // nil: none
}

// Judge gives offers their numbers and says what views and clicks are worth.
// Times are unix milliseconds.
type Judge interface {
	// Open opens the token of any node. ErrNoKeys where there is no key yet.
	Open(c *token.Claims, nonce []byte, now time.Time) error
	// Offer reserves room for one offer, without I/O, and gives it a number and
	// the sealer that the number belongs to. It is not ok while no offers are to
	// be made.
	Offer(flight, publisher uint32, viewPrice, now int64) (sealer *token.Sealer, seq uint64, ok bool)
	// Peek says what is known here of an offer, from memory.
	Peek(c *token.Claims) (known, viewed, clicked bool)
	// View and Click return once the verdict is durable: Billed, Exhausted,
	// Killed, OldNonce, Passed or HomeLost. An error says that it cannot be kept.
	View(ctx context.Context, c *token.Claims, at int64) (Reason, error)
	Click(ctx context.Context, c *token.Claims, at int64) (Reason, error)
	// ViewTime reports whether the offer's view counted, and had no time yet.
	ViewTime(c *token.Claims, seconds int) bool
}

// Tally counts for reports. It neither blocks nor allocates.
type Tally interface {
	Decision(publisher uint32, country [2]byte, flight uint32, topics token.Topics)
	Refusals(flight uint32, reason uint8, n int64)
}

// Visitors are the parts that say who asks.
type Visitors struct {
	Places interface {
		Of(netip.Addr) visitor.Place
	}
	Agents     *visitor.Agents
	Pseudonyms *visitor.Pseudonyms
}

// Server answers the public port. Everything but Apply may be called by any
// number of goroutines.
type Server struct {
	cfg      Config
	base     []byte // Config.PublicURL
	judge    Judge
	tally    Tally
	visitors Visitors
	ready    func() bool
	now      func() time.Time
	since    func(time.Time) time.Duration
	log      *slog.Logger

	loaded      atomic.Pointer[loaded]
	operators   atomic.Pointer[[][32]byte]
	candidates  *ristretto.Cache[uint64, *decision.Candidates]
	recent      recentCandidates
	questions   questions
	stats       Stats
	stickies    stickies
	frequencies frequencies
	sample      sampler
	records     records
	seed        maphash.Seed // of the stickies' keys
	views       *limiter
	clicks      *limiter
	asns        *limiter
	explains    *limiter
	explaining  sync.Mutex          // one explanation at a time
	blocked     map[netip.Addr]bool // BlockedIPs of one address each
	works       sync.Pool
	deadlines   deadlines
	patience    patience
	date        date
	http        *fasthttp.Server
}

// Limits of the port.
const (
	maxHeaders = 16 << 10
	maxBody    = 64 << 10
	idle       = 60 * time.Second
	// maxConnections are answered at a time; the next ones are refused.
	maxConnections = 1 << 16
	// judging is how long a beacon waits for its record to be durable.
	judging = 10 * time.Second
)

// New makes a server. Ready says what the bodyless twin of /readyz answers.
func New(cfg Config, judge Judge, tally Tally, visitors Visitors, ready func() bool) (*Server, error) {
	s := &Server{
		cfg: cfg, judge: judge, tally: tally, visitors: visitors, ready: ready,
		now: cfg.Now, log: cfg.Log, seed: maphash.MakeSeed(),
		views: newLimiter(viewRates), clicks: newLimiter(clickRates), asns: newLimiter(cfg.ASNRates), explains: newLimiter(explainRates),
		blocked: map[netip.Addr]bool{},
	}
	s.Operators(cfg.OperatorTokens)
	s.since = func(start time.Time) time.Duration { return s.now().Sub(start) }
	if s.now == nil {
		s.now, s.since = time.Now, time.Since // which asks one clock, not two
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if cfg.PublicURL != "" {
		s.base = bytes.TrimRight([]byte(cfg.PublicURL), "/")
		if !creative.SafeBase(s.base) {
			return nil, fmt.Errorf("public-url %q: expected http:// or https://, a host, perhaps a port and a path", cfg.PublicURL)
		}
	}
	if len(cfg.ASNRates) > maxRates {
		return nil, fmt.Errorf("asn rates: %d, expected at most %d", len(cfg.ASNRates), maxRates)
	}
	for _, p := range cfg.BlockedIPs {
		if p.IsSingleIP() {
			s.blocked[p.Addr()] = true
		}
	}
	var err error
	if s.candidates, err = newCandidates(); err != nil {
		return nil, fmt.Errorf("cache of candidates: %w", err)
	}
	s.works.New = func() any { return &work{out: make([]byte, laneHead, 4<<10)} }
	timeout := cfg.ReadTimeout
	if timeout == 0 {
		timeout = 5 * time.Second
	}
	s.deadlines.every, s.deadlines.stop = min(timeout/8, 500*time.Millisecond), make(chan struct{})
	s.http = &fasthttp.Server{
		Handler:               s.Handle,
		ErrorHandler:          s.malformed,
		ReadTimeout:           timeout,
		WriteTimeout:          timeout + judging,
		IdleTimeout:           idle,
		Concurrency:           maxConnections,
		ReadBufferSize:        maxHeaders,
		MaxRequestBodySize:    maxBody,
		NoDefaultServerHeader: true,
		NoDefaultContentType:  true,
		LazyRequestTime:       true,
		CloseOnShutdown:       true,
		TCPKeepalive:          true,
		// A form would be unpacked into files before anybody looks at it.
		DisablePreParseMultipartForm: true,
		Logger:                       silent{},
		ConnState: func(accepted net.Conn, state fasthttp.ConnState) {
			if c, ok := accepted.(*conn); ok {
				between(c, state)
			}
		},
	}
	return s, nil
}

// silent drops what fasthttp would log of connections, which outsiders write.
type silent struct{}

func (silent) Printf(string, ...any) {}

// Apply puts a catalog in force. Calls come one after the other.
func (s *Server) Apply(c *decision.Catalog) {
	l, bad := load(c)
	if bad > 0 {
		s.log.Warn("ad types with a broken template use the built-in one", "version", c.Version(), "ad_types", bad)
	}
	s.loaded.Store(l)
	s.candidates.Clear() // nobody asks for those of the catalog before
	s.recent.clear()
}

// Version is that of the catalog in force, 0 where there is none.
func (s *Server) Version() uint64 {
	if l := s.loaded.Load(); l != nil {
		return l.catalog.Version()
	}
	return 0
}

// Roll prepares the catalog in force for the day of now and the next: to be
// called at least once a day.
func (s *Server) Roll(books decision.Books) {
	if l := s.loaded.Load(); l != nil {
		l.catalog.Roll(books, catalog.DayOf(s.now()))
	}
}

// Stats are the server's counters.
func (s *Server) Stats() *Stats { return &s.stats }

// Serve answers connections of the listener until Shutdown.
func (s *Server) Serve(l net.Listener) error {
	s.deadlines.start()
	server := s
	if s.cfg.DebugHeaders { // the lane does not know them
		server = nil
	}
	return s.http.Serve(&listener{l, &s.deadlines, server})
}

// Connections is how much of what it may have open the server has, from 0 to 1.
func (s *Server) Connections() float64 {
	return float64(s.http.GetOpenConnectionsCount()) / maxConnections
}

// Shutdown stops listening and waits until requests under way are answered, or
// ctx ends.
func (s *Server) Shutdown(ctx context.Context) error { return s.http.ShutdownWithContext(ctx) }

// Close frees what New took; nothing may be served any more.
func (s *Server) Close() {
	s.deadlines.close()
	s.patience.close()
	s.candidates.Close()
}

// malformed answers what is not a request that can be read.
func (s *Server) malformed(ctx *fasthttp.RequestCtx, err error) {
	s.stats.Rejected.Add(1)
	var tooLong *fasthttp.ErrSmallBuffer
	var timeout net.Error
	status, detail := fasthttp.StatusBadRequest, "The request could not be read."
	switch {
	case errors.As(err, &tooLong):
		status, detail = fasthttp.StatusRequestHeaderFieldsTooLarge, "The request's headers are too large."
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		status, detail = fasthttp.StatusRequestEntityTooLarge, "The request's body is too large."
	case errors.As(err, &timeout) && timeout.Timeout():
		status, detail = fasthttp.StatusRequestTimeout, "The request took too long."
	}
	ctx.ResetBody()
	ctx.Response.Header.Reset()
	answer(ctx, status, appendDetail(nil, detail))
	ctx.SetConnectionClose()
}

// work is what one request needs; they are pooled.
type work struct {
	ask       ask
	wanted    *wanted // by the request: ask's, or a question's
	visit     visit
	request   decision.Request
	scratch   decision.Scratch
	outcome   decision.Outcome
	claims    token.Claims
	topics    token.Topics // of the page
	fill      creative.Fill
	sticky    sticky
	hash      maphash.Hash
	base      []byte
	out       []byte // an answer of the lane
	head      []byte
	nonce     []byte
	callback  []byte // of JSONP; empty: JSON
	number    []byte
	forwarded [1][]byte
	took      time.Duration // of the decision, 0 while it is not known
	capped    []uint32

	// Of the native API.
	slot  []decision.Placement // alternatives for one
	count int                  // offers wanted for it
	taken []uint32
}

// Paths of the port.
const (
	decisionPath  = "/api/v1/decision/"
	viewPrefix    = "/proxy/view/"
	clickPrefix   = "/proxy/click/"
	viewTimePrefx = "/proxy/viewtime/"
	readyPath     = "/readyz"
)

// Handle answers one request.
func (s *Server) Handle(ctx *fasthttp.RequestCtx) {
	w := s.works.Get().(*work)
	defer func() {
		if r := recover(); r != nil {
			// The stack, and nothing that an outsider wrote; w is not used again.
			s.stats.Panics.Add(1)
			s.log.Error("panic while answering", "stack", string(debug.Stack()))
			ctx.Response.Reset()
			answer(ctx, fasthttp.StatusInternalServerError, appendDetail(nil, "Internal error."))
			return
		}
		s.works.Put(w)
	}()
	path := ctx.Path()
	switch {
	case string(path) == decisionPath || string(path) == decisionPath[:len(decisionPath)-1]:
		s.decision(ctx, w)
	case hasPrefix(path, viewPrefix):
		s.beacon(ctx, w, View, path[len(viewPrefix):])
	case hasPrefix(path, clickPrefix):
		s.beacon(ctx, w, Click, path[len(clickPrefix):])
	case hasPrefix(path, viewTimePrefx):
		s.beacon(ctx, w, ViewTime, path[len(viewTimePrefx):])
	case string(path) == nativePath:
		if native(ctx) {
			start := s.now()
			w.took, w.callback = 0, w.callback[:0]
			s.observe(w, s.page(ctx, w, start), start)
		}
	case string(path) == explainPath:
		if native(ctx) {
			s.explain(ctx, w, s.now())
		}
	case string(path) == readyPath:
		noStore(ctx)
		ctx.SetStatusCode(fasthttp.StatusServiceUnavailable)
		if s.ready() {
			ctx.SetStatusCode(fasthttp.StatusOK)
		}
	default:
		notFound(ctx)
	}
}

func hasPrefix(b []byte, prefix string) bool {
	return len(b) >= len(prefix) && string(b[:len(prefix)]) == prefix
}

func notFound(ctx *fasthttp.RequestCtx) {
	answer(ctx, fasthttp.StatusNotFound, appendDetail(nil, "Not found."))
}

func notAllowed(ctx *fasthttp.RequestCtx, allow string) {
	ctx.Response.Header.Set(fasthttp.HeaderAllow, allow)
	answer(ctx, fasthttp.StatusMethodNotAllowed, appendDetail(nil, `Method "`+printable(ctx.Method())+`" not allowed.`))
}

// printable is a short outside word as it may be shown.
func printable(b []byte) string {
	return strings.ToValidUTF8(string(b[:min(len(b), 16)]), "?")
}

// answer sends a JSON body.
func answer(ctx *fasthttp.RequestCtx, status int, body []byte) {
	ctx.SetStatusCode(status)
	ctx.SetContentType("application/json")
	noStore(ctx)
	ctx.Response.Header.Set(fasthttp.HeaderXContentTypeOptions, "nosniff")
	ctx.SetBody(body)
}

func noStore(ctx *fasthttp.RequestCtx) {
	ctx.Response.Header.SetCanonical(cacheControl, noStoreValue)
}

// client is the address that a request comes from.
func (s *Server) client(ctx *fasthttp.RequestCtx) netip.Addr {
	var remote netip.Addr
	switch addr := ctx.RemoteAddr().(type) {
	case *peer:
		remote = netip.AddrPort(*addr).Addr()
	case *net.TCPAddr:
		remote = addr.AddrPort().Addr()
	}
	switch a := &s.cfg.Addresses; {
	case a.Header != "":
		return a.Client(remote, ctx.Request.Header.Peek(a.Header), nil)
	case a.Proxies > 0:
		return a.Client(remote, nil, ctx.Request.Header.PeekAll(fasthttp.HeaderXForwardedFor))
	}
	return s.cfg.Addresses.Client(remote, nil, nil)
}

// place is where a client is: its address looked up, the CDN's word for the
// country where there is one.
func (s *Server) place(addr netip.Addr, said []byte) visitor.Place {
	place := s.visitors.Places.Of(addr)
	if len(said) == 0 {
		return place
	}
	country, ok := visitor.ParseCountry(said)
	if ok && country == place.Country {
		return place
	}
	return visitor.Place{Country: country, Continent: visitor.ContinentOf(country), ASN: place.ASN}
}

// publicBase is what the URLs in an answer begin with, nil where the request's
// host cannot be used.
func (s *Server) publicBase(ctx *fasthttp.RequestCtx, w *work) []byte {
	if s.base != nil {
		return s.base
	}
	scheme := "http://"
	if ctx.IsTLS() || s.cfg.Addresses.Proxies > 0 && string(ctx.Request.Header.Peek(fasthttp.HeaderXForwardedProto)) == "https" {
		scheme = "https://"
	}
	w.base = append(append(w.base[:0], scheme...), ctx.Host()...)
	if !creative.SafeBase(w.base) || bytes.IndexByte(w.base[len(scheme):], '/') >= 0 {
		return nil
	}
	return w.base
}

// RandomKey is a key for pseudonyms that no other process has.
func RandomKey() (key [32]byte) {
	_, _ = rand.Read(key[:]) // never fails
	return key
}
