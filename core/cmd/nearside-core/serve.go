package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"nearside/core/admin"
	"nearside/core/authority"
	"nearside/core/ingest"
	"nearside/core/jobs"
	"nearside/core/ledger"
	"nearside/core/ops"
	"nearside/core/postgres"
	"nearside/core/publish"
)

type serveCommand struct {
	AdminListen      string        `help:"Where people and scripts come in." env:"NEARSIDE_ADMIN_LISTEN" default:"127.0.0.1:8080" placeholder:"HOST:PORT"`
	SyncListen       string        `help:"Where edges come in. Default: the admin port + 1." env:"NEARSIDE_SYNC_LISTEN" placeholder:"HOST:PORT"`
	OpsListen        string        `help:"Readiness, metrics and profiles; not for the public. Default: the admin port + 2." env:"NEARSIDE_OPS_LISTEN" placeholder:"HOST:PORT"`
	ExchangeInterval time.Duration `help:"How often edges exchange, as they are configured too." env:"NEARSIDE_EXCHANGE_INTERVAL" default:"1s" placeholder:"DURATION"`
	MaxOffline       time.Duration `help:"How long an edge serves without the core, as they are configured too." env:"NEARSIDE_MAX_OFFLINE" default:"4h" placeholder:"DURATION"`
	FenceAfter       time.Duration `help:"How long an edge may be silent before what it held is given to others, and its late events no longer bill. 0: for ever." env:"NEARSIDE_FENCE_AFTER" default:"24h" placeholder:"DURATION"`
}

// Validate is called by kong once everything is read.
func (c *serveCommand) Validate() error {
	if err := address("--admin-listen", c.AdminListen); err != nil {
		return err
	}
	if c.SyncListen == "" {
		c.SyncListen = beside(c.AdminListen, 1)
	}
	if c.OpsListen == "" {
		c.OpsListen = beside(c.AdminListen, 2)
	}
	expect := func(ok bool, key, what string) error {
		if ok {
			return nil
		}
		return fmt.Errorf("%s: expected %s", key, what)
	}
	return cmp.Or(
		address("--sync-listen", c.SyncListen),
		address("--ops-listen", c.OpsListen),
		expect(c.ExchangeInterval >= 50*time.Millisecond && c.ExchangeInterval <= time.Minute, "--exchange-interval", "50ms to 1m"),
		expect(c.MaxOffline >= time.Minute && c.MaxOffline <= 30*24*time.Hour, "--max-offline", "1m to 720h"),
		// An edge stops paid offers an hour before; see budgets.
		expect(c.FenceAfter == 0 || c.FenceAfter > c.MaxOffline+time.Hour, "--fence-after", "0, or more than an hour over --max-offline"),
	)
}

func (c *serveCommand) Run(e *env) error {
	return e.database(func(db *postgres.DB) error {
		publisher := publish.New(db, e.log)
		if err := publisher.Prime(e.ctx); err != nil {
			return fmt.Errorf("publish the catalog (was nearside-core migrate run?): %w", err)
		}
		rules := ledger.DefaultRules()
		rules.Interval, rules.MaxOffline, rules.FenceAfter = c.ExchangeInterval, c.MaxOffline, c.FenceAfter
		var syncTLS, adminTLS *tls.Config
		options := ingest.Options{Rules: rules, Log: e.log}
		if e.settings.TLSDir != "" {
			store, err := authority.Open(e.settings.TLSDir, e.log)
			if err != nil {
				return configError{fmt.Errorf("--tls-dir: %w", err)}
			}
			syncTLS, adminTLS = store.Sync(), store.Admin()
			if store.Roots() != nil {
				options.Certificates = store
			}
		}
		exchange := ingest.New(db.Ledger(), publisher, options)
		syncPort := http.NewServeMux()
		syncPort.Handle(exchange.Handler())
		runner := jobs.New(db, jobs.Options{Log: e.log}, coreJobs(db, publisher.Wake, e.settings.KeepReports)...)
		api := admin.New(db, admin.Options{Version: versionText(), Wake: publisher.Wake, Log: e.log, Jobs: runner.Jobs()})
		opsPort := ops.New(e.log, versionText(),
			ops.Check{Name: "database", Look: db.Ping},
			ops.Check{Name: "exchange", Look: exchange.Ready},
			ops.Check{Name: "catalog", Look: func(context.Context) error {
				if version := publisher.Version(); version == 0 {
					return errors.New("no catalog version is published")
				}
				return nil
			}},
		)
		measure(opsPort, db, publisher, api, exchange.Stats(), runner)

		// The parts outlive the signal by what it takes to stop in order.
		running, stop := context.WithCancel(context.WithoutCancel(e.ctx))
		defer stop()
		var parts sync.WaitGroup
		parts.Go(func() { publisher.Run(running) })
		parts.Go(func() { exchange.Run(running) })
		parts.Go(func() { runner.Run(running) })

		failures := make(chan error, 3)
		var listening []*server
		err := func() error {
			for _, s := range []*server{
				{name: "admin", address: c.AdminListen, handler: api, tls: adminTLS},
				{name: "sync", address: c.SyncListen, handler: syncPort, streams: true, tls: syncTLS},
				{name: "ops", address: c.OpsListen, handler: opsPort, streams: true, private: true},
			} {
				if err := s.start(e.log, failures); err != nil {
					return err
				}
				listening = append(listening, s)
			}
			select {
			case <-e.ctx.Done():
				e.log.Info("stopping")
				return nil
			case err := <-failures:
				return err
			}
		}()
		opsPort.Stopping()
		stop() // what the exchange has taken is answered, streams end
		parts.Wait()
		for _, s := range listening {
			s.stop()
		}
		return err
	})
}
