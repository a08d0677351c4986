package regions

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"nearside/dev/load"
	"nearside/dev/world"
)

// nearside-dev up --nodes 3: the nodes of each region find each other and no
// others, each listens where it is documented, and a view that comes to another
// node of its region is billed once, at once, by its home.
func TestThreeNodesPerRegion(t *testing.T) {
	base, err := freePorts()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/var/tmp", "nearside-up-") //nolint:usetesting // Postgres' own user must be able to enter it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	up := exec.Command(filepath.Join(programs, "nearside-dev"), "up", "--dir", filepath.Join(dir, "state"),
		"--base-port", fmt.Sprint(base), "--regions", "here,there", "--nodes", "3", "--traffic", "0")
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "NEARSIDE_") {
			up.Env = append(up.Env, kv)
		}
	}
	up.Stderr = &stderr
	stdout, err := up.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if up.ProcessState == nil {
			_ = up.Process.Kill()
			_ = up.Wait()
		}
	})
	first, err := bufio.NewReader(stdout).ReadString('\n')
	var ready world.Ready
	if text, ok := strings.CutPrefix(first, "ready "); err != nil || !ok {
		t.Fatalf("stdout begins with %q (%v)", first, err)
	} else if err := json.Unmarshal([]byte(text), &ready); err != nil {
		t.Fatal(err)
	}
	if len(ready.Edges) != 6 {
		t.Fatalf("%d edges", len(ready.Edges))
	}

	for i, e := range ready.Edges {
		port := base + 100*(i/3+1) + 10*(i%3)
		if want := fmt.Sprintf("http://127.0.0.1:%d", port); e.Public != want {
			t.Errorf("%s is at %s, want %s", e.Node, e.Public, want)
		}
		for k, what := range []string{"readers", "operations", "gossip", "peers"} {
			c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port+k), time.Second)
			if err != nil {
				t.Errorf("%s, port for %s: %v", e.Node, what, err)
				continue
			}
			c.Close()
		}
		eventually(t, 20*time.Second, e.Node+" sees the three nodes of its region", func() bool {
			return metric(t, e.Ops, "nearside_edge_region_nodes") == 3
		})
	}
	admin := func(path string, to any) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, ready.Admin+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+ready.AdminToken)
		answer, err := browser.Do(req, load.Reader{})
		if err != nil || answer.Status != http.StatusOK {
			t.Fatalf("%s: %d %s (%v)", path, answer.Status, answer.Body, err)
		}
		if err := json.Unmarshal(answer.Body, to); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	var list struct {
		Items []struct {
			Region string `json:"region"`
			Nodes  []struct {
				Node  string `json:"node"`
				State string `json:"state"`
			} `json:"nodes"`
		} `json:"items"`
	}
	admin("/v1/edges", &list)
	known := map[string]bool{}
	for _, r := range list.Items {
		for _, n := range r.Nodes {
			known[r.Region+"/"+n.Node+" "+n.State] = true
		}
	}
	for _, e := range ready.Edges {
		if !known[e.Region+"/"+e.Node+" open"] {
			t.Errorf("/v1/edges does not have %s as open: %+v", e.Node, list.Items)
		}
	}

	delivered := func() (n int64) {
		for next := ""; ; {
			var list struct {
				Items []struct {
					Delivery delivery `json:"delivery"`
				} `json:"items"`
				Next string `json:"next"`
			}
			admin("/v1/flights?limit=100&cursor="+next, &list)
			for _, f := range list.Items {
				n += f.Delivery.Views
			}
			if next = list.Next; next == "" {
				return n
			}
		}
	}
	home, peer, stranger := ready.Edges[0], ready.Edges[2], ready.Edges[3]
	page := flight{slug: "sample-docs"}
	took := eventually(t, 10*time.Second, "the peer knows whose home it is", func() bool {
		return view(t, at(peer, page.offer(t, home).ViewURL)) == "Billed view"
	})
	t.Logf("a view at the peer is judged by its home after %s", took)
	eventually(t, 15*time.Second, "nothing is under way", func() bool {
		before := delivered()
		for _, e := range ready.Edges {
			from := metric(t, e.Ops, "nearside_edge_exchanges_total")
			eventually(t, 10*time.Second, e.Node+" exchanges", func() bool { return metric(t, e.Ops, "nearside_edge_exchanges_total") >= from+2 })
		}
		return delivered() == before
	})
	// A view of a flight that sells clicks touches no budget: its home calls it Counted.
	judged := func(e world.Edge) (n float64) {
		for _, verdict := range []string{"Billed", "Counted"} {
			n += metric(t, e.Ops, `nearside_edge_verdicts_total{verdict="`+verdict+`"}`)
		}
		return n
	}
	for _, c := range []struct {
		first          world.Edge
		reason         string // of the first view
		atHome, atPeer float64
	}{
		{peer, "Billed view", 1, 1}, // the peer passes on what the home has judged
		{stranger, "Passed to its home", 0, 0},
	} {
		offer := page.offer(t, home)
		views, atHome, atPeer := delivered(), judged(home), judged(c.first)
		if reason := view(t, at(c.first, offer.ViewURL)); reason != c.reason {
			t.Errorf("a view of %s at %s: %s, want %s", home.Node, c.first.Node, reason, c.reason)
		}
		if home, first := judged(home)-atHome, judged(c.first)-atPeer; home != c.atHome || first != c.atPeer {
			t.Errorf("a view at %s is counted %v times by its home, %v times where it came", c.first.Node, home, first)
		}
		for _, again := range []world.Edge{peer, c.first} {
			if reason := view(t, at(again, offer.ViewURL)); c.reason == "Billed view" && reason != "Old/Invalid nonce" {
				t.Errorf("the same view again at %s: %s", again.Node, reason)
			}
		}
		eventually(t, 15*time.Second, "the core has counted it", func() bool { return delivered() == views+1 })
		if reason := view(t, offer.ViewURL); reason != "Old/Invalid nonce" {
			t.Errorf("the same view again at home: %s", reason)
		}
	}

	if err := up.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(stdout); err != nil || len(rest) > 0 {
		t.Errorf("after the ready line stdout carries %q (%v)", rest, err)
	}
	if err := up.Wait(); err != nil {
		t.Errorf("it ends with %v; stderr:\n%s", err, stderr.String())
	}
}
