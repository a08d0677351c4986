package faultfs

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"nearside/edge/journal"
)

// Fate is what becomes of the bytes that a failed call, or the writes before a
// failed sync, should have brought to the disk. All three are seen in real
// kernels, and nothing says which it was.
type Fate string

const (
	Kept Fate = "kept" // still in the page cache, which calls them clean
	Lost Fate = "lost" // dropped from there: what the disk held comes back
	Torn Fate = "torn" // some sectors arrived
)

// Plan is one call to fail: the n-th of a kind, from when the plan is taken up,
// on files with the part in their names.
type Plan struct {
	Op   Op // Write, Sync, SyncDir, Create or Rename
	Part string
	N    int
	Fate Fate
}

// String is the plan as Over reads it.
func (p Plan) String() string { return fmt.Sprintf("%s %s %d %s", p.Op, p.Part, p.N, p.Fate) }

func parsePlan(s string) (p Plan, err error) {
	if _, err := fmt.Sscanf(s, "%s %s %d %s", &p.Op, &p.Part, &p.N, &p.Fate); err != nil {
		return p, fmt.Errorf("plan %q: expected an operation, a part of a name, a number and a fate: %w", s, err)
	}
	ops, fates := []Op{Write, Sync, SyncDir, Create, Rename}, []Fate{Kept, Lost, Torn}
	if !slices.Contains(ops, p.Op) || !slices.Contains(fates, p.Fate) || p.N < 1 {
		return p, fmt.Errorf("plan %q: expected one of %v, a number from 1 on, and one of %v", s, ops, fates)
	}
	return p, nil
}

// Over is a real file system on which one call fails, after which all is well
// again: a program that tried once more would believe that its data is safe. The
// plan is read from the file control, and the file removed, when it appears; a
// plan that cannot be read is a panic.
func Over(under journal.FS, control string) journal.FS {
	return &over{FS: under, control: control, files: map[string]*overFile{}}
}

type over struct {
	journal.FS
	control string

	mu    sync.Mutex           // around the rest, and the names of open files
	plan  *Plan                // nil: none, or it was carried out
	files map[string]*overFile // open, by name
}

// fails counts a call that writes no bytes, and fails if it is the one.
func (o *over) fails(op Op, name string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, err := o.counted(op, name)
	return err
}

// counted counts a call and says whether it is the one, and its fate. mu is held.
func (o *over) counted(op Op, name string) (Fate, error) {
	if o.plan == nil {
		if b, err := os.ReadFile(o.control); err == nil && strings.HasSuffix(string(b), "\n") {
			p, err := parsePlan(string(b))
			if err == nil {
				err = os.Remove(o.control)
			}
			if err != nil {
				panic("faultfs: " + err.Error())
			}
			o.plan = &p
		}
	}
	p := o.plan
	if p == nil || p.Op != op || !strings.Contains(filepath.Base(name), p.Part) {
		return "", nil
	}
	if p.N--; p.N > 0 {
		return "", nil
	}
	o.plan = nil
	return p.Fate, ErrIO
}

func (o *over) planned() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.plan != nil
}

func (o *over) Create(name string) (journal.File, error) {
	if err := o.fails(Create, name); err != nil {
		return nil, err
	}
	f, err := o.FS.Create(name)
	return o.opened(f, name), err
}

func (o *over) Open(name string) (journal.File, error) {
	f, err := o.FS.Open(name)
	return o.opened(f, name), err
}

func (o *over) opened(f journal.File, name string) journal.File {
	if f == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	opened := &overFile{File: f, of: o, name: name}
	o.files[name] = opened
	return opened
}

func (o *over) Rename(from, to string) error {
	if err := o.fails(Rename, to); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if f := o.files[from]; f != nil {
		delete(o.files, from)
		o.files[to], f.name = f, to
	}
	return o.FS.Rename(from, to)
}

func (o *over) SyncDir(dir string) error {
	if err := o.fails(SyncDir, dir); err != nil {
		return err
	}
	return o.FS.SyncDir(dir)
}

// overFile remembers what its writes since the last sync replaced.
type overFile struct {
	journal.File
	of   *over
	name string // of.mu guards it

	mu       sync.Mutex // around unsynced
	unsynced []replaced
}

type replaced struct {
	at  int64
	was []byte
}

func (f *overFile) fails(op Op) (Fate, error) {
	f.of.mu.Lock()
	defer f.of.mu.Unlock()
	return f.of.counted(op, f.name)
}

func (f *overFile) Close() error {
	f.of.mu.Lock()
	if f.of.files[f.name] == f {
		delete(f.of.files, f.name)
	}
	f.of.mu.Unlock()
	return f.File.Close()
}

func (f *overFile) WriteAt(b []byte, at int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fate, failed := f.fails(Write)
	if f.of.planned() || failed != nil {
		was := make([]byte, len(b))
		n, _ := f.ReadAt(was, at) // less where the file grows
		f.unsynced = append(f.unsynced, replaced{at, was[:n]})
	}
	if failed == nil {
		return f.File.WriteAt(b, at)
	}
	n, err := f.File.WriteAt(b[:rand.IntN(len(b)+1)], at)
	if err == nil {
		err = f.restore(fate)
	}
	if err == nil {
		err = failed
	}
	return n, err
}

func (f *overFile) Sync() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	fate, failed := f.fails(Sync)
	if failed == nil {
		f.unsynced = nil
		return f.File.Sync()
	}
	if err := f.restore(fate); err != nil {
		return err
	}
	return failed
}

// restore brings back what the unsynced writes replaced, as the fate has it.
func (f *overFile) restore(fate Fate) error {
	for _, r := range slices.Backward(f.unsynced) {
		for from := 0; fate != Kept && from < len(r.was); from += sector {
			if fate == Torn && rand.IntN(2) == 0 {
				continue
			}
			if _, err := f.File.WriteAt(r.was[from:min(from+sector, len(r.was))], r.at+int64(from)); err != nil {
				return err
			}
		}
	}
	f.unsynced = nil
	return nil
}
