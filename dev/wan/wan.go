//go:build linux

// Package wan is a wide-area network on one machine, for rehearsals: network
// namespaces as hosts, and between them links with delay, jitter, loss and
// bandwidth that can be cut and healed while programs run.
//
// # How it works
//
// Each host is a network namespace with one TUN device. A process that holds
// all TUN devices reads the packets of each host, looks up the link to the host
// of the destination address, waits as that link says, and writes them there.
// No kernel support for traffic shaping is needed; root and /dev/net/tun are.
//
// # What it promises
//
// A packet is never early: it arrives no sooner than the link's one-way delay
// after it was sent. Packets of one link keep their order. A cut link drops
// everything, as a router that is gone does: no error reaches the sender. A
// link's queue is bounded; what does not fit is dropped. Close removes the
// namespaces and devices that New made and no others; where the process was
// killed before it could, the next New does (see Sweep).
//
// # What it leaves out
//
// IPv6, and hosts that reach anything outside the world: a namespace has its
// loopback and its one link, so test traffic cannot leave the machine.
package wan

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	mtu       = 1500
	device    = "wan0"
	queueSize = 4096 // packets waiting on one link
	netnsDir  = "/run/netns/"
)

// Link is one direction between two hosts.
type Link struct {
	Delay     time.Duration // one way
	Jitter    time.Duration // added to Delay, uniformly from 0; order is kept
	Loss      float64       // share of packets dropped, 0..1
	Bandwidth int64         // bytes per second; 0: no limit
}

// Host is one machine of the world.
type Host struct {
	Name  string
	Addr  netip.Addr // 10.77.x.y
	netns string
	tun   *os.File
	index int
}

// World is a running network. Its methods may be called from any goroutine.
type World struct {
	hosts   []*Host
	byName  map[string]*Host
	byAddr  map[netip.Addr]*Host
	links   [][]*path // from, to
	claimed *os.File
	running sync.WaitGroup
	stop    context.CancelFunc
}

// path is one direction's state.
type path struct {
	link    atomic.Pointer[Link]
	cut     atomic.Bool
	queue   chan packet
	carried atomic.Int64
	dropped atomic.Int64
}

type packet struct {
	due  time.Time
	data []byte
}

// Missing says what a world needs and this machine lacks, or nil: tests skip
// with it as their reason.
func Missing() error {
	if os.Geteuid() != 0 {
		return errors.New("a WAN world needs root, to make network namespaces")
	}
	for _, tool := range []string{"ip", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("a WAN world needs the program %s (Debian: iproute2, util-linux)", tool)
		}
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return errors.New("a WAN world needs /dev/net/tun")
	}
	return nil
}

// New makes a namespace for each name and joins them all with the link that
// between says for a pair; nil gives links without delay. The prefix, at most
// 8 characters, keeps the namespaces of two worlds apart.
func New(prefix string, names []string, between func(a, b string) Link) (_ *World, err error) {
	if err := Missing(); err != nil {
		return nil, err
	}
	if len(names) == 0 || len(names) > 250 {
		return nil, fmt.Errorf("make a WAN world: %d hosts, expected 1 to 250", len(names))
	}
	if prefix == "" || len(prefix) > 8 || strings.ContainsAny(prefix, "/. ") {
		return nil, fmt.Errorf("make a WAN world: prefix %q, expected 1 to 8 plain characters", prefix)
	}
	if _, err := Sweep(); err != nil {
		return nil, err
	}
	claimed, err := claim(prefix)
	if err != nil {
		return nil, fmt.Errorf("make a WAN world: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	w := &World{byName: map[string]*Host{}, byAddr: map[netip.Addr]*Host{}, claimed: claimed, stop: stop}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	for i, name := range names {
		if w.byName[name] != nil {
			return w, fmt.Errorf("make a WAN world: two hosts are named %q", name)
		}
		h := &Host{Name: name, Addr: netip.AddrFrom4([4]byte{10, 77, 0, byte(i + 1)}), netns: prefix + "-" + name, index: i}
		if err := h.up(); err != nil {
			return w, fmt.Errorf("make host %s: %w", name, err)
		}
		w.hosts = append(w.hosts, h)
		w.byName[name] = h
		w.byAddr[h.Addr] = h
	}
	w.links = make([][]*path, len(w.hosts))
	for i, from := range w.hosts {
		w.links[i] = make([]*path, len(w.hosts))
		for j, to := range w.hosts {
			if i == j {
				continue
			}
			p := &path{queue: make(chan packet, queueSize)}
			link := Link{}
			if between != nil {
				link = between(from.Name, to.Name)
			}
			p.link.Store(&link)
			w.links[i][j] = p
			w.running.Go(func() { p.carry(ctx, to.tun) })
		}
	}
	for _, h := range w.hosts {
		w.running.Go(func() { w.read(h) })
	}
	return w, nil
}

// Host finds a host by its name; nil if there is none.
func (w *World) Host(name string) *Host { return w.byName[name] }

// Hosts are all of them, in the order of New.
func (w *World) Hosts() []*Host { return w.hosts }

// Cut makes both directions between two hosts drop everything.
func (w *World) Cut(a, b string) error { return w.each(a, b, func(p *path) { p.cut.Store(true) }) }

// Heal undoes Cut.
func (w *World) Heal(a, b string) error { return w.each(a, b, func(p *path) { p.cut.Store(false) }) }

// Isolate cuts a host off from every other; Rejoin undoes it.
func (w *World) Isolate(name string) error { return w.all(name, w.Cut) }

// Rejoin undoes Isolate.
func (w *World) Rejoin(name string) error { return w.all(name, w.Heal) }

// Set changes both directions between two hosts.
func (w *World) Set(a, b string, link Link) error {
	if link.Loss < 0 || link.Loss > 1 || link.Delay < 0 || link.Jitter < 0 || link.Bandwidth < 0 {
		return fmt.Errorf("link %s–%s: loss must be within 0..1, delay, jitter and bandwidth not negative", a, b)
	}
	return w.each(a, b, func(p *path) { p.link.Store(&link) })
}

// Link is what Set, or New, said of the way from one host to another, and
// whether it is cut now.
func (w *World) Link(from, to string) (link Link, cut bool, err error) {
	f, t := w.byName[from], w.byName[to]
	if f == nil || t == nil || f == t {
		return Link{}, false, fmt.Errorf("there is no link from %q to %q", from, to)
	}
	p := w.links[f.index][t.index]
	return *p.link.Load(), p.cut.Load(), nil
}

// Carried counts the packets that went from one host to another, and those
// that the link dropped.
func (w *World) Carried(from, to string) (carried, dropped int64) {
	f, t := w.byName[from], w.byName[to]
	if f == nil || t == nil || f == t {
		return 0, 0
	}
	p := w.links[f.index][t.index]
	return p.carried.Load(), p.dropped.Load()
}

func (w *World) all(name string, do func(a, b string) error) error {
	if w.byName[name] == nil {
		return fmt.Errorf("no host is named %q", name)
	}
	for _, h := range w.hosts {
		if h.Name != name {
			if err := do(name, h.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *World) each(a, b string, do func(*path)) error {
	ha, hb := w.byName[a], w.byName[b]
	switch {
	case ha == nil:
		return fmt.Errorf("no host is named %q", a)
	case hb == nil:
		return fmt.Errorf("no host is named %q", b)
	case ha == hb:
		return fmt.Errorf("%s has no link to itself", a)
	}
	do(w.links[ha.index][hb.index])
	do(w.links[hb.index][ha.index])
	return nil
}

// Close ends all traffic and removes the hosts. Programs that still run in a
// namespace keep it, unreachable, until they end: stop them first.
func (w *World) Close() error {
	w.stop()
	var errs []error
	for _, h := range w.hosts {
		errs = append(errs, h.tun.Close())
	}
	w.running.Wait()
	for _, h := range w.hosts {
		errs = append(errs, ip("netns", "del", h.netns))
	}
	return errors.Join(append(errs, release(w.claimed))...)
}

// read takes the packets that a host sends until its device is closed.
func (w *World) read(h *Host) {
	buf := make([]byte, mtu+64)
	nextFree := make([]time.Time, len(w.hosts)) // when each link's wire is free again
	lastDue := make([]time.Time, len(w.hosts))  // keeps the order under jitter
	for {
		n, err := h.tun.Read(buf)
		if err != nil {
			return // closed
		}
		to, ok := w.destination(buf[:n])
		if !ok || to == h {
			continue
		}
		p := w.links[h.index][to.index]
		link := p.link.Load()
		if p.cut.Load() || link.Loss > 0 && rand.Float64() < link.Loss {
			p.dropped.Add(1)
			continue
		}
		now := time.Now()
		due := now
		if link.Bandwidth > 0 {
			if nextFree[to.index].After(now) {
				due = nextFree[to.index]
			}
			due = due.Add(time.Duration(int64(n) * int64(time.Second) / link.Bandwidth))
			nextFree[to.index] = due
		}
		due = due.Add(link.Delay)
		if link.Jitter > 0 {
			due = due.Add(time.Duration(rand.Int64N(int64(link.Jitter))))
		}
		if due.Before(lastDue[to.index]) {
			due = lastDue[to.index]
		}
		lastDue[to.index] = due
		select {
		case p.queue <- packet{due, append([]byte(nil), buf[:n]...)}:
		default:
			p.dropped.Add(1)
		}
	}
}

// destination reads the IPv4 header. Everything else (the kernel's own IPv6
// chatter) goes nowhere.
func (w *World) destination(b []byte) (*Host, bool) {
	if len(b) < 20 || b[0]>>4 != 4 || int(binary.BigEndian.Uint16(b[2:])) > len(b) {
		return nil, false
	}
	h, ok := w.byAddr[netip.AddrFrom4([4]byte(b[16:20]))]
	return h, ok
}

// carry delivers a link's packets when they are due.
func (p *path) carry(ctx context.Context, to io.Writer) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		var next packet
		select {
		case <-ctx.Done():
			return
		case next = <-p.queue:
		}
		if wait := time.Until(next.due); wait > 0 {
			timer.Reset(wait)
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
		}
		if p.cut.Load() { // what was under way when the cut came is lost too
			p.dropped.Add(1)
			continue
		}
		if _, err := to.Write(next.data); err != nil {
			p.dropped.Add(1)
			continue
		}
		p.carried.Add(1)
	}
}

// up makes the namespace and its device.
func (h *Host) up() (err error) {
	if err := ip("netns", "add", h.netns); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ip("netns", "del", h.netns))
		}
	}()
	if err := h.inside(func() error { h.tun, err = openTUN(); return err }); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"-n", h.netns, "link", "set", "lo", "up"},
		{"-n", h.netns, "addr", "add", h.Addr.String() + "/16", "dev", device},
		{"-n", h.netns, "link", "set", device, "mtu", fmt.Sprint(mtu), "up"},
	} {
		if err := ip(args...); err != nil {
			return errors.Join(err, h.tun.Close())
		}
	}
	return nil
}

// Namespace is the host's name in /run/netns.
func (h *Host) Namespace() string { return h.netns }

// Command runs a program on this host. It does not use "ip netns exec", which
// mounts another /sys.
func (h *Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + netnsDir + h.netns, "--", name}, args...)...)
}

// Dial connects from this host to a numeric address.
func (h *Host) Dial(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	if _, err := netip.ParseAddrPort(addr); err != nil {
		return nil, fmt.Errorf("dial from %s: %w", h.Name, err) // a name would be looked up on another thread
	}
	err = h.inside(func() error {
		conn, err = new(net.Dialer).DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// Listen listens on a port of this host's address.
func (h *Host) Listen(port int) (l net.Listener, err error) {
	err = h.inside(func() error {
		l, err = net.Listen("tcp4", fmt.Sprintf("%s:%d", h.Addr, port))
		return err
	})
	return l, err
}

// Within runs do on the calling thread as if on this host, and comes back. The
// caller has locked its goroutine to the thread. What do starts lives on the
// host; the kernel ties it to this thread where it is to die with it.
func (h *Host) Within(do func() error) (err error) {
	const own = "/proc/thread-self/ns/net"
	home, err := os.Open(own)
	if err != nil {
		return err
	}
	defer func() { _ = home.Close() }()
	if err := h.enter(); err != nil {
		return err
	}
	defer func() {
		if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
			err = errors.Join(err, fmt.Errorf("leave namespace %s: %w", h.netns, back))
		}
	}()
	return do()
}

// enter moves the calling thread to the host.
func (h *Host) enter() error {
	ns, err := os.Open(netnsDir + h.netns)
	if err != nil {
		return err
	}
	defer func() { _ = ns.Close() }()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter namespace %s: %w", h.netns, err)
	}
	return nil
}

// inside runs do on a thread that has entered the namespace. The thread ends
// with it, so that no other goroutine ever runs there.
func (h *Host) inside(do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the runtime ends the thread
		if err := h.enter(); err != nil {
			done <- err
			return
		}
		done <- do()
	}()
	return <-done
}

func openTUN() (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	req, err := unix.NewIfreq(device)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("make the device %s: %w", device, err)
	}
	return os.NewFile(uintptr(fd), device), nil // non-blocking, so that Close ends a Read
}

func ip(args ...string) error {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
