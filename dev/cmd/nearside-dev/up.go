package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"nearside/dev/load"
	"nearside/dev/world"
	"nearside/edge/visitor"
)

// up is the command of that name. Its flags are a contract: other programs
// pass them.
type up struct {
	Dir          string   `help:"Where the state is kept." default:".nearside" placeholder:"DIR"`
	BasePort     int      `help:"The first port; every other one is counted from it." default:"8080" placeholder:"PORT"`
	Regions      []string `help:"Names of the regions: us-east,eu-west,ap-south unless said otherwise, and with --wan us-east,eu-west,ap-southeast." placeholder:"NAMES"`
	Nodes        int      `help:"Edges in each region." default:"1"`
	Traffic      float64  `help:"Sample traffic, in decisions per second and region; 0 for none." default:"20" placeholder:"RATE"`
	Fresh        bool     `help:"Throw the old state away first."`
	TLS          bool     `help:"Speak TLS between core and edges, and between edges, with an authority of this world's own." name:"tls" default:"true" negatable:""`
	RestartAfter string   `help:"How long a core or an edge that was killed stays dead, or never: it stays so." default:"1s" placeholder:"DURATION"`
	WAN          bool     `help:"Put the regions as far apart as they are on earth; the core is in the first. Linux, as root." name:"wan"`
}

// scene is what runs, and how its readers reach it.
type scene struct {
	*world.World
	stop func() error
	// reach is where the readers of a region find an edge of theirs, and how
	// they connect; nil is from here.
	reach func(edge world.Edge) (url string, dial load.Dial)
}

func (u *up) start(ctx context.Context, c world.Config) (*scene, error) {
	if u.WAN {
		return startFarApart(ctx, c)
	}
	w, err := world.Start(ctx, c)
	if err != nil {
		return nil, err
	}
	return &scene{
		World: w,
		stop:  func() error { w.Stop(); return nil },
		reach: func(edge world.Edge) (string, load.Dial) { return edge.Public, nil },
	}, nil
}

func (u *up) config(e *env) (world.Config, error) {
	after := world.Never
	if u.RestartAfter != "never" {
		var err error
		if after, err = time.ParseDuration(u.RestartAfter); err != nil || after < 0 {
			return world.Config{}, usageError{fmt.Errorf("--restart-after: expected a duration such as 1s, or never, not %q", u.RestartAfter)}
		}
	}
	if u.Traffic < 0 || u.Traffic > 10_000 {
		return world.Config{}, usageError{fmt.Errorf("--traffic: expected 0 to 10000 decisions per second, not %g", u.Traffic)}
	}
	programs, err := programs()
	if err != nil {
		return world.Config{}, err
	}
	if len(u.Regions) == 0 {
		u.Regions = []string{"us-east", "eu-west", "ap-south"}
		if u.WAN {
			u.Regions[2] = "ap-southeast"
		}
	}
	c := world.Config{
		Dir: u.Dir, BasePort: u.BasePort, Regions: u.Regions, Nodes: u.Nodes, RestartAfter: after, Fresh: u.Fresh, TLS: u.TLS,
		Programs: programs, DatabaseURL: os.Getenv("NEARSIDE_DATABASE_URL"), Log: e.stderr, Verbose: !terminal(e.stdout),
	}
	if err := c.Validate(); err != nil {
		return world.Config{}, usageError{err}
	}
	return c, nil
}

// programs is where nearside-core and nearside-edge are: beside this program.
func programs() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	dir := filepath.Dir(self)
	for _, name := range []string{"nearside-core", "nearside-edge"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return "", fmt.Errorf("there is no %s beside %s: run make build", name, self)
		}
	}
	return dir, nil
}

// Run runs the world until it is interrupted.
func (u *up) Run(e *env) error {
	c, err := u.config(e)
	if err != nil {
		return err
	}
	ctx, again, stop := e.interrupted()
	defer stop()
	w, err := u.start(ctx, c)
	if err != nil {
		if ctx.Err() != nil {
			return nil // interrupted while it started
		}
		return err
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-again:
			w.Hurry()
		case <-ended:
		}
	}()
	err = u.live(ctx, e, w)
	if terminal(e.stdout) {
		fmt.Fprintln(e.stdout, "\nstopping; once more does not wait")
	}
	return errors.Join(err, w.stop())
}

// live says that the world is ready, sends traffic and shows how it goes.
func (u *up) live(ctx context.Context, e *env, w *scene) error {
	ready := w.Ready()
	text, err := json.Marshal(ready)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(e.stdout, "ready %s\n", text); err != nil {
		return err
	}
	streams, err := u.send(ctx, e, w)
	if err != nil {
		return err
	}
	defer func() {
		for _, s := range streams {
			s.Stop()
		}
	}()
	if !terminal(e.stdout) {
		<-ctx.Done()
		return nil
	}
	addresses(e, ready, u.Dir)
	newStatus(w.World, e.stdout).run(ctx)
	return nil
}

// send starts the sample traffic, one stream for each region.
func (u *up) send(ctx context.Context, e *env, w *scene) ([]*load.Traffic, error) {
	if u.Traffic == 0 {
		return nil, nil
	}
	places, err := visitor.OpenPlaces("")
	if err != nil {
		return nil, err
	}
	defer places.Close()
	readers, err := load.FindAddresses(places, 1)
	if err != nil {
		return nil, err
	}
	var streams []*load.Traffic
	for i, region := range u.Regions {
		var edges []string
		var dial load.Dial
		for _, edge := range w.Ready().Edges {
			if edge.Region == region {
				var url string
				url, dial = w.reach(edge)
				edges = append(edges, url)
			}
		}
		streams = append(streams, load.Start(ctx, load.Config{
			Edges: edges, Region: region, Rate: u.Traffic, Seed: uint64(i), Dial: dial,
			Log: func(err error) {
				if !terminal(e.stdout) {
					fmt.Fprintf(e.stderr, "traffic in %s: %v\n", region, err)
				}
			},
		}, readers))
	}
	return streams, nil
}

// addresses says to a person what is where.
func addresses(e *env, ready world.Ready, dir string) {
	fmt.Fprintf(e.stdout, "\n  admin API and console  %s\n  its token              %s\n", ready.Admin, ready.AdminToken)
	for _, edge := range ready.Edges {
		fmt.Fprintf(e.stdout, "  %-22s %s  (operations %s)\n", "edge "+edge.Node, edge.Public, edge.Ops)
	}
	ask := ready.Edges[0].Public + "/api/v1/decision/?publisher=sample-docs&div_ids=ad&ad_types=image-v1"
	fmt.Fprintf(e.stdout, "  try                    curl -A '%s' '%s'\n  logs                   %s\n\n", strings.SplitN(load.Desktop(), " (", 2)[0], ask, filepath.Join(dir, "log"))
}

// terminal reports whether w is a terminal.
func terminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && info.Mode()&os.ModeDevice != 0 && os.Getenv("TERM") != "dumb" && !isNull(info)
}

func isNull(info os.FileInfo) bool {
	null, err := os.Stat(os.DevNull)
	return err == nil && os.SameFile(info, null)
}
