package statedir

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"nearside/edge/journal"
	"nearside/edge/journal/faultfs"
	"nearside/sync/token"
)

var (
	identity = Identity{
		Disk: "00112233445566778899aabbccddeeff", Generation: 2, Holder: 7, Secret: "s3cret",
		Former: []Former{{Generation: 1, Holder: 5, Secret: "old"}},
	}
	keys  = []token.Key{{ID: 1, Secret: token.Secret{1, 2, 3}, SealFrom: 10, SealUntil: 20, VerifyUntil: 30}}
	heard = Heard{At: 1234, Delivered: map[int64]Amount{9: {Settled: 1, Limit: 2, Unleased: 3, Velocity: 4, Here: 1}}}
)

func open(t *testing.T, fsys journal.FS, path string) *Dir {
	t.Helper()
	d, err := Open(fsys, path)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestKeepsWhatItWasGiven(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	d := open(t, journal.OS(), path)
	if _, ok, err := d.Identity(); ok || err != nil {
		t.Fatalf("identity of a new directory: %v, %v", ok, err)
	}
	if b, err := d.Catalog(); b != nil || err != nil {
		t.Fatalf("catalog of a new directory: %v, %v", b, err)
	}
	if _, err := Open(journal.OS(), path); !errors.Is(err, ErrInUse) {
		t.Fatalf("opened twice: %v", err)
	}
	must(t, d.SaveIdentity(identity))
	must(t, d.SaveKeys(keys))
	must(t, d.SaveHeard(heard))
	must(t, d.SaveCatalog([]byte("published")))
	must(t, d.Close())

	d = open(t, journal.OS(), path)
	defer d.Close()
	id, ok, err := d.Identity()
	if !ok || err != nil || !reflect.DeepEqual(id, identity) {
		t.Errorf("identity %+v, %v, %v", id, ok, err)
	}
	if k, err := d.Keys(); err != nil || !reflect.DeepEqual(k, keys) {
		t.Errorf("keys %+v, %v", k, err)
	}
	if h, err := d.Heard(); err != nil || !reflect.DeepEqual(h, heard) {
		t.Errorf("heard %+v, %v", h, err)
	}
	if b, err := d.Catalog(); err != nil || string(b) != "published" {
		t.Errorf("catalog %q, %v", b, err)
	}
	entries, err := os.ReadDir(path)
	must(t, err)
	for _, e := range entries {
		if i, err := e.Info(); err != nil || i.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", e.Name(), i.Mode(), err)
		}
	}
}

func TestIdentityGolden(t *testing.T) {
	d := open(t, journal.OS(), t.TempDir())
	defer d.Close()
	must(t, d.SaveIdentity(identity))
	got, err := os.ReadFile(filepath.Join(d.path, "identity.json"))
	must(t, err)
	want, err := os.ReadFile(filepath.Join("testdata", "identity-v1.json"))
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Errorf("identity.json is\n%s, version 1 is\n%s", got, want)
	}
}

func TestDamageIsAnErrorThatNamesTheFile(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func([]byte) []byte
	}{
		{"empty", func([]byte) []byte { return nil }},
		{"cut off", func(b []byte) []byte { return b[:len(b)/2] }},
		{"another holder", func(b []byte) []byte { return bytes.Replace(b, []byte(`"holder":7`), []byte(`"holder":8`), 1) }},
		{"a format from the future", func(b []byte) []byte { return bytes.Replace(b, []byte(`"format":1`), []byte(`"format":2`), 1) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := open(t, journal.OS(), t.TempDir())
			defer d.Close()
			must(t, d.SaveIdentity(identity))
			name := filepath.Join(d.path, "identity.json")
			b, err := os.ReadFile(name)
			must(t, err)
			must(t, os.WriteFile(name, c.damage(b), 0o600))
			if _, ok, err := d.Identity(); ok || err == nil || !strings.Contains(err.Error(), "identity.json") {
				t.Errorf("%v, %v", ok, err)
			}
		})
	}
}

// Whatever call fails or is the last before the power goes, the file is the
// old one or the new one.
func TestWritesAreAtomic(t *testing.T) {
	for n := 1; n < 8; n++ {
		f := faultfs.New(uint64(n))
		d := open(t, f, "/state")
		must(t, d.SaveIdentity(identity))
		f.CutAt(faultfs.Any, n)
		changed := identity
		changed.Generation = 9
		err := d.SaveIdentity(changed)
		f.Crash()
		d = open(t, f, "/state")
		id, ok, readErr := d.Identity()
		if !ok || readErr != nil {
			t.Fatalf("power cut at call %d: %v, %v", n, ok, readErr)
		}
		if err == nil && id.Generation != 9 {
			t.Errorf("power cut at call %d: saved, and lost", n)
		}
		if err != nil && id.Generation != 9 && id.Generation != 2 {
			t.Errorf("power cut at call %d: %+v", n, id)
		}
	}
}

func TestRemoveJournal(t *testing.T) {
	d := open(t, journal.OS(), t.TempDir())
	defer d.Close()
	j, err := journal.Open(d.Journal(3), journal.Options{SegmentSize: 1 << 16})
	must(t, err)
	must(t, j.Close())
	must(t, d.RemoveJournal(3))
	must(t, d.RemoveJournal(3))
	if _, err := os.Stat(d.Journal(3)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
}

func FuzzUnseal(f *testing.F) {
	f.Add([]byte(`{"format":1,"sum":"","content":{}}`))
	if b, err := os.ReadFile(filepath.Join("testdata", "identity-v1.json")); err == nil {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var id Identity
		if unseal(b, &id) == nil && !bytes.Contains(b, []byte(`"sum"`)) {
			t.Errorf("%q was taken without its checksum: %+v", b, id)
		}
	})
}
