package publish

import (
	"runtime"
	"time"
)

// Pace sets the least time between builds, and how often the database is
// looked at without a notification. Before Run.
func (p *Publisher) Pace(gap, poll time.Duration) { p.gap, p.poll = gap, poll }

// DeltasFrom sets the number of flights from which on deltas are made. Before Run.
func (p *Publisher) DeltasFrom(flights int) { p.deltasFrom = flights }

// Forget drops versions as Run does once an hour.
var Forget = (*Publisher).forgetOnce

// Unsubscribed waits until no more than n subscribers are left beside those of
// tests that wait.
func (p *Publisher) Unsubscribed(n int) {
	for {
		p.mu.RLock()
		left := len(p.subscribers)
		p.mu.RUnlock()
		if left <= n {
			return
		}
		runtime.Gosched()
	}
}
