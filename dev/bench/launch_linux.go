package bench

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// launch starts the command, on the first processor or anywhere. The affinity is inherited,
// so it is set on this thread for the time of the start.
func (p *process) launch() error {
	if p.everywhere {
		if err := p.cmd.Start(); err != nil {
			return fmt.Errorf("start %s: %w", filepath.Base(p.cmd.Path), err)
		}
		return nil
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("read the processors: %w", err)
	}
	if err := unix.SchedSetaffinity(0, &firstProcessor); err != nil {
		return fmt.Errorf("hold the server to one processor: %w", err)
	}
	err := p.cmd.Start()
	if back := unix.SchedSetaffinity(0, &before); back != nil {
		return errors.Join(err, fmt.Errorf("give the processors back: %w", back))
	}
	if err != nil {
		return fmt.Errorf("start %s: %w", filepath.Base(p.cmd.Path), err)
	}
	return nil
}

// firstProcessor is the servers', the first that this process was given.
var firstProcessor = func() (first unix.CPUSet) {
	var all unix.CPUSet
	if unix.SchedGetaffinity(0, &all) == nil {
		for cpu := range 1024 {
			if all.IsSet(cpu) {
				first.Set(cpu)
				break
			}
		}
	}
	return first
}()

// keepOff holds this process to all processors but the first, until back is
// called. Where there is no other it does nothing, and says so.
func keepOff(log io.Writer) (back func() error, err error) {
	var all, others unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return nil, fmt.Errorf("read the processors: %w", err)
	}
	for cpu := range 1024 {
		if all.IsSet(cpu) && !firstProcessor.IsSet(cpu) {
			others.Set(cpu)
		}
	}
	if others.Count() == 0 {
		fmt.Fprintln(log, "one processor: server and client share it, and only the processor time per request means anything")
		others = all
	}
	return func() error { return hold(&all) }, hold(&others)
}

// hold moves every thread of this process; those to come inherit it.
func hold(set *unix.CPUSet) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("hold the client to its processors: %w", err)
	}
	for _, task := range tasks {
		id, err := strconv.Atoi(task.Name())
		if err != nil {
			return fmt.Errorf("hold the client to its processors: thread %s: %w", task.Name(), err)
		}
		if err := unix.SchedSetaffinity(id, set); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("hold the client to its processors: %w", err)
		}
	}
	return nil
}
