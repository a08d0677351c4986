package world

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	gosync "sync"
	"syscall"
	"time"
)

// Process is one program that the world keeps running. Its methods are safe
// for concurrent use.
type Process struct {
	Name    string
	machine string                          // that it runs on, where there is a Network
	command func(programs string) *exec.Cmd // a new one each time it starts
	last    syscall.Signal                  // what the kernel sends when this process is gone
	rude    syscall.Signal                  // what ends it where asking does not
	log     string                          // file
	restart time.Duration
	world   *World

	mu       gosync.Mutex
	programs string   // directory of the binaries
	env      []string // further variables
	current  *exec.Cmd
	exited   chan struct{} // closed when current has ended; nil: never started
	keep     bool          // start it again when it ends
	again    *time.Timer   // the pending start
}

// Start starts it, or does nothing where it runs. From then on it is kept
// running, if the world keeps things running.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keep = true
	return p.start()
}

// start needs the lock.
func (p *Process) start() error {
	if p.runs() {
		return nil
	}
	file, err := openLog(p.log)
	if err != nil {
		return err
	}
	cmd := p.command(p.programs)
	cmd.Env = append(cmd.Env, p.env...)
	out := &output{file: file, prefix: p.Name + ": "}
	if p.world.config.Verbose {
		out.echo = p.world.echo
	}
	cmd.Stdout, cmd.Stderr = out, out
	// What it leaves behind must not keep us waiting for the end of its output.
	cmd.WaitDelay = time.Second
	var on func(func() error) error
	if network := p.world.config.Network; network != nil {
		on = func(do func() error) error { return network.Within(p.machine, do) }
	}
	if err := p.world.spawn.start(cmd, p.last, on); err != nil {
		return errors.Join(fmt.Errorf("start %s: %w", p.Name, err), file.Close())
	}
	exited := make(chan struct{})
	p.current, p.exited = cmd, exited
	p.world.running.Go(func() {
		err := cmd.Wait()
		_ = file.Close()
		p.ended(exited, err)
	})
	return nil
}

// Change makes it use other binaries from its next start on, with further
// environment variables.
func (p *Process) Change(programs string, env ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.programs, p.env = programs, env
}

// runs needs the lock.
func (p *Process) runs() bool {
	if p.exited == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// ended is told when the process has ended.
func (p *Process) ended(exited chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(exited)
	if !p.keep {
		return
	}
	how := "status 0"
	if err != nil {
		how = err.Error()
	}
	if p.restart == Never {
		p.world.note("%s has ended (%s) and stays so", p.Name, how)
		return
	}
	p.world.note("%s has ended (%s): it starts again in %s", p.Name, how, p.restart)
	p.again = time.AfterFunc(p.restart, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.keep {
			return
		}
		if err := p.start(); err != nil {
			p.world.note("%v", err)
		}
	})
}

// PID is its process id, 0 where it does not run.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.runs() {
		return 0
	}
	return p.current.Process.Pid
}

// Signal sends a signal; what follows is as if somebody else had sent it.
func (p *Process) Signal(s os.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.runs() {
		return fmt.Errorf("%s does not run", p.Name)
	}
	return p.current.Process.Signal(s)
}

// Kill kills it and waits until it is dead. It stays dead until Start.
func (p *Process) Kill() { p.end(syscall.SIGKILL, 0) }

// Stop asks it to end and waits, at most for a while; then it is killed. It
// stays dead until Start.
func (p *Process) Stop(ask syscall.Signal, wait time.Duration) { p.end(ask, wait) }

func (p *Process) end(ask syscall.Signal, wait time.Duration) {
	p.mu.Lock()
	p.keep = false
	if p.again != nil {
		p.again.Stop()
	}
	if !p.runs() {
		p.mu.Unlock()
		return
	}
	process, exited := p.current.Process, p.exited
	_ = process.Signal(ask) // it may have ended just now
	p.mu.Unlock()
	if ask != syscall.SIGKILL {
		select {
		case <-exited:
			return
		case <-p.world.hurry:
		case <-time.After(wait):
			p.world.note("%s does not end: it is killed", p.Name)
		}
		_ = process.Signal(p.rude)
	}
	<-exited
}

// WaitExit waits until it does not run.
func (p *Process) WaitExit(ctx context.Context) error {
	p.mu.Lock()
	exited := p.exited
	p.mu.Unlock()
	if exited == nil {
		return nil
	}
	select {
	case <-exited:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s still runs: %w", p.Name, ctx.Err())
	}
}

// ExitCode is how it last ended; -1 where it was killed or still runs.
func (p *Process) ExitCode() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil || p.current.ProcessState == nil || p.runs() {
		return -1
	}
	return p.current.ProcessState.ExitCode()
}
