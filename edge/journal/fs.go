package journal

import (
	"errors"
	"fmt"
	"io"
	"syscall"
)

// FS is the part of a file system that a journal uses. OS is the real one;
// faultfs fails on demand. Names are paths.
type FS interface {
	MkdirAll(dir string) error
	// Create makes an empty file, or empties one, for reading and writing.
	Create(name string) (File, error)
	// Open opens an existing file for reading and writing.
	Open(name string) (File, error)
	// Names lists a directory, sorted.
	Names(dir string) ([]string, error)
	Rename(from, to string) error
	Remove(name string) error
	// SyncDir makes durable what Create, Rename and Remove did in dir.
	SyncDir(dir string) error
	// Lock holds name against everybody else until it is closed; ErrLocked
	// where somebody holds it.
	Lock(name string) (io.Closer, error)
	// Free says how many bytes can still be allocated where dir lies.
	Free(dir string) (int64, error)
	// Inode identifies the file itself, whatever its name; a copy has another.
	Inode(name string) (uint64, error)
	// Machine identifies the machine, empty where that is not known.
	Machine() (string, error)
}

// File is one open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	// Sync makes the content durable, and the size as far as reading needs it.
	Sync() error
}

// Full reports whether err says that the disk has no room.
func Full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// fileMost bounds what is read into memory at once.
const fileMost = 2 << 30

// readFile reads the whole of name.
func readFile(fs FS, name string) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > fileMost {
		return nil, fmt.Errorf("read %s: %d bytes, expected at most %d", name, size, fileMost)
	}
	data := make([]byte, size)
	if _, err := f.ReadAt(data, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return data, nil
}

// writeFile makes name durable with the parts one after the other as content;
// the name itself becomes durable with the directory.
func writeFile(fs FS, name string, parts ...[]byte) error {
	f, err := fs.Create(name)
	if err != nil {
		return err
	}
	var at int64
	for _, p := range parts {
		if _, err := f.WriteAt(p, at); err != nil {
			return errors.Join(err, f.Close())
		}
		at += int64(len(p))
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}
