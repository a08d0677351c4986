package faultfs

import (
	"bytes"
	"errors"
	"io/fs"
	"slices"
	"syscall"
	"testing"

	"nearside/edge/journal"
)

func put(t *testing.T, f journal.File, at int64, s string) {
	t.Helper()
	if _, err := f.WriteAt([]byte(s), at); err != nil {
		t.Fatal(err)
	}
}

func create(t *testing.T, f *FS, name string) journal.File {
	t.Helper()
	h, err := f.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// outcomes runs a story on many seeds and collects how the file ended.
func outcomes(t *testing.T, story func(f *FS)) map[string]int {
	t.Helper()
	seen := map[string]int{}
	for seed := range uint64(400) {
		f := New(seed)
		story(f)
		b, there := f.Content("d/a")
		if !there {
			seen["gone"]++
			continue
		}
		seen[string(b)]++
	}
	return seen
}

func only(t *testing.T, what string, seen map[string]int, want ...string) {
	t.Helper()
	for got := range seen {
		if !slices.Contains(want, got) {
			t.Errorf("%s: %.40q, expected one of %.40q", what, got, want)
		}
	}
	for _, w := range want {
		if seen[w] == 0 {
			t.Errorf("%s: never %.40q in %v", what, w, seen)
		}
	}
}

func TestWhatACrashLeaves(t *testing.T) {
	only(t, "synced, and so is the directory", outcomes(t, func(f *FS) {
		h := create(t, f, "d/a")
		put(t, h, 0, "kept")
		ok(t, h.Sync())
		ok(t, f.SyncDir("d"))
		f.Crash()
	}), "kept")
	only(t, "synced, but not its name", outcomes(t, func(f *FS) {
		h := create(t, f, "d/a")
		put(t, h, 0, "kept")
		ok(t, h.Sync())
		f.Crash()
	}), "kept", "gone")
	only(t, "removed and renamed without a sync", outcomes(t, func(f *FS) {
		f.SetContent("d/a", []byte("old"))
		f.SetContent("d/b", []byte("new"))
		ok(t, f.Rename("d/b", "d/a"))
		f.Crash()
	}), "old", "new")
	only(t, "after Kill all that was written is there", outcomes(t, func(f *FS) {
		put(t, create(t, f, "d/a"), 0, "kernel has it")
		f.Kill()
	}), "kernel has it")
}

// Sectors arrive in any choice, some torn, and never change what was not written.
func TestTearing(t *testing.T) {
	old, fresh := bytes.Repeat([]byte("o"), 4*sector), bytes.Repeat([]byte("n"), 2*sector)
	seen := outcomes(t, func(f *FS) {
		f.SetContent("d/a", old)
		h, err := f.Open("d/a")
		ok(t, err)
		put(t, h, sector, string(fresh))
		f.Crash()
	})
	choices, torn := map[string]bool{}, false
	for got := range seen {
		if len(got) != len(old) || got[:sector] != string(old[:sector]) || got[3*sector:] != string(old[:sector]) {
			t.Fatalf("sectors that were not written changed: %q", got)
		}
		middle := got[sector : 3*sector]
		choices[string([]byte{middle[0], middle[sector]})] = true
		torn = torn || middle[0] != middle[sector-1]
	}
	for _, c := range []string{"oo", "on", "no", "nn"} {
		if !choices[c] {
			t.Errorf("never arrived as %s", c)
		}
	}
	if !torn {
		t.Error("no sector was ever torn")
	}
}

// A failed sync drops what it should have written; the next one does not bring
// it back, though programs read it until the crash.
func TestFailedSyncLoses(t *testing.T) {
	seen := outcomes(t, func(f *FS) {
		f.SetContent("d/a", []byte("old"))
		h, err := f.Open("d/a")
		ok(t, err)
		put(t, h, 0, "new")
		f.FailAt(Sync, 1, "d/a", ErrIO)
		if err := h.Sync(); !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		if b, _ := f.Content("d/a"); string(b) != "new" {
			t.Fatalf("programs read %q", b)
		}
		ok(t, h.Sync())
		f.Crash()
	})
	if seen["old"] == 0 || seen["new"] == 0 {
		t.Errorf("%v, expected old and new among them", seen)
	}
}

func TestPowerCut(t *testing.T) {
	f := New(1)
	h := create(t, f, "d/a")
	put(t, h, 0, "one")
	ok(t, h.Sync())
	ok(t, f.SyncDir("d"))
	f.CutAt(Any, 2)
	put(t, h, 0, "two")
	if err := h.Sync(); !errors.Is(err, ErrPower) {
		t.Errorf("the second call: %v", err)
	}
	if _, err := h.WriteAt([]byte("three"), 0); !errors.Is(err, ErrPower) {
		t.Errorf("a write after it: %v", err)
	}
	if _, err := f.Names("d"); !errors.Is(err, ErrPower) {
		t.Errorf("a listing after it: %v", err)
	}
	f.Crash()
	if _, err := h.WriteAt([]byte("four"), 0); !errors.Is(err, ErrPower) {
		t.Errorf("a file opened before it: %v", err)
	}
	if names, err := f.Names("d"); err != nil || len(names) != 1 {
		t.Errorf("after it: %v, %v", names, err)
	}
}

func TestLimit(t *testing.T) {
	f := New(1)
	h := create(t, f, "d/a")
	f.Limit(10)
	if n, err := h.WriteAt(make([]byte, 12), 0); n != 10 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("12 bytes into 10: wrote %d, %v", n, err)
	}
	put(t, h, 0, "overwrites")
	if free, err := f.Free("d"); free != 0 || err != nil {
		t.Errorf("free %d, %v", free, err)
	}
	ok(t, f.Remove("d/a"))
	if free, err := f.Free("d"); free != 10 || err != nil {
		t.Errorf("free %d, %v", free, err)
	}
	if _, err := f.Open("d/a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open what was removed: %v", err)
	}
}

func TestCopyAndRollback(t *testing.T) {
	f := New(1)
	f.SetContent("d/a", []byte("then"))
	shot := f.Snapshot()
	was, err := f.Inode("d/a")
	ok(t, err)
	f.SetContent("d/a", []byte("now"))
	c := f.Copy(2)
	if copied, err := c.Inode("d/a"); err != nil || copied == was {
		t.Errorf("a copy has inode %d, the original %d, %v", copied, was, err)
	}
	f.Rollback(shot)
	b, _ := f.Content("d/a")
	if again, err := f.Inode("d/a"); string(b) != "then" || again != was || err != nil {
		t.Errorf("rolled back to %q as inode %d, expected %d, %v", b, again, was, err)
	}
	ok(t, f.Flip("d/a", 0, 1))
	if b, _ := f.Content("d/a"); string(b) != "vhen" {
		t.Errorf("flipped to %q", b)
	}
}

func TestLock(t *testing.T) {
	f := New(1)
	l, err := f.Lock("d/lock")
	ok(t, err)
	if _, err := f.Lock("d/lock"); !errors.Is(err, journal.ErrLocked) {
		t.Errorf("locked twice: %v", err)
	}
	ok(t, l.Close())
	_, err = f.Lock("d/lock")
	ok(t, err)
	f.Kill()
	_, err = f.Lock("d/lock")
	ok(t, err)
}
