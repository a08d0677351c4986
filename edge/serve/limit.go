package serve

import (
	"hash/maphash"
	"net/netip"
	"sync"
)

// Rate is so many events within a window.
type Rate struct {
	Events int
	Window int64 // seconds
}

// The limits of one address.
var (
	clickRates = []Rate{{1, 60}, {3, 10 * 60}, {10, 60 * 60}, {25, 24 * 60 * 60}}
	viewRates  = []Rate{{5, 5 * 60}}
)

// maxRates is how many rates one limit may have.
const maxRates = 4

// limiter counts events by key in fixed windows. Its memory is fixed: where too
// many keys come at once it forgets those whose last event is longest ago.
type limiter struct {
	rates []Rate
	seed  maphash.Seed
	mu    [limiterShards]sync.Mutex
	sets  [limiterShards][]limiterSet // made at the first event
}

const (
	limiterShards = 64
	limiterSets   = 256 // in a shard
	limiterWays   = 4
)

type limiterSet [limiterWays]counted

type counted struct {
	key   uint64 // 0: free
	last  int64  // unix seconds of the last event
	start [maxRates]int64
	n     [maxRates]int32
}

func newLimiter(rates []Rate) *limiter {
	return &limiter{rates: rates, seed: maphash.MakeSeed()}
}

// prefix is who is counted: an IPv4 address, or the /64 of an IPv6 address,
// which one reader has for himself.
func prefix(addr netip.Addr) (key uint64, ok bool) {
	if !addr.IsValid() {
		return 0, false
	}
	b := addr.As16()
	if addr.Is4() {
		return uint64(b[12])<<24 | uint64(b[13])<<16 | uint64(b[14])<<8 | uint64(b[15]), true
	}
	for _, c := range b[:8] {
		key = key<<8 | uint64(c)
	}
	return key | 1<<63, true // 2000::/3 leaves the top bit free, and IPv4 never has it
}

// over counts one event and reports whether it is beyond one of the rates. As
// in the reference server, rates are looked at in order, and those after the
// first that is exceeded do not count the event.
func (l *limiter) over(key uint64, now int64) bool {
	h := maphash.Comparable(l.seed, key)
	if h == 0 {
		h = 1
	}
	shard := h % limiterShards
	l.mu[shard].Lock()
	defer l.mu[shard].Unlock()
	if l.sets[shard] == nil {
		l.sets[shard] = make([]limiterSet, limiterSets)
	}
	set := &l.sets[shard][h/limiterShards%limiterSets]
	c := &set[0]
	for i := range set {
		if set[i].key == h {
			c = &set[i]
			break
		}
		if set[i].last < c.last {
			c = &set[i]
		}
	}
	if c.key != h {
		*c = counted{key: h}
	}
	c.last = now
	for i, r := range l.rates {
		if now >= c.start[i]+r.Window || now < c.start[i] {
			c.start[i], c.n[i] = now, 0
		}
		if c.n[i] = min(c.n[i]+1, int32(r.Events)+1); c.n[i] > int32(r.Events) {
			return true
		}
	}
	return false
}
