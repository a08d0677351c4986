// Package faultfs is a file system in memory that fails on demand, for tests and
// the simulation. It keeps apart what programs see and what the disk holds, and
// a seed decides everything that a real disk leaves open, so a run repeats.
//
// What it models, after Rebello et al., Can applications recover from fsync
// failures? (ATC 2020):
//
//   - Crash loses what was not synced: of the bytes written since a file's last
//     sync any choice of 512-byte sectors may have arrived, some of them torn in
//     the middle or filled with garbage from end to end; of the creations, renames and removals since the last SyncDir,
//     a beginning or any choice.
//   - A sync that fails drops what it should have written: programs go on reading
//     it, later syncs succeed, and after a crash it is gone.
//   - A disk with a limit answers ENOSPC where a file would grow beyond it.
//   - The n-th call of a kind fails, once or from then on (power cut).
//   - Bits flip; the whole disk is rolled back or copied.
//
// It does not model access rights, nor writes that harm sectors they do not touch.
package faultfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"

	"nearside/edge/journal"
)

// ErrPower is what every call returns between a power cut and Crash.
var ErrPower = errors.New("faultfs: power is off")

// ErrIO is the injected failure of a single call.
var ErrIO = fmt.Errorf("faultfs: injected: %w", syscall.EIO)

const sector = 512

// Op is a kind of call that can be made to fail.
type Op string

const (
	Write   Op = "write"
	Sync    Op = "sync"
	SyncDir Op = "syncdir"
	Create  Op = "create"
	Rename  Op = "rename"
	Remove  Op = "remove"
	Read    Op = "read"
	Any     Op = "any" // any of these but Read: what changes a disk
)

// FS is the file system. All methods may be called from many goroutines.
type FS struct {
	mu      sync.Mutex
	rand    *rand.Rand
	names   map[string]*inode // as programs see it
	disk    map[string]*inode // as a crash would find it
	pending []change          // from disk to names, in order
	inodes  uint64
	locks   map[string]*lock
	life    int // crashes so far; a file opened before is dead
	off     bool
	limit   int64 // bytes that fit, 0 for no limit
	machine string
	faults  []*fault
	calls   map[Op]int
}

type inode struct {
	number  uint64
	name    string // the last it was given
	seen    []byte // as programs read it
	durable []byte // as the disk holds it
	dirty   []span // written since the last sync
}

type span struct{ from, to int }

// change is one step of the directory: to gets file; nil removes it. A rename is
// two of them that happen together.
type change struct {
	name string
	file *inode
	with bool // happens together with the next
}

type fault struct {
	op   Op
	part string
	left int // calls until it happens
	err  error
	cut  bool
}

// New makes an empty file system of one machine.
func New(seed uint64) *FS {
	return &FS{
		rand: rand.New(rand.NewPCG(seed, 0x66617573)), names: map[string]*inode{}, disk: map[string]*inode{},
		locks: map[string]*lock{}, machine: "simulated", inodes: 1000, calls: map[Op]int{},
	}
}

// FailAt makes the n-th call of op from now on, counted from 1, fail with err, if
// its file's name contains part.
func (f *FS) FailAt(op Op, n int, part string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, &fault{op: op, part: part, left: n, err: err})
}

// CutAt turns the power off at the n-th call of op from now on.
func (f *FS) CutAt(op Op, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, &fault{op: op, left: n, err: ErrPower, cut: true})
}

// Calls is how many calls of op were made.
func (f *FS) Calls(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

// Limit sets how many bytes the files may take together; 0 lifts the limit.
func (f *FS) Limit(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.limit = bytes
}

// Used is how many bytes the files take together.
func (f *FS) Used() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.used()
}

func (f *FS) used() (n int64) {
	for _, i := range f.names {
		n += int64(len(i.seen))
	}
	return n
}

// SetMachine changes what Machine answers.
func (f *FS) SetMachine(machine string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.machine = machine
}

// PowerOff makes every call fail until Crash.
func (f *FS) PowerOff() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.off = true
}

// Crash is a loss of power and the start after it: what was not synced arrived
// or not, as the seed has it; open files and locks are gone; faults are cleared.
func (f *FS) Crash() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pending = f.survivors()
	f.apply()
	for _, i := range f.inOrder() {
		i.durable = f.arrived(i)
		i.seen, i.dirty = slices.Clone(i.durable), nil
	}
	f.names = cloneMap(f.disk)
	f.restart()
}

// Kill ends the process, not the machine: what it wrote stays with the kernel.
func (f *FS) Kill() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.restart()
}

func (f *FS) restart() {
	f.life++
	f.locks = map[string]*lock{}
	f.faults = nil
	f.off = false
}

// inOrder lists the disk's files by number, so that the seed decides alike.
func (f *FS) inOrder() []*inode {
	var all []*inode
	for _, i := range f.disk {
		all = append(all, i)
	}
	slices.SortFunc(all, func(a, b *inode) int { return int(a.number) - int(b.number) })
	return all
}

// arrived is what a file holds after a crash.
func (f *FS) arrived(i *inode) []byte {
	out := slices.Clone(i.durable)
	put := func(from, to int) {
		if to > len(out) {
			out = append(out, make([]byte, to-len(out))...)
		}
		copy(out[from:to], i.seen[from:to])
	}
	how := f.rand.IntN(4) // nothing, everything, or some
	for _, d := range i.dirty {
		for from := d.from; from < d.to; {
			to := min(d.to, (from/sector+1)*sector)
			switch {
			case how == 1 || how >= 2 && f.rand.IntN(2) == 0:
				put(from, to)
			case how == 3 && f.rand.IntN(8) == 0:
				put(from, from+f.rand.IntN(to-from+1))
			case how == 3 && f.rand.IntN(8) == 0:
				put(from, to)
				whole := out[from/sector*sector : min(len(out), (from/sector+1)*sector)]
				for k := range whole {
					whole[k] = byte(f.rand.Uint32())
				}
			}
			from = to
		}
	}
	return out
}

// survivors are the changes of the directory that a crash lets through: a
// beginning of them, or any choice, as POSIX allows.
func (f *FS) survivors() (kept []change) {
	n, choice := f.rand.IntN(len(f.pending)+1), f.rand.IntN(2) == 0
	for i := 0; i < len(f.pending); i++ {
		whole := f.pending[i : i+1]
		if f.pending[i].with {
			whole = f.pending[i : i+2]
			i++
		}
		if choice && f.rand.IntN(2) == 0 || !choice && i < n {
			kept = append(kept, whole...)
		}
	}
	return kept
}

// apply makes the pending changes durable.
func (f *FS) apply() {
	for _, c := range f.pending {
		if c.file == nil {
			delete(f.disk, c.name)
		} else {
			f.disk[c.name] = c.file
		}
	}
	f.pending = nil
}

// Flip inverts one bit of a file, on disk and in memory.
func (f *FS) Flip(name string, offset int64, bit uint) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, ok := f.names[path.Clean(name)]
	if !ok || offset >= int64(len(i.seen)) {
		return fmt.Errorf("flip %s at %d: %w", name, offset, fs.ErrNotExist)
	}
	i.seen[offset] ^= 1 << (bit % 8)
	if offset < int64(len(i.durable)) {
		i.durable[offset] ^= 1 << (bit % 8)
	}
	return nil
}

// Copy is the disk as programs see it now, on another disk: every file has
// another inode.
func (f *FS) Copy(seed uint64) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := New(seed)
	c.machine, c.limit = f.machine, f.limit
	c.inodes = f.inodes + 1000
	for _, name := range f.sorted() {
		c.inodes++
		seen := f.names[name].seen
		c.names[name] = &inode{number: c.inodes, name: name, seen: slices.Clone(seen), durable: slices.Clone(seen)}
	}
	c.disk = cloneMap(c.names)
	return c
}

// Snapshot is the disk as programs see it now, the same inodes included.
type Snapshot struct{ files map[string]inode }

// Snapshot keeps the disk for Rollback.
func (f *FS) Snapshot() Snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := Snapshot{map[string]inode{}}
	for name, i := range f.names {
		s.files[name] = inode{number: i.number, name: name, seen: slices.Clone(i.seen)}
	}
	return s
}

// Rollback brings a snapshot back, as a hypervisor does; the machine restarts.
func (f *FS) Rollback(s Snapshot) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.names, f.pending = map[string]*inode{}, nil
	for name, i := range s.files {
		f.names[name] = &inode{number: i.number, name: name, seen: slices.Clone(i.seen), durable: slices.Clone(i.seen)}
	}
	f.disk = cloneMap(f.names)
	f.restart()
}

// Content is a file as programs see it.
func (f *FS) Content(name string) ([]byte, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, ok := f.names[path.Clean(name)]
	if !ok {
		return nil, false
	}
	return slices.Clone(i.seen), true
}

// SetContent makes a file hold exactly b, durably.
func (f *FS) SetContent(name string, b []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name = path.Clean(name)
	i, ok := f.names[name]
	if !ok {
		f.inodes++
		i = &inode{number: f.inodes, name: name}
		f.names[name], f.disk[name] = i, i
	}
	i.seen, i.durable, i.dirty = slices.Clone(b), slices.Clone(b), nil
}

// Delete removes a file, durably.
func (f *FS) Delete(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.names, path.Clean(name))
	delete(f.disk, path.Clean(name))
}

func cloneMap(m map[string]*inode) map[string]*inode {
	c := make(map[string]*inode, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}

// called counts a call and says whether it fails. The caller holds mu.
func (f *FS) called(op Op, name string) error {
	if f.off {
		return ErrPower
	}
	f.calls[op]++
	if op != Read {
		f.calls[Any]++
	}
	for i, t := range f.faults {
		if t.op != op && (t.op != Any || op == Read) || !strings.Contains(name, t.part) {
			continue
		}
		if t.left--; t.left > 0 {
			continue
		}
		f.faults = slices.Delete(f.faults, i, i+1)
		f.off = f.off || t.cut
		return t.err
	}
	return nil
}

// The methods below are journal.FS.

// MkdirAll does nothing: a directory is there once a file is in it.
func (f *FS) MkdirAll(string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.off {
		return ErrPower
	}
	return nil
}

func (f *FS) Create(name string) (journal.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name = path.Clean(name)
	if err := f.called(Create, name); err != nil {
		return nil, err
	}
	i, ok := f.names[name]
	if ok {
		f.resize(i, 0)
	} else {
		f.inodes++
		i = &inode{number: f.inodes, name: name}
		f.names[name] = i
		f.pending = append(f.pending, change{name: name, file: i})
	}
	return &file{fs: f, inode: i, life: f.life}, nil
}

// resize is truncation, which a crash never undoes here.
func (f *FS) resize(i *inode, n int) {
	i.seen = i.seen[:n]
	i.durable = i.durable[:min(n, len(i.durable))]
	i.dirty = nil
}

func (f *FS) Open(name string) (journal.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name = path.Clean(name)
	if f.off {
		return nil, ErrPower
	}
	i, ok := f.names[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &file{fs: f, inode: i, life: f.life}, nil
}

func (f *FS) sorted() []string {
	var all []string
	for name := range f.names {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

func (f *FS) Names(dir string) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.off {
		return nil, ErrPower
	}
	var names []string
	within := path.Clean(dir) + "/"
	for _, name := range f.sorted() {
		rest, ok := strings.CutPrefix(name, within)
		if !ok {
			continue
		}
		first, _, _ := strings.Cut(rest, "/") // a file, or a directory with one in it
		if len(names) == 0 || names[len(names)-1] != first {
			names = append(names, first)
		}
	}
	return names, nil
}

func (f *FS) Rename(from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	from, to = path.Clean(from), path.Clean(to)
	if err := f.called(Rename, to); err != nil {
		return err
	}
	i, ok := f.names[from]
	if !ok {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	f.names[to], i.name = i, to
	delete(f.names, from)
	f.pending = append(f.pending, change{name: to, file: i, with: true}, change{name: from})
	return nil
}

func (f *FS) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	name = path.Clean(name)
	if err := f.called(Remove, name); err != nil {
		return err
	}
	if _, ok := f.names[name]; !ok {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	delete(f.names, name)
	f.pending = append(f.pending, change{name: name})
	return nil
}

func (f *FS) SyncDir(dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.called(SyncDir, dir); err != nil {
		return err
	}
	f.apply()
	return nil
}

type lock struct {
	fs   *FS
	name string
}

func (l *lock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	if l.fs.locks[l.name] == l {
		delete(l.fs.locks, l.name)
	}
	return nil
}

func (f *FS) Lock(name string) (io.Closer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name = path.Clean(name)
	switch {
	case f.off:
		return nil, ErrPower
	case f.locks[name] != nil:
		return nil, journal.ErrLocked
	}
	l := &lock{f, name}
	f.locks[name] = l
	return l, nil
}

func (f *FS) Free(string) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.off:
		return 0, ErrPower
	case f.limit == 0:
		return 1 << 40, nil
	}
	return max(0, f.limit-f.used()), nil
}

func (f *FS) Inode(name string) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, ok := f.names[path.Clean(name)]
	switch {
	case f.off:
		return 0, ErrPower
	case !ok:
		return 0, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	return i.number, nil
}

func (f *FS) Machine() (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.machine, nil
}

type file struct {
	fs    *FS
	inode *inode
	life  int
}

// begin locks the file system for a call; a file of before a crash is dead.
func (h *file) begin(op Op) error {
	h.fs.mu.Lock()
	if h.life != h.fs.life {
		return ErrPower
	}
	return h.fs.called(op, h.inode.name)
}

func (h *file) ReadAt(b []byte, at int64) (int, error) {
	defer h.fs.mu.Unlock()
	if err := h.begin(Read); err != nil {
		return 0, err
	}
	if at >= int64(len(h.inode.seen)) {
		return 0, io.EOF
	}
	n := copy(b, h.inode.seen[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt may write a part and then fail, as a real one does.
func (h *file) WriteAt(b []byte, at int64) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if h.life != h.fs.life || h.fs.off {
		return 0, ErrPower
	}
	err := h.fs.called(Write, h.inode.name)
	if err != nil {
		b = b[:h.fs.rand.IntN(len(b)+1)]
	}
	i := h.inode
	if grow := at + int64(len(b)) - int64(len(i.seen)); grow > 0 {
		if room := h.fs.limit - h.fs.used(); h.fs.limit > 0 && grow > room {
			err = &fs.PathError{Op: "write", Path: h.inode.name, Err: syscall.ENOSPC}
			b = b[:max(0, int64(len(b))-(grow-max(0, room)))]
		}
		if end := int(at) + len(b); end > len(i.seen) {
			i.seen = append(i.seen, make([]byte, end-len(i.seen))...)
		}
	}
	n := copy(i.seen[min(int(at), len(i.seen)):], b)
	if n > 0 {
		i.dirty = append(i.dirty, span{int(at), int(at) + n})
	}
	return n, err
}

func (h *file) Sync() error {
	defer h.fs.mu.Unlock()
	err := h.begin(Sync)
	if h.life != h.fs.life {
		return err
	}
	i := h.inode
	switch {
	case errors.Is(err, ErrPower):
		return err // Crash decides what arrived
	case err != nil:
		// The kernel marks the pages clean: what was to be written may have
		// arrived in part, and no later sync will write the rest.
		i.durable = h.fs.arrived(i)
		i.dirty = nil
		return err
	}
	for _, d := range i.dirty {
		if d.to > len(i.durable) {
			i.durable = append(i.durable, make([]byte, d.to-len(i.durable))...)
		}
		copy(i.durable[d.from:d.to], i.seen[d.from:d.to])
	}
	i.dirty = nil
	return nil
}

func (h *file) Close() error { return nil }

func (h *file) Size() (int64, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if h.life != h.fs.life {
		return 0, ErrPower
	}
	return int64(len(h.inode.seen)), nil
}
