package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"nearside/core/ledger"
	"nearside/core/postgres"
	"nearside/sync/lease"
)

type recoverCommand struct {
	Begin   bool     `help:"Stop all grants now, and wait for the edges' statements: the first thing to do after a restore." xor:"step"`
	Apply   bool     `help:"Do it. Every open holder must have stated its account, or be left out." xor:"step"`
	Without []uint32 `help:"Holder that will not be heard: it is fenced, and what it spent since the backup counts only when it hands in." placeholder:"HOLDER" sep:"none"`
	Trust   []uint32 `help:"Holder that the core has forgotten and whose statement no stamp proves, taken all the same." placeholder:"HOLDER" sep:"none"`
}

// Run shows or does the recovery. Its last line says what to do next.
func (c recoverCommand) Run(e *env) error {
	return e.database(func(db *postgres.DB) error {
		now := time.Now().UnixMilli()
		if c.Begin {
			if err := ledger.Stop(e.ctx, db.Ledger(), now); err != nil {
				return err
			}
			_, err := fmt.Fprintln(e.stdout, "all grants are stopped; the edges state their accounts at their next exchange: run nearside-core recover")
			return err
		}
		r, err := ledger.Recover(e.ctx, db.Ledger(), ledger.RecoverOptions{Without: c.Without, Trust: c.Trust, Apply: c.Apply}, now)
		if r != nil {
			if err := printRecovery(e.stdout, r); err != nil {
				return err
			}
		}
		if errors.Is(err, ledger.ErrMissing) {
			return fmt.Errorf("not applied: %w: wait for them, or name each with --without", err)
		}
		return err
	})
}

func printRecovery(w io.Writer, r *ledger.Recovery) error {
	if r.Forgotten == "" {
		_, err := fmt.Fprintln(w, "the core remembers everything: there is nothing to recover")
		return err
	}
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(out, format+"\n", args...) } // Flush tells of errors
	line("proof: %s\n", r.Forgotten)
	line("HOLDER\tREGION\tNODE\tSTANDING\tSTATED\tDETAIL")
	for _, h := range r.Holders {
		line("%d\t%s\t%s\t%s\t%s\t%s", h.ID, h.Region, h.Node, h.Standing, h.Stamped(), h.Detail)
	}
	line("\nBUDGET\tLIMIT\tSETTLED\tOUTSTANDING\tUNLEASED\tREMARK")
	for _, b := range r.Budgets {
		remark := ""
		switch {
		case b.Refunded > 0:
			remark = fmt.Sprintf("what all hold is %d beyond the limit: %d are spent, and refunded; the rest is cut from fenced holders", b.Over, b.Refunded)
		case b.Over > 0:
			remark = fmt.Sprintf("what all hold is %d beyond the limit: it is cut from fenced holders", b.Over)
		case b.Heard > 0:
			remark = fmt.Sprintf("%d settled by holders that are gone", b.Heard)
		case b.Before.ID == 0:
			remark = "was forgotten"
		}
		line("%s\t%s\t%s\t%s\t%s\t%s", budgetName(b.After.ID), change(b.Before.Limit, b.After.Limit), change(b.Before.Settled, b.After.Settled),
			change(b.Before.Outstanding, b.After.Outstanding), change(b.Before.Unleased, b.After.Unleased), remark)
	}
	line("")
	for _, warning := range r.Warnings {
		line("note: %s", warning)
	}
	switch {
	case r.Applied:
		line("applied: grants go on")
	case len(r.Missing) > 0:
		line("missing: %d holders have not stated their accounts: %v", len(r.Missing), r.Missing)
	default:
		line("nothing was changed; --apply does it")
	}
	return out.Flush()
}

func change(before, after int64) string {
	if before == after {
		return fmt.Sprint(after)
	}
	return fmt.Sprintf("%d → %d", before, after)
}

// budgetName is a budget for people.
func budgetName(b lease.Budget) string {
	day := time.Unix(int64(b.Day())*86400, 0).UTC().Format(time.DateOnly)
	switch b.Kind() {
	case lease.FlightViews:
		return fmt.Sprintf("flight %d views", b.Owner())
	case lease.FlightClicks:
		return fmt.Sprintf("flight %d clicks", b.Owner())
	case lease.FlightDay:
		return fmt.Sprintf("flight %d micros %s", b.Owner(), day)
	default:
		return fmt.Sprintf("publisher %d micros %s", b.Owner(), day)
	}
}
