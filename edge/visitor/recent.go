package visitor

import "sync/atomic"

// recent stands before a cache and answers for what was asked for last, in a
// load and a comparison. It forgets what takes the same place.
type recent[V any] struct {
	slots [1 << 11]atomic.Pointer[kept[V]]
}

// kept is a value of a cache, which does not change.
type kept[V any] struct {
	key   uint64
	value V
}

// get is what is kept under a key, which is well mixed in its low bits; nil
// where nothing is.
func (r *recent[V]) get(key uint64) *kept[V] {
	if k := r.slots[key%uint64(len(r.slots))].Load(); k != nil && k.key == key {
		return k
	}
	return nil
}

func (r *recent[V]) put(k *kept[V]) { r.slots[k.key%uint64(len(r.slots))].Store(k) }
