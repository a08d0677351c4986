package lease

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestSmall(t *testing.T) {
	for _, c := range []struct {
		name      string
		was       bool
		remaining int64
		holders   int
		want      bool
	}{
		{"50 units for each holder: leased to all", false, 750, 15, false},
		{"less: through brokers", false, 749, 15, true},
		{"brokered, and a little was added: still", true, 1499, 15, true},
		{"brokered, and 100 for each: to all again", true, 1500, 15, false},
		{"nothing remains", false, 0, 15, true},
		{"more was settled than is allowed now", true, -3, 15, true},
		{"one holder, 50 units", false, 50, 1, false},
		{"nobody is known to be open", false, 50, 0, false},
	} {
		if got := Small(c.was, c.remaining, c.holders); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestQuick(t *testing.T) {
	for _, c := range []struct {
		name    string
		was     bool
		pace    int64
		holders int
		want    bool
	}{
		{"each uses up one a minute, and is let", true, 16 * 15, 15, true},
		{"a little less: through brokers", true, 16*15 - 1, 15, false},
		{"through brokers, and one a minute each: still", false, 16 * 15, 15, false},
		{"and two a minute: left to all", false, 32 * 15, 15, true},
		{"nobody said how many there are", true, 1 << 40, 0, false},
		{"nothing is asked for", true, 0, 15, false},
	} {
		if got := Quick(c.was, c.pace, c.holders); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// What two versions of this program must agree about.
func TestBrokerIsTheSameForAll(t *testing.T) {
	nodes := []string{"eu-west-1", "eu-west-2", "eu-west-3"}
	var got []int
	for flight := uint32(1); flight <= 12; flight++ {
		got = append(got, Broker(flight, nodes))
	}
	if want := []int{0, 0, 2, 1, 0, 0, 2, 2, 2, 1, 1, 2}; !slices.Equal(got, want) {
		t.Errorf("the brokers of flights 1 to 12 are %v, want %v", got, want)
	}
	if Broker(1, nil) != -1 {
		t.Error("a broker of no nodes")
	}
}

func TestBroker(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z]{1,6}-[0-9]{1,3}`), 1, 12, rapid.ID).Draw(t, "nodes")
		flight := rapid.Uint32().Draw(t, "flight")
		broker := nodes[Broker(flight, nodes)]
		shuffled := rapid.Permutation(nodes).Draw(t, "shuffled")
		if got := shuffled[Broker(flight, shuffled)]; got != broker {
			t.Fatalf("in another order: %s, then %s", broker, got)
		}
		gone := rapid.IntRange(0, len(nodes)-1).Draw(t, "gone")
		rest := slices.Delete(slices.Clone(nodes), gone, gone+1)
		if i := Broker(flight, rest); nodes[gone] != broker && rest[i] != broker {
			t.Fatalf("%s left and moved the flight from %s to %s", nodes[gone], broker, rest[i])
		}
	})
}

func TestBrokersShareTheFlights(t *testing.T) {
	nodes := make([]string, 20)
	for i := range nodes {
		nodes[i] = fmt.Sprintf("node-%d", i)
	}
	flights := make([]int, len(nodes))
	for f := range uint32(10_000) {
		flights[Broker(f, nodes)]++
	}
	for i, n := range flights {
		if n < 400 || n > 600 {
			t.Errorf("%s is the broker of %d of 10 000 flights, expected about 500", nodes[i], n)
		}
	}
}
