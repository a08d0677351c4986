package ingest

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"

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
			if connect.CodeOf(err) == connect.CodeUnauthenticated {
				s.stats.Denied.Add(1)
			}
			if !refuse.IsSupported(r) {
				http.Error(w, "not a call of the exchange", http.StatusUnsupportedMediaType)
				return
			}
			_ = refuse.Write(w, r, err) // the edge is gone
			return
		}
		if r.URL.Path == wireconnect.ExchangeRegisterProcedure {
			r.Body = http.MaxBytesReader(w, r.Body, maxRegister)
		}
		service.ServeHTTP(w, r.WithContext(ctx))
	})
}

func (s *Server) recovered(_ context.Context, spec connect.Spec, _ http.Header, p any) error {
	s.log.Error("a call of the exchange panicked", "procedure", spec.Procedure, "panic", p)
	return connect.NewError(connect.CodeInternal, errors.New("internal error"))
}

type holderKey struct{}

// own refuses a message that speaks for another holder than its credential.
func own(ctx context.Context, holder uint32) error {
	if id, _ := ctx.Value(holderKey{}).(uint32); id != holder || id == 0 {
		return connect.NewError(connect.CodePermissionDenied, errors.New("holder: expected the credential's own"))
	}
	return nil
}

var errDenied = connect.NewError(connect.CodeUnauthenticated, errors.New("the credential is not valid here"))

// admit checks the credential before the body is read.
func (s *Server) admit(r *http.Request) (context.Context, error) {
	secret, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || secret == "" || len(secret) > maxSecret {
		return nil, errDenied
	}
	ctx := r.Context()
	if r.URL.Path == wireconnect.ExchangeRegisterProcedure {
		may, err := lookup(ctx, s, func() (bool, error) { return s.store.MayJoin(ctx, ledger.Hash(secret)) })
		if err == nil && !may {
			err = errDenied
		}
		return ctx, err
	}
	number, secret, ok := strings.Cut(secret, ".")
	id, err := strconv.ParseUint(number, 10, 31)
	if !ok || err != nil || id == 0 {
		return nil, errDenied
	}
	holder, hash := uint32(id), ledger.Hash(secret)
	if !s.known.match(holder, hash) {
		// Unknown here, or changed: a directory that registers again gets a new one.
		kept, err := lookup(ctx, s, func() ([]byte, error) {
			h, found, err := s.store.Holder(ctx, holder)
			if !found || err != nil {
				return nil, err
			}
			return h.SecretHash, nil
		})
		if err != nil {
			return nil, err
		}
		if len(kept) == 0 || subtle.ConstantTimeCompare(kept, hash) != 1 {
			return nil, errDenied
		}
		s.known.keep(holder, kept)
	}
	return context.WithValue(ctx, holderKey{}, holder), nil
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

// credentials remembers secrets' hashes of holders that proved them.
type credentials struct {
	lookups chan struct{} // a token for each look-up in flight

	mu     sync.Mutex
	hashes map[uint32][]byte
}

func (c *credentials) match(holder uint32, hash []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return subtle.ConstantTimeCompare(c.hashes[holder], hash) == 1
}

func (c *credentials) keep(holder uint32, hash []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hashes[holder] = bytes.Clone(hash)
}

func (c *credentials) drop(holder uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.hashes, holder)
}
