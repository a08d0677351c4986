package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

const (
	version      = 1
	sector       = 512
	frameHeader  = 52
	recordHeader = 4
)

var (
	segmentMagic    = []byte("nearjrnl")
	checkpointMagic = []byte("nearckpt")
	castagnoli      = crc32.MakeTable(crc32.Castagnoli)
	be              = binary.BigEndian
)

// ErrCorrupt is what errors.Is finds in a CorruptError.
var ErrCorrupt = errors.New("journal is damaged")

// CorruptError says where the journal is damaged.
type CorruptError struct {
	File   string
	Offset int64
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("journal: %s is damaged at offset %d: %s", e.File, e.Offset, e.Reason)
}

// Is makes every CorruptError an ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// boundary is a place between groups.
type boundary struct {
	pos  Position
	hash Hash
}

// align rounds n up to whole sectors.
func align(n int) int { return (n + sector - 1) &^ (sector - 1) }

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// seedOf is where the CRCs of a segment's frames start from.
func seedOf(id [16]byte, number uint64) uint32 {
	var n [8]byte
	be.PutUint64(n[:], number)
	return crc32.Update(checksum(id[:]), castagnoli, n[:])
}

func appendSegmentHeader(b []byte, id [16]byte, number uint64, base boundary) []byte {
	start := len(b)
	b = append(b, segmentMagic...)
	b = be.AppendUint32(b, version)
	b = append(b, id[:]...)
	b = be.AppendUint64(b, number)
	b = be.AppendUint64(b, uint64(base.pos))
	b = append(b, base.hash[:]...)
	b = be.AppendUint32(b, checksum(b[start:]))
	return append(b, make([]byte, sector-(len(b)-start))...)
}

// readSegmentHeader returns the base of segment number, or why b is not its
// first sector.
func readSegmentHeader(b []byte, id [16]byte, number uint64) (base boundary, reason string) {
	switch {
	case len(b) < sector:
		return base, "shorter than its header"
	case !bytes.Equal(b[:8], segmentMagic):
		return base, "not a segment"
	case be.Uint32(b[60:]) != checksum(b[:60]):
		return base, "header checksum differs"
	case be.Uint32(b[8:]) != version:
		return base, fmt.Sprintf("version %d, expected %d", be.Uint32(b[8:]), version)
	case !bytes.Equal(b[12:28], id[:]):
		return base, "belongs to another journal"
	case be.Uint64(b[28:]) != number:
		return base, fmt.Sprintf("is segment %d, expected %d", be.Uint64(b[28:]), number)
	}
	base.pos = Position(be.Uint64(b[36:]))
	copy(base.hash[:], b[44:])
	return base, ""
}

// hashOf chains a group onto the boundary before it.
func hashOf(before Hash, pos Position, body []byte) (h Hash) {
	d := sha256.New()
	d.Write(before[:])
	var p [8]byte
	be.PutUint64(p[:], uint64(pos))
	d.Write(p[:])
	d.Write(body)
	var sum [sha256.Size]byte
	copy(h[:], d.Sum(sum[:0]))
	return h
}

// finishFrame fills in the header at the start of buf, whose body is complete,
// and returns the hash of the frame's boundary.
func finishFrame(buf []byte, seed uint32, before Hash, pos Position) Hash {
	body := buf[frameHeader:]
	hash := hashOf(before, pos, body)
	be.PutUint32(buf[4:], uint32(len(body)))
	be.PutUint64(buf[8:], uint64(pos))
	copy(buf[16:], before[:])
	copy(buf[32:], hash[:])
	be.PutUint32(buf[48:], crc32.Update(seed, castagnoli, body))
	be.PutUint32(buf[0:], crc32.Update(seed, castagnoli, buf[4:frameHeader]))
	return hash
}

// isHeader reports whether a frame's header stands at the start of b.
func isHeader(b []byte, seed uint32) bool {
	return len(b) >= frameHeader && be.Uint32(b) == crc32.Update(seed, castagnoli, b[4:frameHeader])
}

// readFrame returns the boundary and the body of the frame at the start of b,
// which must follow before.
func readFrame(b []byte, seed uint32, before boundary) (after boundary, body []byte, reason string) {
	if !isHeader(b, seed) {
		return after, nil, "no frame header"
	}
	n := be.Uint32(b[4:])
	after.pos = Position(be.Uint64(b[8:]))
	copy(after.hash[:], b[32:])
	switch {
	case !bytes.Equal(b[16:32], before.hash[:]):
		return after, nil, "frame does not follow the one before"
	case uint64(n) > uint64(len(b)-frameHeader):
		return after, nil, "frame is longer than the segment"
	}
	body = b[frameHeader : frameHeader+n]
	switch {
	case be.Uint32(b[48:]) != crc32.Update(seed, castagnoli, body):
		return after, nil, "body checksum differs"
	case after.hash != hashOf(before.hash, after.pos, body):
		return after, nil, "body hash differs"
	case !holds(body, uint64(after.pos-before.pos)):
		return after, nil, "body is not the records its header says"
	}
	return after, body, ""
}

// holds reports whether body is exactly n records, at least one.
func holds(body []byte, n uint64) bool {
	if n == 0 {
		return false
	}
	for ; n > 0; n-- {
		if len(body) < recordHeader || uint64(be.Uint32(body)) > uint64(len(body)-recordHeader) {
			return false
		}
		body = body[recordHeader+be.Uint32(body):]
	}
	return len(body) == 0
}

// readFrames hands each frame after base to take, up to the first that is not
// whole. It returns the boundary there, its offset, and what was wrong with the
// next frame.
func readFrames(data []byte, seed uint32, base boundary, take func(at, after boundary, body []byte) error) (end int, at boundary, reason string, err error) {
	end, at = sector, base
	for end < len(data) {
		after, body, reason := readFrame(data[end:], seed, at)
		if reason != "" {
			return end, at, reason, nil
		}
		if err := take(at, after, body); err != nil {
			return end, at, "", err
		}
		end, at = end+align(frameHeader+len(body)), after
	}
	return end, at, "segment ends", nil
}

// provenSynced reports whether something in data says that the frame that
// should be at end was whole once: it was followed by another.
func provenSynced(data []byte, end int, seed uint32, at boundary) bool {
	if end < len(data) && isHeader(data[end:], seed) && !bytes.Equal(data[end+16:end+32], at.hash[:]) {
		return true
	}
	for next := end + sector; next < len(data); next += sector {
		if isHeader(data[next:], seed) {
			return true
		}
	}
	return false
}

const checkpointHead = 60

// checkpointHeader is what precedes a state of n bytes; a CRC of both follows.
func checkpointHeader(id [16]byte, at boundary, n int) []byte {
	b := be.AppendUint32(bytes.Clone(checkpointMagic), version)
	b = append(b, id[:]...)
	b = be.AppendUint64(b, uint64(at.pos))
	b = append(b, at.hash[:]...)
	return be.AppendUint64(b, uint64(n))
}

// readCheckpoint returns the boundary and the state in b, or why it is none.
func readCheckpoint(b []byte, id [16]byte) (at boundary, state []byte, reason string) {
	switch {
	case len(b) < checkpointHead+4:
		return at, nil, "shorter than its header"
	case !bytes.Equal(b[:8], checkpointMagic):
		return at, nil, "not a checkpoint"
	case be.Uint32(b[len(b)-4:]) != checksum(b[:len(b)-4]):
		return at, nil, "checksum differs"
	case be.Uint32(b[8:]) != version:
		return at, nil, fmt.Sprintf("version %d, expected %d", be.Uint32(b[8:]), version)
	case !bytes.Equal(b[12:28], id[:]):
		return at, nil, "belongs to another journal"
	case be.Uint64(b[52:]) != uint64(len(b)-checkpointHead-4):
		return at, nil, "length of the state differs"
	}
	at.pos = Position(be.Uint64(b[28:]))
	copy(at.hash[:], b[36:])
	return at, b[checkpointHead : len(b)-4], ""
}
