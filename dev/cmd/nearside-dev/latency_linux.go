package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"time"

	"nearside/dev/latency"
	"nearside/dev/load"
	"nearside/dev/planet"
	"nearside/dev/wan"
	"nearside/dev/world"
	"nearside/edge/visitor"
)

// farAway are the regions of the report; the first is the central one.
var farAway = []string{"us-east", "eu-west", "ap-southeast"}

// Run makes a world, measures and writes.
func (l latencyCommand) Run(e *env) (err error) {
	if l.Samples < 1 || l.Readers < 1 {
		return usageError{errors.New("--samples and --readers must be at least 1")}
	}
	if err := wan.Missing(); err != nil {
		return err
	}
	ctx, _, stop := e.interrupted()
	defer stop()
	programs, err := programs()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("/var/tmp", "nearside-latency-") // where Postgres' user can go too
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	p, err := planet.Start(ctx, world.Config{
		Dir: dir, BasePort: l.BasePort, Regions: farAway, Nodes: 1, RestartAfter: world.Never, Programs: programs, Log: e.stderr,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	conf := latency.Config{Samples: l.Samples, Readers: l.Readers, Log: e.stderr}
	line := world.Line{Slug: "latency", Views: 100_000_000, CPM: 2_000_000, Clicks: 10_000_000, CPC: 1_000_000}
	if err := p.Sell(ctx, line); err != nil {
		return err
	}
	conf.Query = line.Query()
	if conf.Regions, err = readersOf(p); err != nil {
		return err
	}
	for _, r := range conf.Regions {
		if err := offers(ctx, r, line); err != nil {
			return err
		}
	}
	cells, err := latency.Measure(ctx, conf)
	if err != nil {
		return err
	}
	report := &latency.Report{
		Taken: time.Now().UTC().Format(time.DateOnly), Machine: machine(), Central: farAway[0], Regions: farAway,
		Samples: l.Samples, Readers: l.Readers, Cells: cells, Ways: ways(p.State()),
	}
	if err := report.Write(l.Out); err != nil {
		return err
	}
	_, err = e.stdout.Write(report.Table())
	return err
}

// readersOf are the readers of each region, and which edges they ask.
func readersOf(p *planet.Planet) (regions []latency.Region, err error) {
	places, err := visitor.OpenPlaces("")
	if err != nil {
		return nil, err
	}
	defer places.Close()
	addresses, err := load.FindAddresses(places, 1)
	if err != nil {
		return nil, err
	}
	edges := p.Ready().Edges
	for _, e := range edges {
		regions = append(regions, latency.Region{
			Name: e.Region, Near: p.Address(e.Node, e.Public), Central: p.Address(edges[0].Node, edges[0].Public),
			Dial: func(ctx context.Context, _, address string) (net.Conn, error) {
				return p.Dial(ctx, e.Region, address)
			},
			Reader: load.Reader{Addr: addresses["DE"][0], Country: "DE", Agent: load.Desktop()},
		})
	}
	return regions, nil
}

// offers waits until an edge has a lease of the line.
func offers(ctx context.Context, r latency.Region, line world.Line) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	client := load.NewClientFrom(r.Dial, 1)
	defer client.Close()
	for {
		offer, err := client.Decide(ctx, r.Near, line.Query(), r.Reader)
		if err == nil && offer.Filled() {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the edge of %s offers nothing: %w", r.Name, errors.Join(err, ctx.Err()))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// ways are the round trips that the readers have, without jitter.
func ways(s planet.State) (list []latency.Way) {
	region := map[string]string{}
	for _, m := range s.Machines {
		region[m.Name] = m.Region
	}
	for _, w := range s.Ways {
		if from := region[w.From]; w.From == planet.Readers(from) && w.To == region[w.To]+"-1" {
			list = append(list, latency.Way{
				From: from, To: region[w.To], RTT: 2 * w.Delay.Seconds() * 1000, Jitter: w.Jitter.Seconds() * 1000,
			})
		}
	}
	return list
}

// machine is what this one is.
func machine() string {
	model := "a processor without a name"
	if file, err := os.Open("/proc/cpuinfo"); err == nil {
		defer func() { _ = file.Close() }()
		for lines := bufio.NewScanner(file); lines.Scan(); {
			if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%s, %d processors, %s/%s", model, runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
}
