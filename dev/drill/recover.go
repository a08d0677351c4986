//go:build linux

package drill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	pg "nearside/dev/postgres"
	"nearside/dev/world"
)

var laggingStandby = Drill{
	Name: "lagging-standby", Runbook: "restore-postgres.md",
	About: "a standby that was not synchronous is promoted: what that loses, and how it is brought back",
	shape: func(c *world.Config) { c.Regions, c.Standby = []string{"us-east", "eu-west"}, true },
	run: func(ctx context.Context, s *stage) error {
		if err := s.sell(ctx, large); err != nil {
			return err
		}
		s.visitAll(ctx, rate)
		if err := s.viewsCome(ctx, 60); err != nil {
			return err
		}
		if err := s.exchanged(ctx); err != nil {
			return err
		}
		if err := s.Synchronous(ctx, false); err != nil {
			return err
		}
		if err := s.Cut("postgres", "standby"); err != nil {
			return err
		}
		s.say("nobody waits for the standby any more, and it does not hear the first server")
		if err := s.viewsCome(ctx, 60); err != nil {
			return err
		}
		if err := s.exchanged(ctx); err != nil {
			return err
		}
		had, err := s.flight(ctx)
		if err != nil {
			return err
		}
		s.Core.Stop(syscall.SIGTERM, 20*time.Second)
		s.Postgres.Kill()
		if err := s.Heal("", ""); err != nil {
			return err
		}
		if err := s.Promote(ctx); err != nil {
			return err
		}
		if err := s.Core.Start(); err != nil {
			return err
		}
		if err := s.WaitCore(ctx); err != nil {
			return err
		}
		now, err := s.flight(ctx)
		if err != nil {
			return err
		}
		s.check(now.Delivery.Views < had.Delivery.Views, "the standby that was promoted has forgotten %d of %d views that edges were told are applied",
			had.Delivery.Views-now.Delivery.Views, had.Delivery.Views)
		return s.bringBack(ctx)
	},
}

var restoreBackup = Drill{
	Name: "restore-backup", Runbook: "restore-postgres.md",
	About: "Postgres is lost and restored from a backup ten minutes old",
	run: func(ctx context.Context, s *stage) error {
		bin, err := pg.Find()
		if err != nil {
			return err
		}
		as, err := pg.Unprivileged()
		if err != nil {
			return err
		}
		if err := s.sell(ctx, large); err != nil {
			return err
		}
		s.visitAll(ctx, rate)
		if err := s.viewsCome(ctx, 60); err != nil {
			return err
		}
		data, err := filepath.EvalSymlinks(filepath.Join(s.config.Dir, "postgres"))
		if err != nil {
			return err
		}
		backup := data + ".backup"
		if err := as.MakeDir(backup); err != nil {
			return err
		}
		if out, err := pg.BaseBackup(bin, as, s.Ready().DatabaseURL, backup).CombinedOutput(); err != nil {
			return fmt.Errorf("back up: %w: %s", err, out)
		}
		if err := os.Remove(filepath.Join(backup, "standby.signal")); err != nil { // it is to be a server of its own
			return err
		}
		s.say("a backup is made")
		if err := s.let(ctx, 10*time.Minute); err != nil {
			return err
		}
		if err := s.viewsCome(ctx, 60); err != nil {
			return err
		}
		if err := s.exchanged(ctx); err != nil {
			return err
		}
		had, err := s.flight(ctx)
		if err != nil {
			return err
		}
		s.Core.Stop(syscall.SIGTERM, 20*time.Second)
		s.Postgres.Kill()
		if err := errors.Join(os.RemoveAll(data), os.Rename(backup, data)); err != nil {
			return err
		}
		if err := s.Postgres.Start(); err != nil {
			return err
		}
		ready, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if err := pg.WaitReady(ready, s.Ready().DatabaseURL, filepath.Join(s.config.Dir, "log", "postgres.log")); err != nil {
			return err
		}
		s.say("Postgres is gone, and restored")
		if _, err := s.Tool(ctx, s.Programs, "recover", "--begin"); err != nil {
			return err
		}
		if err := s.Core.Start(); err != nil {
			return err
		}
		if err := s.WaitCore(ctx); err != nil {
			return err
		}
		now, err := s.flight(ctx)
		if err != nil {
			return err
		}
		s.check(now.Delivery.Views < had.Delivery.Views, "the backup does not know %d of %d views", had.Delivery.Views-now.Delivery.Views, had.Delivery.Views)
		return s.bringBack(ctx)
	},
}

// bringBack does what the runbook says after a restore from the past: see what
// the edges state, apply it, and go on.
func (s *stage) bringBack(ctx context.Context) error {
	var shown string
	_, err := s.until(ctx, 2*time.Minute, "every edge has stated its account", func() (ok bool, err error) {
		shown, err = s.Tool(ctx, s.Programs, "recover")
		return err == nil && strings.Contains(shown, "nothing was changed"), err
	})
	s.check(err == nil, "nearside-core recover has heard every edge: %s", last(shown))
	if err != nil {
		return ctx.Err()
	}
	before := s.answered()
	if err := s.viewsCome(ctx, 30); err != nil {
		return err
	}
	s.check(s.answered().failed == before.failed, "meanwhile edges serve from what they hold, and nothing fails")
	shown, err = s.Tool(ctx, s.Programs, "recover", "--apply")
	if err != nil {
		return err
	}
	s.check(strings.Contains(shown, "applied"), "nearside-core recover --apply: %s", last(shown))
	if err := s.reconcile(ctx); err != nil {
		return err
	}
	if err := s.exchanged(ctx); err != nil {
		return err
	}
	if err := s.viewsCome(ctx, 30); err != nil {
		return err
	}
	return s.settle(ctx, 0)
}

// last is the last line of a text.
func last(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndex(text, "\n")+1:]
}
