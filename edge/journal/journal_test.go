package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"nearside/edge/journal"
	"nearside/edge/journal/faultfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const dir = "state/journal"

var ctx = context.Background()

// small segments make a few records roll them.
func small(fs journal.FS) journal.Options {
	return journal.Options{FS: fs, SegmentSize: 8 << 10, MaxBatch: 900, Inline: true, Rand: bytes.NewReader([]byte("0123456789abcdef"))}
}

type fataler interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// read is what a journal gives back when it is opened.
type read struct {
	state   []byte
	at      journal.Position
	records map[journal.Position]string
	hashes  map[journal.Position]journal.Hash // of boundaries, the checkpoint's included
	end     journal.Position
}

func reopen(opts journal.Options) (*journal.Journal, read, error) {
	j, err := journal.Open(dir, opts)
	if err != nil {
		return nil, read{}, err
	}
	r := read{records: map[journal.Position]string{}, hashes: map[journal.Position]journal.Hash{}}
	var hash journal.Hash
	r.state, r.at, hash = j.Checkpoint()
	r.hashes[r.at] = hash
	r.end = r.at
	err = j.Replay(func(pos journal.Position, rec []byte) error {
		if pos != r.end+1 {
			return fmt.Errorf("record %d follows %d", pos, r.end)
		}
		r.end = pos
		r.records[pos] = string(rec)
		return nil
	}, func(pos journal.Position, hash journal.Hash) error {
		if pos != r.end {
			return fmt.Errorf("boundary %d after record %d", pos, r.end)
		}
		r.hashes[pos] = hash
		return nil
	})
	if err == nil && (j.Last() != r.end || j.Durable() != r.end) {
		err = fmt.Errorf("last %d and durable %d, replayed up to %d", j.Last(), j.Durable(), r.end)
	}
	return j, r, err
}

func mustOpen(t fataler, opts journal.Options) (*journal.Journal, read) {
	t.Helper()
	j, r, err := reopen(opts)
	if err != nil {
		t.Fatal(err)
	}
	return j, r
}

func mustAppend(t fataler, j *journal.Journal, rec string) journal.Position {
	t.Helper()
	pos, err := j.Append([]byte(rec))
	if err != nil {
		t.Fatal(err)
	}
	return pos
}

func mustWait(t fataler, j *journal.Journal, pos journal.Position) journal.Hash {
	t.Helper()
	hash, err := j.Wait(ctx, pos)
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

func mustClose(t fataler, j *journal.Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestWhatWasWaitedForIsThere(t *testing.T) {
	fs := faultfs.New(1)
	j, r := mustOpen(t, small(fs))
	if r.end != 0 || r.state != nil {
		t.Fatalf("a new journal holds %v", r)
	}
	var want []string
	for i := range 200 {
		want = append(want, fmt.Sprintf("record %d %s", i, strings.Repeat("x", i)))
		pos := mustAppend(t, j, want[i])
		if pos != journal.Position(i+1) {
			t.Fatalf("record %d is at %d", i, pos)
		}
		if i%3 == 0 {
			mustWait(t, j, pos)
		}
	}
	mustWait(t, j, j.Last())
	mustClose(t, j)
	j, r = mustOpen(t, small(fs))
	for i, rec := range want {
		if got := r.records[journal.Position(i+1)]; got != rec {
			t.Errorf("record %d is %q, expected %q", i+1, got, rec)
		}
	}
	if n := j.Stats().Recovered.Load(); n != 200 {
		t.Errorf("%d records recovered, expected 200", n)
	}
	mustClose(t, j)
}

func TestOrderOfCalls(t *testing.T) {
	j, err := journal.Open(dir, small(faultfs.New(1)))
	if err != nil {
		t.Fatal(err)
	}
	expect := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, expected %v", what, err, want)
		}
	}
	_, err = j.Append([]byte("early"))
	expect("append before replay", err, journal.ErrNotReplayed)
	none := func(journal.Position, []byte) error { return nil }
	hash := func(journal.Position, journal.Hash) error { return nil }
	expect("replay", j.Replay(none, hash), nil)
	if err := j.Replay(none, hash); err == nil {
		t.Error("replayed twice")
	}
	_, err = j.Append(make([]byte, 900))
	expect("a record larger than a group", err, journal.ErrTooLarge)
	pos := mustAppend(t, j, "one")
	_, err = j.Wait(ctx, pos+1)
	expect("wait for what was not appended", err, journal.ErrPosition)
	mustAppend(t, j, "two")
	one := mustWait(t, j, pos)
	if end, h, ok := j.HashAt(1); end != 2 || h != one || !ok {
		t.Errorf("boundary of 1 is %d %x %v, expected 2 %x", end, h, ok, one)
	}
	expect("checkpoint inside a group", j.SaveCheckpoint(nil, 1, one), journal.ErrPosition)
	expect("checkpoint with another hash", j.SaveCheckpoint(nil, 2, journal.Hash{}), journal.ErrPosition)
	expect("checkpoint ahead", j.SaveCheckpoint(nil, 3, one), journal.ErrPosition)
	expect("checkpoint", j.SaveCheckpoint([]byte("s"), 2, one), nil)
	expect("the same checkpoint again", j.SaveCheckpoint([]byte("s"), 2, one), nil)
	expect("checkpoint before the last", j.SaveCheckpoint(nil, 0, j.ID()), journal.ErrPosition)
	mustClose(t, j)
	mustClose(t, j)
	_, err = j.Append([]byte("late"))
	expect("append after close", err, journal.ErrClosed)
	expect("checkpoint after close", j.SaveCheckpoint(nil, 2, one), journal.ErrClosed)
}

func TestCutMakesABoundary(t *testing.T) {
	j, _ := mustOpen(t, small(faultfs.New(1)))
	mustAppend(t, j, "a")
	at := j.Cut()
	mustAppend(t, j, "b")
	hash := mustWait(t, j, at)
	mustWait(t, j, j.Last())
	if end, h, ok := j.HashAt(at); end != at || h != hash || !ok {
		t.Errorf("boundary of %d is %d %x %v, expected itself and %x", at, end, h, ok, hash)
	}
	if err := j.SaveCheckpoint([]byte("a"), at, hash); err != nil {
		t.Error(err)
	}
	if again := j.Cut(); again != 2 {
		t.Errorf("cut with nothing queued at %d, expected 2", again)
	}
	mustClose(t, j)
}

// What must hold whatever fails. One run is a sequence of appends, waits,
// checkpoints and failures; the model knows what was promised.
func TestNothingPromisedIsLost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fs := faultfs.New(rapid.Uint64().Draw(t, "seed"))
		opts := small(fs)
		var (
			log    = []string{""}                                                                // by position
			hashes = map[journal.Position]journal.Hash{}                                         // of boundaries that somebody was told
			states = map[journal.Position]string{0: ""}                                          // checkpoints tried
			acked  journal.Position                                                              // everything up to here was promised
			saved  journal.Position                                                              // the newest checkpoint promised
			j      *journal.Journal                                                              // nil while the machine is down
			calm   = rapid.Bool().Draw(t, "calm")                                                // nothing fails but that a disk is full
			state  = func(pos journal.Position) string { return strings.Join(log[:pos+1], ",") } // what a checkpoint holds
		)
		start := func() {
			opened, r, err := reopen(opts)
			if err != nil {
				if errors.Is(err, journal.ErrCorrupt) || errors.Is(err, journal.ErrCopied) || errors.Is(err, journal.ErrLocked) {
					t.Fatal(err)
				}
				if opened != nil {
					_ = opened.Close()
				}
				fs.Crash() // a fault hit while it was starting
				return
			}
			j = opened
			switch {
			case r.end < acked:
				t.Fatalf("log ends at %d, promised up to %d", r.end, acked)
			case r.at < saved:
				t.Fatalf("checkpoint at %d, promised at %d", r.at, saved)
			case string(r.state) != states[r.at]:
				t.Fatalf("checkpoint at %d holds %q, expected %q", r.at, r.state, states[r.at])
			case r.end >= journal.Position(len(log)):
				t.Fatalf("log ends at %d, appended up to %d", r.end, len(log)-1)
			}
			for pos, rec := range r.records {
				if rec != log[pos] {
					t.Fatalf("record %d is %q, expected %q", pos, rec, log[pos])
				}
			}
			for pos, hash := range hashes {
				if got, ok := r.hashes[pos]; pos >= r.at && pos <= acked && (!ok || got != hash) {
					t.Fatalf("boundary %d is %x %v, expected %x", pos, got, ok, hash)
				}
			}
			log = log[:r.end+1]
			acked, saved = r.end, r.at
			for pos := range hashes {
				if pos > r.end {
					delete(hashes, pos)
				}
			}
		}
		wait := func(pos journal.Position) {
			hash, err := j.Wait(ctx, pos)
			if err != nil {
				if !errors.Is(err, journal.ErrPoisoned) {
					t.Fatalf("wait for %d: %v", pos, err)
				}
				return
			}
			acked = max(acked, pos)
			if end, h, ok := j.HashAt(pos); ok {
				if h != hash && hash != (journal.Hash{}) {
					t.Fatalf("wait for %d says %x, HashAt %x", pos, hash, h)
				}
				hashes[end], acked = h, max(acked, end)
			}
		}
		checkpoint := func(at journal.Position, hash journal.Hash) {
			states[at] = state(at)
			switch err := j.SaveCheckpoint([]byte(states[at]), at, hash); {
			case err == nil:
				saved = at
			case !errors.Is(err, journal.ErrPoisoned) && !errors.Is(err, journal.ErrFull):
				t.Fatalf("checkpoint at %d: %v", at, err)
			}
		}
		start()
		up := func(f func()) func(*rapid.T) {
			return func(*rapid.T) {
				if j == nil {
					start()
				}
				if j != nil {
					f()
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"append": up(func() {
				for range rapid.IntRange(1, 6).Draw(t, "records") {
					rec := strings.Repeat(rapid.StringN(1, 3, 12).Draw(t, "rec"), rapid.IntRange(0, 60).Draw(t, "times"))
					add := rapid.SampledFrom([]func([]byte) (journal.Position, error){j.Append, j.Append, j.AppendLate, j.AppendLast}).Draw(t, "add")
					pos, err := add([]byte(rec))
					switch {
					case errors.Is(err, journal.ErrPoisoned), errors.Is(err, journal.ErrFull):
						return
					case err != nil:
						t.Fatal(err)
					case pos != journal.Position(len(log)):
						t.Fatalf("record is at %d, expected %d", pos, len(log))
					}
					log = append(log, rec)
				}
			}),
			"wait":         up(func() { wait(journal.Position(rapid.IntRange(0, len(log)-1).Draw(t, "pos"))) }),
			"wait for all": up(func() { wait(journal.Position(len(log) - 1)) }),
			"checkpoint now": up(func() {
				at := j.Cut()
				hash, err := j.Wait(ctx, at)
				if err != nil || hash == (journal.Hash{}) {
					return
				}
				acked, hashes[at] = max(acked, at), hash
				checkpoint(at, hash)
			}),
			"checkpoint behind": up(func() {
				known := slices.Sorted(maps.Keys(hashes))
				known = slices.DeleteFunc(known, func(pos journal.Position) bool { return pos < saved })
				if len(known) > 0 {
					at := rapid.SampledFrom(known).Draw(t, "at")
					checkpoint(at, hashes[at])
				}
			}),
			"close": up(func() {
				_ = j.Close()
				j = nil
				if rapid.Bool().Draw(t, "machine too") {
					fs.Crash()
				}
			}),
			"kill":  up(func() { fs.Kill(); j = nil }),
			"crash": up(func() { fs.Crash(); j = nil }),
			"power will be cut": func(*rapid.T) {
				if calm {
					return
				}
				fs.CutAt(faultfs.Any, rapid.IntRange(1, 12).Draw(t, "call"))
			},
			"power comes back": func(*rapid.T) { fs.Crash(); j = nil },
			"a call will fail": func(*rapid.T) {
				if calm {
					return
				}
				op := rapid.SampledFrom([]faultfs.Op{faultfs.Write, faultfs.Sync, faultfs.SyncDir, faultfs.Rename, faultfs.Create, faultfs.Remove}).Draw(t, "op")
				fs.FailAt(op, rapid.IntRange(1, 6).Draw(t, "call"), "", faultfs.ErrIO)
			},
			"disk fills":    func(*rapid.T) { fs.Limit(fs.Used() + rapid.Int64Range(0, 10_000).Draw(t, "left")) },
			"disk has room": func(*rapid.T) { fs.Limit(0) },
			"": func(*rapid.T) {
				if j != nil && calm && j.Err() != nil {
					t.Fatalf("nothing but a full disk: %v", j.Err())
				}
			},
		})
		if j != nil {
			_ = j.Close()
		}
		fs.Limit(0)
		fs.Crash()
		j = nil
		start()
		if j == nil {
			t.Fatal("a healed disk does not open")
		}
		wait(journal.Position(len(log) - 1))
		mustClose(t, j)
	})
}

// The same with the writer's goroutine, many appenders, and a power cut.
func TestManyAppendersAndAPowerCut(t *testing.T) {
	for seed := range uint64(40) {
		fs := faultfs.New(seed)
		opts := small(fs)
		opts.Inline = false
		j, _ := mustOpen(t, opts)
		fs.CutAt(faultfs.Any, 20+int(seed)*3)
		var (
			mu     sync.Mutex
			acked  = map[journal.Position]string{}
			hashes = map[journal.Position]journal.Hash{}
			wg     sync.WaitGroup
		)
		for g := range 16 {
			wg.Go(func() {
				for i := 0; ; i++ {
					rec := fmt.Sprintf("%d/%d", g, i)
					pos, err := j.Append([]byte(rec))
					if err != nil {
						return
					}
					hash, err := j.Wait(ctx, pos)
					if err != nil {
						return
					}
					end, _, _ := j.HashAt(pos)
					mu.Lock()
					acked[pos], hashes[end] = rec, hash
					mu.Unlock()
				}
			})
		}
		wg.Go(func() {
			for {
				at := j.Cut()
				hash, err := j.Wait(ctx, at)
				if err != nil {
					return
				}
				if err := j.SaveCheckpoint([]byte("state"), at, hash); err != nil {
					return
				}
			}
		})
		wg.Wait()
		select {
		case <-j.Failed():
		default:
			t.Fatalf("seed %d: stopped without being poisoned: %v", seed, j.Err())
		}
		_ = j.Close()
		fs.Crash()
		j, r := mustOpen(t, opts)
		for pos, rec := range acked {
			if pos > r.at && r.records[pos] != rec {
				t.Errorf("seed %d: record %d is %q, promised %q", seed, pos, r.records[pos], rec)
			}
			if pos > r.end {
				t.Errorf("seed %d: log ends at %d, promised %d", seed, r.end, pos)
			}
		}
		for pos, hash := range hashes {
			if pos >= r.at && r.hashes[pos] != hash {
				t.Errorf("seed %d: boundary %d is %x, promised %x", seed, pos, r.hashes[pos], hash)
			}
		}
		mustClose(t, j)
	}
}

// Power goes at every single step of what a journal does besides appending:
// closing, opening after a failed sync, rolling, checkpointing, recycling.
func TestPowerCutAtEveryStep(t *testing.T) {
	for seed := range uint64(40) {
		for step, done := 1, false; !done; step++ {
			fs := faultfs.New(seed<<32 | uint64(step))
			opts := small(fs)
			opts.Spare = 1
			j, _ := mustOpen(t, opts)
			var promised journal.Position
			fill := func(n int) {
				for range n {
					pos, err := j.Append(bytes.Repeat([]byte("p"), 300))
					if err == nil {
						_, err = j.Wait(ctx, pos)
					}
					if err == nil {
						promised = pos
					}
				}
			}
			fill(20)
			fs.FailAt(faultfs.Sync, 1, "seg-", faultfs.ErrIO)
			fill(1)
			_ = j.Close()
			fs.Kill()

			fs.CutAt(faultfs.Any, step)
			if again, _, err := reopen(opts); err == nil {
				j = again
				promised = j.Last() // what Open found it made durable
				fill(20)
				at := j.Last()
				if end, hash, ok := j.HashAt(at); ok {
					_ = j.SaveCheckpoint([]byte("state"), end, hash)
				}
				fill(20)
				_ = j.Close()
				done = fs.Calls(faultfs.Any) > 0 && j.Err() != nil && errors.Is(j.Err(), journal.ErrClosed)
			}
			fs.Crash()
			j, r, err := reopen(opts)
			if err != nil {
				t.Fatalf("seed %d, power cut at step %d: %v", seed, step, err)
			}
			if r.end < promised {
				t.Fatalf("seed %d, power cut at step %d: log ends at %d, promised %d", seed, step, r.end, promised)
			}
			mustClose(t, j)
		}
	}
}

// A group torn at any byte, with zeros or another file's remains after it, is
// dropped and what comes before it stays.
func TestTornAtEveryByte(t *testing.T) {
	fs := faultfs.New(1)
	j, _ := mustOpen(t, small(fs))
	mustWait(t, j, mustAppend(t, j, "kept"))
	before, _ := fs.Content(dir + "/seg-0000000000000001")
	for i := range 5 {
		mustAppend(t, j, strings.Repeat("torn", 10+i*8))
	}
	mustWait(t, j, j.Last())
	whole, _ := fs.Content(dir + "/seg-0000000000000001")
	fs.Kill()
	shot := fs.Snapshot()
	from, to := 2*512, 2*512
	for i := range whole {
		if whole[i] != 0 {
			to = i + 1
		}
	}
	for cut := from; cut <= to; cut++ {
		for _, rest := range []string{"zeros", "cut off", "garbage"} {
			fs.Rollback(shot)
			b := append(bytes.Clone(whole[:cut]), before[cut:]...)
			switch rest {
			case "cut off":
				b = b[:cut]
			case "garbage":
				for i := cut; i < len(b); i++ {
					b[i] = byte(i*7 + 3)
				}
			}
			fs.SetContent(dir+"/seg-0000000000000001", b)
			j, r, err := reopen(small(fs))
			if err != nil {
				t.Fatalf("cut at %d, then %s: %v", cut, rest, err)
			}
			want := journal.Position(1)
			if cut == to {
				want = 6
			}
			if r.end != want || r.records[1] != "kept" {
				t.Fatalf("cut at %d, then %s: ends at %d with %q, expected %d", cut, rest, r.end, r.records[1], want)
			}
			if got := mustAppend(t, j, "next"); got != want+1 {
				t.Fatalf("cut at %d, then %s: next record is at %d", cut, rest, got)
			}
			mustClose(t, j)
		}
	}
}

// Any bit that flips where the log is proven is found, with its place; in the
// last group it is found or the group is dropped; nowhere is a record altered.
func TestFlippedBits(t *testing.T) {
	fs := faultfs.New(1)
	j, _ := mustOpen(t, small(fs))
	var want []string
	for i := range 40 {
		want = append(want, fmt.Sprintf("record %d %s", i, strings.Repeat("y", 10*i)))
		pos := mustAppend(t, j, want[i])
		if i%4 != 0 {
			mustWait(t, j, pos)
		}
	}
	mustWait(t, j, j.Last())
	fs.Kill()
	shot := fs.Snapshot()
	names, err := fs.Names(dir)
	if err != nil {
		t.Fatal(err)
	}
	var segments []string
	for _, name := range names {
		if strings.HasPrefix(name, "seg-") {
			segments = append(segments, name)
		}
	}
	if len(segments) < 3 {
		t.Fatalf("%d segments, expected at least 3", len(segments))
	}
	found := 0
	check := func(name string, offset int64, bit uint) {
		fs.Rollback(shot)
		if err := fs.Flip(dir+"/"+name, offset, bit); err != nil {
			t.Fatal(err)
		}
		j, r, err := reopen(small(fs))
		if err != nil {
			var corrupt *journal.CorruptError
			if !errors.As(err, &corrupt) || !errors.Is(err, journal.ErrCorrupt) || corrupt.File != name || corrupt.Offset > offset {
				t.Fatalf("%s, bit %d of byte %d: %v", name, bit, offset, err)
			}
			found++
			return
		}
		defer mustClose(t, j)
		if len(r.records) != len(want) && (name != segments[len(segments)-1] || len(r.records) != len(want)-1) {
			t.Fatalf("%s, bit %d of byte %d: %d records, expected %d", name, bit, offset, len(r.records), len(want))
		}
		for pos, rec := range r.records {
			if rec != want[pos-1] {
				t.Fatalf("%s, bit %d of byte %d: record %d is %q", name, bit, offset, pos, rec)
			}
		}
	}
	for _, name := range segments {
		b, _ := fs.Content(dir + "/" + name)
		for offset := range b {
			check(name, int64(offset), uint(offset%8))
		}
	}
	if found < 9000 {
		t.Errorf("%d flips found; the test does not reach the records", found)
	}
}

// After a clean Close the last group, too, is proven.
func TestFlipAfterCloseIsFound(t *testing.T) {
	fs := faultfs.New(1)
	j, _ := mustOpen(t, small(fs))
	mustWait(t, j, mustAppend(t, j, "only"))
	mustClose(t, j)
	if err := fs.Flip(dir+"/seg-0000000000000001", 512+57, 0); err != nil {
		t.Fatal(err)
	}
	_, err := journal.Open(dir, small(fs))
	var corrupt *journal.CorruptError
	if !errors.As(err, &corrupt) || corrupt.File != "seg-0000000000000001" || corrupt.Offset != 512 {
		t.Errorf("%v, expected damage of the first segment at 512", err)
	}
}

func TestMissingAndForeignFiles(t *testing.T) {
	// Sixty records of one letter, a checkpoint after some of them; the journal's
	// id is always the same.
	of := func(letter string, checkpoint int) *faultfs.FS {
		fs := faultfs.New(1)
		j, _ := mustOpen(t, small(fs))
		for i := range 60 {
			pos := mustAppend(t, j, strings.Repeat(letter, 300))
			if hash := mustWait(t, j, pos); i+1 == checkpoint {
				if err := j.SaveCheckpoint([]byte("thirty"), pos, hash); err != nil {
					t.Fatal(err)
				}
			}
		}
		mustClose(t, j)
		return fs
	}
	build := func() *faultfs.FS { return of("z", 31) }
	checkpointOf := func(other *faultfs.FS) func(*faultfs.FS) {
		b, _ := other.Content(dir + "/checkpoint")
		return func(fs *faultfs.FS) { fs.SetContent(dir+"/checkpoint", b) }
	}
	fs := build()
	names, err := fs.Names(dir)
	if err != nil {
		t.Fatal(err)
	}
	seg := slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, "seg-") })
	last := seg[len(seg)-1]
	for _, tt := range []struct {
		name   string
		damage func(fs *faultfs.FS)
		says   string // "" opens
	}{
		{"nothing", func(*faultfs.FS) {}, ""},
		{"spares gone", func(fs *faultfs.FS) {
			fs.Delete(dir + "/spare-0000000000000001")
			fs.Delete(dir + "/spare-0000000000000002")
		}, ""},
		{"other files", func(fs *faultfs.FS) { fs.SetContent(dir+"/seg-12", []byte("?")); fs.SetContent(dir+"/notes", nil) }, ""},
		{"leftovers", func(fs *faultfs.FS) {
			fs.SetContent(dir+"/checkpoint.tmp", []byte("half"))
			fs.SetContent(dir+"/rewrite.tmp", []byte("half"))
			fs.SetContent(dir+"/spare-00000000000000ff", []byte("short"))
		}, ""},
		{"identity gone", func(fs *faultfs.FS) { fs.Delete(dir + "/identity") }, "identity is damaged"},
		{"identity changed", func(fs *faultfs.FS) { _ = fs.Flip(dir+"/identity", 30, 0) }, "identity is damaged"},
		{"checkpoint gone", func(fs *faultfs.FS) { fs.Delete(dir + "/checkpoint") }, "segment is missing"},
		{"checkpoint changed", func(fs *faultfs.FS) { _ = fs.Flip(dir+"/checkpoint", 61, 0) }, "checkpoint is damaged at offset 0: checksum"},
		{"checkpoint empty", func(fs *faultfs.FS) { fs.SetContent(dir+"/checkpoint", nil) }, "checkpoint is damaged"},
		{"checkpoint of another history", checkpointOf(of("y", 31)), "no boundary of the log is at its position 31 with its hash"},
		{"later checkpoint of another history", checkpointOf(of("y", 50)), "no boundary of the log is at its position 50 with its hash"},
		{"log behind its checkpoint", func(fs *faultfs.FS) {
			checkpointOf(of("z", 60))(fs)
			fs.Delete(dir + "/" + last)
			fs.Delete(dir + "/" + seg[len(seg)-2])
		}, "no boundary of the log is at its position 60 with its hash; the log ends at"},
		{"first segment gone", func(fs *faultfs.FS) { fs.Delete(dir + "/" + seg[0]) }, "segment is missing"},
		{"middle segment gone", func(fs *faultfs.FS) { fs.Delete(dir + "/" + seg[1]) }, seg[1] + " is damaged at offset 0: segment is missing"},
		{"all segments gone", func(fs *faultfs.FS) {
			for _, s := range seg {
				fs.Delete(dir + "/" + s)
			}
		}, "segments after it are missing"},
		{"segments swapped", func(fs *faultfs.FS) {
			a, _ := fs.Content(dir + "/" + seg[0])
			b, _ := fs.Content(dir + "/" + seg[1])
			fs.SetContent(dir+"/"+seg[0], b)
			fs.SetContent(dir+"/"+seg[1], a)
		}, seg[1] + " is damaged at offset 0: is segment"},
		{"last segment empty", func(fs *faultfs.FS) { fs.SetContent(dir+"/"+last, nil) }, last + " is damaged at offset 0: shorter"},
		{"last segment without header", func(fs *faultfs.FS) { fs.SetContent(dir+"/"+last, make([]byte, 8<<10)) }, last + " is damaged at offset 0: not a segment"},
		{"a further segment", func(fs *faultfs.FS) {
			b, _ := fs.Content(dir + "/" + last)
			fs.SetContent(dir+"/seg-00000000000000aa", b)
		}, "seg-00000000000000aa is damaged"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fs := build()
			tt.damage(fs)
			j, r, err := reopen(small(fs))
			if tt.says == "" {
				if err != nil {
					t.Fatal(err)
				}
				if string(r.state) != "thirty" || r.at != 31 || r.end != 60 {
					t.Errorf("checkpoint %q at %d, end %d", r.state, r.at, r.end)
				}
				mustClose(t, j)
				return
			}
			if !errors.Is(err, journal.ErrCorrupt) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, expected damage with %q", err, tt.says)
			}
		})
	}
}

func TestFirstFailurePoisons(t *testing.T) {
	for _, op := range []faultfs.Op{faultfs.Write, faultfs.Sync} {
		for _, inline := range []bool{true, false} {
			fs := faultfs.New(7)
			opts := small(fs)
			opts.Inline = inline
			opts.Spare = 1
			j, _ := mustOpen(t, opts)
			mustWait(t, j, mustAppend(t, j, "before"))
			for deadline := time.Now().Add(10 * time.Second); !inline && j.Stats().Spares.Load() < 1; runtime.Gosched() {
				if time.Now().After(deadline) {
					t.Fatal("there is no spare: its sync would be counted below")
				}
			}
			fs.FailAt(op, 1, "seg-", faultfs.ErrIO)
			pos := mustAppend(t, j, "fails")
			if _, err := j.Wait(ctx, pos); !errors.Is(err, journal.ErrPoisoned) || !errors.Is(err, syscall.EIO) {
				t.Errorf("%s: wait says %v", op, err)
			}
			syncs := fs.Calls(faultfs.Sync)
			if _, err := j.Append([]byte("later")); !errors.Is(err, journal.ErrPoisoned) {
				t.Errorf("%s: append says %v", op, err)
			}
			if _, err := j.Wait(ctx, 1); !errors.Is(err, journal.ErrPoisoned) {
				t.Errorf("%s: wait for an older record says %v", op, err)
			}
			if err := j.SaveCheckpoint(nil, 0, j.ID()); !errors.Is(err, journal.ErrPoisoned) {
				t.Errorf("%s: checkpoint says %v", op, err)
			}
			<-j.Failed()
			if j.Stats().Poisoned.Load() != 1 || j.Err() == nil {
				t.Errorf("%s: not said to be poisoned", op)
			}
			_ = j.Close()
			if n := fs.Calls(faultfs.Sync); n != syncs {
				t.Errorf("%s: %d syncs after the failure", op, n-syncs)
			}
			// The kernel still shows what it failed to write. Only because Open
			// writes it again may it be relied on.
			j, r := mustOpen(t, opts)
			if r.records[1] != "before" {
				t.Errorf("%s: what was promised is %q", op, r.records[1])
			}
			_ = j.Close()
			fs.Crash()
			j, again := mustOpen(t, opts)
			if again.end != r.end {
				t.Errorf("%s: log ended at %d before the crash, at %d after it", op, r.end, again.end)
			}
			mustClose(t, j)
		}
	}
}

func TestWhoMayOpen(t *testing.T) {
	fs := faultfs.New(1)
	j, _ := mustOpen(t, small(fs))
	if _, err := journal.Open(dir, small(fs)); !errors.Is(err, journal.ErrLocked) {
		t.Errorf("a second opener: %v, expected %v", err, journal.ErrLocked)
	}
	mustClose(t, j)
	if _, err := journal.Open(dir, small(fs.Copy(2))); !errors.Is(err, journal.ErrCopied) {
		t.Errorf("a copy: %v, expected %v", err, journal.ErrCopied)
	}
	fs.SetMachine("another")
	if _, err := journal.Open(dir, small(fs)); !errors.Is(err, journal.ErrCopied) {
		t.Errorf("another machine: %v, expected %v", err, journal.ErrCopied)
	}
	named := small(fs)
	named.Machine = "simulated"
	j, _ = mustOpen(t, named)
	mustClose(t, j)
}

func TestCheckpointRecyclesUnderLoad(t *testing.T) {
	fs := faultfs.New(3)
	opts := small(fs)
	opts.Inline = false
	j, _ := mustOpen(t, opts)
	var wg sync.WaitGroup
	var stop atomic.Bool
	for range 8 {
		wg.Go(func() {
			for !stop.Load() {
				pos, err := j.Append(bytes.Repeat([]byte("r"), 200))
				if err == nil {
					_, err = j.Wait(ctx, pos)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := 0; j.Stats().Recycled.Load() < 50; i++ {
		at := j.Cut()
		hash := mustWait(t, j, at)
		if err := j.SaveCheckpoint(fmt.Appendf(nil, "state at %d", at), at, hash); err != nil {
			t.Fatal(err)
		}
	}
	stop.Store(true)
	wg.Wait()
	at := j.Cut()
	if err := j.SaveCheckpoint(fmt.Appendf(nil, "state at %d", at), at, mustWait(t, j, at)); err != nil {
		t.Fatal(err)
	}
	if n := j.Stats().Segments.Load(); n != 1 {
		t.Errorf("%d segments after a checkpoint of everything, expected 1", n)
	}
	mustClose(t, j)
	j, r := mustOpen(t, opts)
	if string(r.state) != fmt.Sprintf("state at %d", at) || r.at != at || len(r.records) != 0 {
		t.Errorf("recovered %q at %d with %d records, expected those of %d", r.state, r.at, len(r.records), at)
	}
	mustClose(t, j)
	names, err := fs.Names(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(names) > 7 { // identity, checkpoint, at most 3 segments, 2 spares
		t.Errorf("files pile up: %v", names)
	}
}

// fill appends records of a sector each until the journal is full, and says how many
// landed and where the last one is.
func fill(t *testing.T, j *journal.Journal) (landed int, last journal.Position) {
	t.Helper()
	for {
		pos, err := j.Append(bytes.Repeat([]byte("f"), 300))
		if errors.Is(err, journal.ErrFull) {
			return landed, last
		}
		if err != nil {
			t.Fatal(err)
		}
		mustWait(t, j, pos)
		landed, last = landed+1, pos
	}
}

// On a full disk, records land in the spares but the last; then ErrFull. The
// records of a checkpoint still land behind them, and the checkpoint, written in
// the room of the last spare, makes room for all.
func TestFullDisk(t *testing.T) {
	fs := faultfs.New(5)
	opts := small(fs)
	j, _ := mustOpen(t, opts)
	if err := j.Flush(); err != nil {
		t.Fatal(err)
	}
	fs.Limit(fs.Used() + 100)
	if landed, _ := fill(t, j); landed < 20 || landed > 2*15 {
		t.Errorf("%d records of a sector landed in two segments of 15", landed)
	}
	if j.Err() != nil || j.Free() != 100 || j.Stats().Refused.Load() != 1 || j.Stats().SpareFailures.Load() == 0 {
		t.Errorf("err %v, free %d, refused %d, spare failures %d", j.Err(), j.Free(), j.Stats().Refused.Load(), j.Stats().SpareFailures.Load())
	}
	at, err := j.AppendLast([]byte("a seal"))
	if err != nil {
		t.Fatal(err)
	}
	hash := mustWait(t, j, at)
	// More than the last spare has room for: it fails, and nothing breaks.
	if err := j.SaveCheckpoint(make([]byte, 20*512), at, hash); !errors.Is(err, journal.ErrFull) {
		t.Errorf("a checkpoint without room: %v, expected %v", err, journal.ErrFull)
	}
	fs.Limit(fs.Used() + 16*512)
	if err := j.Flush(); err != nil || j.Stats().Spares.Load() != 1 {
		t.Fatalf("%v, %d spares where there is room for one", err, j.Stats().Spares.Load())
	}
	if err := j.SaveCheckpoint(make([]byte, 2000), at, hash); err != nil {
		t.Fatalf("a checkpoint in the room of the last spare: %v", err)
	}
	for range 5 {
		mustWait(t, j, mustAppend(t, j, strings.Repeat("f", 300)))
	}
	fs.Limit(0)
	mustClose(t, j)
	j, r := mustOpen(t, opts)
	if r.at != at || r.end != at+5 {
		t.Errorf("checkpoint at %d, end %d, expected %d and %d", r.at, r.end, at, at+5)
	}
	mustClose(t, j)
}

// What fills the disk comes when the journal has used up the open segment, and would
// have gone on to its last spare: what empties it goes there all the same, and half of
// that end is not for those who are less urgent.
func TestADiskThatFillsAtTheEndOfASegment(t *testing.T) {
	for used := range 15 { // sectors of the open segment, the rest of which is free
		fs := faultfs.New(5)
		j, _ := mustOpen(t, small(fs))
		if err := j.Flush(); err != nil {
			t.Fatal(err)
		}
		fs.Limit(fs.Used() + 12*512) // not a spare more, and more than half of one
		put := func(add func([]byte) (journal.Position, error)) (journal.Position, error) {
			pos, err := add(bytes.Repeat([]byte("f"), 300))
			if err == nil {
				mustWait(t, j, pos)
			} else if !errors.Is(err, journal.ErrFull) {
				t.Fatal(err)
			}
			return pos, err
		}
		for j.Stats().Spares.Load() > 1 {
			mustWait(t, j, mustAppend(t, j, strings.Repeat("f", 300)))
		}
		for range used {
			if _, err := put(j.Append); err != nil {
				t.Fatalf("record %d does not land while there is a spare and more than half of one: %v", used, err)
			}
		}
		fs.Limit(fs.Used())
		if err := j.Flush(); err != nil || j.Free() != 0 {
			t.Fatalf("%v, %d bytes free", err, j.Free())
		}
		plain, late := 0, 0
		for _, err := put(j.Append); err == nil; _, err = put(j.Append) {
			plain++
		}
		for _, err := put(j.AppendLate); err == nil; _, err = put(j.AppendLate) {
			late++
		}
		if spares := j.Stats().Spares.Load(); spares != 1 {
			t.Fatalf("%d sectors in use: %d spares are left after %d and %d records", used, spares, plain, late)
		}
		left := 14 - used
		if plain != max(0, left-2) || late != min(1, max(0, left-1)) {
			t.Errorf("%d sectors left: %d records land, and %d that are late", left, plain, late)
		}
		_, err := put(j.AppendLast)
		if (err == nil) != (left > 0) {
			t.Fatalf("%d sectors left, and none for a checkpoint beside the last spare: the last record: %v", left, err)
		}
		fs.Limit(fs.Used() + 4*512)
		if err := j.Flush(); err != nil {
			t.Fatal(err)
		}
		at, err := put(j.AppendLast)
		if err != nil {
			t.Fatalf("%d sectors left: the last record: %v", left, err)
		}
		if err := j.SaveCheckpoint(make([]byte, 1000), at, mustWait(t, j, at)); err != nil {
			t.Error(err)
		}
		for range 10 {
			mustWait(t, j, mustAppend(t, j, strings.Repeat("f", 300)))
		}
		mustClose(t, j)
	}
}

// With one spare left and no room for anything more a journal still opens, and
// once more, and takes what a checkpoint needs.
func TestOpenOnAFullDisk(t *testing.T) {
	fs := faultfs.New(5)
	opts := small(fs)
	j, _ := mustOpen(t, opts)
	if err := j.Flush(); err != nil {
		t.Fatal(err)
	}
	fs.Limit(fs.Used() + 100)
	_, last := fill(t, j)
	fs.Limit(fs.Used()) // nothing at all
	for _, clean := range []bool{false, true} {
		if clean {
			mustClose(t, j)
		} else {
			fs.Kill()
		}
		var r read
		if j, r = mustOpen(t, opts); r.end != last {
			t.Fatalf("it ends at %d, expected %d", r.end, last)
		}
		pos, err := j.AppendLast([]byte("a boot"))
		if err != nil {
			t.Fatal(err)
		}
		mustWait(t, j, pos)
		last = pos
	}
	fs.Limit(fs.Used() + 1500)
	if err := j.SaveCheckpoint(make([]byte, 1000), last, mustWait(t, j, last)); err != nil {
		t.Error(err)
	}
	mustWait(t, j, mustAppend(t, j, "on it goes"))
	mustClose(t, j)
}

// A checkpoint whose name could not be synced is there for who opens the journal
// next, and from then on for good: also where the disk is full, so that the open
// segment is wiped in its place instead of begun anew.
func TestOpenMakesItsCheckpointDurable(t *testing.T) {
	for _, full := range []bool{false, true} {
		lost := 0
		for seed := range uint64(20) {
			fs := faultfs.New(seed)
			opts := small(fs)
			j, _ := mustOpen(t, opts)
			at := mustAppend(t, j, "one")
			mustWait(t, j, at)
			mustClose(t, j)
			j, _ = mustOpen(t, opts)
			hash := mustWait(t, j, at)
			fs.FailAt(faultfs.SyncDir, 1, "", faultfs.ErrIO)
			if err := j.SaveCheckpoint([]byte("state"), at, hash); !errors.Is(err, journal.ErrPoisoned) {
				t.Fatalf("a checkpoint whose directory cannot be synced: %v", err)
			}
			if full {
				fs.Limit(fs.Used())
			}
			fs.Kill()
			j, r := mustOpen(t, opts)
			if r.at != at {
				t.Fatalf("after a kill the checkpoint is at %d, expected %d", r.at, at)
			}
			if spares := j.Stats().Spares.Load(); full && spares != 0 {
				t.Fatalf("%d spares: this shows nothing", spares)
			}
			fs.Limit(0)
			fs.Crash()
			if j, r = mustOpen(t, opts); r.at != at {
				lost++
			}
			mustClose(t, j)
		}
		if lost > 0 {
			t.Errorf("full %v: of 20 crashes %d lost the checkpoint that the start before gave", full, lost)
		}
	}
}

// Once the disk had room again, a lack of spares is waited out, not refused.
func TestFullDiskIsForgotten(t *testing.T) {
	fs := &slow{FS: faultfs.New(1), gate: make(chan struct{})}
	opts := small(fs)
	opts.Inline, opts.Spare, opts.Every = false, 1, time.Millisecond
	j, _ := mustOpen(t, opts)
	rec := bytes.Repeat([]byte("f"), 300)
	fs.Limit(1) // whatever grows fails
	for {
		pos, err := j.Append(rec)
		if errors.Is(err, journal.ErrFull) {
			break
		}
		mustWait(t, j, pos)
	}
	fs.Limit(0)
	for j.Stats().Spares.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	fs.spares.Store(true) // the next spare takes long
	var appended atomic.Int64
	done := make(chan error)
	go func() {
		for range 60 {
			pos, err := j.Append(rec)
			if err == nil {
				_, err = j.Wait(ctx, pos)
			}
			if err != nil {
				done <- err
				return
			}
			appended.Add(1)
		}
		done <- nil
	}()
	fs.blocked()
	for appended.Load() < 13 {
		time.Sleep(time.Millisecond)
	}
	close(fs.gate)
	if err := <-done; err != nil {
		t.Error(err)
	}
	mustClose(t, j)
}

// What Append accepted has its place: a checkpoint cannot take it.
func TestSpareThatTheQueueNeedsIsKept(t *testing.T) {
	fs := faultfs.New(5)
	opts := small(fs)
	opts.Spare = 1
	j, _ := mustOpen(t, opts)
	for range 13 { // of 15 sectors
		mustWait(t, j, mustAppend(t, j, strings.Repeat("f", 300)))
	}
	if n := j.Stats().Segments.Load(); n != 1 {
		t.Fatalf("%d segments, expected 1", n)
	}
	fs.Limit(fs.Used())
	_, hash, _ := j.HashAt(13)
	mustAppend(t, j, strings.Repeat("q", 800))
	mustAppend(t, j, strings.Repeat("q", 800))
	if err := j.SaveCheckpoint(make([]byte, 4000), 13, hash); !errors.Is(err, journal.ErrFull) {
		t.Errorf("a checkpoint in the queue's place: %v, expected %v", err, journal.ErrFull)
	}
	mustWait(t, j, 15)
	mustClose(t, j)
}

// Close lands what was accepted before it and refuses what comes after.
func TestAppendingIntoClose(t *testing.T) {
	fs := &slow{FS: faultfs.New(1), gate: make(chan struct{})}
	opts := small(fs)
	opts.Inline = false
	j, _ := mustOpen(t, opts)
	fs.on.Store(true)
	last := mustAppend(t, j, "held at the gate")
	fs.blocked()
	closed := make(chan error)
	go func() { closed <- j.Close() }()
	for {
		pos, err := j.Append(nil)
		if errors.Is(err, journal.ErrClosed) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		last = pos
	}
	close(fs.gate)
	mustWait(t, j, last)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	fs.on.Store(false)
	j, r := mustOpen(t, opts)
	if r.end != last {
		t.Errorf("log ends at %d, promised %d", r.end, last)
	}
	mustClose(t, j)
}

func TestContextEndsOnlyTheWaiting(t *testing.T) {
	fs := &slow{FS: faultfs.New(1), gate: make(chan struct{})}
	opts := small(fs)
	opts.Inline = false
	j, _ := mustOpen(t, opts)
	fs.on.Store(true)
	pos := mustAppend(t, j, "slow")
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := j.Wait(ended, pos); !errors.Is(err, context.Canceled) {
		t.Errorf("wait says %v, expected %v", err, context.Canceled)
	}
	close(fs.gate)
	mustWait(t, j, pos)
	mustClose(t, j)
}

// Memory stays bounded while the disk stands still: appenders block.
func TestAppendersBlockBehindASlowDisk(t *testing.T) {
	fs := &slow{FS: faultfs.New(1), gate: make(chan struct{})}
	opts := small(fs)
	opts.Inline = false
	j, _ := mustOpen(t, opts)
	fs.on.Store(true)
	var accepted atomic.Int64
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := j.Append(make([]byte, 400)); err != nil {
				t.Error(err)
			}
			accepted.Add(1)
		})
	}
	fs.blocked() // one group is at the disk, and stays there
	if n := accepted.Load(); n > 8 {
		t.Errorf("%d records of 400 bytes accepted, expected no more than two groups of 900", n)
	}
	close(fs.gate)
	wg.Wait()
	mustWait(t, j, 50)
	mustClose(t, j)
}

func TestCloseWakesBlockedAppenders(t *testing.T) {
	fs := &slow{FS: faultfs.New(1), gate: make(chan struct{})}
	opts := small(fs)
	opts.Inline = false
	j, _ := mustOpen(t, opts)
	fs.on.Store(true)
	var wg sync.WaitGroup
	var landed, refused atomic.Int64
	for range 50 {
		wg.Go(func() {
			pos, err := j.Append(make([]byte, 400))
			if err == nil {
				if _, err := j.Wait(ctx, pos); err != nil {
					t.Error(err)
				}
				landed.Add(1)
				return
			}
			if !errors.Is(err, journal.ErrClosed) {
				t.Error(err)
			}
			refused.Add(1)
		})
	}
	fs.blocked()
	closed := make(chan error)
	go func() { closed <- j.Close() }()
	close(fs.gate)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	wg.Wait()
	fs.on.Store(false)
	j, r := mustOpen(t, opts)
	if int64(len(r.records)) != landed.Load() {
		t.Errorf("%d records on disk, %d promised, %d refused", len(r.records), landed.Load(), refused.Load())
	}
	mustClose(t, j)
}

// slow holds syncs of segments, or the making of spares, at its gate.
type slow struct {
	*faultfs.FS
	on, spares atomic.Bool
	gate       chan struct{}
	at         atomic.Int64
}

func (s *slow) Create(name string) (journal.File, error) {
	if s.spares.Load() {
		s.at.Add(1)
		<-s.gate
	}
	return s.FS.Create(name)
}

func (s *slow) blocked() {
	for s.at.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
}

func (s *slow) Open(name string) (journal.File, error) {
	f, err := s.FS.Open(name)
	return slowFile{f, s}, err
}

type slowFile struct {
	journal.File
	fs *slow
}

func (f slowFile) Sync() error {
	if f.fs.on.Load() {
		f.fs.at.Add(1)
		<-f.fs.gate
	}
	return f.File.Sync()
}

// The operating system's files, as production has them.
func TestOnARealDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	opts := journal.Options{SegmentSize: 64 << 10}
	j, err := journal.Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	replay := func(j *journal.Journal) (n int) {
		t.Helper()
		if err := j.Replay(func(pos journal.Position, rec []byte) error {
			n++
			if want := fmt.Sprintf("real %d", pos); string(rec) != want {
				return fmt.Errorf("%q, expected %q", rec, want)
			}
			return nil
		}, func(journal.Position, journal.Hash) error { return nil }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	replay(j)
	if _, err := journal.Open(path, opts); !errors.Is(err, journal.ErrLocked) {
		t.Errorf("a second opener: %v", err)
	}
	for i := range 500 {
		pos, err := j.Append(fmt.Appendf(nil, "real %d", i+1))
		if err != nil {
			t.Fatal(err)
		}
		if i%5 == 0 {
			mustWait(t, j, pos)
		}
	}
	mustWait(t, j, 500)
	if j.Free() <= 0 {
		t.Errorf("free space %d", j.Free())
	}
	mustClose(t, j)
	j, err = journal.Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	if n := replay(j); n != 500 {
		t.Errorf("%d records, expected 500", n)
	}
	at := j.Cut()
	_, hash, _ := j.HashAt(at)
	if err := j.SaveCheckpoint([]byte("all"), at, hash); err != nil {
		t.Fatal(err)
	}
	mustClose(t, j)
	if err := os.CopyFS(path+"-copy", os.DirFS(path)); err != nil {
		t.Fatal(err)
	}
	if _, err := journal.Open(path+"-copy", opts); !errors.Is(err, journal.ErrCopied) {
		t.Errorf("a copy: %v, expected %v", err, journal.ErrCopied)
	}
	if err := os.Rename(path, path+"-moved"); err != nil {
		t.Fatal(err)
	}
	j, err = journal.Open(path+"-moved", opts)
	if err != nil {
		t.Fatalf("moved: %v", err)
	}
	if state, pos, h := j.Checkpoint(); string(state) != "all" || pos != 500 || h != hash {
		t.Errorf("checkpoint %q at %d", state, pos)
	}
	if n := replay(j); n != 0 {
		t.Errorf("%d records after the checkpoint", n)
	}
	mustClose(t, j)
}

func TestOptions(t *testing.T) {
	for says, opts := range map[string]journal.Options{
		"segment size 1000":      {SegmentSize: 1000},
		"segment size 4095":      {SegmentSize: 4095},
		"-1 spare segments":      {Spare: -1},
		"groups of 4 bytes":      {MaxBatch: 4},
		"groups of 999999 bytes": {MaxBatch: 999999, SegmentSize: 1 << 20},
	} {
		opts.FS = faultfs.New(1)
		if _, err := journal.Open(dir, opts); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, expected it to say %q", err, says)
		}
	}
}

// The same seed gives the same disk, whatever fails.
func TestRunsRepeat(t *testing.T) {
	run := func() string {
		var out strings.Builder
		fs := faultfs.New(99)
		rnd := rand.New(rand.NewPCG(1, 2))
		for range 30 {
			opts := small(fs)
			j, r, err := reopen(opts)
			fmt.Fprintln(&out, r.end, r.at, err)
			if err != nil {
				fs.Crash()
				continue
			}
			fs.CutAt(faultfs.Any, 1+rnd.IntN(30))
			for i := range 20 {
				pos, err := j.Append(make([]byte, rnd.IntN(700)))
				if err != nil {
					break
				}
				if i%2 == 0 {
					_, _ = j.Wait(ctx, pos)
				}
			}
			_ = j.Close()
			fs.Crash()
		}
		names, _ := fs.Names(dir)
		for _, n := range names {
			b, _ := fs.Content(dir + "/" + n)
			fmt.Fprintf(&out, "%s %x\n", n, b)
		}
		return out.String()
	}
	if a, b := run(), run(); a != b {
		t.Error("two runs of one seed differ")
	}
}
