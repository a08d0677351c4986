package serve

import (
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"nearside/edge/decision"
)

// A decision is recorded about once a second, whichever comes then, so that
// what was decided can be made again later; so is every one that is explained.
// The newest are kept in memory, as many as maxRecords bytes hold, and are gone
// when the process is.
const (
	recordEvery = 1000     // milliseconds
	maxRecords  = 16 << 20 // bytes
)

type records struct {
	next atomic.Int64 // when, unix milliseconds
	told atomic.Int64 // answers that earlier records stand for

	mu    sync.Mutex
	kept  []*decision.Record // the oldest first
	bytes int
}

// due reports whether it is the turn of the decision at now, which is then
// nobody else's.
func (r *records) due(now int64) bool {
	next := r.next.Load()
	return (now >= next || next-now > samplePause) && r.next.CompareAndSwap(next, now+recordEvery)
}

// keep adds a record.
func (r *records) keep(rec *decision.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept = append(r.kept, rec)
	r.bytes += sizeOf(rec)
	gone := 0
	for ; r.bytes > maxRecords && gone < len(r.kept)-1; gone++ {
		r.bytes -= sizeOf(r.kept[gone])
	}
	r.kept = slices.Delete(r.kept, 0, gone)
}

// sizeOf is about how many bytes a record takes.
func sizeOf(rec *decision.Record) int {
	size := int(unsafe.Sizeof(*rec)) + len(rec.Accounts)*int(unsafe.Sizeof(decision.Balance{})) + len(rec.Switches)*int(unsafe.Sizeof(decision.Said{}))
	size += len(rec.Request.URL) + len(rec.Request.Host) + 4*(len(rec.Request.Capped)+len(rec.Request.Taken))
	for _, p := range rec.Request.Placements {
		size += int(unsafe.Sizeof(p)) + len(p.DivID) + len(p.AdType)
	}
	for _, k := range rec.Request.Keywords {
		size += int(unsafe.Sizeof(k)) + len(k)
	}
	return size
}

// Records are the decision records that are kept, the newest first. They must
// not be changed.
func (s *Server) Records() iter.Seq[*decision.Record] {
	s.records.mu.Lock()
	kept := slices.Clone(s.records.kept)
	s.records.mu.Unlock()
	return func(yield func(*decision.Record) bool) {
		for _, rec := range slices.Backward(kept) {
			if !yield(rec) {
				return
			}
		}
	}
}

// record decides as chooseAd does, and keeps what the decision depended on. It
// stands for all answers since the one before it that was drawn.
func (s *Server) record(w *work, l *loaded, now int64, seed uint64) {
	rec := l.catalog.DecideAndRecord(&w.request, &w.scratch, now, seed, &w.outcome)
	answered := int64(0)
	for i := range s.stats.Answers {
		answered += int64(s.stats.Answers[i].Load())
	}
	rec.StandsFor = max(1, answered+1-s.records.told.Swap(answered+1))
	s.records.keep(rec)
	s.stats.Recorded.Add(1)
}
