package serve

import (
	"cmp"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// deadlines keeps the connections' time limits without telling the runtime of
// each: three limits are set for every request, and nearly none is ever reached.
// A connection notes its limits, and all connections are looked at now and then,
// so that a limit ends what it limits up to every later than it says.
type deadlines struct {
	every  time.Duration
	shards [16]struct {
		mu    sync.Mutex
		conns map[*conn]struct{}
	}
	next atomic.Uint32 // the shard of the next connection
	now  atomic.Int64  // when connections were last looked at, unix nanoseconds

	begun    sync.Once
	stop     chan struct{}
	watching sync.WaitGroup
}

// start begins to look at connections, once.
func (d *deadlines) start() {
	d.begun.Do(func() {
		d.now.Store(time.Now().UnixNano())
		d.watching.Go(d.watch)
	})
}

// close ends that.
func (d *deadlines) close() {
	close(d.stop)
	d.watching.Wait()
}

func (d *deadlines) watch() {
	tick := time.NewTicker(d.every)
	defer tick.Stop()
	for {
		select {
		case <-d.stop:
			return
		case now := <-tick.C:
			d.look(now)
		}
	}
}

func (d *deadlines) look(now time.Time) {
	d.now.Store(now.UnixNano())
	for i := range d.shards {
		s := &d.shards[i]
		s.mu.Lock()
		for c := range s.conns {
			c.read.look(now.UnixNano(), c.TCPConn.SetReadDeadline)
			c.write.look(now.UnixNano(), c.TCPConn.SetWriteDeadline)
		}
		s.mu.Unlock()
	}
}

// listener gives the connections that it accepts their place in deadlines, and
// the lane.
type listener struct {
	net.Listener
	deadlines *deadlines
	server    *Server // nil: there is no lane
}

// Accept passes on what is not plain TCP as it is.
func (l *listener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	tcp, ok := accepted.(*net.TCPConn)
	if !ok {
		return accepted, err
	}
	d := l.deadlines
	c := &conn{TCPConn: tcp, of: d, shard: d.next.Add(1) % uint32(len(d.shards)), server: l.server}
	if addr, ok := tcp.RemoteAddr().(*net.TCPAddr); ok {
		c.remote = peer(addr.AddrPort())
	}
	s := &d.shards[c.shard]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		s.conns = map[*conn]struct{}{}
	}
	s.conns[c] = struct{}{}
	return c, err
}

// conn is a connection whose limits are noted, and whose plain requests the lane
// answers.
type conn struct {
	*net.TCPConn
	of          *deadlines
	shard       uint32
	remote      peer
	read, write limit

	server  *Server
	between bool          // two requests: the next byte begins one; the serving goroutine's
	state   atomic.Uint32 // of the lane and who closes

	// Of a Read while the lane has it.
	raw    syscall.RawConn
	turn   func(fd uintptr) (done bool) // take
	socket socket
	in     []byte
	n      int
	err    error
}

// States of a connection.
const (
	resting   = iota
	answering // the lane is
	ending    // it is, and the connection is to be closed then
	closed
)

// peer is who is at the other end.
type peer netip.AddrPort

func (p *peer) Network() string { return "tcp" }
func (p *peer) String() string  { return netip.AddrPort(*p).String() }

func (c *conn) RemoteAddr() net.Addr { return &c.remote }

// Read is how the HTTP server gets what is not for the lane.
func (c *conn) Read(b []byte) (int, error) {
	if !c.between || c.server == nil || len(b) == 0 {
		return c.TCPConn.Read(b)
	}
	if c.raw == nil {
		raw, err := c.SyscallConn()
		if err != nil {
			return 0, err
		}
		c.raw, c.turn = raw, c.take
	}
	c.in, c.n, c.err = b, 0, nil
	err := c.raw.Read(c.turn)
	c.in = nil
	return c.n, cmp.Or(c.err, err)
}

// take has the lane answer what arrives, for as long as it can. It returns false
// where there is nothing to read, to be called again when there is. The runtime
// calls it (RawConn), and forgets no event of the socket from one call to the next:
// so a connection of which all was read is waited for without another read, which
// would find nothing.
func (c *conn) take(fd uintptr) (done bool) {
	for {
		n, all, err := c.socket.receive(fd, c.in)
		switch {
		case errors.Is(err, syscall.EAGAIN):
			return false
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			c.err = &net.OpError{Op: "read", Net: "tcp", Addr: c.RemoteAddr(), Err: os.NewSyscallError("recvmsg", err)}
			return true
		case n == 0:
			c.err = io.EOF
			return true
		}
		switch answered, err := c.answer(fd, c.in[:n]); {
		case err != nil:
			c.err = err
			return true
		case !answered:
			c.n = n
			return true
		case all:
			return false
		}
	}
}

// answer has the lane answer what was read.
func (c *conn) answer(fd uintptr, b []byte) (answered bool, err error) {
	if !c.state.CompareAndSwap(resting, answering) {
		return false, net.ErrClosed // nobody is told that this request came
	}
	s := c.server
	w := s.works.Get().(*work)
	answer := s.lane(w, netip.AddrPort(c.remote).Addr(), b)
	if answer != nil {
		now := c.of.now.Load() + int64(c.of.every) // or a little later
		c.read.note(now + int64(s.http.IdleTimeout))
		c.write.note(now + int64(s.http.WriteTimeout))
		err = c.send(fd, answer)
	}
	s.works.Put(w)
	if c.state.Swap(resting) == ending && err == nil {
		err = net.ErrClosed
	}
	return answer != nil, err
}

// send writes an answer. What the socket has no room for, or does not take, is
// left to the ordinary way, which waits or says what is wrong.
func (c *conn) send(fd uintptr, answer []byte) error {
	n, err := c.socket.send(fd, answer)
	if err == nil && n == len(answer) {
		return nil
	}
	_, err = c.TCPConn.Write(answer[n:])
	return err
}

// Close does not wait for an answer of the lane, but lets it be sent: then the
// server is told that the connection is closed, and closes it.
func (c *conn) Close() error {
	for {
		switch c.state.Load() {
		case answering:
			if c.state.CompareAndSwap(answering, ending) {
				return nil
			}
		case ending:
			return nil
		case closed:
			return net.ErrClosed
		case resting:
			if c.state.CompareAndSwap(resting, closed) {
				s := &c.of.shards[c.shard]
				s.mu.Lock()
				delete(s.conns, c)
				s.mu.Unlock()
				return c.TCPConn.Close()
			}
		}
	}
}

func (c *conn) SetReadDeadline(t time.Time) error {
	return c.read.set(t, c.of, c.TCPConn.SetReadDeadline)
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	return c.write.set(t, c.of, c.TCPConn.SetWriteDeadline)
}

func (c *conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// limit is one of a connection's time limits.
type limit struct {
	at     atomic.Int64 // unix nanoseconds; 0: none
	passed atomic.Bool  // the runtime has been told that it is over
	mu     sync.Mutex   // around passed and telling the runtime
}

// set notes a limit. One that is over already, such as what interrupts a read,
// takes effect at once.
func (l *limit) set(t time.Time, d *deadlines, tell func(time.Time) error) error {
	at := int64(0)
	if !t.IsZero() {
		at = t.UnixNano()
	}
	l.at.Store(at)
	if at != 0 && at <= d.now.Load()+int64(d.every) {
		l.look(time.Now().UnixNano(), tell)
	}
	if !l.passed.Load() {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if at = l.at.Load(); at == 0 || at > time.Now().UnixNano() {
		l.passed.Store(false)
		return tell(time.Time{})
	}
	return nil
}

// note moves a limit that is not over to a time that is not near.
func (l *limit) note(at int64) {
	if l.at.Load() != at {
		l.at.Store(at)
	}
}

// look ends what the limit limits if it is over.
func (l *limit) look(now int64, tell func(time.Time) error) {
	if at := l.at.Load(); at == 0 || at > now || l.passed.Load() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if at := l.at.Load(); at == 0 || at > now { // it was set anew meanwhile
		return
	}
	l.passed.Store(true)
	_ = tell(time.Unix(0, 1)) // fails on a closed connection alone
}
