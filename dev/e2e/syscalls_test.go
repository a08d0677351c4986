package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A decision makes no system call but its socket's own: an edge that makes
// decisions makes as many of all others as one that does not.
func TestADecisionDoesNoIO(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("there is no strace here; make need installs it where it can")
	}
	f := newFlight(t, line{views: 100_000_000, cpm: 1_000_000})
	f.offer(t, edges[0])
	const n = 3000
	decide := func() {
		each(t, n, 4, func(int) error {
			offer, err := browser.Decide(t.Context(), edges[0].Public, f.query(), reader())
			if err == nil && !offer.Filled() {
				err = fmt.Errorf("no offer")
			}
			return err
		})
	}
	decide() // connections are open, caches warm
	start := time.Now()
	busy := traced(t, strace, decide)
	took := time.Since(start)
	idle := traced(t, strace, func() {
		select {
		case <-time.After(took):
		case <-t.Context().Done():
		}
	})
	if busy["read"] < n || busy["write"] < n {
		t.Fatalf("strace saw %d reads and %d writes of %d decisions: it sees too little to judge by", busy["read"], busy["write"], n)
	}
	// The socket's own, and the scheduler's: waiting, waking, keeping time, memory.
	own := "read write epoll_pwait epoll_pwait2 epoll_wait epoll_ctl futex nanosleep clock_nanosleep sched_yield tgkill getpid rt_sigreturn rt_sigprocmask rt_sigaction sigaltstack madvise mmap munmap mprotect restart_syscall accept4 gettid clone clone3 rseq set_robust_list timer_settime timer_create timer_delete setitimer prctl"
	for call, count := range busy {
		if strings.Contains(" "+own+" ", " "+call+" ") {
			continue
		}
		if extra := count - idle[call]; extra > n/20 {
			t.Errorf("%d decisions made %d calls of %s; doing nothing for as long made %d", n, count, call, idle[call])
		}
	}
	t.Logf("%d decisions: %v", n, busy)
}

// traced counts the system calls that the first edge makes while f runs.
func traced(t *testing.T, strace string, f func()) map[string]int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, strace, "-f", "-c", "-S", "calls", "-p", strconv.Itoa(here.Edges[0].PID()))
	var out lockedBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(out.String(), "attached"); {
		if strings.Contains(out.String(), "Operation not permitted") {
			_ = cmd.Wait() // it has said why
			t.Skipf("this machine does not let strace attach: %s", out.String())
		}
		if time.Now().After(deadline) {
			t.Fatalf("strace does not attach: %s", out.String())
		}
		time.Sleep(10 * time.Millisecond)
	}
	f()
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it ends as interrupted
	counts := map[string]int{}
	for line := range strings.Lines(out.String()) {
		// % time  seconds  usecs/call  calls  [errors]  syscall
		fields := strings.Fields(line)
		if len(fields) < 5 || fields[len(fields)-1] == "total" {
			continue
		}
		if n, err := strconv.Atoi(fields[3]); err == nil {
			counts[fields[len(fields)-1]] = n
		}
	}
	return counts
}

// lockedBuffer is written by one goroutine and read by another.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
