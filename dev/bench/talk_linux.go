package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// talk is the client: one thread that asks the kernel over and over what has
// arrived and, but for a script that says so, never sleeps. A client that sleeps
// is woken by the server's write, which is charged for it, and the idler the
// client, the more often: the slower server would pay for being slow. One that
// does not sleep needs a processor of its own.
func talk(ctx context.Context, addr string, s script, connections int, until time.Time, out *sample) (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", addr, err)
	}
	poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("make an epoll: %w", err)
	}
	defer unix.Close(poll)
	c := &client{script: s, out: out, byFD: map[int32]*connection{}}
	defer func() { err = errors.Join(err, c.close()) }()
	for range connections {
		request := s.next()
		if request == nil {
			break
		}
		if err := c.connect(poll, to, request); err != nil {
			return err
		}
	}
	events := make([]unix.EpollEvent, connections)
	pause := 0 // milliseconds
	if s.sleeps {
		pause = 10
	}
	last := until.Add(10 * time.Second) // for what was asked before the end
	for c.open > 0 {
		n, err := unix.EpollWait(poll, events, pause)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for answers: %w", err)
		}
		now := time.Now()
		more := now.Before(until)
		for _, e := range events[:max(n, 0)] {
			if err := c.read(c.byFD[e.Fd], more); err != nil {
				return err
			}
		}
		if n <= 0 && !more {
			if err := ctx.Err(); err != nil {
				return err
			}
			if now.After(last) {
				return fmt.Errorf("%d requests were not answered within 10 s", c.open)
			}
		}
	}
	return ctx.Err()
}

type client struct {
	script script
	out    *sample
	byFD   map[int32]*connection
	open   int // connections with an answer to come
}

type connection struct {
	fd   int
	in   []byte // of one answer
	sent time.Time
}

func (c *client) connect(poll int, to netip.AddrPort, request []byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make a socket: %w", err)
	}
	conn := &connection{fd: fd, in: make([]byte, 0, maxAnswer)}
	c.byFD[int32(fd)] = conn
	err = errors.Join(
		unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.SetNonblock(fd, true),
		unix.EpollCtl(poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}))
	if err != nil {
		return fmt.Errorf("connect to %s: %w", to, err)
	}
	c.open++
	return conn.write(request)
}

// write sends a whole request, which is far smaller than the socket's buffer.
func (conn *connection) write(request []byte) error {
	conn.in, conn.sent = conn.in[:0], time.Now()
	n, err := unix.Write(conn.fd, request)
	if err == nil && n < len(request) {
		err = errors.New("the socket is full")
	}
	if err != nil {
		return fmt.Errorf("send a request: %w", err)
	}
	return nil
}

// read takes what has arrived, and sends the next request where that was a
// whole answer.
func (c *client) read(conn *connection, more bool) error {
	n, err := unix.Read(conn.fd, conn.in[len(conn.in):cap(conn.in)])
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return nil
	case err != nil:
		return fmt.Errorf("read an answer: %w", err)
	case n == 0:
		return errors.New("read an answer: the server hung up, or the answer is too long")
	}
	conn.in = conn.in[:len(conn.in)+n]
	body, length, err := answered(conn.in)
	if err != nil || length == 0 {
		return err
	}
	c.out.note(body, time.Since(conn.sent))
	if c.script.heard != nil {
		c.script.heard(body)
	}
	if more {
		if request := c.script.next(); request != nil {
			return conn.write(request)
		}
	}
	c.open--
	return nil
}

func (c *client) close() (err error) {
	for _, conn := range c.byFD {
		err = errors.Join(err, unix.Close(conn.fd))
	}
	return err
}
