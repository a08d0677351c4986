package lease

import "hash/fnv"

// A budget is small, and leased through one broker a region, while what
// remains of it is less than smallPer units for each open holder. It is leased
// to every holder again from twice as much, so that it does not go to and fro.
const smallPer = 50

// Small reports whether a budget with a remainder, in whole units, is brokered
// among so many holders; was is whether it is now.
func Small(was bool, remaining int64, holders int) bool {
	n := int64(max(holders, 1))
	if was {
		n *= 2
	}
	return max(remaining, 0)/n < smallPer
}

// quick is the pace, in thousandths of a unit per second for each holder, from
// which a small budget needs no brokers: a unit a minute. Nothing lies idle then,
// and brokers alone, who see a part of the requests, would be too slow.
const quick = 1000 / 60

// Quick reports whether a small budget that all holders together use up at a
// pace, in thousandths of a unit per second, is better left to all of them; was
// is whether it is now. Where the number of holders is not known it is not.
func Quick(was bool, pace int64, holders int) bool {
	if holders <= 0 {
		return false
	}
	if !was {
		pace /= 2
	}
	return pace/int64(holders) >= quick
}

// Broker is the index of the node that is a flight's broker among the nodes of
// a region, -1 where there is none: rendezvous hashing, so that nodes which
// agree about who is there agree about the broker, in whatever order they list
// the names, and a node that comes or goes moves no other node's flights.
//
// The weight of a node is the 64-bit FNV-1a of its name, xor the flight times
// 0x9e3779b97f4a7c15, through the finalizer of splitmix64; the heaviest is the
// broker, of equals the one whose name sorts first.
func Broker(flight uint32, nodes []string) int {
	best, heaviest := -1, uint64(0)
	for i, name := range nodes {
		w := weight(flight, name)
		if best < 0 || w > heaviest || w == heaviest && name < nodes[best] {
			best, heaviest = i, w
		}
	}
	return best
}

func weight(flight uint32, name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // never fails
	z := h.Sum64() ^ uint64(flight)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
