package uplink

import (
	"iter"
	"math/bits"
)

// counts are decisions by their key, in a table with open addressing: a key is in
// the slot that its hash names, or in the next ones up to the first that is free. A
// slot is one cache line, and so is what counting once more has to fetch, where a
// map takes three. Keys are never taken out one by one. The zero value is empty.
type counts struct {
	slots []counted // a power of two of them, and at most half are used
	used  int
}

type counted struct {
	hash uint64 // 0: the slot is free
	key  decisionKey
	decided
}

// add counts more of a key. It reports false, and counts nothing, where the key is
// new and there are most keys already.
func (c *counts) add(key *decisionKey, seed uint64, more decided, most int) bool {
	hash := key.hash(seed)
	s := c.slot(hash, key)
	if s == nil || s.hash == 0 {
		if c.used >= most {
			return false
		}
		if 2*c.used >= len(c.slots) {
			c.grow()
			s = c.slot(hash, key)
		}
		s.hash, s.key = hash, *key
		c.used++
	}
	s.decided = s.plus(more)
	return true
}

// slot is where a key is, or would be; nil while there are no slots.
func (c *counts) slot(hash uint64, key *decisionKey) *counted {
	last := uint64(len(c.slots) - 1)
	for i := hash; len(c.slots) > 0; i++ {
		if s := &c.slots[i&last]; s.hash == 0 || s.hash == hash && s.key == *key {
			return s
		}
	}
	return nil
}

func (c *counts) grow() {
	old := c.slots
	c.slots = make([]counted, max(64, 2*len(old)))
	for i := range old {
		if s := &old[i]; s.hash != 0 {
			*c.slot(s.hash, &s.key) = *s
		}
	}
}

// all are the keys and what was counted of each, in no order.
func (c *counts) all() iter.Seq2[decisionKey, decided] {
	return func(yield func(decisionKey, decided) bool) {
		for i := range c.slots {
			if s := &c.slots[i]; s.hash != 0 && !yield(s.key, s.decided) {
				return
			}
		}
	}
}

// clear forgets the keys, and keeps the room.
func (c *counts) clear() {
	clear(c.slots)
	c.used = 0
}

// hash is never 0. The seed is the process's own, so that nobody outside can choose
// keys that meet.
func (k *decisionKey) hash(seed uint64) uint64 {
	h := mixed(seed^uint64(k.publisher)<<32^uint64(k.flight), uint64(k.hour)<<16^uint64(k.country[0])<<8^uint64(k.country[1]))
	for _, topic := range k.topics.All() {
		h = mixed(h, uint64(topic)+1)
	}
	return h | 1<<63
}

// mixed are two numbers in one, each bit of which depends on all of theirs.
func mixed(a, b uint64) uint64 {
	high, low := bits.Mul64(a^0x9e3779b97f4a7c15, b^0xbf58476d1ce4e5b9)
	return high ^ low
}
