package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"nearside/dev/world"
)

// edgeCommand runs nearside-edge beside an edge, with its settings.
func edgeCommand(ctx context.Context, i int, args ...string) (string, int) {
	cmd := exec.CommandContext(ctx, filepath.Join(programs, "nearside-edge"), args...)
	cmd.Env = append(os.Environ(), "NEARSIDE_STATE_DIR="+edges[i].Dir, "NEARSIDE_CORE="+here.Ready().Sync)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		return err.Error(), -1
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// heldBy is what a region's open and fenced holders have of a flight's budgets.
func (f flight) heldBy(t *testing.T, region string) (available int64) {
	t.Helper()
	var body struct {
		Items []struct {
			Region    string `json:"region"`
			Available int64  `json:"available"`
		} `json:"items"`
	}
	call(t, http.MethodGet, "/v1/flights/"+f.slug+"/leases", nil, &body)
	for _, l := range body.Items {
		if l.Region == region {
			available += l.Available
		}
	}
	return available
}

// nearside-edge drain has a region of one node give back all that it holds, and
// says so; within two exchanges, once the views in flight have landed.
func TestDrainCommand(t *testing.T) {
	f := newFlight(t, line{views: 50_000, cpm: 1_000_000})
	o := f.offer(t, edges[0])
	if err := seen(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if held := f.heldBy(t, edges[0].Region); held == 0 {
		t.Fatal("the region holds nothing: this shows nothing")
	}
	eventually(t, time.Minute, "no view is in flight: other tests left some", func() bool {
		return strings.Contains(metrics(t, edges[0].Ops), "\nnearside_edge_in_flight 0\n")
	})
	before := proxies[0].Done(world.Pass)
	out, code := edgeCommand(t.Context(), 0, "drain")
	if code != 0 || !strings.Contains(out, "drained") {
		t.Fatalf("drain ended with %d: %s", code, out)
	}
	if n := proxies[0].Done(world.Pass) - before; n > 2+1 { // one may have been under way
		t.Errorf("%d exchanges until everything was given back, expected two", n)
	}
	if held := f.heldBy(t, edges[0].Region); held != 0 {
		t.Errorf("the region still holds %d", held)
	}
	if out, code := edgeCommand(t.Context(), 0, "drain"); code != 0 {
		t.Errorf("drained again: %d: %s", code, out)
	}
	if err := here.Edges[0].WaitExit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if code := here.Edges[0].ExitCode(); code != 0 {
		t.Errorf("the edge ended with %d", code)
	}
	restart(t, 0)
	f.wantTotals(t, 20*time.Second, "views 1+0 clicks 0+0 micros 1000")
}

// nearside-edge fence is for a node that died and is about to go: the holder
// gets nothing any more; one that comes back all the same hands in and joins
// anew, and every view that it answered is counted.
func TestFenceCommand(t *testing.T) {
	f := newFlight(t, line{views: 50_000, cpm: 1_000_000})
	for _, o := range f.offers(t, edges[1], 20) {
		if err := seen(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	if out, code := edgeCommand(t.Context(), 1, "fence"); code != 1 || !strings.Contains(out, "drain") {
		t.Errorf("fencing an edge that runs: %d: %s", code, out)
	}
	here.Edges[1].Stop(syscall.SIGKILL, 10*time.Second)
	if out, code := edgeCommand(t.Context(), 1, "drain"); code != 3 {
		t.Errorf("draining an edge that does not run: %d: %s", code, out)
	}
	for range 2 {
		if out, code := edgeCommand(t.Context(), 1, "fence", "--reason", "a test"); code != 0 {
			t.Fatalf("fence ended with %d: %s", code, out)
		}
	}
	var list struct {
		Items []struct {
			Region string `json:"region"`
			Nodes  []struct {
				State  string `json:"state"`
				Reason string `json:"reason"`
			} `json:"nodes"`
		} `json:"items"`
	}
	call(t, http.MethodGet, "/v1/edges", nil, &list)
	if !strings.Contains(fmt.Sprint(list), "fenced by itself: a test") {
		t.Errorf("no holder that fenced itself: %+v", list)
	}
	restart(t, 1)
	f.wantTotals(t, 30*time.Second, "views 20+0 clicks 0+0 micros 20000")
}
