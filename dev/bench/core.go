package bench

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	"nearside/sync/wire"
	"nearside/sync/wire/wireconnect"
)

// generousCore is the other end of one edge's exchange for measurements of the
// edge alone: it registers anybody, has one catalog, and grants whatever is
// wanted. It keeps no books; it is no core.
type generousCore struct {
	wireconnect.UnimplementedExchangeHandler
	catalog []byte
	version uint64
	keys    []*wire.TokenKey

	mu      sync.Mutex
	granted map[int64]bool
}

// serveCore listens on loopback until stop is called, once or more.
func serveCore(version uint64, catalogBytes []byte) (url string, stop func() error, err error) {
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return "", nil, fmt.Errorf("make a token key: %w", err)
	}
	c := &generousCore{
		catalog: catalogBytes, version: version, granted: map[int64]bool{},
		keys: []*wire.TokenKey{{Id: 1, Secret: secret, SealFrom: time.Now().Add(-time.Hour).Unix()}},
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("listen for the exchange: %w", err)
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	mux := http.NewServeMux()
	mux.Handle(wireconnect.NewExchangeHandler(c))
	srv := &http.Server{Handler: mux, Protocols: &protocols, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }() // ends with ErrServerClosed
	return "http://" + l.Addr().String(), sync.OnceValue(func() error { err := srv.Close(); <-done; return err }), nil
}

func (c *generousCore) Register(context.Context, *wire.RegisterRequest) (*wire.RegisterResponse, error) {
	return &wire.RegisterResponse{Holder: 1, Secret: rand.Text(), Keys: c.keys}, nil
}

func (c *generousCore) Sync(_ context.Context, req *wire.SyncRequest) (*wire.SyncResponse, error) {
	res := &wire.SyncResponse{Cursor: req.GetSeal(), Catalog: c.version, Keys: c.keys, NowMs: time.Now().UnixMilli()}
	if b := req.GetBatch(); b != nil {
		res.Cursor = b.GetSeal()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range req.GetSide().GetWants() { // as the core does, only what is new is told
		if budget := w.GetBudget(); !c.granted[budget] {
			c.granted[budget] = true
			res.Leases = append(res.Leases, &wire.Grant{Budget: budget, Granted: 1 << 40, RecallTo: -1})
			res.Delivered = append(res.Delivered, &wire.Delivered{Budget: budget, Limit: 1 << 41, Unleased: 1 << 40})
		}
	}
	return res, nil
}

func (c *generousCore) Watch(ctx context.Context, req *wire.WatchRequest, s *connect.ServerStream[wire.WatchEvent]) error {
	if req.GetCatalog() < c.version {
		if err := s.Send(&wire.WatchEvent{Catalog: c.catalog}); err != nil {
			return err
		}
	}
	beat := time.NewTicker(time.Second)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
			if err := s.Send(&wire.WatchEvent{}); err != nil {
				return err
			}
		}
	}
}
