package world

import (
	"os/exec"
	"runtime"
	"syscall"
)

// spawner starts processes that must not outlive this one. The kernel ties
// them to the thread that starts them, so one thread does and stays.
type spawner struct {
	requests chan func()
	done     chan struct{}
}

func newSpawner() *spawner {
	s := &spawner{requests: make(chan func()), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		for f := range s.requests {
			f()
		}
	}()
	return s
}

// start starts cmd in a process group of its own, so that an interrupt typed
// at the terminal reaches this process alone. When this process is gone the
// kernel sends it the signal last. The function on, where it is not nil, brings
// the thread to the machine that cmd is to run on, and back.
func (s *spawner) start(cmd *exec.Cmd, last syscall.Signal, on func(do func() error) error) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	dieWithParent(cmd.SysProcAttr, last)
	result := make(chan error)
	start := cmd.Start
	if on != nil {
		start = func() error { return on(cmd.Start) }
	}
	s.requests <- func() { result <- start() }
	return <-result
}

// close must come after everything it started has ended.
func (s *spawner) close() {
	close(s.requests)
	<-s.done
}
