package serve

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
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
	for {
		n, err := c.TCPConn.Read(b)
		if err != nil || !c.between || c.server == nil {
			return n, err
		}
		switch answered, err := c.answer(b[:n]); {
		case err != nil:
			return 0, err
		case !answered:
			return n, nil
		}
	}
}

// answer has the lane answer what was read.
func (c *conn) answer(b []byte) (answered bool, err error) {
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
		_, err = c.TCPConn.Write(answer)
	}
	s.works.Put(w)
	if c.state.Swap(resting) == ending && err == nil {
		err = net.ErrClosed
	}
	return answer != nil, err
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
