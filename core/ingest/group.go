package ingest

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"connectrpc.com/connect"

	"nearside/core/ledger"
	"nearside/sync/lease"
	"nearside/sync/wire"
)

// pending is a request that waits for its group.
type pending struct {
	request *wire.SyncRequest
	since   time.Time
	reply   *wire.SyncResponse // set before done is closed
	err     error
	done    chan struct{}
}

func (p *pending) answer(reply *wire.SyncResponse, err error) {
	p.reply, p.err = reply, err
	close(p.done)
}

var errStopping = connect.NewError(connect.CodeUnavailable, errors.New("the core is stopping"))

// Sync implements wireconnect.ExchangeHandler.
func (s *Server) Sync(ctx context.Context, r *wire.SyncRequest) (*wire.SyncResponse, error) {
	if err := own(ctx, r.GetHolder()); err != nil {
		return nil, err
	}
	if err := ledger.Validate(r); err != nil {
		s.log.Warn("request refused", "holder", r.GetHolder(), "error", err)
		return nil, s.invalid(err)
	}
	p := &pending{request: r, since: time.Now(), done: make(chan struct{})}
	select {
	case s.queue <- p:
		s.stats.Waiting.Add(1)
	case <-s.stopped:
		return nil, errStopping
	default:
		s.stats.Full.Add(1)
		return nil, connect.NewError(connect.CodeResourceExhausted, errors.New("too many exchanges are waiting; come again later"))
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.stopped:
		// It may have been answered in the last group.
		select {
		case <-p.done:
		default:
			return nil, errStopping
		}
	}
	if p.err == nil && p.reply.GetStatus() == wire.SyncResponse_OK {
		p.reply.Renew = s.renewal(ctx, callerOf(ctx), r.GetTrust())
	}
	return p.reply, p.err
}

// groups takes requests from the queue, group after group, until ctx ends.
func (s *Server) groups(ctx context.Context) {
	defer close(s.stopped)
	var late []*pending // second requests of holders in the group before
	for {
		group, more := s.gather(ctx, late)
		if len(group) > 0 {
			// A group that was begun is finished, also while stopping.
			s.exchange(context.WithoutCancel(ctx), group)
		}
		if ctx.Err() != nil {
			for _, p := range more {
				p.answer(nil, errStopping)
			}
			return
		}
		late = more
	}
}

// gather waits for a request, and then for others for as long as the window.
// Further requests of the same holder are for the next group.
func (s *Server) gather(ctx context.Context, late []*pending) (group, more []*pending) {
	in := map[uint32]bool{}
	add := func(p *pending) {
		if in[p.request.GetHolder()] || len(group) == s.o.Group {
			more = append(more, p)
			return
		}
		in[p.request.GetHolder()] = true
		group = append(group, p)
	}
	for _, p := range late {
		add(p)
	}
	if len(group) == 0 {
		select {
		case p := <-s.queue:
			s.stats.Waiting.Add(-1)
			add(p)
		case <-ctx.Done():
			return group, more
		}
	}
	window := time.NewTimer(s.o.Window)
	defer window.Stop()
	for len(group) < s.o.Group && len(more) < s.o.Queue {
		select {
		case p := <-s.queue:
			s.stats.Waiting.Add(-1)
			add(p)
		case <-window.C:
			return group, more
		case <-ctx.Done():
			return group, more
		}
	}
	return group, more
}

// exchange brings a group to the ledger and answers it.
func (s *Server) exchange(ctx context.Context, group []*pending) {
	began := time.Now()
	err := s.attempt(ctx, group)
	switch {
	case err == nil:
		s.pace.took(time.Since(began))
	case len(group) == 1:
		s.stats.Failed.Add(1)
		s.log.Error("an exchange failed", "holder", group[0].request.GetHolder(), "error", err)
		group[0].answer(nil, away())
	default:
		s.stats.Failed.Add(1)
		s.log.Error("a group of exchanges failed, each is tried alone", "holders", len(group), "error", err)
		s.alone(ctx, group)
	}
	s.stats.GroupNanos.Add(time.Since(began).Nanoseconds())
}

// alone repeats a group that failed holder by holder. While none succeeds, a
// few failures mean that it is the store that is away, and so does one that took
// all the time there is.
func (s *Server) alone(ctx context.Context, group []*pending) {
	const enough = 3
	succeeded := 0
	var failed []*pending
	var why []error
	for i, p := range group {
		if succeeded == 0 && len(failed) == enough {
			failed = append(failed, group[i:]...)
			break
		}
		if err := s.attempt(ctx, group[i:i+1]); err != nil {
			failed, why = append(failed, p), append(why, err)
			if succeeded == 0 && errors.Is(err, context.DeadlineExceeded) {
				failed = append(failed, group[i+1:]...)
				break
			}
			continue
		}
		succeeded++
	}
	for i, p := range failed {
		if succeeded == 0 {
			p.answer(nil, away())
			continue
		}
		s.stats.Refused.Add(1)
		s.log.Error("exchange refused: it fails alone", "holder", p.request.GetHolder(), "error", why[i])
		p.answer(nil, connect.NewError(connect.CodeInternal, errors.New("the exchange of this holder fails; its operator has to look")))
	}
}

// attempt is one transaction for a group; its requests are answered where it
// committed.
func (s *Server) attempt(ctx context.Context, group []*pending) (err error) {
	defer func() {
		if p := recover(); p != nil { // a defect, but not every holder's
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, s.o.Limit)
	defer cancel()
	now := time.Now()
	requests := make([]*wire.SyncRequest, len(group))
	for i, p := range group {
		requests[i] = p.request
	}
	if err := s.openDays(ctx, requests, now); err != nil {
		return err
	}
	result, err := ledger.Exchange(ctx, s.store, requests, now.UnixMilli(), s.o.Rules)
	if err != nil {
		return err
	}
	s.stats.Groups.Add(1)
	s.stats.Exchanges.Add(int64(len(group)))
	s.stats.Rows.Add(int64(result.Rows))
	s.feed.note(result.Budgets)
	s.tell(result.Notes)
	judge := false
	for i, p := range group {
		if reply := result.Replies[i]; reply != nil {
			if reply.GetStatus() == wire.SyncResponse_FENCED {
				s.drop(p.request.GetHolder())
			}
			judge = judge || len(p.request.GetBatch().GetForeign()) > 0 || p.request.GetBatch().GetClosing()
			s.add(reply, p.request, now)
		}
	}
	if judge {
		s.wakeSweep()
	}
	for i, p := range group {
		if reply := result.Replies[i]; reply != nil {
			p.answer(reply, nil)
		} else {
			p.answer(nil, errDenied)
		}
	}
	return nil
}

// tell counts and logs what an operator should know.
func (s *Server) tell(notes []ledger.Note) {
	for _, n := range notes {
		switch {
		case n.Status == wire.SyncResponse_FENCED:
			s.stats.Fenced.Add(1)
			s.log.Error("holder fenced", "holder", n.Holder, "reason", n.Reason)
		case n.Alone:
			s.stats.Doubted.Add(1)
			s.log.Error("a holder claims what cannot be, and gets nothing; the others go on", "holder", n.Holder, "claim", n.Reason)
		default:
			s.stats.Forgotten.Add(1)
			s.log.Error("the core has lost history: nothing is granted or settled until nearside-core recover", "holder", n.Holder, "proof", n.Reason)
		}
	}
}

// add puts into a reply what is not the ledger's.
func (s *Server) add(reply *wire.SyncResponse, r *wire.SyncRequest, now time.Time) {
	if reply.GetStatus() == wire.SyncResponse_SUPERSEDED {
		return
	}
	reply.Catalog = s.publisher.Version()
	reply.Control = s.publisher.ControlVersion()
	reply.Controls = s.publisher.Controls(r.GetSide().GetAppliedControl())
	reply.Delivered, reply.DeliveredVersion = s.feed.since(r.GetSide().GetDeliveredSeen())
	reply.NextMs = s.pace.next(s.o.Rules.Interval).Milliseconds()
	if keys := s.keys.Load(); keys != nil && s.sayKeys(r, now) {
		reply.Keys = *keys
	}
}

// keysAgain is how often keys are said again, so that a change reaches every
// edge whichever reply was lost.
const keysAgain = time.Minute

func (s *Server) sayKeys(r *wire.SyncRequest, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if said, ok := s.keysSaid[r.GetHolder()]; ok && !r.GetFirst() && now.Sub(said) < keysAgain {
		return false
	}
	s.keysSaid[r.GetHolder()] = now
	return true
}

// drop forgets what is remembered of a holder whose time is over.
func (s *Server) drop(holder uint32) {
	s.known.drop(holder)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.keysSaid, holder)
}

// pace measures how long groups take that are committed. How long it took to
// find out that the database is away says nothing of how long the next group
// takes once it is back: edges would then be told to stay away from a core that
// has nothing to do.
type pace struct {
	mu   sync.Mutex
	mean time.Duration // exponentially weighted
}

func (p *pace) took(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mean += (d - p.mean) / 8
}

// next is when edges should come again; 0: as they are used to. A group should
// take no more than a quarter of the interval, so that there is room for a
// crowd.
func (p *pace) next(interval time.Duration) time.Duration {
	const usual, most = time.Second, 30 * time.Second
	p.mu.Lock()
	defer p.mu.Unlock()
	switch busy := 4 * p.mean; {
	case busy > interval:
		return min(busy, most)
	case interval > usual:
		return interval
	}
	return 0
}

// days knows which budgets of days need not be opened.
type days struct {
	mu   sync.Mutex
	none map[lease.Budget]time.Time // have no cap in force, as looked up then
}

// dayAgain is how long a day without a cap is not asked for again.
const dayAgain = 10 * time.Second

// openDays makes the budgets of days that requests want and that are not there.
func (s *Server) openDays(ctx context.Context, requests []*wire.SyncRequest, now time.Time) error {
	wanted := ledger.DaysWanted(requests, now.UnixMilli(), s.o.Rules)
	s.days.mu.Lock()
	for b, at := range s.days.none {
		if now.Sub(at) > dayAgain {
			delete(s.days.none, b)
		}
	}
	missing := wanted[:0]
	for _, b := range wanted {
		if _, none := s.days.none[b]; !none && !s.feed.has(b) {
			missing = append(missing, b)
			s.days.none[b] = now // until the feed has it
		}
	}
	s.days.mu.Unlock()
	if len(missing) == 0 {
		return nil
	}
	err := s.store.OpenDays(ctx, missing)
	if err != nil {
		s.days.mu.Lock()
		defer s.days.mu.Unlock()
		for _, b := range missing {
			delete(s.days.none, b)
		}
	}
	return err
}
