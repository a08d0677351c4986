//go:build !linux

package visitor

import "time"

// processorTime stands in with the time that passed, which is at least as much.
func processorTime(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}
