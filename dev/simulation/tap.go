package simulation

import (
	"encoding/binary"
	"io"
	"path"
	"strings"

	"nearside/edge/journal"
	"nearside/edge/journal/faultfs"
)

// tap is a node's disk with somebody listening: it reads the journal's frames
// as edge/journal documents them while they are written, so that the oracle
// knows every record, and which of them a sync made durable, from the bytes
// alone.
type tap struct {
	*faultfs.FS
	o     *oracle
	n     *node
	known map[string]*history // by the journal's directory
	files map[string]*tapped  // as last opened, by the names that they have now
	torn  bool                // the machine loses power in the next write of the journal
}

type tapped struct {
	journal.File
	t    *tap
	name string
	h    *history // nil: not a segment
	last uint64   // the position of the last record written to it
}

const (
	sector      = 512
	frameHeader = 52
)

// Open implements journal.FS. A segment is opened to be written under the name of a
// spare, or, where there is no room for one, under its own.
func (t *tap) Open(name string) (journal.File, error) {
	f, err := t.FS.Open(name)
	if err != nil {
		return nil, err
	}
	x := &tapped{File: f, t: t, name: name}
	if base := path.Base(name); (strings.HasPrefix(base, "spare-") || strings.HasPrefix(base, "seg-")) && !isCopy(name) {
		x.h = t.history(path.Dir(name))
	}
	t.files[name] = x
	return x, nil
}

// Create implements journal.FS.
func (t *tap) Create(name string) (journal.File, error) {
	f, err := t.FS.Create(name)
	if err != nil {
		return nil, err
	}
	if path.Base(name) == "checkpoint.tmp" && !isCopy(name) {
		t.o.w.count["checkpoint"]++
	}
	x := &tapped{File: f, t: t, name: name}
	t.files[name] = x
	return x, nil
}

// Rename implements journal.FS.
func (t *tap) Rename(from, to string) error {
	t.recycled(from)
	if path.Base(from) == "checkpoint.tmp" && !isCopy(from) {
		if b, ok := t.FS.Content(from); ok && len(b) >= 36 {
			t.history(path.Dir(from)).saving = binary.BigEndian.Uint64(b[28:])
		}
	}
	err := t.FS.Rename(from, to)
	if err == nil {
		t.files[to] = t.files[from]
		delete(t.files, from)
	}
	if err == nil && path.Base(from) == "rewrite.tmp" && !isCopy(from) {
		t.history(path.Dir(from)).rewritten = true
	}
	return err
}

// SyncDir implements journal.FS. What a start found is durable once the file
// that it was copied to has its name.
func (t *tap) SyncDir(dir string) error {
	err := t.FS.SyncDir(dir)
	h := t.known[dir]
	if err != nil || h == nil {
		return err
	}
	if h.rewritten {
		h.durable, h.rewritten = uint64(len(h.recs)), false
	}
	h.checkpoint = max(h.checkpoint, h.saving)
	return nil
}

// recycled holds a segment that becomes a spare against the checkpoint that is
// durable: it is the only other place that has the segment's records. One that is
// removed says less: it may go with all of its journal.
func (t *tap) recycled(name string) {
	x := t.files[name]
	if x == nil || !strings.HasPrefix(path.Base(name), "seg-") || isCopy(name) {
		return
	}
	h := t.history(path.Dir(name))
	if last := min(x.last, uint64(len(h.recs))); !h.rolled && last > h.checkpoint {
		t.o.w.fail("I5", "%s: %s has records up to %d and is recycled, the checkpoint covers %d", t.n.name, name, last, h.checkpoint)
	}
}

// isCopy reports whether a file is of another node's journal, of which the
// oracle hears where it is written.
func isCopy(name string) bool { return strings.Contains(name, "/copies/") }

// Lock implements journal.FS.
func (t *tap) Lock(name string) (io.Closer, error) { return t.FS.Lock(name) }

func (t *tap) history(dir string) *history {
	h := t.known[dir]
	if h == nil {
		h = newHistory(t.o, t.n)
		t.known[dir] = h
	}
	return h
}

// WriteAt implements journal.File.
func (f *tapped) WriteAt(b []byte, at int64) (int, error) {
	switch {
	case f.h != nil && at >= sector:
		f.frames(b, f.h.written)
		if f.t.torn {
			f.t.torn = false
			f.t.CutAt(faultfs.Write, 1)
		}
	case path.Base(f.name) == "rewrite.tmp" && !isCopy(f.name): // what of the open segment has survived
		last := uint64(0)
		f.frames(b[min(sector, len(b)):], func(first uint64, recs [][]byte) {
			h := f.t.history(path.Dir(f.name))
			for i, rec := range recs {
				h.same(first+uint64(i), rec)
			}
			last = first + uint64(len(recs)) - 1
		})
		f.t.history(path.Dir(f.name)).cut(last)
	}
	return f.File.WriteAt(b, at)
}

// frames calls each with every group of records in b.
func (f *tapped) frames(b []byte, each func(first uint64, recs [][]byte)) {
	for len(b) >= frameHeader {
		n := int(binary.BigEndian.Uint32(b[4:]))
		f.last = binary.BigEndian.Uint64(b[8:])
		if n == 0 || frameHeader+n > len(b) {
			return
		}
		var recs [][]byte
		for body := b[frameHeader : frameHeader+n]; len(body) >= 4; {
			size := binary.BigEndian.Uint32(body)
			recs = append(recs, body[4:4+size])
			body = body[4+size:]
		}
		each(f.last-uint64(len(recs))+1, recs)
		b = b[min(len(b), (frameHeader+n+sector-1)/sector*sector):]
	}
}

// groupAt is the group of a segment that a byte belongs to, if it belongs to one.
func groupAt(segment []byte, at int) (g group, ok bool) {
	for start := sector; start+frameHeader <= len(segment) && start <= at; {
		b := segment[start:]
		n, last := int(binary.BigEndian.Uint32(b[4:])), binary.BigEndian.Uint64(b[8:])
		if n == 0 || frameHeader+n > len(b) || last <= g.last { // nothing, or what was there before
			break
		}
		g = group{last + 1, last}
		for body := b[frameHeader : frameHeader+n]; len(body) >= 4; g.first-- {
			body = body[min(len(body), 4+int(binary.BigEndian.Uint32(body))):]
		}
		if at < start+frameHeader+n {
			return g, true
		}
		start += (frameHeader + n + sector - 1) / sector * sector
	}
	return group{}, false
}

// Sync implements journal.File.
func (f *tapped) Sync() error {
	err := f.File.Sync()
	if err == nil && f.h != nil {
		f.h.durable = max(f.h.durable, f.last)
	}
	return err
}
