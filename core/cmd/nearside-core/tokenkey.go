package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"nearside/core/ledger"
	"nearside/core/postgres"
)

type tokenKeyCommand struct {
	List   tokenKeyListCommand   `cmd:"" help:"List the keys, without their text."`
	Rotate tokenKeyRotateCommand `cmd:"" help:"Have the next key seal as soon as every edge must know it, instead of when its month begins."`
}

type tokenKeyListCommand struct{}

func (tokenKeyListCommand) Run(e *env) error {
	return e.database(func(db *postgres.DB) error {
		out := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintln(out, "ID\tSEALS FROM\tUNTIL\tOPENS UNTIL")
		err := db.Ledger().Update(e.ctx, func(tx ledger.Tx) error {
			keys, err := tx.Keys(e.ctx)
			for _, k := range keys {
				_, _ = fmt.Fprintf(out, "%d\t%s\t%s\t%s\n", k.GetId(), unix(k.GetSealFrom()), unix(k.GetSealUntil()), unix(k.GetVerifyUntil()))
			}
			return err
		})
		if err != nil {
			return err
		}
		return out.Flush()
	})
}

// unix is a time as lists show it; 0 has no end.
func unix(seconds int64) string {
	if seconds == 0 {
		return "-"
	}
	at := time.Unix(seconds, 0)
	return when(&at)
}

type tokenKeyRotateCommand struct {
	MaxOffline time.Duration `help:"How long an edge serves without the core, as serve is configured too." env:"NEARSIDE_MAX_OFFLINE" default:"4h" placeholder:"DURATION"`
	Distrust   bool          `help:"The present key was stolen: it opens nothing from now on. Views and clicks under way are lost."`
}

func (c tokenKeyRotateCommand) Run(e *env) error {
	return e.database(func(db *postgres.DB) error {
		rules := ledger.DefaultRules()
		rules.MaxOffline = c.MaxOffline
		from, err := ledger.HurryKeys(context.WithoutCancel(e.ctx), db.Ledger(), time.Now().UnixMilli(), rules, c.Distrust)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.stdout, "the next key seals from %s on; edges hear of it within two minutes\n", unix(from))
		return err
	})
}
