//go:build unix

package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// OS is the operating system's file system.
func OS() FS { return osFS{} }

type osFS struct{}

func (osFS) MkdirAll(dir string) error        { return os.MkdirAll(dir, 0o700) }
func (osFS) Rename(from, to string) error     { return os.Rename(from, to) }
func (osFS) Remove(name string) error         { return os.Remove(name) }
func (osFS) Create(name string) (File, error) { return openOS(name, os.O_CREATE|os.O_TRUNC) }
func (osFS) Open(name string) (File, error)   { return openOS(name, 0) }
func (osFS) Names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

func (osFS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (osFS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrLocked
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (osFS) Free(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", dir, err)
	}
	return int64(s.Bavail) * int64(s.Bsize), nil //nolint:unconvert // narrower on other systems
}

func (osFS) Inode(name string) (uint64, error) {
	var s unix.Stat_t
	if err := unix.Stat(name, &s); err != nil {
		return 0, fmt.Errorf("stat %s: %w", name, err)
	}
	return uint64(s.Ino), nil //nolint:unconvert // narrower on other systems
}

// Machine is systemd's machine id, which minimal containers lack.
func (osFS) Machine() (string, error) {
	b, err := os.ReadFile("/etc/machine-id")
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(b)), err
}

type osFile struct{ *os.File }

func openOS(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|flag, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (f osFile) Sync() error { return datasync(f.File) }

func (f osFile) Size() (int64, error) {
	s, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return s.Size(), nil
}
