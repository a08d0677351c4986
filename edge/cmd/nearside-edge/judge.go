package main

import (
	"context"
	"errors"
	"time"

	"nearside/edge/holder"
	"nearside/edge/keeper"
	"nearside/edge/peer"
	"nearside/edge/serve"
	"nearside/edge/uplink"
	"nearside/sync/token"
	"nearside/sync/wire"
)

// judge is the keeper as the public port sees it.
type judge struct{ *keeper.Keeper }

func (j judge) Open(c *token.Claims, nonce []byte, now time.Time) error {
	err := j.Keeper.Open(c, nonce, now)
	if errors.Is(err, keeper.ErrNoKeys) {
		return serve.ErrNoKeys
	}
	return err
}

func (j judge) View(ctx context.Context, c *token.Claims, at int64) (serve.Reason, error) {
	v, err := j.Keeper.View(ctx, c, at)
	return reasons[min(v, holder.Verdicts)], err
}

func (j judge) Click(ctx context.Context, c *token.Claims, at int64) (serve.Reason, error) {
	v, err := j.Keeper.Click(ctx, c, at)
	return reasons[min(v, holder.Verdicts)], err
}

// reasons are the keeper's verdicts in the words of the public port. What
// touches no budget is counted as a billed view is: its price is 0.
var reasons = [holder.Verdicts + 1]serve.Reason{
	holder.Billed:    serve.Billed,
	holder.Counted:   serve.Billed,
	holder.Exhausted: serve.Exhausted,
	holder.Killed:    serve.Killed,
	holder.Duplicate: serve.OldNonce,
	holder.NotViewed: serve.OldNonce,
	holder.Foreign:   serve.Passed,
	holder.HomeLost:  serve.HomeLost,
	holder.Expired:   serve.OldNonce,
	holder.Held:      serve.Waiting,
	holder.Verdicts:  serve.OldNonce,
}

// node is the edge as its region sees it.
type node struct {
	*keeper.Keeper
	up *uplink.Uplink
}

var _ peer.Node = node{}

func (n node) TakeControls(controls []*wire.Control) error { return n.up.Controls(controls) }

func (n node) TakeCatalog(_ context.Context, published []byte) error { return n.up.News(published) }
