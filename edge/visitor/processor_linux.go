package visitor

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// processorTime is the processor time that f took, not the time that passed:
// on a machine that is busy with other things the two are far apart, and the
// budget must not be spent by waiting.
func processorTime(f func()) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start, ok := threadClock()
	f()
	if end, also := threadClock(); ok && also {
		return end - start
	}
	return 0
}

func threadClock() (time.Duration, bool) {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) != nil {
		return 0, false
	}
	return time.Duration(t.Nano()), true
}
