package replica

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"nearside/edge/journal"
	"nearside/sync/wire"
)

const version = 1

const (
	kindFrame = 1 + iota
	kindCut
	kindMark
)

var be = binary.BigEndian

// boundary is a place between two groups of the holder's journal.
type boundary struct {
	pos  journal.Position
	hash journal.Hash
}

func (b boundary) wire() *wire.Boundary {
	return &wire.Boundary{Position: uint64(b.pos), Hash: b.hash[:]}
}

// boundaryOf reads one that came over the network.
func boundaryOf(w *wire.Boundary, field string) (b boundary, err error) {
	if len(w.GetHash()) != len(b.hash) {
		return b, fmt.Errorf("%s.hash: %d bytes, expected %d", field, len(w.GetHash()), len(b.hash))
	}
	b.pos = journal.Position(w.GetPosition())
	copy(b.hash[:], w.GetHash())
	return b, nil
}

// ID names a copy: whose journal it is.
type ID struct {
	Holder  uint32
	Journal [16]byte
}

// String is the name of the copy's directory.
func (id ID) String() string { return fmt.Sprintf("%d-%x", id.Holder, id.Journal) }

func parseID(name string) (id ID, ok bool) {
	number, rest, ok := strings.Cut(name, "-")
	holder, err := strconv.ParseUint(number, 10, 32)
	b, bad := hex.DecodeString(rest)
	if !ok || err != nil || bad != nil || len(b) != len(id.Journal) {
		return id, false
	}
	id.Holder = uint32(holder)
	copy(id.Journal[:], b)
	return id, id.String() == name
}

func idOf(holder uint32, id []byte) (x ID, err error) {
	if holder == 0 {
		return x, errors.New("holder: 0, expected a holder's number")
	}
	if len(id) != len(x.Journal) {
		return x, fmt.Errorf("journal: %d bytes, expected %d", len(id), len(x.Journal))
	}
	x.Holder = holder
	copy(x.Journal[:], id)
	return x, nil
}

func appendFrame(dst []byte, f *journal.Frame, durable uint64) []byte {
	dst = append(dst, version, kindFrame)
	dst = be.AppendUint64(dst, uint64(f.Last))
	dst = append(dst, f.Hash[:]...)
	dst = be.AppendUint64(dst, durable)
	return append(dst, f.Body...)
}

func cutRecord(at boundary) []byte {
	dst := []byte{version, kindCut}
	dst = be.AppendUint64(dst, uint64(at.pos))
	return append(dst, at.hash[:]...)
}

func markRecord() []byte { return []byte{version, kindMark} }

// entry is one record of a copy.
type entry struct {
	kind    byte
	at      boundary // that a frame ends, or at which the copy was cut
	durable uint64
	body    []byte
}

const (
	cutSize    = 2 + 8 + 16
	frameStart = cutSize + 8
)

// errFormat says that a record or a checkpoint of a copy is not one.
var errFormat = errors.New("replica: not a copy")

func readEntry(rec []byte) (e entry, err error) {
	if len(rec) < 2 || rec[0] != version {
		return e, fmt.Errorf("%w: a record that does not begin with version %d", errFormat, version)
	}
	e.kind = rec[1]
	least, most := 0, 0
	switch e.kind {
	case kindFrame:
		least, most = frameStart, len(rec)
	case kindCut:
		least, most = cutSize, cutSize
	case kindMark:
		least, most = 2, 2
	}
	if least == 0 || len(rec) < least || len(rec) > most {
		return e, fmt.Errorf("%w: a record of kind %d and %d bytes", errFormat, e.kind, len(rec))
	}
	if e.kind == kindMark {
		return e, nil
	}
	e.at.pos = journal.Position(be.Uint64(rec[2:]))
	copy(e.at.hash[:], rec[10:])
	if e.kind == kindFrame {
		e.durable = be.Uint64(rec[cutSize:])
		e.body = rec[frameStart:]
	}
	return e, nil
}

const checkpointStart = 1 + 4 + 16 + 8 + 16 + 8

func checkpointState(id ID, at boundary, durable uint64, state []byte) []byte {
	dst := []byte{version}
	dst = be.AppendUint32(dst, id.Holder)
	dst = append(dst, id.Journal[:]...)
	dst = be.AppendUint64(dst, uint64(at.pos))
	dst = append(dst, at.hash[:]...)
	dst = be.AppendUint64(dst, durable)
	return append(dst, state...)
}

func readCheckpoint(b []byte, id ID) (at boundary, durable uint64, state []byte, err error) {
	if len(b) < checkpointStart || b[0] != version {
		return at, 0, nil, fmt.Errorf("%w: a checkpoint that does not begin with version %d", errFormat, version)
	}
	if be.Uint32(b[1:]) != id.Holder || string(b[5:21]) != string(id.Journal[:]) {
		return at, 0, nil, fmt.Errorf("%w: the checkpoint of another holder", errFormat)
	}
	at.pos = journal.Position(be.Uint64(b[21:]))
	copy(at.hash[:], b[29:])
	return at, be.Uint64(b[45:]), b[checkpointStart:], nil
}
