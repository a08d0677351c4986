package serve

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Event is what a beacon reports.
type Event uint8

const (
	View Event = iota
	Click
	ViewTime
	events
)

func (e Event) String() string { return [events]string{"view", "click", "viewtime"}[e] }

// Reason is what became of a beacon: counted, or why not. The first ones stand
// in the order in which they are looked for.
type Reason uint8

const (
	UnknownOffer Reason = iota
	OldNonce
	Bot
	InternalIP
	UnrecognizedAgent
	KnownUser
	BlockedAgent
	BlockedReferrer
	BlockedIP
	UnknownPublisher
	InvalidTargeting
	RateLimitedASN
	RateLimited
	MismatchedOS
	MismatchedBrowser

	Billed          // debited, or counted where the flight sells something else
	Exhausted       // valid, and beyond the budget
	Passed          // kept for its home, which another region has
	Killed          // valid, and its flight was killed
	Waiting         // a click that waits for its view
	HomeLost        // valid, and nobody can judge it any more
	NotRecorded     // the journal cannot take it
	UpdatedViewTime // of a view that counted
	InvalidViewTime
	reasons
)

var reasonNames = [reasons]string{
	UnknownOffer:      "Unknown offer",
	OldNonce:          "Old/Invalid nonce",
	Bot:               "Bot impression",
	InternalIP:        "Internal IP",
	UnrecognizedAgent: "Unrecognized user agent",
	KnownUser:         "Known user impression",
	BlockedAgent:      "Blocked UA impression",
	BlockedReferrer:   "Blocked referrer impression",
	BlockedIP:         "Blocked IP impression",
	UnknownPublisher:  "Unknown publisher",
	InvalidTargeting:  "Invalid targeting impression",
	RateLimitedASN:    "ASN Ratelimited impression",
	RateLimited:       "Ratelimited impression",
	MismatchedOS:      "Mismatched OS",
	MismatchedBrowser: "Mismatched browser",
	Billed:            "Billed impression",
	Exhausted:         "Budget exhausted",
	Passed:            "Passed to its home",
	Killed:            "Flight killed",
	Waiting:           "Waits for its view",
	HomeLost:          "Home lost",
	NotRecorded:       "Not recorded",
	UpdatedViewTime:   "Updated view time",
	InvalidViewTime:   "Invalid view time",
}

// For is the reason as X-Adserver-Reason says it.
func (r Reason) For(e Event) string {
	switch {
	case r == RateLimited && e == View:
		return "Ratelimited view impression"
	case r == RateLimited && e == Click:
		return "Ratelimited click impression"
	case r == Billed && e == View:
		return "Billed view"
	case r == Billed && e == Click:
		return "Billed click"
	}
	return reasonNames[r]
}

// Answer is what became of a decision request.
type Answer uint8

const (
	Filled       Answer = iota
	Sticky              // the same offer again
	Empty               // no ad
	Refused             // 400: a field is wrong
	Unauthorized        // 401 or 403
	Malformed           // 405, 413, 415, or a body that is not JSON
	NotReady            // no catalog yet
	answers
)

func (a Answer) String() string {
	return [answers]string{"filled", "sticky", "empty", "refused", "unauthorized", "malformed", "not_ready"}[a]
}

// Stats counts what the public port did. Any goroutine may read it at any time.
type Stats struct {
	Answers   [answers]atomic.Uint64
	Beacons   [events][reasons]atomic.Uint64
	Panics    atomic.Uint64
	Rejected  atomic.Uint64 // requests that were not HTTP, too large or too slow
	Templates atomic.Uint64 // ads rendered with the built-in template because their own failed
	Recorded  atomic.Uint64 // decisions of which a record was kept
	Explained atomic.Uint64 // explanations given
	Latency   Latency       // of decisions, inside the handler
}

// Latency is a histogram of durations, two buckets to the doubling.
type Latency struct {
	buckets [latencyBuckets]atomic.Uint64
	sum     atomic.Int64 // nanoseconds
}

// latencyBuckets reach from 1 µs to 4 s; what takes longer is in the last one.
const latencyBuckets = 2*22 + 2

// latencyBucket is the first bucket whose bound d does not exceed.
func latencyBucket(d time.Duration) int {
	i := min(2*max(0, bits.Len64(uint64(max(d, 0)/time.Microsecond))-1), latencyBuckets-1)
	for i < latencyBuckets-1 && d > latencyBound(i) {
		i++
	}
	return i
}

func (l *Latency) observe(d time.Duration) {
	l.buckets[latencyBucket(d)].Add(1)
	l.sum.Add(int64(d))
}

// Read returns the cumulative counts by upper bound in seconds, how many
// durations there were, and their sum in seconds: what Prometheus wants.
func (l *Latency) Read() (cumulative map[float64]uint64, count uint64, sum float64) {
	cumulative = make(map[float64]uint64, latencyBuckets-1)
	for i := range l.buckets {
		count += l.buckets[i].Load()
		if i < latencyBuckets-1 {
			cumulative[float64(latencyBound(i))/1e9] = count
		}
	}
	return cumulative, count, float64(l.sum.Load()) / 1e9
}

// latencyBound is the upper bound of a bucket.
func latencyBound(i int) time.Duration {
	d := time.Microsecond << (i / 2)
	if i%2 == 1 {
		d += d / 2
	}
	return d
}

// EachAnswer calls f with what became of decision requests.
func (s *Stats) EachAnswer(f func(answer string, n uint64)) {
	for a := range answers {
		f(a.String(), s.Answers[a].Load())
	}
}

// EachBeacon calls f with what became of beacons, but for what cannot happen.
func (s *Stats) EachBeacon(f func(event, reason string, n uint64)) {
	for e := range events {
		for r := range reasons {
			if timed := r == UpdatedViewTime || r == InvalidViewTime; timed == (e == ViewTime) {
				f(e.String(), reasonNames[r], s.Beacons[e][r].Load())
			}
		}
	}
}
