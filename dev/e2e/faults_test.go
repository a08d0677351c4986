package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"nearside/dev/load"
	"nearside/edge/journal/faultfs"
)

// The disk under the journal of a real edge fails a write or an fsync once,
// under load, and would not fail again: the edge ends at once with one line that
// says so, writes the open segment anew before it serves again, has counted
// every view that it answered exactly once, and the books agree. What should
// have been written stays in the page cache, goes, or arrives in part.
func TestTortureTheDiskFails(t *testing.T) {
	const i = 2
	faulty := faultyEdge(t)
	control := filepath.Join(t.TempDir(), "plan")
	exchange := func(programs string) {
		here.Edges[i].Stop(sigterm, 30*time.Second)
		here.Edges[i].Change(programs, "NEARSIDE_FAULTY_DISK="+control)
		restart(t, i)
	}
	exchange(faulty)
	defer func() {
		_ = os.Remove(control)
		exchange(programs)
	}()

	l := line{views: 50_000_000, cpm: 2_000_000}
	f := newFlight(t, l)
	const seed = 20261201
	random := rand.New(rand.NewPCG(seed, 1))
	fates := []faultfs.Fate{faultfs.Lost, faultfs.Torn, faultfs.Kept}
	var offers []load.Offer
	var answered, unanswered int64
	for round := range *torture {
		plan := faultfs.Plan{Op: faultfs.Sync, Part: "seg-", N: 5 + random.IntN(20), Fate: fates[round%len(fates)]}
		if round%4 == 3 {
			plan.Op = faultfs.Write
		}
		batch := f.offers(t, edges[i], 500)
		offers = append(offers, batch...)
		yes, no := untilTheDiskFails(t, i, control, plan, batch)
		answered, unanswered = answered+yes, unanswered+no
		segment, before := lastSegment(t, edges[i].Dir)
		restart(t, i)
		var now syscall.Stat_t
		if err := syscall.Stat(segment, &now); err != nil {
			t.Fatal(err)
		}
		if now.Ino == before {
			t.Errorf("%s: %s is the same file as before the edge started again", plan, filepath.Base(segment))
		}
	}
	t.Logf("seed %d: %d faults, %d views answered, %d not", seed, *torture, answered, unanswered)
	f.wantAtLeast(t, answered, 0, unanswered)
	each(t, len(offers), 16, func(n int) error { return seen(t.Context(), offers[n]) }) // again: each counts once
	f.wantTotals(t, 30*time.Second, fmt.Sprintf("views %d+0 clicks 0+0 micros %d", len(offers), int64(len(offers))*l.cpm/1000))
	agrees(t)
}

// faultyEdge is a directory with an edge that is built for tests of its disk: one
// call of it fails as a plan says, and segments are as small as wanted.
func faultyEdge(t *testing.T) string {
	t.Helper()
	dir := programs + "-faultydisk"
	build := exec.Command("go", "build", "-tags", "faultydisk", "-o", dir+"/", "./edge/cmd/nearside-edge")
	build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build an edge with a faulty disk: %v: %s", err, out)
	}
	return dir
}

// untilTheDiskFails sends the views of an edge's offers, amid which its disk
// fails as planned, and wants the edge to end as it should. It returns how many
// were answered and how many were not.
func untilTheDiskFails(t *testing.T, i int, control string, plan faultfs.Plan, offers []load.Offer) (answered, unanswered int64) {
	t.Helper()
	log := filepath.Join(filepath.Dir(programs), "world", "log", edges[i].Node+".log")
	said, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	// Written whole before it has its name, for whoever looks meanwhile.
	if err := os.WriteFile(control+".tmp", []byte(plan.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(control+".tmp", control); err != nil {
		t.Fatal(err)
	}
	client := load.NewClient(16)
	defer client.Close()
	ok := make([]bool, len(offers))
	each(t, len(offers), 16, func(n int) error {
		answer, err := client.Get(t.Context(), offers[n].ViewURL, reader())
		ok[n] = err == nil && answer.Status == http.StatusOK
		return nil // none is answered after the fault
	})
	for _, yes := range ok {
		if yes {
			answered++
		} else {
			unanswered++
		}
	}
	eventually(t, 30*time.Second, "the edge has ended", func() bool { return here.Edges[i].PID() == 0 })
	if code := here.Edges[i].ExitCode(); code != 1 {
		t.Errorf("%s: the edge ended with %d, want 1", plan, code)
	}
	if answered == 0 || unanswered == 0 {
		t.Errorf("%s: %d views were answered and %d were not: the fault did not come in their middle", plan, answered, unanswered)
	}
	all, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	var last []string
	for s := range strings.Lines(string(all[len(said):])) {
		if strings.HasPrefix(s, "nearside-edge: ") || len(last) > 0 {
			last = append(last, strings.TrimSpace(s))
		}
	}
	if len(last) != 1 || !strings.Contains(last[0], "seg-") || !strings.Contains(last[0], faultfs.ErrIO.Error()) {
		t.Errorf("%s: the edge's last words are %q, want one line that names the file and the error", plan, last)
	}
	return answered, unanswered
}

// lastSegment is the newest file of the journal in a state directory, and its
// inode.
func lastSegment(t *testing.T, dir string) (name string, inode uint64) {
	t.Helper()
	var at syscall.Stat_t
	segments, err := filepath.Glob(filepath.Join(dir, "*", "seg-*"))
	if err == nil && len(segments) == 0 {
		err = fmt.Errorf("no segment in %s", dir)
	}
	if err == nil {
		name = segments[len(segments)-1]
		err = syscall.Stat(name, &at)
	}
	if err != nil {
		t.Fatal(err)
	}
	return name, at.Ino
}
