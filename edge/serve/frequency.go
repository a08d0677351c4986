package serve

import (
	"sync"

	"nearside/edge/decision"
)

// frequencies counts the offers of flights with a frequency cap by client, in
// fixed windows. It is best effort and this node's alone; its memory is fixed,
// and it forgets the client whose last offer is longest ago.
type frequencies struct {
	mu   [frequencyShards]sync.Mutex
	sets [frequencyShards][]frequencySet // made at the first capped offer
}

const (
	frequencyShards  = 64
	frequencySets    = 128 // in a shard: 32 768 clients, about 4 MB when all are used
	frequencyWays    = 4
	frequencyFlights = 8 // of one client
)

type frequencySet [frequencyWays]clientOffers

type clientOffers struct {
	client uint64 // 0: free
	last   int64  // unix seconds of the last capped offer
	seen   [frequencyFlights]flightOffers
}

// flightOffers is how often a client was offered one flight in its window.
type flightOffers struct {
	flight uint32 // 0: free
	n      int32
	start  int64 // unix seconds
}

// find is the place of a client, the one to forget where there is none. The
// shard is locked.
func (f *frequencies) find(shard, client uint64) *clientOffers {
	set := &f.sets[shard][client/frequencyShards%frequencySets]
	at := &set[0]
	for i := range set {
		if set[i].client == client {
			return &set[i]
		}
		if set[i].last < at.last {
			at = &set[i]
		}
	}
	return at
}

// capped appends the flights that a client has been offered often enough.
func (f *frequencies) capped(to []uint32, client uint64, c *decision.Catalog, now int64) []uint32 {
	shard := client % frequencyShards
	f.mu[shard].Lock()
	defer f.mu[shard].Unlock()
	if f.sets[shard] == nil {
		return to
	}
	at := f.find(shard, client)
	if at.client != client {
		return to
	}
	for _, s := range at.seen {
		flight := c.FlightByID(s.flight)
		if flight != nil && flight.FrequencyCap > 0 && s.n >= flight.FrequencyCap && inWindow(flight, &s, now) {
			to = append(to, s.flight)
		}
	}
	return to
}

// inWindow reports whether the window of s has not ended.
func inWindow(f *decision.Flight, s *flightOffers, now int64) bool {
	return now >= s.start && now < s.start+int64(max(f.FrequencyWindow, 1))
}

// count notes an offer of a capped flight. Of too many flights for one client
// the one whose window began first is forgotten.
func (f *frequencies) count(client uint64, flight *decision.Flight, now int64) {
	shard := client % frequencyShards
	f.mu[shard].Lock()
	defer f.mu[shard].Unlock()
	if f.sets[shard] == nil {
		f.sets[shard] = make([]frequencySet, frequencySets)
	}
	at := f.find(shard, client)
	if at.client != client {
		*at = clientOffers{client: client}
	}
	at.last = now
	s := &at.seen[0]
	for i := range at.seen {
		if at.seen[i].flight == flight.ID {
			s = &at.seen[i]
			break
		}
		if at.seen[i].start < s.start {
			s = &at.seen[i]
		}
	}
	if s.flight != flight.ID || !inWindow(flight, s, now) {
		*s = flightOffers{flight: flight.ID, start: now}
	}
	s.n++
}
