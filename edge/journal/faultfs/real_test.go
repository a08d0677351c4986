package faultfs_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"nearside/edge/journal"
	"nearside/edge/journal/faultfs"
)

// One call fails, with each fate, and the next one succeeds.
func TestOverFailsOnce(t *testing.T) {
	old, fresh := bytes.Repeat([]byte("o"), 4096), bytes.Repeat([]byte("n"), 4096)
	for _, row := range []struct {
		plan      faultfs.Plan
		some, all bool // of the new bytes may be, must be seen afterwards
	}{
		{faultfs.Plan{Op: faultfs.Sync, Part: "seg-", N: 2, Fate: faultfs.Kept}, true, true},
		{faultfs.Plan{Op: faultfs.Sync, Part: "seg-", N: 2, Fate: faultfs.Lost}, false, false},
		{faultfs.Plan{Op: faultfs.Sync, Part: "seg-", N: 2, Fate: faultfs.Torn}, true, false},
		{faultfs.Plan{Op: faultfs.Write, Part: "seg-", N: 2, Fate: faultfs.Kept}, true, false},
		{faultfs.Plan{Op: faultfs.Write, Part: "seg-", N: 2, Fate: faultfs.Lost}, false, false},
	} {
		t.Run(row.plan.String(), func(t *testing.T) {
			dir := t.TempDir()
			control := filepath.Join(dir, "control")
			fs := faultfs.Over(journal.OS(), control)
			name := filepath.Join(dir, "seg-1")
			f, err := fs.Create(filepath.Join(dir, "spare-1")) // as a segment begins
			if err == nil {
				err = fs.Rename(filepath.Join(dir, "spare-1"), name)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			write := func(b []byte) error {
				if _, err := f.WriteAt(b, 0); err != nil {
					return err
				}
				return f.Sync()
			}
			for range 3 { // nothing is planned
				if err := write(old); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(control, []byte(row.plan.String()+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := write(old); err != nil {
				t.Fatalf("the call before the planned one: %v", err)
			}
			if err := write(fresh); !errors.Is(err, faultfs.ErrIO) {
				t.Fatalf("the planned call: %v, want %v", err, faultfs.ErrIO)
			}
			if _, err := os.Stat(control); !os.IsNotExist(err) {
				t.Errorf("the plan is still there: %v", err)
			}
			seen, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(seen, []byte("n")); n > 0 && !row.some || n < len(fresh) && row.all {
				t.Errorf("%d of %d new bytes are seen", n, len(fresh))
			}
			if err := write(fresh); err != nil {
				t.Errorf("the call after the planned one: %v", err)
			}
		})
	}
}

// A plan that says nothing must not pass for a disk that did not fail.
func TestOverRefusesAPlanItCannotRead(t *testing.T) {
	for _, plan := range []string{"sync\n", "sneeze seg- 1 lost\n", "sync seg- 0 lost\n", "sync seg- 1 found\n"} {
		dir := t.TempDir()
		control := filepath.Join(dir, "control")
		if err := os.WriteFile(control, []byte(plan), 0o600); err != nil {
			t.Fatal(err)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q was taken", plan)
				}
			}()
			_ = faultfs.Over(journal.OS(), control).SyncDir(dir)
		}()
	}
}
