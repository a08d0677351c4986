package main

import (
	"errors"
	"fmt"

	"nearside/core/postgres"
)

type reconcileCommand struct{}

// Run proves that what is kept twice agrees, or names every difference.
func (reconcileCommand) Run(e *env) error {
	return e.database(func(db *postgres.DB) error {
		differences, err := db.Reconcile(e.ctx)
		if err != nil {
			return err
		}
		for _, d := range differences {
			if _, err := fmt.Fprintf(e.stdout, "%s of %d: %d, expected %d\n", d.What, d.Of, d.Have, d.Want); err != nil {
				return err
			}
		}
		if len(differences) > 0 {
			return errors.New("the books do not agree")
		}
		_, err = fmt.Fprintln(e.stdout, "the books agree")
		return err
	})
}
