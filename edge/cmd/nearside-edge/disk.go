//go:build !faultydisk

package main

import "nearside/edge/journal"

// disk is where the journal is.
func disk() journal.FS { return journal.OS() }
