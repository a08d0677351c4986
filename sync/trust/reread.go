package trust

import (
	"io/fs"
	"os"
	"sync"
	"time"
)

// lookEvery is how often files are looked at.
const lookEvery = time.Second

// Reread is what was read from files. Its methods may be called from any
// goroutine.
type Reread[T any] struct {
	read  func() (T, error)
	paths []string
	said  func(error)

	mu     sync.Mutex
	value  T
	seen   []stamp
	failed bool
	looked time.Time
}

// stamp is by what a file is known to have changed.
type stamp struct {
	size  int64
	at    time.Time
	there bool
}

// Open reads now, and again whenever one of the files has changed. said is told
// of each reading but the first: nil, or why the value from before stays.
func Open[T any](read func() (T, error), said func(error), paths ...string) (*Reread[T], error) {
	r := &Reread[T]{read: read, said: said, paths: paths, looked: time.Now(), seen: stamps(paths)}
	var err error
	r.value, err = read()
	return r, err
}

// Now is the newest value that could be read.
func (r *Reread[T]) Now() T {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if now.Sub(r.looked) < lookEvery {
		return r.value
	}
	r.looked = now
	seen := stamps(r.paths)
	changed := r.failed
	for i := range seen {
		changed = changed || seen[i] != r.seen[i]
	}
	if !changed {
		return r.value
	}
	again := r.failed
	value, err := r.read()
	r.seen, r.failed = seen, err != nil
	if err == nil {
		r.value = value
	}
	if r.said != nil && (err == nil || !again) {
		r.said(err)
	}
	return r.value
}

func stamps(paths []string) []stamp {
	out := make([]stamp, len(paths))
	for i, path := range paths {
		if info, err := os.Stat(path); err == nil {
			out[i] = stamp{info.Size(), info.ModTime(), true}
		}
	}
	return out
}

// WriteFile replaces a file whole, so that who reads it meanwhile reads the old
// one or the new one.
func WriteFile(path string, content []byte, mode fs.FileMode) (err error) {
	temporary := path + ".new"
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err == nil {
		err = file.Chmod(mode)
	}
	if err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(temporary, path)
	}
	return err
}
