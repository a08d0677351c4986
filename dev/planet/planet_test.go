//go:build linux

package planet

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"nearside/dev/wan"
	"nearside/dev/world"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bare is the network of a world in which nothing runs, with its socket.
func bare(t *testing.T) (*Planet, *Remote) {
	t.Helper()
	if err := wan.Missing(); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	p := &Planet{regions: []string{"us-east", "eu-west"}, region: map[string]string{
		"core": "us-east", "us-east-1": "us-east", "readers-us-east": "us-east", "eu-west-1": "eu-west", "readers-eu-west": "eu-west",
	}}
	var err error
	p.net, err = wan.New(prefix(dir), []string{"core", "us-east-1", "readers-us-east", "eu-west-1", "readers-eu-west"}, p.between)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.net.Close(); err != nil {
			t.Error(err)
		}
	})
	if p.control, err = p.serve(filepath.Join(dir, Socket)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.control.close)
	remote, err := Reach(dir)
	if err != nil {
		t.Fatal(err)
	}
	return p, remote
}

// ways are those that are as asked, as "from>to".
func ways(t *testing.T, r *Remote, is func(Way) bool) string {
	t.Helper()
	s, err := r.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, w := range s.Ways {
		if w.From < w.To && is(w) {
			list = append(list, w.From+">"+w.To)
		}
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func TestOrdersOverTheSocket(t *testing.T) {
	_, r := bare(t)
	isCut := func(w Way) bool { return w.Cut }
	for _, row := range []struct {
		what  Order
		cut   string // afterwards, each pair once
		wrong string // or the error
	}{
		{Order{Do: "cut", A: "us-east", B: "eu-west"}, "core>eu-west-1 core>readers-eu-west eu-west-1>readers-us-east eu-west-1>us-east-1 readers-eu-west>readers-us-east readers-eu-west>us-east-1", ""},
		{Order{Do: "heal", A: "core", B: "eu-west-1"}, "core>readers-eu-west eu-west-1>readers-us-east eu-west-1>us-east-1 readers-eu-west>readers-us-east readers-eu-west>us-east-1", ""},
		{Order{Do: "heal"}, "", ""},
		{Order{Do: "cut", A: "core", B: "us-east-1"}, "core>us-east-1", ""},
		{Order{Do: "heal", A: "core"}, "", ""},
		{Order{Do: "cut", A: "readers-eu-west"}, "core>readers-eu-west eu-west-1>readers-eu-west readers-eu-west>readers-us-east readers-eu-west>us-east-1", ""},
		// what is cut inside a region stays so
		{Order{Do: "heal", A: "eu-west"}, "eu-west-1>readers-eu-west", ""},
		{Order{Do: "heal"}, "", ""},
		{Order{Do: "cut"}, "", "expected a region or a machine"},
		{Order{Do: "cut", A: "atlantis"}, "", `no region and no machine "atlantis"`},
		{Order{Do: "cut", A: "core", B: "core"}, "", "nothing between"},
		{Order{Do: "stretch", A: "core"}, "", "expected cut, heal or delay"},
		{Order{Do: "delay", A: "core", B: "eu-west", Loss: 2}, "", "loss must be"},
	} {
		err := r.Order(t.Context(), row.what)
		if row.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), row.wrong) {
				t.Errorf("%+v: %v, want %q", row.what, err, row.wrong)
			}
			continue
		}
		if err != nil {
			t.Errorf("%+v: %v", row.what, err)
		}
		if got := ways(t, r, isCut); got != row.cut {
			t.Errorf("%+v: cut is now\n%s, want\n%s", row.what, got, row.cut)
		}
	}
	if err := r.Order(t.Context(), Order{Do: "delay", A: "core", B: "eu-west", Delay: 7 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	if got := ways(t, r, func(w Way) bool { return w.Delay == 7*time.Millisecond }); got != "core>eu-west-1 core>readers-eu-west" {
		t.Errorf("delayed: %s", got)
	}
}

func TestReadersAreAsFarAsTheirRegion(t *testing.T) {
	p, r := bare(t)
	near, far := 2*(inTown+LastMile), 70*time.Millisecond
	rtt := map[string]time.Duration{}
	s, err := r.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range s.Ways {
		rtt[w.From+">"+w.To] = 2 * w.Delay
	}
	for _, row := range []struct {
		way      string
		min, max time.Duration
	}{
		{"readers-eu-west>eu-west-1", near, near},
		{"readers-us-east>us-east-1", near, near},
		{"readers-eu-west>us-east-1", far + 2*LastMile, 90*time.Millisecond + 2*LastMile},
		{"eu-west-1>core", far, 90 * time.Millisecond},
		{"core>us-east-1", 2 * inTown, 2 * inTown},
	} {
		if got := rtt[row.way]; got < row.min || got > row.max {
			t.Errorf("%s: %v there and back, want %v to %v", row.way, got, row.min, row.max)
		}
	}
	if got := p.Address("eu-west-1", "http://127.0.0.1:8280"); got != "http://10.77.0.4:8280" {
		t.Errorf("an edge's address in its network is %s", got)
	}
}

func TestWhatCannotStartSaysWhy(t *testing.T) {
	if err := wan.Missing(); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	good := world.Config{Dir: dir, BasePort: 27800, Regions: []string{"us-east"}, Nodes: 1}
	for what, change := range map[string]func(*world.Config){
		"atlantis":                    func(c *world.Config) { c.Regions = []string{"atlantis"} },
		"unset NEARSIDE_DATABASE_URL": func(c *world.Config) { c.DatabaseURL = "postgres://elsewhere/x" },
		"--nodes":                     func(c *world.Config) { c.Nodes = 0 },
	} {
		c := good
		change(&c)
		if _, err := Start(t.Context(), c); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%v, want an error that says %q", err, what)
		}
	}
	if _, err := Reach(dir); err == nil || !strings.Contains(err.Error(), "up --wan") {
		t.Errorf("a socket that is not there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	good.Programs = dir
	if _, err := Start(ctx, good); err == nil {
		t.Error("it started after its end")
	}
	if _, err := os.Stat("/run/netns/" + prefix(dir) + "-core"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a start that failed left a machine: %v", err)
	}
}
