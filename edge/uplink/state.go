package uplink

import (
	"context"
	"fmt"
	"strings"
	"time"

	"nearside/sync/exchange"
	"nearside/sync/wire"
)

// stateAgain is how often a core that does not know this holder is told of its
// account: it may be another core, or have been restored once more.
const stateAgain = 30 * time.Second

// told is the last statement that a core took without knowing the holder.
type told struct {
	holder uint32
	at     time.Time
}

// state tells the core all that this holder knows of its account.
func (u *Uplink) state(ctx context.Context, credential string) (wire.SyncResponse_Status, error) {
	s, err := u.k.Statement(ctx)
	if err != nil {
		return 0, &lineError{fmt.Errorf("state the account: %w", err)}
	}
	s.Region, s.Node, s.PublicUrl, s.Version = u.cfg.Region, u.cfg.Node, u.cfg.PublicURL, u.cfg.Version
	call, cancel := context.WithTimeout(as(ctx, credential), u.cfg.Timeout)
	defer cancel()
	reply, err := u.core().State(call, &wire.StateRequest{Protocol: exchange.Protocol, Statement: s})
	if err != nil {
		return 0, &lineError{fmt.Errorf("state the account to %s: %w", u.address(), err)}
	}
	u.stats.Statements.Add(1)
	u.cfg.Log.Warn("the core has lost history, and was told of this holder's account", "holder", s.GetHolder(), "leases", len(s.GetTotals().GetBudget()), "answer", reply.GetStatus())
	return reply.GetStatus(), nil
}

// unknown is for a core that does not take this holder's credential. It may
// have forgotten the holder: the join token opens its ear, and the core's own
// stamp in the statement shows that it once knew.
func (u *Uplink) unknown(ctx context.Context, refused error) error {
	holder, _, _ := u.k.Versions()
	if u.told.holder == holder && time.Since(u.told.at) < stateAgain {
		return &lineError{fmt.Errorf("%w (it was told of this holder's account, and waits for its operator)", refused)}
	}
	join, err := u.cfg.JoinToken()
	if err != nil {
		return &lineError{fmt.Errorf("%w; read the join token, to tell of this holder's account: %w", refused, err)}
	}
	status, err := u.state(ctx, strings.TrimSpace(join))
	if err != nil {
		return err
	}
	u.told = told{holder, time.Now()}
	if status == wire.SyncResponse_FENCED {
		return u.fence(ctx, "the core does not know this holder, and has recovered without it")
	}
	return &lineError{refused}
}
