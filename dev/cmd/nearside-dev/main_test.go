package main

import (
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestSignals: the first one ends the context; what follows at once belongs to
// it; a later one is another wish.
func TestSignals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		signals := make(chan os.Signal)
		e := &env{signals: signals}
		ctx, again, stop := e.interrupted()
		defer stop()
		if ctx.Err() != nil {
			t.Fatal("it has ended before any signal")
		}
		signals <- syscall.SIGINT
		synctest.Wait()
		if ctx.Err() == nil {
			t.Error("the first signal does not end it")
		}
		signals <- syscall.SIGINT // sent to the group too
		synctest.Wait()
		select {
		case <-again:
			t.Error("one wish is taken for two")
		default:
		}
		time.Sleep(2 * bounce)
		signals <- syscall.SIGTERM
		if s := <-again; s != syscall.SIGTERM {
			t.Errorf("%v", s)
		}
	})
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"up", "--restart-after", "soon"}, "--restart-after: expected"},
		{[]string{"up", "--traffic", "-3"}, "--traffic: expected"},
		{[]string{"down"}, "unexpected argument down"},
	} {
		err := run(nil, c.args, io.Discard, io.Discard)
		var wrong usageError
		if !errors.As(err, &wrong) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v", c.args, err)
		}
	}
}
