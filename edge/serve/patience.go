package serve

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// patience is how long beacons wait for their verdicts: judging, and up to a
// second more. All that begin within a second share one context, as a timer for
// each, which nearly never fires, costs more than the wait itself.
type patience struct {
	now atomic.Pointer[term]
	mu  sync.Mutex // around replacing now
}

// term is the context of those that begin in one second.
type term struct {
	second int64
	ctx    context.Context
	cancel context.CancelFunc
}

// until is the context of what begins at a time.
func (p *patience) until(now time.Time) context.Context {
	second := now.Unix()
	if t := p.now.Load(); t != nil && t.second == second {
		return t.ctx
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.now.Load()
	if t == nil || t.second != second {
		t = &term{second: second}
		t.ctx, t.cancel = context.WithTimeout(context.Background(), judging+time.Second)
		p.now.Store(t) // the one before ends by itself
	}
	return t.ctx
}

// close ends what the last ones wait for; nobody waits any more.
func (p *patience) close() {
	if t := p.now.Load(); t != nil {
		t.cancel()
	}
}
