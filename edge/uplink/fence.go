package uplink

import (
	"context"
	"errors"
	"fmt"

	"connectrpc.com/connect"

	"nearside/sync/exchange"
	"nearside/sync/wire"
	"nearside/sync/wire/wireconnect"
)

// FenceItself asks the core to fence a holder, in its own name: its node is about
// to go and could not drain. Every core of c is tried.
func FenceItself(ctx context.Context, c Config, holder uint32, secret, reason string) error {
	c.defaults()
	var failed error
	for _, url := range c.Core {
		core := wireconnect.NewExchangeClient(c.HTTP, url)
		call, cancel := context.WithTimeout(as(ctx, secret), c.Timeout)
		_, err := core.Fence(call, &wire.FenceRequest{Protocol: exchange.Protocol, Holder: holder, Reason: reason})
		cancel()
		if err == nil {
			return nil
		}
		failed = errors.Join(failed, fmt.Errorf("fence holder %d at %s: %w", holder, url, err))
		if code := connect.CodeOf(err); code != connect.CodeUnavailable && code != connect.CodeDeadlineExceeded && code != connect.CodeUnknown {
			break
		}
	}
	return failed
}
