package holder

import (
	"math"

	"nearside/sync/exchange"
	"nearside/sync/wire"
)

const (
	blockSeqs  = 4096
	blockBytes = blockSeqs / 4

	// MaxSpan is how many sequence numbers of one boot are remembered at once:
	// 16 MiB of bits.
	MaxSpan = 1 << 26

	// Gone is the floor of a boot that is forgotten as a whole.
	Gone = math.MaxUint64
)

type block [blockBytes]byte

// window holds the bits of one boot.
type window struct {
	boot    uint64
	ordinal uint64
	began   int64    // of the boot
	ended   int64    // when the next boot began; 0: it is the current one
	floor   uint64   // a multiple of blockSeqs
	next    uint64   // above every number that a bit was set for
	blocks  []*block // from the floor on; nil: no bit set
}

// locate says where the bits of seq lie. seq is not below the floor.
func (w *window) locate(seq uint64) (blockAt, byteAt int, shift uint) {
	off := seq - w.floor
	return int(off / blockSeqs), int(off % blockSeqs / 4), uint(off%4) * 2
}

// has reports whether the event's bit is set. seq is not below the floor.
func (w *window) has(kind exchange.Kind, seq uint64) bool {
	i, j, shift := w.locate(seq)
	return i < len(w.blocks) && w.blocks[i] != nil && w.blocks[i][j]>>shift&byte(kind) != 0
}

// inSpan reports whether bits of seq can be kept.
func (w *window) inSpan(seq uint64) bool { return seq >= w.floor && seq-w.floor < MaxSpan }

// set sets the event's bit. seq is in the span.
func (w *window) set(kind exchange.Kind, seq uint64) {
	i, j, shift := w.locate(seq)
	for i >= len(w.blocks) {
		w.blocks = append(w.blocks, nil)
	}
	if w.blocks[i] == nil {
		w.blocks[i] = new(block)
	}
	w.blocks[i][j] |= byte(kind) << shift
	w.next = max(w.next, seq+1)
}

// raise drops the bits below a new floor.
func (w *window) raise(floor uint64) {
	if drop := (floor - w.floor) / blockSeqs; drop >= uint64(len(w.blocks)) {
		w.blocks = nil
	} else {
		w.blocks = append([]*block(nil), w.blocks[drop:]...)
	}
	w.floor = floor
	w.next = max(w.next, floor)
}

// wire is the window as it is handed in, with bits up to the last one set.
func (w *window) wire(next uint64) *wire.Window {
	bits := make([]byte, 0, len(w.blocks)*blockBytes)
	var empty block
	for _, b := range w.blocks {
		if b == nil {
			b = &empty
		}
		bits = append(bits, b[:]...)
	}
	for len(bits) > 0 && bits[len(bits)-1] == 0 {
		bits = bits[:len(bits)-1]
	}
	return &wire.Window{Boot: w.boot, Floor: w.floor, Next: max(w.next, next), Bits: bits}
}
