package simulation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"nearside/edge/journal/faultfs"
)

// identity is which holder a state directory is. It is one file, replaced as a
// whole.
type identity struct {
	Disk       string
	Generation uint64
	Holder     uint32 // 0: not registered
	Former     []former
}

// former is a fenced holder of the directory that is still to be handed in.
type former struct {
	Generation uint64
	Holder     uint32
}

const (
	dir      = "state"
	identify = dir + "/identity"
)

func journalDir(generation uint64) string { return fmt.Sprintf("%s/journal-%d", dir, generation) }

func loadIdentity(fsys *faultfs.FS) (id identity, ok bool, err error) {
	f, err := fsys.Open(identify)
	if errors.Is(err, fs.ErrNotExist) {
		return id, false, nil
	}
	if err != nil {
		return id, false, err
	}
	size, err := f.Size()
	b := make([]byte, size)
	if err == nil {
		_, err = f.ReadAt(b, 0)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = json.Unmarshal(b, &id)
	}
	return id, err == nil, err
}

func (id identity) save(fsys *faultfs.FS) error {
	b, err := json.Marshal(id)
	if err != nil {
		return err
	}
	f, err := fsys.Create(identify + ".tmp")
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = fsys.Rename(identify+".tmp", identify)
	}
	if err == nil {
		err = fsys.SyncDir(dir)
	}
	return err
}

func removeJournal(fsys *faultfs.FS, generation uint64) error {
	names, err := fsys.Names(journalDir(generation))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, name := range names {
		if err == nil {
			err = fsys.Remove(journalDir(generation) + "/" + name)
		}
	}
	return err
}
