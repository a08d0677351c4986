package gossip

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"nearside/sync/catalog"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// A probe in flight when the pool closes ends by itself; memberlist does not wait for it.
		goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode"))
}

func open(t *testing.T, name, region string, seeds []string, keys [][]byte, heard func([]Control)) *Pool {
	t.Helper()
	p, err := Open(Config{
		Region: region, Name: name, Bind: netip.MustParseAddrPort("127.0.0.1:0"),
		Peer: "127.0.0.1:1", Seeds: seeds, Keys: keys, OnControls: heard,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return p
}

// eventually polls a condition that other goroutines bring about.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func TestNodesFindEachOtherAndSayWhoseHomeTheyAre(t *testing.T) {
	key := bytes.Repeat([]byte{7}, 32)
	a := open(t, "a", "eu", nil, [][]byte{key}, nil)
	b := open(t, "b", "eu", []string{a.Addr()}, [][]byte{key}, nil)
	c := open(t, "c", "eu", []string{a.Addr()}, [][]byte{key}, nil)
	a.Announce(11, 3, 1)
	b.Announce(12, 5, 1)
	c.Announce(13, 5, 2)
	for _, p := range []*Pool{a, b, c} {
		eventually(t, "three peers with their holders", func() bool {
			_, one := p.Home(11)
			_, two := p.Home(12)
			_, three := p.Home(13)
			return one && two && three && len(p.Peers()) == 3
		})
	}
	if _, ok := a.Home(99); ok {
		t.Error("a holder that nobody announced has a home")
	}
	if ahead, ok := a.Ahead(3, 1); !ok || ahead.Name != "c" {
		t.Errorf("ahead of catalog 3, control 1: %+v, want c, the furthest", ahead)
	}
	if ahead, ok := c.Ahead(5, 2); ok {
		t.Errorf("nobody is ahead of c, yet %+v", ahead)
	}
}

// Each change of each node must arrive, also when many come at once: memberlist
// loses some of them in its queue.
func TestNoAnnouncementIsLost(t *testing.T) {
	pools := []*Pool{open(t, "a", "eu", nil, nil, nil)}
	for _, name := range []string{"b", "c", "d"} {
		pools = append(pools, open(t, name, "eu", []string{pools[0].Addr()}, nil, nil))
	}
	for round := range uint64(20) {
		for i, p := range pools {
			p.Announce(uint32(i+1), round, round)
		}
		for _, p := range pools {
			eventually(t, fmt.Sprintf("round %d heard everywhere", round), func() bool {
				peers := p.Peers()
				return len(peers) == len(pools) && !slices.ContainsFunc(peers, func(n Peer) bool { return n.Catalog != round || n.Holder == 0 })
			})
		}
	}
}

func TestAQueueLosesNoControl(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := newQueue(2, func() int { return 1 })
		want := map[string]bool{} // the newest of each flight, until it was sent
		newest := map[uint32]string{}
		version := uint64(0)
		t.Repeat(map[string]func(*rapid.T){
			"tell": func(t *rapid.T) {
				version++
				c := Control{Version: version, Flight: rapid.Uint32Range(1, 5).Draw(t, "flight")}
				delete(want, newest[c.Flight])
				b := newBroadcast(c)
				newest[c.Flight] = string(b.msg)
				want[string(b.msg)] = true
				q.QueueBroadcast(b)
			},
			"send": func(t *rapid.T) {
				for _, m := range q.GetBroadcasts(2, rapid.IntRange(20, 1400).Draw(t, "room")) {
					delete(want, string(m))
				}
			},
		})
		for len(want) > 0 {
			sent := q.GetBroadcasts(2, 1400)
			if len(sent) == 0 {
				t.Fatalf("%d controls were queued and never sent", len(want))
			}
			for _, m := range sent {
				delete(want, string(m))
			}
		}
	})
}

func TestAControlReachesEverybody(t *testing.T) {
	heard := make(chan []Control, 16)
	a := open(t, "a", "eu", nil, nil, nil)
	b := open(t, "b", "eu", []string{a.Addr()}, nil, func(c []Control) { heard <- c })
	eventually(t, "two peers", func() bool { return len(a.Peers()) == 2 && len(b.Peers()) == 2 })
	want := Control{Version: 9, Flight: 4, State: catalog.Pause}
	a.Tell([]Control{want})
	if got := <-heard; !slices.Equal(got, []Control{want}) {
		t.Fatalf("heard %v, want %v", got, want)
	}
	a.Tell([]Control{{Version: 8, Flight: 4, State: catalog.Run}})
	if got := a.Controls(); !slices.Equal(got, []Control{want}) {
		t.Errorf("an older control replaced a newer one: %v", got)
	}
	// A node that joins later pulls the state.
	c := open(t, "c", "eu", []string{b.Addr()}, nil, nil)
	eventually(t, "the late node has the control", func() bool { return slices.Equal(c.Controls(), []Control{want}) })
}

func TestPoolsOfTwoRegionsOrTwoKeysNeverMerge(t *testing.T) {
	k1, k2 := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	a := open(t, "a", "eu", nil, [][]byte{k1}, nil)
	for _, other := range []struct {
		name, region string
		key          []byte
	}{{"b", "us", k1}, {"c", "eu", k2}} {
		p, err := Open(Config{Region: other.region, Name: other.name, Bind: netip.MustParseAddrPort("127.0.0.1:0"), Keys: [][]byte{other.key}})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := p.list.Join([]string{a.Addr()}); err == nil || n != 0 {
			t.Errorf("%s of region %s joined the pool of eu (%d nodes, %v)", other.name, other.region, n, err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	if len(a.Peers()) != 1 {
		t.Errorf("peers of a: %v", a.Peers())
	}
}

func TestKeysRotateWithoutAPause(t *testing.T) {
	k1, k2 := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	a := open(t, "a", "eu", nil, [][]byte{k1}, nil)
	b := open(t, "b", "eu", []string{a.Addr()}, [][]byte{k1}, nil)
	pools := []*Pool{a, b}
	for step, keys := range [][][]byte{{k1, k2}, {k2, k1}, {k2}} {
		for _, p := range pools {
			if err := p.UseKeys(keys); err != nil {
				t.Fatal(err)
			}
		}
		c := Control{Version: uint64(step + 1), Flight: 1, State: catalog.Pause}
		a.Tell([]Control{c})
		eventually(t, fmt.Sprintf("b hears after step %d", step+1), func() bool { return slices.Contains(b.Controls(), c) })
	}
	if err := a.UseKeys([][]byte{{1, 2, 3}}); err == nil {
		t.Error("a key of 3 bytes was taken")
	}
}

func TestWrongConfigurationIsNamed(t *testing.T) {
	bind := netip.MustParseAddrPort("127.0.0.1:0")
	for name, conf := range map[string]Config{
		"no name":   {Region: "eu", Bind: bind},
		"no region": {Name: "a", Bind: bind},
		"no bind":   {Name: "a", Region: "eu"},
		"short key": {Name: "a", Region: "eu", Bind: bind, Keys: [][]byte{{1}}},
		"long peer": {Name: "a", Region: "eu", Bind: bind, Peer: string(make([]byte, 600))},
	} {
		if p, err := Open(conf); err == nil {
			t.Errorf("%s: opened", name)
			_ = p.Close()
		}
	}
}

func control(t *rapid.T) Control {
	return Control{
		Version: rapid.Uint64Range(1, 40).Draw(t, "version"),
		Flight:  rapid.Uint32Range(1, 5).Draw(t, "flight"),
	}
}

// The state of a control is a function of its version, as at the core, where
// one counter numbers all of them.
func settle(c Control) Control {
	c.Flight = uint32(c.Version%5) + 1
	c.State = catalog.State(c.Version % 3)
	return c
}

func TestMergingControlsIsCommutativeAssociativeAndIdempotent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOf(rapid.Custom(func(t *rapid.T) Control { return settle(control(t)) })).Draw(t, "controls")
		shuffled := rapid.Permutation(list).Draw(t, "order")
		merged := func(parts ...[]Control) map[uint32]Control {
			p := &Pool{controls: map[uint32]Control{}}
			for _, part := range parts {
				p.merge(part)
			}
			return p.controls
		}
		want := merged(list)
		cut := 0
		if len(shuffled) > 0 {
			cut = rapid.IntRange(0, len(shuffled)).Draw(t, "cut")
		}
		for _, got := range []map[uint32]Control{
			merged(shuffled), merged(list, list), merged(shuffled[:cut], shuffled[cut:]), merged(shuffled[cut:], shuffled[:cut], list),
		} {
			if !maps.Equal(got, want) {
				t.Fatalf("merged to %v, want %v", got, want)
			}
		}
	})
}

func TestGolden(t *testing.T) {
	meta := encodeMeta(Peer{Holder: 7, Catalog: 2, Control: 3, Addr: "10.0.0.1:9"})
	if got, want := fmt.Sprintf("%x", meta), "01070000000200000000000000030000000000000031302e302e302e313a39"; got != want {
		t.Errorf("metadata %s, want %s", got, want)
	}
	msg := encodeControls([]Control{{Version: 258, Flight: 5, State: catalog.Kill}})
	if got, want := fmt.Sprintf("%x", msg), "0102010000000000000500000002"; got != want {
		t.Errorf("control %s, want %s", got, want)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encodeMeta(Peer{Holder: 1, Addr: "127.0.0.1:80"}))
	f.Add(encodeControls([]Control{{1, 2, catalog.Pause}}))
	f.Add([]byte{})
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, ok := decodeMeta(b); ok && !bytes.Equal(encodeMeta(p), b) {
			t.Errorf("metadata %x does not survive the round trip", b)
		}
		if c, ok := decodeControls(b); ok && !bytes.Equal(encodeControls(c), b) {
			t.Errorf("controls %x do not survive the round trip", b)
		}
	})
}
