// Package peer is the port on which the nodes of one region talk to each
// other: a view or click that arrived at the wrong node is judged by its home
// one hop away, and a node that lost the core takes catalog and controls from
// a peer that did not.
//
// # What it promises
//
// An answer to Judge means that the judgement is durable at the home. The port
// answers only callers that hold the region's key, and, where the node has an
// operator's ca.pem, that show the certificate of a node of this region; who
// calls then also knows that it is the holder it meant that answers. Nothing
// here creates credit:
// the home judges with its own leases, and its dedupe window makes a repeated
// Judge harmless.
//
// # How it fails
//
// A home that does not answer within the client's timeout may have judged all
// the same; the caller then keeps the event as a foreign one, the core passes it
// to the home, and the home finds it judged already. A node without keys opens
// no port: its region then has one node, or sends such events through the core.
//
// The port also takes the frames of other nodes' journals (edge/replica); its
// answer to Append means that they are durable here.
//
// # What it leaves out
package peer

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	"nearside/edge/credential"
	"nearside/edge/replica"
	"nearside/sync/trust"
	"nearside/sync/wire"
	"nearside/sync/wire/wireconnect"
)

const (
	maxRequest  = 8 << 20   // an Append, bytes
	maxResponse = 256 << 20 // a catalog, bytes
	idleFor     = 90 * time.Second
)

// ErrNotHome says that the node asked is not the event's home.
var ErrNotHome = errors.New("this node is not the event's home")

// Judge judges an event of its own holder and returns once that is durable,
// with the outcome of wire.Verdict. It returns ErrNotHome for another's event.
type Judge interface {
	Judge(ctx context.Context, event *wire.Event) (outcome uint32, err error)
}

// Source has the newest catalog bytes and controls that this node applied.
type Source interface {
	Catalog() (version uint64, published []byte)
	Controls(after uint64) (controls []*wire.Control, version uint64)
}

// Copies keeps the journals of other nodes of the region.
type Copies interface {
	Follow(ctx context.Context, r *wire.FollowRequest) (*wire.FollowResponse, error)
	Append(ctx context.Context, r *wire.AppendRequest) (*wire.AppendResponse, error)
}

// Bearer is what a caller shows, derived from one of the region's gossip keys,
// so that the key itself never travels.
func Bearer(key []byte) (string, error) {
	b, err := hkdf.Key(sha256.New, key, nil, "nearside peer port 1", 32)
	if err != nil {
		return "", fmt.Errorf("derive the peer credential: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}

// Server answers the peer port.
type Server struct {
	judge  Judge
	source Source
	copies Copies // nil: none are kept here

	credential *credential.Store // nil: plain HTTP
	region     string

	mu      sync.RWMutex
	bearers []string
}

// UseTLS makes the port speak TLS, with nodes of the region alone. It is called
// before Serve.
func (s *Server) UseTLS(c *credential.Store, region string) { s.credential, s.region = c, region }

type callerKey struct{}

// Caller is the node that makes a call, as its certificate says; not ok where
// the port speaks plain HTTP: then a caller is some node with the region's key.
func Caller(ctx context.Context) (trust.Identity, bool) {
	id, ok := ctx.Value(callerKey{}).(trust.Identity)
	return id, ok
}

// identified is the call's context with who makes it. The certificate was
// checked when the connection began; its time may have run out since.
func identified(r *http.Request) (context.Context, error) {
	if r.TLS == nil {
		return r.Context(), nil
	}
	if len(r.TLS.PeerCertificates) == 0 || time.Now().After(r.TLS.PeerCertificates[0].NotAfter) {
		return nil, errors.New("expected a certificate that is in time")
	}
	id, err := trust.Identify(r.TLS.PeerCertificates[0])
	return context.WithValue(r.Context(), callerKey{}, id), err
}

// NewServer answers callers that hold one of the keys. copies may be nil: then
// no journals are kept here.
func NewServer(judge Judge, source Source, copies Copies, keys [][]byte) (*Server, error) {
	s := &Server{judge: judge, source: source, copies: copies}
	if err := s.UseKeys(keys); err != nil {
		return nil, err
	}
	return s, nil
}

// UseKeys replaces the keys whose holders are answered.
func (s *Server) UseKeys(keys [][]byte) error {
	if len(keys) == 0 {
		return errors.New("peer port: at least one key is wanted")
	}
	bearers := make([]string, len(keys))
	for i, k := range keys {
		b, err := Bearer(k)
		if err != nil {
			return err
		}
		bearers[i] = "Bearer " + b
	}
	s.mu.Lock()
	s.bearers = bearers
	s.mu.Unlock()
	return nil
}

// Handler is the port's HTTP handler.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(wireconnect.NewPeerHandler((*service)(s), connect.WithReadMaxBytes(maxRequest)))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.authorized(r.Header.Get("Authorization")) {
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		ctx, err := identified(r)
		if err != nil {
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r.WithContext(ctx))
	})
}

func (s *Server) authorized(header string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	ok := 0
	for _, b := range s.bearers {
		ok |= subtle.ConstantTimeCompare([]byte(header), []byte(b))
	}
	return ok == 1
}

// service keeps the generated methods off Server's own set.
type service Server

func (s *service) Judge(ctx context.Context, req *wire.JudgeRequest) (*wire.JudgeResponse, error) {
	e := req.GetEvent()
	if k := e.GetKind(); k != 1 && k != 2 {
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("event.kind: %d, expected 1 (view) or 2 (click)", k))
	}
	outcome, err := s.judge.Judge(ctx, e)
	switch {
	case errors.Is(err, ErrNotHome):
		return nil, connect.NewError(connect.CodeNotFound, err)
	case err != nil:
		return nil, connect.NewError(connect.CodeUnavailable, fmt.Errorf("judge event %d of boot %x: %w", e.GetSeq(), e.GetBoot(), err))
	}
	return &wire.JudgeResponse{Outcome: outcome}, nil
}

func (s *service) News(_ context.Context, req *wire.NewsRequest) (*wire.NewsResponse, error) {
	res := &wire.NewsResponse{}
	if version, published := s.source.Catalog(); version > req.GetCatalog() {
		res.Catalog = published
	}
	res.Controls, res.ControlVersion = s.source.Controls(req.GetControl())
	return res, nil
}

var errNoCopies = connect.NewError(connect.CodeUnimplemented, errors.New("this node keeps no copies of journals"))

// mayCopy holds the holder that a message names against the certificate of who
// sent it.
func (s *service) mayCopy(ctx context.Context, holder uint32) error {
	if s.copies == nil {
		return errNoCopies
	}
	if id, ok := Caller(ctx); ok && id.Holder != holder {
		return connect.NewError(connect.CodePermissionDenied, fmt.Errorf("holder: %d, expected the certificate's own", holder))
	}
	return nil
}

func (s *service) Follow(ctx context.Context, req *wire.FollowRequest) (*wire.FollowResponse, error) {
	if err := s.mayCopy(ctx, req.GetHolder()); err != nil {
		return nil, err
	}
	res, err := s.copies.Follow(ctx, req)
	return res, refusal(err)
}

func (s *service) Append(ctx context.Context, req *wire.AppendRequest) (*wire.AppendResponse, error) {
	if err := s.mayCopy(ctx, req.GetHolder()); err != nil {
		return nil, err
	}
	res, err := s.copies.Append(ctx, req)
	return res, refusal(err)
}

// refusal gives the reasons of edge/replica their codes.
func refusal(err error) error {
	code := connect.CodeInternal
	switch {
	case err == nil:
		return nil
	case errors.Is(err, replica.ErrNoRoom):
		code = connect.CodeResourceExhausted
	case errors.Is(err, replica.ErrRolledBack):
		code = connect.CodeOutOfRange
	case errors.Is(err, replica.ErrSession), errors.Is(err, replica.ErrUnknown):
		code = connect.CodeFailedPrecondition
	}
	return connect.NewError(code, err)
}

// Client asks the peers of this node's region. Its methods may be called from
// any goroutine.
type Client struct {
	limit time.Duration

	credential *credential.Store // nil: plain HTTP
	region     string

	mu         sync.Mutex
	bearer     string
	http       *http.Client
	generation uint64 // of the credential that http's connections show
}

// NewClient shows the credential of the first key, and waits for a judgement
// for at most the limit.
func NewClient(keys [][]byte, limit time.Duration) (*Client, error) {
	c := &Client{limit: limit}
	return c, c.UseKeys(keys)
}

// UseKeys replaces the keys: it shows the first one's credential.
func (c *Client) UseKeys(keys [][]byte) error {
	if len(keys) == 0 {
		return errors.New("peer client: at least one key is wanted")
	}
	b, err := Bearer(keys[0])
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bearer = "Bearer " + b
	return nil
}

// UseTLS makes it speak TLS. It is called before anything is asked.
func (c *Client) UseTLS(credential *credential.Store, region string) {
	c.credential, c.region = credential, region
}

// now is what calls are made with: calls under a new certificate take new
// connections.
func (c *Client) now() (*http.Client, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var generation uint64
	if c.credential != nil {
		generation = c.credential.Generation()
	}
	if c.http != nil && generation == c.generation {
		return c.http, c.bearer
	}
	if c.http != nil {
		c.http.CloseIdleConnections()
	}
	var protocols http.Protocols
	dialer := net.Dialer{Timeout: c.limit}
	transport := &http.Transport{Protocols: &protocols, DialContext: dialer.DialContext, IdleConnTimeout: idleFor}
	if c.credential == nil {
		protocols.SetUnencryptedHTTP2(true)
	} else {
		protocols.SetHTTP2(true)
		transport.TLSClientConfig = c.credential.PeerClient(c.region)
		transport.TLSHandshakeTimeout = c.limit
		// The URL names the holder that is meant; where it is, the call says.
		transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			addr, _ := ctx.Value(addrKey{}).(string)
			return dialer.DialContext(ctx, network, addr)
		}
	}
	c.http, c.generation = &http.Client{Transport: transport}, generation
	return c.http, c.bearer
}

type addrKey struct{}

// Close drops idle connections.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.http != nil {
		c.http.CloseIdleConnections()
	}
}

// Judge has the node at addr, which is the event's home, judge it. ErrNotHome: it is not
// the home any more. Any other error leaves open whether it judged.
func (c *Client) Judge(ctx context.Context, addr string, event *wire.Event) (uint32, error) {
	ctx, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	peer, ctx := c.to(ctx, addr, event.GetHolder())
	res, err := peer.Judge(ctx, &wire.JudgeRequest{Event: event})
	if connect.CodeOf(err) == connect.CodeNotFound {
		return 0, ErrNotHome
	}
	if err != nil {
		return 0, fmt.Errorf("judge at %s: %w", addr, err)
	}
	return res.GetOutcome(), nil
}

// News asks the holder at addr for what is newer than these versions.
func (c *Client) News(ctx context.Context, addr string, holder uint32, catalogVersion, controlVersion uint64) (*wire.NewsResponse, error) {
	peer, ctx := c.to(ctx, addr, holder)
	res, err := peer.News(ctx, &wire.NewsRequest{Catalog: catalogVersion, Control: controlVersion})
	if err != nil {
		return nil, fmt.Errorf("news from %s: %w", addr, err)
	}
	return res, nil
}

// Follow asks a peer to keep a copy of this node's journal.
func (c *Client) Follow(ctx context.Context, p replica.Peer, r *wire.FollowRequest) (*wire.FollowResponse, error) {
	to, ctx := c.to(ctx, p.Addr, p.Holder)
	res, err := to.Follow(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("be followed by %s: %w", p.Addr, err)
	}
	return res, nil
}

// Append adds to the copy that a peer keeps.
func (c *Client) Append(ctx context.Context, p replica.Peer, r *wire.AppendRequest) (*wire.AppendResponse, error) {
	to, ctx := c.to(ctx, p.Addr, p.Holder)
	res, err := to.Append(ctx, r)
	if connect.CodeOf(err) == connect.CodeFailedPrecondition {
		return nil, fmt.Errorf("append to the copy at %s: %w", p.Addr, replica.ErrSession)
	}
	if err != nil {
		return nil, fmt.Errorf("append to the copy at %s: %w", p.Addr, err)
	}
	return res, nil
}

// to is the port of the holder at addr, for calls with the context.
func (c *Client) to(ctx context.Context, addr string, holder uint32) (wireconnect.PeerClient, context.Context) {
	client, bearer := c.now()
	url := "http://" + addr
	if c.credential != nil {
		url, ctx = "https://"+trust.EdgeName(holder), context.WithValue(ctx, addrKey{}, addr)
	}
	return wireconnect.NewPeerClient(client, url,
		connect.WithReadMaxBytes(maxResponse),
		connect.WithInterceptors(connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
			return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
				req.Header().Set("Authorization", bearer)
				return next(ctx, req)
			}
		}))), ctx
}

// Serve answers on the listener until ctx ends, then lets requests under way
// finish for at most the grace.
func (s *Server) Serve(ctx context.Context, l net.Listener, grace time.Duration) error {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{
		Handler: s.Handler(), Protocols: &protocols,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: 2 * idleFor, MaxHeaderBytes: 8 << 10,
	}
	serve := srv.Serve
	if s.credential != nil {
		protocols.SetHTTP2(true)
		protocols.SetUnencryptedHTTP2(false)
		srv.TLSConfig = s.credential.PeerServer(s.region)
		srv.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that failed, which outsiders write
		serve = func(l net.Listener) error { return srv.ServeTLS(l, "", "") }
	}
	failed := make(chan error, 1)
	go func() { failed <- serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve the peer port: %w", err)
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := srv.Shutdown(end)
	if err != nil {
		err = errors.Join(err, srv.Close())
	}
	if ended := <-failed; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}
