package regions

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"nearside/dev/world"
)

// holderOf is the open holder of a node, as the admin API lists it.
func holderOf(t *testing.T, e world.Edge) uint32 {
	t.Helper()
	var list struct {
		Items []struct {
			Region string `json:"region"`
			Nodes  []struct {
				Holder uint32 `json:"holder"`
				Node   string `json:"node"`
				State  string `json:"state"`
			} `json:"nodes"`
		} `json:"items"`
	}
	call(t, 0, http.MethodGet, "/v1/edges", nil, &list)
	for _, r := range list.Items {
		for _, n := range r.Nodes {
			if r.Region == e.Region && n.Node == e.Node && n.State == "open" {
				return n.Holder
			}
		}
	}
	t.Fatalf("%s/%s has no open holder: %+v", e.Region, e.Node, list)
	return 0
}

// replicate restarts a node with an environment.
func replicate(t *testing.T, i int, env ...string) {
	t.Helper()
	here.Edges[i].Kill()
	here.Edges[i].Change(programs, env...)
	if err := here.Edges[i].Start(); err != nil {
		t.Fatal(err)
	}
	if err := here.WaitReady(context.Background(), i); err != nil {
		t.Fatal(err)
	}
}

// A node is killed with kill -9 under load and its state directory deleted. Its
// peer has the journal: once an operator has fenced the holder, the copy is
// handed in, the holder is closed, and every view that any node answered is
// counted once.
func TestALostDiskLosesNoAnsweredView(t *testing.T) {
	f := newFlight(t, line{views: 10_000_000, cpm: 2_000_000})
	lost, peer := edges[0], edges[1]
	for i, e := range []world.Edge{lost, peer} {
		replicate(t, i, "NEARSIDE_REPLICATE=true")
		f.offer(t, e)
	}
	defer func() {
		for i := range 2 {
			replicate(t, i)
		}
	}()
	counts := &tally{reasons: map[string]int64{}}
	for _, e := range []world.Edge{lost, peer} {
		// A view waits for the peer, or until the node goes on alone: not being alone
		// after one is answered says that the peer has it.
		eventually(t, 60*time.Second, e.Node+" has a copy of its journal at its peer", func() bool {
			if reason := view(t, f.offer(t, e).ViewURL); reason != "Billed view" {
				t.Errorf("a view at %s: %s", e.Node, reason)
			}
			counts.views++
			return metric(t, e.Ops, "nearside_edge_alone") == 0 && metric(t, e.Ops, "nearside_edge_replica_appends_total") > 0
		})
	}
	holder := holderOf(t, lost)

	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Second)
	defer stop()
	var reading sync.WaitGroup
	for i := range 8 {
		reading.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(i)))
			for ctx.Err() == nil {
				home := edges[random.IntN(2)]
				offer, err := browser.Decide(t.Context(), home.Public, f.query(), reader())
				if err != nil || !offer.Filled() {
					time.Sleep(2 * time.Millisecond)
					continue
				}
				reason, once, err := persist(t.Context(), random, home, offer.ViewURL, http.StatusOK)
				if err != nil {
					t.Error(err)
					return
				}
				counts.mu.Lock()
				counts.views++
				if once {
					counts.reasons[reason]++
				}
				counts.mu.Unlock()
			}
		})
	}
	pause(ctx, 1500*time.Millisecond)
	aloneBefore := metric(t, lost.Ops, "nearside_edge_replica_alone_total")
	here.Edges[0].Kill()
	if err := os.RemoveAll(lost.Dir); err != nil {
		t.Fatal(err)
	}
	reading.Wait()
	if t.Failed() {
		return
	}
	t.Logf("%d views answered, at the first try %v", counts.views, counts.reasons)
	if counts.views < 200 {
		t.Error("this shows too little")
	}
	if aloneBefore > 1 { // once, before its peer was there
		t.Logf("%s was alone %v times before its disk was lost", lost.Node, aloneBefore)
	}

	call(t, 0, http.MethodPost, fmt.Sprintf("/v1/holders/%d/fence", holder), nil, nil)
	eventually(t, 40*time.Second, "the copy is handed in and the holder closed", func() bool {
		var h struct {
			State string `json:"state"`
		}
		call(t, 0, http.MethodGet, fmt.Sprintf("/v1/holders/%d", holder), nil, &h)
		return h.State == "closed"
	})
	if n := metric(t, peer.Ops, "nearside_edge_copies_handed_in_total"); n != 1 {
		t.Errorf("%s handed in %v copies, expected 1", peer.Node, n)
	}
	if err := here.Edges[0].Start(); err != nil {
		t.Fatal(err)
	}
	if err := here.WaitReady(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if again := holderOf(t, lost); again == holder {
		t.Errorf("the new disk is holder %d again", again)
	}
	f.settles(t, 15*time.Second, func(d delivery) bool {
		return d.Views == counts.views && d.UnbilledViews == 0 && d.SpentMicros == d.Views*f.cpm/1000
	}, fmt.Sprintf("%d views", counts.views))
	reconciles(t)
}

// reconciles runs nearside-core reconcile, which names any difference between
// reports and budgets.
func reconciles(t *testing.T) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), filepath.Join(programs, "nearside-core"), "reconcile", "--database-url", here.Ready().DatabaseURL).CombinedOutput()
	if err != nil {
		t.Errorf("reconcile: %v: %s", err, out)
	}
	t.Logf("%s", out)
}
