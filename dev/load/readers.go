package load

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"

	"nearside/edge/visitor"
)

// A Reader is who asks: an address of some country, with a browser.
type Reader struct {
	Addr    netip.Addr
	Country string // ISO 3166-1 alpha-2
	Agent   string
}

// Share says how often a country appears among the readers of a region.
type Share struct {
	Country string
	Weight  int
}

// mixes are the readers that geo DNS would send to a region.
var mixes = map[string][]Share{
	"us-east":  {{"US", 60}, {"CA", 10}, {"MX", 6}, {"BR", 12}, {"AR", 4}, {"CO", 3}, {"CL", 2}, {"PE", 1}},
	"eu-west":  {{"DE", 20}, {"GB", 18}, {"FR", 14}, {"NL", 7}, {"ES", 7}, {"IT", 7}, {"PL", 6}, {"SE", 4}, {"CH", 3}, {"AT", 3}, {"UA", 3}, {"RU", 3}, {"NG", 2}, {"ZA", 2}, {"EG", 1}},
	"ap-south": {{"IN", 45}, {"JP", 12}, {"SG", 6}, {"ID", 7}, {"KR", 6}, {"AU", 8}, {"NZ", 2}, {"PK", 4}, {"BD", 4}, {"VN", 3}, {"TW", 3}},
}

// Mix is who reads in a region; regions without a mix of their own get a bit
// of every other.
func Mix(region string) []Share {
	if mix, ok := mixes[region]; ok {
		return mix
	}
	var all []Share
	for _, name := range slices.Sorted(maps.Keys(mixes)) {
		all = append(all, mixes[name]...)
	}
	return all
}

// Readers draws readers. It is not safe for concurrent use.
type Readers struct {
	random *rand.Rand
	mix    []Share
	total  int
	addrs  Addresses
}

// addressesEach is how many addresses of each country are found.
const addressesEach = 64

// Addresses are some of each country, by its code.
type Addresses map[string][]netip.Addr

// FindAddresses looks random addresses up until there are enough of each
// country that any mix names. The same seed finds the same ones.
func FindAddresses(places *visitor.Places, seed uint64) (Addresses, error) {
	found := Addresses{}
	missing := 0
	for _, mix := range mixes {
		for _, s := range mix {
			if _, ok := found[s.Country]; !ok {
				found[s.Country] = nil
				missing++
			}
		}
	}
	random := rand.New(rand.NewPCG(seed, 0))
	for range 50_000_000 {
		if missing == 0 {
			return found, nil
		}
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], random.Uint32())
		addr := netip.AddrFrom4(b)
		if !addr.IsGlobalUnicast() || addr.IsPrivate() {
			continue
		}
		place := places.Of(addr)
		country := string(place.Country[:])
		if have, wanted := found[country]; wanted && len(have) < addressesEach {
			found[country] = append(have, addr)
			if len(have)+1 == addressesEach {
				missing--
			}
		}
	}
	return nil, fmt.Errorf("the geo database has too few addresses of %d countries", missing)
}

// NewReaders draws from a mix.
func NewReaders(addrs Addresses, mix []Share, seed uint64) *Readers {
	r := &Readers{random: rand.New(rand.NewPCG(seed, 1)), mix: mix, addrs: addrs}
	for _, s := range mix {
		r.total += s.Weight
	}
	return r
}

// Next is somebody.
func (r *Readers) Next() Reader {
	n := r.random.IntN(r.total)
	for _, s := range r.mix {
		if n -= s.Weight; n < 0 {
			return r.From(s.Country)
		}
	}
	panic("the weights of a mix do not add up")
}

// From is somebody of one country.
func (r *Readers) From(country string) Reader {
	addrs := r.addrs[country]
	agents := desktops
	if r.random.IntN(100) < 18 {
		agents = phones
	}
	return Reader{Addr: addrs[r.random.IntN(len(addrs))], Country: country, Agent: agents[r.random.IntN(len(agents))]}
}

// Desktop is a user agent that every edge recognizes and nothing blocks.
func Desktop() string { return desktops[0] }

// Phone is a mobile one.
func Phone() string { return phones[0] }

var desktops = []string{
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36",
	"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36",
	"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/137.0.0.0 Safari/537.36",
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0",
	"Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
	"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15",
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/137.0.0.0 Safari/537.36 Edg/137.0.0.0",
}

var phones = []string{
	"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
	"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/137.0.0.0 Mobile Safari/537.36",
	"Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0",
}
