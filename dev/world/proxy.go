package world

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	neturl "net/url"
	"strings"
	gosync "sync"
	"sync/atomic"
	"time"

	"nearside/core/authority"
	"nearside/sync/trust"
)

// Fault is what a Proxy does to one exchange.
type Fault int

const (
	Pass        Fault = iota
	DropRequest       // the core never hears of it; the edge's connection breaks
	DropReply         // the core has done it; the edge's connection breaks
	Repeat            // the core gets it twice; the edge gets the second reply
	Stale             // the core has done it; the edge gets the reply to an earlier one
	Delay             // the reply comes Proxy.Late later
	faults
)

// String names the fault.
func (f Fault) String() string {
	return [...]string{"pass", "drop request", "drop reply", "repeat", "stale", "delay"}[f]
}

// Proxy stands between edges and the core's sync API and spoils exchanges
// (calls of Sync) as it is told. Everything else passes, streams included,
// unless the proxy is cut.
type Proxy struct {
	Late time.Duration // of Delay

	// Choose says what to do to an exchange; nil: all pass. It may be called
	// from many goroutines.
	choose atomic.Pointer[func() Fault]
	// after is called once the core has answered an exchange, before the edge
	// hears of it.
	after atomic.Pointer[func()]
	done  [faults]atomic.Int64

	listener net.Listener
	server   *http.Server
	target   *neturl.URL
	client   *http.Client
	pass     *httputil.ReverseProxy
	serving  gosync.WaitGroup

	authority *authority.Store // nil: plain HTTP

	mu    gosync.Mutex
	roots *trust.Roots                       // that what as shows was signed under
	as    map[trust.Identity]*http.Transport // by whose certificate they show
	last  map[string]*reply                  // the previous reply to each holder's Sync, by credential
	cut   bool
	conns map[net.Conn]struct{}
}

// reply is an answer kept whole.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// NewProxy starts a proxy to the sync API at target, on a free port. Where the
// target speaks TLS, dir is the core's TLS directory, as Config.TLSDir says: the
// proxy shows edges a core's certificate, and shows the core one of whichever
// edge it speaks for, which only whoever has the authority's key can.
func NewProxy(target, dir string) (*Proxy, error) {
	to, err := neturl.Parse(target)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{
		Late: 300 * time.Millisecond, listener: listener, target: to,
		last: map[string]*reply{}, conns: map[net.Conn]struct{}{}, as: map[trust.Identity]*http.Transport{},
	}
	// Edges speak HTTP/2 without TLS, knowing that the core does; so do we.
	both := new(http.Protocols)
	both.SetHTTP1(true)
	both.SetUnencryptedHTTP2(true)
	if to.Scheme == "https" {
		both.SetHTTP2(true)
		if err := p.certify(dir); err != nil {
			return nil, errors.Join(err, listener.Close())
		}
	}
	p.client = &http.Client{Transport: p}
	quiet := log.New(io.Discard, "", 0)
	p.pass = &httputil.ReverseProxy{
		Transport: p, FlushInterval: -1, ErrorLog: quiet,
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	p.server = &http.Server{Handler: p, Protocols: both, ErrorLog: quiet, ConnState: p.track}
	serve := p.server.Serve
	if p.authority != nil {
		p.server.TLSConfig = p.authority.Sync()
		serve = func(l net.Listener) error { return p.server.ServeTLS(l, "", "") }
	}
	p.serving.Go(func() { _ = serve(listener) }) // ends with Close
	return p, nil
}

func (p *Proxy) certify(dir string) (err error) {
	if p.authority, err = authority.Open(dir, slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	if !p.authority.Signs() {
		return fmt.Errorf("%s: expected ca.key", dir)
	}
	return nil
}

type callerKey struct{}

// RoundTrip implements http.RoundTripper: it asks the core as the edge whose
// certificate came with the request.
func (p *Proxy) RoundTrip(r *http.Request) (*http.Response, error) {
	id, _ := r.Context().Value(callerKey{}).(trust.Identity)
	t, err := p.transport(id)
	if err != nil {
		return nil, err
	}
	return t.RoundTrip(r)
}

// transport makes connections that show the certificate of an edge; none where
// it is the zero one.
func (p *Proxy) transport(id trust.Identity) (*http.Transport, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.authority != nil && p.authority.Roots() != p.roots { // what the former ones signed may count no more
		for _, t := range p.as {
			t.CloseIdleConnections()
		}
		clear(p.as)
		p.roots = p.authority.Roots()
	}
	if t := p.as[id]; t != nil {
		return t, nil
	}
	only2 := new(http.Protocols)
	only2.SetHTTP2(true)
	only2.SetUnencryptedHTTP2(true)
	t := &http.Transport{Protocols: only2}
	if p.authority != nil {
		t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(c tls.ConnectionState) error {
			return p.authority.Roots().Core(c.PeerCertificates, c.ServerName, time.Now())
		}}
		if id != (trust.Identity{}) {
			key, err := trust.NewKey()
			if err != nil {
				return nil, err
			}
			csr, err := trust.Request(key)
			if err != nil {
				return nil, err
			}
			cert, err := p.authority.Sign(csr, id, time.Now())
			if err != nil {
				return nil, err
			}
			t.TLSClientConfig.Certificates = []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}
		}
	}
	p.as[id] = t
	return t, nil
}

// URL is where edges find it.
func (p *Proxy) URL() string { return p.target.Scheme + "://" + p.listener.Addr().String() }

// Close ends it and every connection through it.
func (p *Proxy) Close() {
	_ = p.server.Close()
	p.serving.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range p.as {
		t.CloseIdleConnections()
	}
}

// Choose sets what is done to the exchanges from now on; nil: nothing.
func (p *Proxy) Choose(f func() Fault) {
	if f == nil {
		p.choose.Store(nil)
		return
	}
	p.choose.Store(&f)
}

// After sets what is called once the core has answered an exchange and before
// its edge hears of it; nil: nothing.
func (p *Proxy) After(f func()) {
	if f == nil {
		p.after.Store(nil)
		return
	}
	p.after.Store(&f)
}

// Done is how often a fault was done.
func (p *Proxy) Done(f Fault) int64 { return p.done[f].Load() }

// Cut breaks every connection and refuses new ones, or ends that.
func (p *Proxy) Cut(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
	if cut {
		for c := range p.conns {
			_ = c.Close()
		}
	}
}

func (p *Proxy) track(c net.Conn, s http.ConnState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch s {
	case http.StateNew:
		p.conns[c] = struct{}{}
		if p.cut {
			_ = c.Close()
		}
	case http.StateClosed, http.StateHijacked:
		delete(p.conns, c)
	}
}

// ServeHTTP passes a request on.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p.authority != nil {
		if id, err := p.authority.Caller(r.TLS, time.Now(), true); err == nil {
			r = r.WithContext(context.WithValue(r.Context(), callerKey{}, id))
		}
	}
	if !strings.HasSuffix(r.URL.Path, "/Sync") {
		p.pass.ServeHTTP(w, r)
		return
	}
	fault := Pass
	if choose := p.choose.Load(); choose != nil {
		fault = (*choose)()
	}
	if err := p.exchange(w, r, fault); err != nil {
		panic(http.ErrAbortHandler) // the edge sees its connection break
	}
}

var errDropped = errors.New("dropped")

func (p *Proxy) exchange(w http.ResponseWriter, r *http.Request, fault Fault) error {
	request, err := io.ReadAll(io.LimitReader(r.Body, 64<<20))
	if err != nil {
		return err
	}
	if fault == DropRequest {
		p.done[fault].Add(1)
		return errDropped
	}
	answer, err := p.forward(r.Context(), r, request)
	if err == nil && fault == Repeat {
		answer, err = p.forward(r.Context(), r, request)
	}
	if err != nil {
		return err
	}
	if after := p.after.Load(); after != nil {
		(*after)()
	}
	who := r.Header.Get("Authorization")
	p.mu.Lock()
	before := p.last[who]
	p.last[who] = answer
	p.mu.Unlock()
	switch {
	case fault == DropReply:
		p.done[fault].Add(1)
		return errDropped
	case fault == Stale && before == nil:
		fault = Pass // there is nothing earlier yet
	case fault == Stale:
		answer = before
	case fault == Delay:
		select {
		case <-time.After(p.Late):
		case <-r.Context().Done():
			return r.Context().Err()
		}
	}
	p.done[fault].Add(1)
	for name, values := range answer.header {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.status)
	_, err = w.Write(answer.body)
	return err
}

// forward sends a request to the core and keeps its whole answer.
func (p *Proxy) forward(ctx context.Context, r *http.Request, body []byte) (*reply, error) {
	to := *p.target
	to.Path = r.URL.Path
	req, err := http.NewRequestWithContext(ctx, r.Method, to.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header = r.Header.Clone()
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, fmt.Errorf("read the core's answer: %w", err)
	}
	return &reply{status: resp.StatusCode, header: resp.Header, body: answer}, nil
}
