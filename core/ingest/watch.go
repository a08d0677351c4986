package ingest

import (
	"context"
	"net/netip"
	"time"

	"connectrpc.com/connect"

	"nearside/core/ledger"
	"nearside/sync/exchange"
	"nearside/sync/wire"
)

// watcher is one open stream.
type watcher struct{ cancel context.CancelFunc }

// Watch implements wireconnect.ExchangeHandler.
func (s *Server) Watch(ctx context.Context, r *wire.WatchRequest, stream *connect.ServerStream[wire.WatchEvent]) error {
	if err := own(ctx, r.GetHolder()); err != nil {
		return err
	}
	if r.GetProtocol() != exchange.Protocol {
		return s.invalid(ledger.ErrProtocol)
	}
	ctx, leave := s.enter(ctx, r.GetHolder())
	defer leave()
	s.stats.Watching.Add(1)
	defer s.stats.Watching.Add(-1)
	who := callerOf(ctx)
	return s.push(ctx, r.GetCatalog(), r.GetDeltas(), r.GetControl(), stream.Send, func() error {
		_, err := s.prove(ctx, who.holder, who.hash, netip.Prefix{}, time.Now())
		if connect.CodeOf(err) == connect.CodeUnauthenticated {
			return err
		}
		return nil // it cannot be said now
	})
}

// enter makes this the only stream of the holder.
func (s *Server) enter(ctx context.Context, holder uint32) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	mine := &watcher{cancel}
	s.mu.Lock()
	if other := s.watchers[holder]; other != nil {
		other.cancel()
	}
	s.watchers[holder] = mine
	s.mu.Unlock()
	return ctx, func() {
		cancel()
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.watchers[holder] == mine {
			delete(s.watchers, holder)
		}
	}
}

// endWatchers ends every stream, so that the server can stop.
func (s *Server) endWatchers() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.watchers {
		w.cancel()
	}
}

// push sends what is newer than what the edge has, now and whenever it changes,
// until ctx ends, sending fails, or the edge's credential does not count any
// more, which is looked at with every heartbeat.
func (s *Server) push(ctx context.Context, catalog uint64, deltas bool, control uint64, send func(*wire.WatchEvent) error, valid func() error) error {
	changed := s.publisher.Subscribe(ctx)
	heartbeat := time.NewTicker(s.o.Heartbeat)
	defer heartbeat.Stop()
	for {
		if controls := s.publisher.Controls(control); len(controls) > 0 {
			control = controls[len(controls)-1].GetVersion()
			if err := send(&wire.WatchEvent{Controls: controls, ControlVersion: control}); err != nil {
				return err
			}
		}
		if version, bytes, steps := s.publisher.Newer(catalog, deltas); version > catalog {
			catalog = version
			if err := send(&wire.WatchEvent{Catalog: bytes, Deltas: steps, ControlVersion: s.publisher.ControlVersion()}); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return connect.NewError(connect.CodeCanceled, context.Cause(ctx))
		case <-s.stopped:
			return errStopping
		case <-changed:
		case <-heartbeat.C:
			if err := valid(); err != nil {
				return err
			}
			if err := send(&wire.WatchEvent{ControlVersion: s.publisher.ControlVersion()}); err != nil {
				return err
			}
		}
	}
}
