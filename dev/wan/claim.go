//go:build linux

package wan

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// claims is where each world says which namespaces are its own: one file a
// world, named after its prefix and locked as long as the world's process
// lives. The kernel drops the lock however the process ends.
const claims = "/run/nearside-wan"

// claim takes a prefix for this process.
func claim(prefix string) (*os.File, error) {
	if err := os.MkdirAll(claims, 0o755); err != nil {
		return nil, err
	}
	path := filepath.Join(claims, prefix)
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another world has the prefix %s: stop that one", prefix), file.Close())
	}
	// Whoever swept it between the two calls has removed the name.
	if have, err := os.Stat(path); err == nil {
		if mine, err := file.Stat(); err == nil && os.SameFile(have, mine) {
			return file, nil
		}
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	return claim(prefix)
}

// release gives a prefix up.
func release(file *os.File) error {
	return errors.Join(os.Remove(file.Name()), file.Close())
}

// Sweep removes the namespaces of worlds whose process was killed, and returns
// their names. Namespaces that no world claimed are never touched.
func Sweep() (removed []string, err error) {
	files, err := filepath.Glob(filepath.Join(claims, "*"))
	if err != nil {
		return nil, err
	}
	for _, path := range files {
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		if errors.Is(err, os.ErrNotExist) {
			continue
		} else if err != nil {
			return removed, err
		}
		if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			if err := file.Close(); err != nil {
				return removed, err
			}
			continue // its world lives
		}
		gone, err := removeAll(filepath.Base(path))
		removed = append(removed, gone...)
		if err := errors.Join(err, release(file)); err != nil {
			return removed, fmt.Errorf("remove what the killed world %s left: %w", filepath.Base(path), err)
		}
	}
	return removed, nil
}

// removeAll removes the namespaces of a prefix.
func removeAll(prefix string) (removed []string, err error) {
	paths, err := filepath.Glob(netnsDir + prefix + "-*")
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		name := strings.TrimPrefix(path, netnsDir)
		if err := ip("netns", "del", name); err != nil {
			return removed, err
		}
		removed = append(removed, name)
	}
	return removed, nil
}
