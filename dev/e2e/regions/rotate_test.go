package regions

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nearside/dev/world"
)

// core runs nearside-core as an operator would, and returns what it printed.
func core(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(programs, "nearside-core"), args...)
	cmd.Env = append(os.Environ(), "NEARSIDE_DATABASE_URL="+here.Ready().DatabaseURL, "NEARSIDE_TLS_DIR="+file("tls"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("nearside-core %s: %v: %s", strings.Join(args, " "), err, &stderr)
	}
	return string(out)
}

// file is one of the world's.
func file(name string) string {
	return filepath.Join(filepath.Dir(filepath.Dir(edges[0].Dir)), name)
}

// everyEdge waits until a metric of every edge is right.
func everyEdge(t *testing.T, what, name string, right func(e world.Edge, value float64) bool) {
	t.Helper()
	for _, e := range edges {
		eventually(t, 30*time.Second, e.Node+" "+what, func() bool { return right(e, metric(t, e.Ops, name)) })
	}
}

// Every secret is replaced while readers come: the regions' gossip keys, the
// authority that signs for all machines, each node's certificate and secret, the
// key that seals tokens. No request fails, no node leaves its region, every view
// is counted once, and at the wrong node it is still judged by its home.
func TestEverySecretIsReplacedUnderTraffic(t *testing.T) {
	f := newFlight(t, line{views: 1_000_000, cpm: 1_000_000})
	streams := f.traffic(t, 20)
	var extra int64 // views beside the traffic
	apart := func(after string) {
		t.Helper()
		for _, e := range edges {
			if n := metric(t, e.Ops, "nearside_edge_region_nodes"); n != nodes {
				t.Errorf("after %s %s sees %v nodes in its region, want %d", after, e.Node, n, nodes)
			}
		}
		// A view at its neighbour, which asks the home over the peer port.
		if reason := view(t, at(edges[1], f.offer(t, edges[0]).ViewURL)); reason != "Billed view" {
			t.Errorf("after %s a view at the wrong node: %s", after, reason)
		}
		extra++
	}

	// Gossip: the next key is understood everywhere, then used, then alone.
	old, err := os.ReadFile(file("gossip.key"))
	if err != nil {
		t.Fatal(err)
	}
	was, next := strings.TrimSpace(string(old)), base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))
	for _, step := range []struct{ about, keys string }{
		{"the next gossip key was added", was + "\n" + next},
		{"it was used", next + "\n" + was},
		{"it was alone", next},
	} {
		before := map[string]float64{}
		for _, e := range edges {
			before[e.Node] = metric(t, e.Ops, "nearside_edge_gossip_key_changes_total")
		}
		if err := os.WriteFile(file("gossip.key"), []byte(step.keys+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		everyEdge(t, "has taken the keys", "nearside_edge_gossip_key_changes_total", func(e world.Edge, n float64) bool { return n > before[e.Node] })
		streams.more(t, 20)
		apart(step.about)
	}

	// The authority: the next one is trusted, signs, and is alone.
	first := core(t, "ca", "list")
	for range 3 {
		said := core(t, "ca", "rollover")
		eventually(t, 30*time.Second, "every node goes by these authorities: "+said, func() bool {
			return strings.Count(core(t, "ca", "list"), "these") == len(edges)
		})
		streams.more(t, 20)
		apart(strings.TrimSpace(said))
	}
	now := core(t, "ca", "list")
	authority := func(list string) string { return strings.Fields(strings.Split(list, "\n")[1])[0] }
	if authority(first) == authority(now) || strings.Contains(now, authority(first)) {
		t.Errorf("the former authority is still there:\n%s\nbefore\n%s", now, first)
	}
	everyEdge(t, "has renewed its credential", "nearside_edge_credential_renewals_total", func(_ world.Edge, n float64) bool { return n >= 2 })

	// The key of tokens, which may be used only once every edge must have it.
	keys := core(t, "token-key", "list")
	core(t, "token-key", "rotate", "--max-offline", "1s")
	if again := core(t, "token-key", "list"); again == keys {
		t.Errorf("nothing has changed:\n%s", again)
	}
	streams.more(t, 20)
	apart("the token key was replaced")

	// The admin's token: a new one, then the old one ends.
	token := strings.TrimSpace(core(t, "token", "create", "--role", "admin", "--name", "next"))
	status := func(token string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, here.Ready().Admin+"/v1/tokens", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = answer.Body.Close() }()
		return answer.StatusCode
	}
	if got := status(token); got != http.StatusOK {
		t.Errorf("the new token: %d", got)
	}
	for line := range strings.Lines(core(t, "token", "list")) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[len(fields)-1] == "next" {
			core(t, "token", "revoke", fields[0])
		}
	}
	if got := status(token); got != http.StatusUnauthorized {
		t.Errorf("a token that was revoked: %d", got)
	}

	f.finishWith(t, streams, extra)
}
