package world

import (
	"bytes"
	"fmt"
	"io"
	"os"
	gosync "sync"
	"time"
)

// maxLog is the size from which a log file is put aside when its process starts.
const maxLog = 16 << 20

// openLog opens a log file to append to.
func openLog(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		if err := os.Rename(path, path+".old"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
}

// echo copies lines to a writer that may be slow, or not read at all, without
// ever holding up who writes them: what does not fit is dropped and counted.
type echo struct {
	lines chan []byte
	done  chan struct{}

	mu      gosync.Mutex
	closed  bool
	dropped int
}

func newEcho(to io.Writer) *echo {
	e := &echo{lines: make(chan []byte, 1024), done: make(chan struct{})}
	go func() {
		defer close(e.done)
		for line := range e.lines {
			_, _ = to.Write(line) // where nobody listens there is nobody to tell
		}
	}()
	return e
}

func (e *echo) Write(lines []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return len(lines), nil
	}
	if e.dropped > 0 {
		select {
		case e.lines <- fmt.Appendf(nil, "(%d messages dropped)\n", e.dropped):
			e.dropped = 0
		default:
		}
	}
	select {
	case e.lines <- bytes.Clone(lines):
	default:
		e.dropped++
	}
	return len(lines), nil
}

// close waits a moment for what is still to be written.
func (e *echo) close() {
	e.mu.Lock()
	e.closed = true
	close(e.lines)
	e.mu.Unlock()
	select {
	case <-e.done:
	case <-time.After(time.Second):
	}
}

// output is where a process writes: its log file, and line by line the echo.
type output struct {
	file   *os.File
	echo   *echo // may be nil
	prefix string
	part   []byte // of a line
}

// maxLine bounds what is kept of a line without an end.
const maxLine = 64 << 10

func (o *output) Write(p []byte) (int, error) {
	if _, err := o.file.Write(p); err != nil {
		return 0, err
	}
	if o.echo == nil {
		return len(p), nil
	}
	for rest := p; len(rest) > 0; {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			if len(o.part)+len(rest) <= maxLine {
				o.part = append(o.part, rest...)
			}
			break
		}
		line := append(append([]byte(o.prefix), o.part...), rest[:i+1]...)
		_, _ = o.echo.Write(line) // never fails
		o.part, rest = o.part[:0], rest[i+1:]
	}
	return len(p), nil
}
