package world

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	gosync "sync"
	"time"
)

// forward passes connections to a loopback port on to the same port of a
// machine, as if whoever connects sat beside it.
type forward struct {
	listener net.Listener
	stop     context.CancelFunc
	running  gosync.WaitGroup
}

// forward opens forwarders to a machine's ports; without a Network the parts
// are on loopback themselves, and there is nothing to do.
func (w *World) forward(machine string, ports ...int) error {
	network := w.config.Network
	if network == nil {
		return nil
	}
	for _, port := range ports {
		l, err := net.Listen("tcp", address(port))
		if err != nil {
			return fmt.Errorf("forward to %s: %w", machine, err)
		}
		ctx, stop := context.WithCancel(context.Background())
		f := &forward{listener: l, stop: stop}
		w.forwards = append(w.forwards, f)
		to := w.config.at(machine, port)
		f.running.Go(func() {
			f.accept(ctx, func() (net.Conn, error) { return network.Dial(ctx, machine, to) })
		})
	}
	return nil
}

func (f *forward) accept(ctx context.Context, dial func() (net.Conn, error)) {
	for {
		near, err := f.listener.Accept()
		if ctx.Err() != nil {
			return
		}
		if err != nil { // too many open files, say: not the end
			time.Sleep(10 * time.Millisecond)
			continue
		}
		f.running.Go(func() {
			defer func() { _ = near.Close() }()
			far, err := dial()
			if err != nil {
				_ = near.(*net.TCPConn).SetLinger(0) // refused there, reset here
				return
			}
			defer func() { _ = far.Close() }()
			pipe(ctx, near.(*net.TCPConn), far.(*net.TCPConn))
		})
	}
}

// pipe carries bytes both ways until both ends are done or ctx ends.
func pipe(ctx context.Context, a, b *net.TCPConn) {
	stop := context.AfterFunc(ctx, func() { _ = errors.Join(a.Close(), b.Close()) })
	defer stop()
	var ways gosync.WaitGroup
	for _, way := range [][2]*net.TCPConn{{a, b}, {b, a}} {
		ways.Go(func() {
			if _, err := io.Copy(way[1], way[0]); err != nil {
				_ = errors.Join(a.Close(), b.Close()) // broken one way is broken
				return
			}
			_ = way[1].CloseWrite()
		})
	}
	ways.Wait()
}

func (f *forward) close() {
	f.stop()
	_ = f.listener.Close()
	f.running.Wait()
}
