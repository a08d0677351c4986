package serve

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"nearside/edge/decision"
)

// A decision meets only flights that match it. Why the others do not is found
// by walking all of them for a sample of requests: one every sampleEvery at the
// most, and so seldom that walking takes about a part in sampleShare of a processor.
// What a sample finds counts for all requests since the one before.
const (
	sampleEvery = 100 // milliseconds
	sampleShare = 250
	samplePause = 60_000 // milliseconds at the most, also for a clock that went back
)

// A decision whose candidates are nearly all on pace refuses a hundred flights.
// Of more than mostNoted, one in so many is counted, as that many.
const mostNoted = 16

type sampler struct {
	next  atomic.Int64 // when, unix milliseconds
	since atomic.Int64 // decisions
}

// noteRefusals counts what the decision in w refused on its way. Where the gate
// refused, or the request names its ad, nothing is said about flights.
func (s *Server) noteRefusals(w *work, l *loaded, now int64) {
	noteSome(s.tally, w.scratch.Refused())
	if out := &w.outcome; !out.Forced && out.Reason != decision.MultiplePlacements && out.Reason != decision.MobileIgnored {
		s.sampleRefusals(w, l, now)
	}
}

func noteSome(tally Tally, refused []decision.Refusal) {
	if len(refused) == 0 {
		return
	}
	each := (len(refused) + mostNoted - 1) / mostNoted
	for i := rand.IntN(each); i < len(refused); i += each {
		tally.Refusals(refused[i].Flight.ID, uint8(refused[i].Reason), int64(each))
	}
}

// sampleRefusals counts why flights do not match the request in w, if it is its
// turn.
func (s *Server) sampleRefusals(w *work, l *loaded, now int64) {
	n := s.sample.since.Add(1)
	next := s.sample.next.Load()
	if now < next && next-now <= samplePause || !s.sample.next.CompareAndSwap(next, now+sampleEvery) {
		return
	}
	s.sample.since.Add(-n)
	began := time.Now()
	l.catalog.Refusals(&w.request, &w.scratch, now, func(f *decision.Flight, r decision.Reason) {
		if lasting(r) {
			s.tally.Refusals(f.ID, uint8(r), n)
		}
	})
	if pause := (sampleShare * time.Since(began)).Milliseconds(); pause > sampleEvery {
		s.sample.next.Store(now + min(pause, samplePause))
	}
}

// lasting reports whether a reason holds for every request of a shape. The
// others are met by the decision itself, and counted there.
func lasting(r decision.Reason) bool {
	switch r {
	case decision.Paused, decision.Killed, decision.NotStarted:
		return false
	case decision.Days, decision.Niche:
		return true
	}
	return r >= decision.CampaignType && r <= decision.ExcludeDomains
}
