//go:build linux

// Package planet runs the world of dev/world with its regions as far apart as
// they are on earth: each part, and the readers of each region, on a machine
// of its own, joined by the WAN of dev/wan.
//
// # What it promises
//
// The programs are the built ones, and they know nothing of it. Machines of
// two regions are as far apart as wan.Between says; those of one region half a
// millisecond, one way; readers have 4 ms more, one way, to anything: the way
// from a home to the nearest exchange. Postgres, its standby and the cores are
// in the first region. Whoever sits at this computer reaches every part on its
// loopback port, without delay.
//
// While it runs, <dir>/wan.sock takes orders: what to cut, heal, slow down
// (see Control). Stop removes the machines; where the process was killed, the
// next planet does.
//
// # What it leaves out
//
// Geo DNS: readers know their edge's address. Clocks: all machines have one.
package planet

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"nearside/dev/wan"
	"nearside/dev/world"
)

const (
	// Machines of one region are in one town.
	inTown = 500 * time.Microsecond
	// LastMile is what a reader has to any server beyond the distance, one way.
	LastMile = 4 * time.Millisecond
)

// Readers is the name of the machine from which a region's readers come.
func Readers(region string) string { return "readers-" + region }

// Planet is what runs.
type Planet struct {
	*world.World
	net     *wan.World
	regions []string          // in order
	region  map[string]string // of each machine
	control *Control
}

// Start starts a world on machines of its own and returns when it answers.
func Start(ctx context.Context, c world.Config) (_ *Planet, err error) {
	if err := wan.Missing(); err != nil {
		return nil, err
	}
	c.Network = network{} // the one to come
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return nil, err
	}
	p := &Planet{regions: c.Regions, region: map[string]string{}}
	names, regions := c.Machines()
	for _, region := range c.Regions {
		if _, err := wan.Between(region, region); err != nil {
			return nil, fmt.Errorf("--regions: %w; known are %s", err, strings.Join(wan.Known(), ", "))
		}
		names, regions = append(names, Readers(region)), append(regions, region)
	}
	for i, name := range names {
		p.region[name] = regions[i]
	}
	if p.net, err = wan.New(prefix(c.Dir), names, p.between); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.net.Close())
		}
	}()
	c.Network = network{p.net}
	if p.World, err = world.Start(ctx, c); err != nil {
		return nil, err
	}
	if p.control, err = p.serve(filepath.Join(c.Dir, Socket)); err != nil {
		p.World.Stop()
		return nil, err
	}
	return p, nil
}

// Stop ends everything and removes the machines. The state stays.
func (p *Planet) Stop() error {
	p.control.close()
	p.World.Stop()
	return p.net.Close()
}

// prefix keeps the machines of two worlds apart.
func prefix(dir string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(dir))
	return fmt.Sprintf("n%07x", h.Sum32()>>4)
}

func (p *Planet) between(a, b string) wan.Link {
	link := wan.Link{Delay: inTown, Jitter: inTown / 10}
	if p.region[a] != p.region[b] {
		link, _ = wan.Between(p.region[a], p.region[b]) // Start has looked both up
	}
	for _, end := range []string{a, b} {
		if end == Readers(p.region[end]) {
			link.Delay += LastMile
		}
	}
	return link
}

// Address is where a machine's own network has what is on a loopback port here.
func (p *Planet) Address(machine, loopback string) string {
	_, port, _ := strings.Cut(strings.TrimPrefix(loopback, "http://"), ":")
	return "http://" + net.JoinHostPort(p.net.Host(machine).Addr.String(), port)
}

// Dial connects as a reader of the region.
func (p *Planet) Dial(ctx context.Context, region, address string) (net.Conn, error) {
	h := p.net.Host(Readers(region))
	if h == nil {
		return nil, fmt.Errorf("there is no region %q", region)
	}
	return h.Dial(ctx, "tcp4", address)
}

// Machines are the machines of a region, or the one of that name.
func (p *Planet) Machines(of string) (names []string) {
	for _, h := range p.net.Hosts() {
		if h.Name == of || p.region[h.Name] == of {
			names = append(names, h.Name)
		}
	}
	return names
}

// Cut makes everything between two sides drop; a side is a region or a machine.
// Where the second side is empty it is everything that is not of the first.
func (p *Planet) Cut(a, b string) error { return p.pairs(a, b, p.net.Cut) }

// Heal undoes Cut; with both sides empty, every one.
func (p *Planet) Heal(a, b string) error { return p.pairs(a, b, p.net.Heal) }

// Delay makes the ways between two sides so long, one way, with jitter, loss
// and bandwidth as the link says.
func (p *Planet) Delay(a, b string, link wan.Link) error {
	return p.pairs(a, b, func(a, b string) error { return p.net.Set(a, b, link) })
}

func (p *Planet) pairs(a, b string, do func(a, b string) error) error {
	side := func(of string) ([]string, error) {
		names := p.Machines(of)
		if of == "" {
			names = p.all()
		}
		if len(names) == 0 {
			return nil, fmt.Errorf("there is no region and no machine %q; there are %s and %s", of, strings.Join(p.regions, ", "), strings.Join(p.all(), ", "))
		}
		return names, nil
	}
	as, err := side(a)
	if err != nil {
		return err
	}
	bs, err := side(b)
	if err != nil {
		return err
	}
	n := 0
	for _, x := range as {
		for _, y := range bs {
			if x == y || b == "" && a != "" && slices.Contains(as, y) {
				continue
			}
			n++
			if err := do(x, y); err != nil {
				return err
			}
		}
	}
	if n == 0 {
		return fmt.Errorf("there is nothing between %q and %q", a, b)
	}
	return nil
}

func (p *Planet) all() (names []string) {
	for _, h := range p.net.Hosts() {
		names = append(names, h.Name)
	}
	return names
}

// network is the WAN as dev/world wants it.
type network struct{ *wan.World }

func (n network) Addr(machine string) netip.Addr { return n.Host(machine).Addr }

func (n network) Within(machine string, do func() error) error { return n.Host(machine).Within(do) }

func (n network) Dial(ctx context.Context, machine, address string) (net.Conn, error) {
	return n.Host(machine).Dial(ctx, "tcp4", address)
}
