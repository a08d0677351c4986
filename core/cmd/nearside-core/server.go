package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// stopTime is how long requests in flight may take once the core stops.
const stopTime = 10 * time.Second

// server is one listening port.
type server struct {
	name    string // of the port: its flag is --name-listen
	address string
	handler http.Handler
	streams bool        // answers may take long, and HTTP/2 is spoken without TLS too
	tls     *tls.Config // nil: plain

	private bool // no secret passes here

	http *http.Server
	done chan struct{} // closed when nothing serves any more
}

// start listens; failures hears when serving ends by itself.
func (s *server) start(log *slog.Logger, failures chan<- error) error {
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
		ErrorLog:          slog.NewLogLogger(log.With("port", s.name).Handler(), slog.LevelDebug),
	}
	if s.streams {
		s.http.ReadTimeout, s.http.WriteTimeout = 0, 0
		s.http.Protocols = new(http.Protocols)
		s.http.Protocols.SetHTTP1(true)
		s.http.Protocols.SetUnencryptedHTTP2(true)
		// A stream to an edge that died without a word ends.
		s.http.HTTP2 = &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second, WriteByteTimeout: 30 * time.Second}
	}
	serve := s.http.Serve
	if s.tls != nil {
		s.http.TLSConfig = s.tls
		serve = func(l net.Listener) error { return s.http.ServeTLS(l, "", "") }
		if s.streams {
			s.http.Protocols.SetHTTP2(true)
			s.http.Protocols.SetUnencryptedHTTP2(false)
		}
	} else if !s.private && !loopback(listener.Addr()) {
		log.Warn("this port speaks plain HTTP beyond this machine: give it certificates in --tls-dir, or end TLS in front of it", "port", s.name)
	}
	s.done = make(chan struct{})
	go func() {
		defer close(s.done)
		if err := serve(listener); !errors.Is(err, http.ErrServerClosed) {
			failures <- fmt.Errorf("serve %s: %w", s.name, err)
		}
	}()
	log.Info("listening", "port", s.name, "address", listener.Addr().String(), "tls", s.tls != nil)
	return nil
}

func loopback(addr net.Addr) bool {
	at, ok := addr.(*net.TCPAddr)
	return ok && at.IP.IsLoopback()
}

// stop lets requests in flight end, and waits for the server.
func (s *server) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		_ = s.http.Close() // they had their time
	}
	<-s.done
}
