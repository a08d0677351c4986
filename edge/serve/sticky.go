package serve

import (
	"sync"

	"nearside/edge/decision"
	"nearside/sync/token"
)

// stickies keeps the offers that clients get again. Its memory is fixed, like
// the limiter's; an offer that it forgets becomes a new decision.
type stickies struct {
	mu   [stickyShards]sync.Mutex
	sets [stickyShards][]stickySet
}

const (
	stickyShards = 64
	stickySets   = 64 // in a shard: 16 384 offers, about 5 MB when all are used
	stickyWays   = 4
)

type stickySet [stickyWays]sticky

type sticky struct {
	key       uint64 // 0: free
	until     int64  // unix milliseconds
	loaded    *loaded
	ad        *decision.Ad
	placement int
	length    int
	nonce     [token.MaxText]byte
}

// get copies the offer kept under a key, if it is still good: made with this
// catalog, and its flight not stopped since.
func (s *stickies) get(key uint64, now int64, l *loaded, out *sticky) bool {
	shard := key % stickyShards
	s.mu[shard].Lock()
	defer s.mu[shard].Unlock()
	if s.sets[shard] == nil {
		return false
	}
	set := &s.sets[shard][key/stickyShards%stickySets]
	for i := range set {
		if c := &set[i]; c.key == key && c.loaded == l && now < c.until {
			*out = *c
			return true
		}
	}
	return false
}

// put keeps an offer, in the place of the one that ends first.
func (s *stickies) put(offer *sticky) {
	shard := offer.key % stickyShards
	s.mu[shard].Lock()
	defer s.mu[shard].Unlock()
	if s.sets[shard] == nil {
		s.sets[shard] = make([]stickySet, stickySets)
	}
	set := &s.sets[shard][offer.key/stickyShards%stickySets]
	at := &set[0]
	for i := range set {
		if set[i].key == offer.key {
			at = &set[i]
			break
		}
		if set[i].until < at.until {
			at = &set[i]
		}
	}
	*at = *offer
}
