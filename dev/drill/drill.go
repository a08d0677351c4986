//go:build linux

// Package drill rehearses what docs/operate/runbooks says, one drill for each:
// with the real programs, in regions that are as far apart as on earth, under
// traffic from readers in every region.
//
// # What it promises
//
// A drill does to a world what the runbook is about, does what the runbook
// says, and then checks what the runbook promises; each check is a line that
// says what was seen. Every drill ends with "nearside-core reconcile", which
// must find nothing. A drill passes if all its checks do.
//
// Times that the runbook speaks of are multiplied by a scale, which the
// output states; what is waited for beyond them is a condition, never a time.
//
// # How it fails
//
// A check that does not hold is named, the others are still made, and the
// world's directory stays for whoever wants to look. A machine without root or
// /dev/net/tun has no drills, and says so.
package drill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"nearside/dev/load"
	"nearside/dev/planet"
	"nearside/dev/wan"
	"nearside/dev/world"
	"nearside/edge/visitor"
)

// Drill is one rehearsal.
type Drill struct {
	Name    string
	Runbook string // file in docs/operate/runbooks
	About   string // what happens, in a sentence
	Short   bool   // a scaled form of it runs with the tests
	shape   func(*world.Config)
	prepare func(ctx context.Context, s *stage, c *world.Config) error // before the world starts
	run     func(ctx context.Context, s *stage) error
}

// All are the drills, in the order in which they are run.
var All = []Drill{
	regionCut, coreAway, promoteStandby, laggingStandby, restoreBackup, diskDeleted, diskReplicated, strandedHolder, rollingUpgrade, rotateKeys, clockOff, pauseWhileCut, runawayFlight, drainRegion, openRegion,
}

// Options are what all drills have in common.
type Options struct {
	Programs string  // directory of the built programs
	Source   string  // the module's root, from which other programs are built
	Cache    string  // where those are kept
	BasePort int     // first port of the world
	Scale    float64 // what the runbooks' times are multiplied by
	Out      io.Writer
}

// ErrFailed says that a drill's checks did not all hold.
var ErrFailed = errors.New("not everything that the runbook promises was so")

// Run rehearses one.
func Run(ctx context.Context, d Drill, o Options) (err error) {
	if err := wan.Missing(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("/var/tmp", "nearside-drill-") // where Postgres' user can go too
	if err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, "drill.log"))
	if err != nil {
		return err
	}
	defer func() {
		_ = log.Close()
		if err == nil {
			err = os.RemoveAll(dir)
		} else {
			fmt.Fprintf(o.Out, "  what the processes said is in %s\n", filepath.Join(dir, "world", "log"))
		}
	}()
	s := &stage{Options: o, began: time.Now(), dir: dir, streams: map[string]*load.Traffic{}}
	fmt.Fprintf(o.Out, "drill %s (docs/operate/runbooks/%s): %s\n", d.Name, d.Runbook, d.About)
	if o.Scale != 1 {
		fmt.Fprintf(o.Out, "  times are scaled by %g: ten minutes last %s\n", o.Scale, s.scaled(10*time.Minute))
	}
	places, err := visitor.OpenPlaces("")
	if err != nil {
		return err
	}
	s.readers, err = load.FindAddresses(places, 1)
	places.Close()
	if err != nil {
		return err
	}
	c := world.Config{
		Dir: filepath.Join(dir, "world"), BasePort: o.BasePort, Regions: []string{"us-east", "eu-west", "ap-southeast"}, Nodes: 1,
		RestartAfter: world.Never, Programs: o.Programs, Log: log,
	}
	s.config = &c
	if d.shape != nil {
		d.shape(&c)
	}
	if d.prepare != nil {
		if err := d.prepare(ctx, s, &c); err != nil {
			return err
		}
	}
	if s.Planet, err = planet.Start(ctx, c); err != nil {
		return err
	}
	defer func() {
		for _, t := range s.streams {
			t.Stop()
		}
		s.Hurry() // nobody needs its state any more
		err = errors.Join(err, s.Planet.Stop())
	}()
	s.say("%s", s.cast())
	if err := d.run(ctx, s); err != nil {
		return err
	}
	if err := s.reconcile(ctx); err != nil {
		return err
	}
	if s.failed > 0 {
		return ErrFailed
	}
	return nil
}

// cast says who plays.
func (s *stage) cast() string {
	var names []string
	for _, e := range s.Ready().Edges {
		names = append(names, e.Node)
	}
	more := ""
	if s.config.Standby {
		more = " and its synchronous standby"
	}
	return fmt.Sprintf("a core with Postgres%s in %s; edges %s", more, s.config.Regions[0], strings.Join(names, ", "))
}
