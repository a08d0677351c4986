package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"text/tabwriter"
	"time"

	"nearside/dev/load"
	"nearside/dev/planet"
	"nearside/dev/wan"
	"nearside/dev/world"
)

func startFarApart(ctx context.Context, c world.Config) (*scene, error) {
	if err := wan.Missing(); err != nil {
		return nil, err
	}
	p, err := planet.Start(ctx, c)
	if err != nil {
		return nil, err
	}
	return &scene{World: p.World, stop: p.Stop, reach: func(edge world.Edge) (string, load.Dial) {
		return p.Address(edge.Node, edge.Public), func(ctx context.Context, _, address string) (net.Conn, error) {
			return p.Dial(ctx, edge.Region, address)
		}
	}}, nil
}

// reach finds the WAN that runs, for a while that is enough for any order.
func (c *wanCommand) reach(f func(ctx context.Context, r *planet.Remote) error) error {
	r, err := planet.Reach(c.Dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	return f(ctx, r)
}

func (c *wanCommand) order(o planet.Order) error {
	return c.reach(func(ctx context.Context, r *planet.Remote) error { return r.Order(ctx, o) })
}

// Run lists the machines, and the ways between regions that readers take.
func (wanShow) Run(c *wanCommand, e *env) error {
	return c.reach(func(ctx context.Context, r *planet.Remote) error {
		s, err := r.State(ctx)
		if err != nil {
			return err
		}
		t := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "MACHINE\tREGION\tADDRESS\tNAMESPACE")
		for _, m := range s.Machines {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", m.Name, m.Region, m.Addr, m.Namespace)
		}
		fmt.Fprintln(t, "\nFROM\tTO\tONE WAY\tJITTER\tLOSS\tBYTES/S\tCARRIED\tDROPPED\t")
		for _, w := range s.Ways {
			cut, limit := "", "-"
			if w.Cut {
				cut = "cut"
			}
			if w.Bandwidth > 0 {
				limit = fmt.Sprint(w.Bandwidth)
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%g\t%s\t%d\t%d\t%s\n", w.From, w.To, w.Delay.Round(10*time.Microsecond), w.Jitter.Round(10*time.Microsecond),
				w.Loss, limit, w.Carried, w.Dropped, cut)
		}
		return t.Flush()
	})
}

// Run cuts.
func (o wanCut) Run(c *wanCommand) error {
	return c.order(planet.Order{Do: "cut", A: o.A, B: o.B})
}

// Run heals.
func (o wanHeal) Run(c *wanCommand) error {
	return c.order(planet.Order{Do: "heal", A: o.A, B: o.B})
}

// Run delays.
func (o wanDelay) Run(c *wanCommand) error {
	return c.order(planet.Order{Do: "delay", A: o.A, B: o.B, Delay: o.Delay, Jitter: o.Jitter, Loss: o.Loss, Bandwidth: o.Bandwidth})
}

// Run runs a program on a machine, and ends as it ends.
func (o wanExec) Run(c *wanCommand, e *env) error {
	return c.reach(func(ctx context.Context, r *planet.Remote) error {
		s, err := r.State(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(s.Machines, func(m planet.Machine) bool { return m.Name == o.Machine })
		if i < 0 {
			return fmt.Errorf("there is no machine %q: nearside-dev wan show lists them", o.Machine)
		}
		if len(o.Command) > 0 && o.Command[0] == "--" {
			o.Command = o.Command[1:]
		}
		if len(o.Command) == 0 {
			return usageError{errors.New("expected a program to run")}
		}
		cmd := exec.Command("nsenter", append([]string{"--net=/run/netns/" + s.Machines[i].Namespace, "--"}, o.Command...)...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, e.stdout, e.stderr
		return cmd.Run()
	})
}
