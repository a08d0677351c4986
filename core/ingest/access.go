package ingest

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	"nearside/core/ledger"
	"nearside/sync/wire/wireconnect"
)

// Bounds of bodies, after decompression.
const (
	maxRegister = 64 << 10
	maxMessage  = 64 << 20 // a drain's windows may be large
	maxSecret   = 256
)

// Handler serves the exchange: mount it at the path. HTTP/2 without TLS needs
// http.Protocols with unencrypted HTTP/2 on the server.
func (s *Server) Handler() (path string, handler http.Handler) {
	path, service := wireconnect.NewExchangeHandler(s, connect.WithReadMaxBytes(maxMessage), connect.WithRecover(s.recovered))
	refuse := connect.NewErrorWriter()
	return path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, err := s.admit(r)
		if err != nil {
			switch connect.CodeOf(err) {
			case connect.CodeUnauthenticated, connect.CodePermissionDenied, connect.CodeResourceExhausted:
				s.stats.Denied.Add(1)
			}
			if !refuse.IsSupported(r) {
				http.Error(w, "not a call of the exchange", http.StatusUnsupportedMediaType)
				return
			}
			_ = refuse.Write(w, r, err) // the edge is gone
			return
		}
		if r.URL.Path == wireconnect.ExchangeRegisterProcedure || r.URL.Path == wireconnect.ExchangeRenewProcedure {
			r.Body = http.MaxBytesReader(w, r.Body, maxRegister)
		}
		service.ServeHTTP(w, r.WithContext(ctx))
	})
}

func (s *Server) recovered(_ context.Context, spec connect.Spec, _ http.Header, p any) error {
	s.log.Error("a call of the exchange panicked", "procedure", spec.Procedure, "panic", p)
	return connect.NewError(connect.CodeInternal, errors.New("internal error"))
}

// caller is who makes a call: a holder, or somebody with a join token.
type caller struct {
	holder     uint32 // 0: the token speaks
	join       ledger.JoinToken
	credential ledger.Credential
	hash       []byte // of the secret
}

type callerKey struct{}

func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// own refuses a message that speaks for another holder than its credential.
func own(ctx context.Context, holder uint32) error {
	if id := callerOf(ctx).holder; id != holder || id == 0 {
		return connect.NewError(connect.CodePermissionDenied, errors.New("holder: expected the credential's own"))
	}
	return nil
}

var (
	errDenied  = connect.NewError(connect.CodeUnauthenticated, errors.New("the credential is not valid here"))
	errGuesses = connect.NewError(connect.CodeResourceExhausted, errors.New("too many wrong credentials came from this address: come back in a minute"))
)

// admit checks the credential before the body is read.
func (s *Server) admit(r *http.Request) (context.Context, error) {
	secret, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || secret == "" || len(secret) > maxSecret {
		return nil, errDenied
	}
	ctx, from, now := r.Context(), source(r.RemoteAddr), time.Now()
	if r.URL.Path == wireconnect.ExchangeRegisterProcedure {
		return s.join(ctx, secret, from, now)
	}
	of, err := s.holder(ctx, r, secret, from, now)
	if connect.CodeOf(err) == connect.CodeUnauthenticated && r.URL.Path == wireconnect.ExchangeStateProcedure {
		return s.join(ctx, secret, from, now) // of a holder that this core may have forgotten
	}
	return of, err
}

// join checks a join token.
func (s *Server) join(ctx context.Context, token string, from netip.Prefix, now time.Time) (context.Context, error) {
	if s.guesses.over(from, now) {
		return nil, errGuesses
	}
	var c caller
	may, err := lookup(ctx, s, func() (ok bool, err error) {
		c.join, ok, err = s.store.JoinToken(ctx, ledger.Hash(token), now.UnixMilli())
		return ok, err
	})
	if err != nil {
		return nil, err
	}
	if !may {
		s.guesses.wrong(from, now)
		return nil, errDenied
	}
	return context.WithValue(ctx, callerKey{}, c), nil
}

// holder checks a holder's credential; the context says whose it is.
func (s *Server) holder(ctx context.Context, r *http.Request, secret string, from netip.Prefix, now time.Time) (context.Context, error) {
	number, secret, ok := strings.Cut(secret, ".")
	id, err := strconv.ParseUint(number, 10, 31)
	if !ok || err != nil || id == 0 {
		return nil, errDenied
	}
	c := caller{holder: uint32(id), hash: ledger.Hash(secret)}
	if c.credential, err = s.prove(ctx, c.holder, c.hash, from, now); err != nil {
		return nil, err
	}
	if err := s.checkCertificate(r, &c, now); err != nil {
		return nil, err
	}
	return context.WithValue(ctx, callerKey{}, c), nil
}

// prove looks for a holder's credential, in memory if that was read lately, and
// compares its secret.
func (s *Server) prove(ctx context.Context, holder uint32, hash []byte, from netip.Prefix, now time.Time) (ledger.Credential, error) {
	known, fresh := s.known.find(holder, now)
	match := same(known.SecretHash, hash)
	if match && fresh {
		return known, nil
	}
	// Unknown here, or changed, or read too long ago: a directory that registers
	// again gets a new secret, and one that was revoked ends at every core.
	if !match && s.guesses.over(from, now) {
		return known, errGuesses
	}
	var kept ledger.Credential
	valid, err := lookup(ctx, s, func() (ok bool, err error) {
		if kept, ok, err = s.store.Credential(ctx, holder); err != nil || !ok {
			return false, err
		}
		if same(kept.SecretHash, hash) {
			return true, nil
		}
		if !same(kept.NextSecret, hash) {
			return false, nil
		}
		if ok, err = s.store.UseSecret(ctx, holder, hash); ok {
			kept.SecretHash, kept.NextSecret = hash, nil
			s.log.Info("a holder's secret was replaced", "holder", holder)
		}
		return ok, err
	})
	if err != nil {
		return kept, err
	}
	if !valid {
		s.known.drop(holder)
		s.guesses.wrong(from, now)
		return kept, errDenied
	}
	s.known.keep(holder, kept, now)
	return kept, nil
}

func same(kept, hash []byte) bool {
	return len(kept) > 0 && subtle.ConstantTimeCompare(kept, hash) == 1
}

// checkCertificate holds the certificate of a call against its secret, where
// this core asks for certificates: both have to be the same holder's.
func (s *Server) checkCertificate(r *http.Request, c *caller, now time.Time) error {
	if s.o.Certificates == nil {
		return nil
	}
	renews := r.URL.Path == wireconnect.ExchangeRenewProcedure
	if renews && len(c.credential.Trust) == 0 && (r.TLS == nil || len(r.TLS.PeerCertificates) == 0) {
		return nil // it joined when there were no certificates, or never heard of its first one
	}
	id, err := s.o.Certificates.Caller(r.TLS, now, renews)
	if err != nil {
		s.log.Info("a call without a certificate that counts", "holder", c.holder, "procedure", r.URL.Path, "error", err)
		return connect.NewError(connect.CodeUnauthenticated, errors.New("expected the holder's certificate: call Renew, or Register"))
	}
	mine := id.Holder == c.holder
	if r.URL.Path == wireconnect.ExchangeHandInProcedure { // a node hands in its former holders
		mine = mine || id.Region == c.credential.Region && id.Node == c.credential.Node
	}
	if !mine {
		s.log.Warn("a holder's secret came with another's certificate", "holder", c.holder, "certificate", id.String())
		return connect.NewError(connect.CodePermissionDenied, errors.New("the certificate is not the holder's"))
	}
	return nil
}

// lookup asks the store for the sake of somebody who may be an outsider: only
// few at a time.
func lookup[T any](ctx context.Context, s *Server, ask func() (T, error)) (T, error) {
	var none T
	select {
	case s.known.lookups <- struct{}{}:
	case <-ctx.Done():
		return none, connect.NewError(connect.CodeCanceled, ctx.Err())
	}
	defer func() { <-s.known.lookups }()
	got, err := ask()
	if err != nil {
		s.log.Error("cannot check a credential", "error", err)
		return none, away()
	}
	return got, nil
}

// rememberFor is how long a credential that was read counts without being read
// again: so long may one that was revoked still be shown.
const rememberFor = 10 * time.Second

// credentials remembers those of holders that proved them.
type credentials struct {
	lookups chan struct{} // a token for each look-up in flight

	mu   sync.Mutex
	kept map[uint32]remembered
}

type remembered struct {
	ledger.Credential
	at time.Time
}

func (c *credentials) find(holder uint32, now time.Time) (_ ledger.Credential, fresh bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.kept[holder]
	return r.Credential, now.Sub(r.at) < rememberFor
}

func (c *credentials) keep(holder uint32, credential ledger.Credential, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept[holder] = remembered{credential, now}
}

func (c *credentials) drop(holder uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.kept, holder)
}

// Wrong credentials from one address (of IPv6, one network of 64 bits): beyond
// mostGuesses in guessWindow they are refused without a look at the store.
const (
	mostGuesses  = 30
	guessWindow  = time.Minute
	mostGuessers = 4096 // remembered at a time
)

// guesses counts wrong credentials. Its zero value is ready.
type guesses struct {
	mu   sync.Mutex
	from map[netip.Prefix]*guesser
}

type guesser struct {
	since time.Time
	n     int
}

func (g *guesses) over(from netip.Prefix, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	who := g.from[from]
	return who != nil && now.Sub(who.since) < guessWindow && who.n >= mostGuesses
}

func (g *guesses) wrong(from netip.Prefix, now time.Time) {
	if !from.IsValid() {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	who := g.from[from]
	if who == nil || now.Sub(who.since) >= guessWindow {
		if len(g.from) >= mostGuessers {
			g.from = nil // whoever has so many addresses is not stopped by counting them
		}
		if g.from == nil {
			g.from = map[netip.Prefix]*guesser{}
		}
		who = &guesser{since: now}
		g.from[from] = who
	}
	who.n++
}

// source is the network that an address is counted under.
func source(remote string) netip.Prefix {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	addr, bits := at.Addr().Unmap(), 64
	if addr.Is4() {
		bits = 32
	}
	p, _ := addr.WithZone("").Prefix(bits) // fits the family
	return p
}
