package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"nearside/core/admin"
	"nearside/core/ingest"
	"nearside/core/ops"
	"nearside/core/postgres"
	"nearside/core/publish"
)

// stopTime is how long requests in flight may take once the core stops.
const stopTime = 10 * time.Second

type serveCommand struct {
	AdminListen string `help:"Where people and scripts come in." env:"NEARSIDE_ADMIN_LISTEN" default:"127.0.0.1:8080" placeholder:"HOST:PORT"`
	SyncListen  string `help:"Where edges come in. Default: the admin port + 1." env:"NEARSIDE_SYNC_LISTEN" placeholder:"HOST:PORT"`
	OpsListen   string `help:"Readiness, metrics and profiles; not for the public. Default: the admin port + 2." env:"NEARSIDE_OPS_LISTEN" placeholder:"HOST:PORT"`
}

// Validate is called by kong once everything is read.
func (c *serveCommand) Validate() error {
	if err := address("--admin-listen", c.AdminListen); err != nil {
		return err
	}
	if c.SyncListen == "" {
		c.SyncListen = beside(c.AdminListen, 1)
	}
	if err := address("--sync-listen", c.SyncListen); err != nil {
		return err
	}
	if c.OpsListen == "" {
		c.OpsListen = beside(c.AdminListen, 2)
	}
	return address("--ops-listen", c.OpsListen)
}

func (c *serveCommand) Run(e *env) error {
	return e.database(func(db *postgres.DB) error {
		publisher := publish.New(db, e.log)
		if err := publisher.Prime(e.ctx); err != nil {
			return fmt.Errorf("publish the catalog (was nearside-core migrate run?): %w", err)
		}
		api := admin.New(db, admin.Options{Version: versionText(), Wake: publisher.Wake, Log: e.log})
		edges := ingest.New(db.Ledger(), publisher, ingest.Options{Log: e.log})
		syncMux := http.NewServeMux()
		syncMux.Handle(edges.Handler())
		port := ops.New(e.log, versionText(),
			ops.Check{Name: "exchange", Look: edges.Ready},
			ops.Check{Name: "database", Look: db.Ping},
			ops.Check{Name: "catalog", Look: func(context.Context) error {
				if version, _ := publisher.Current(); version == 0 {
					return errors.New("no catalog version is published")
				}
				return nil
			}},
		)
		measure(port, db, publisher, api)

		ctx, stop := context.WithCancel(context.WithoutCancel(e.ctx))
		defer stop()
		var parts sync.WaitGroup
		defer parts.Wait()
		defer stop()
		parts.Go(func() { publisher.Run(ctx) })

		parts.Go(func() { edges.Run(ctx) })

		failures := make(chan error, 3)
		servers := []*server{
			{name: "admin", address: c.AdminListen, handler: api},
			{name: "sync", address: c.SyncListen, handler: syncMux, slow: true, h2c: true},
			{name: "ops", address: c.OpsListen, handler: port, slow: true},
		}
		for _, s := range servers {
			if err := s.start(ctx, e.log, failures); err != nil {
				return err
			}
			defer s.stop()
		}
		select {
		case <-e.ctx.Done():
			e.log.Info("stopping")
			port.Stopping()
			return nil
		case err := <-failures:
			return err
		}
	})
}

// server is one listening port.
type server struct {
	name    string
	address string
	handler http.Handler
	slow    bool // answers may take long (profiles, streams)
	h2c     bool // also speaks HTTP/2 without TLS, which the exchange needs

	http *http.Server
	done chan struct{} // closed when nothing serves any more
}

// start listens; failures hears when serving ends by itself.
func (s *server) start(ctx context.Context, log *slog.Logger, failures chan<- error) error {
	listener, err := net.Listen("tcp", s.address)
	if err != nil {
		return fmt.Errorf("--%s-listen: %w", s.name, err)
	}
	s.http = &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(log.With("port", s.name).Handler(), slog.LevelDebug),
	}
	if s.slow {
		s.http.ReadTimeout, s.http.WriteTimeout = 0, 0
	}
	if s.h2c {
		var protocols http.Protocols
		protocols.SetHTTP1(true)
		protocols.SetUnencryptedHTTP2(true)
		s.http.Protocols = &protocols
	}
	s.done = make(chan struct{})
	go func() {
		defer close(s.done)
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			failures <- fmt.Errorf("serve %s: %w", s.name, err)
		}
	}()
	log.Info("listening", "port", s.name, "address", listener.Addr().String())
	return nil
}

// stop lets requests in flight end, and waits for the server.
func (s *server) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		_ = s.http.Close()
	}
	<-s.done
}
