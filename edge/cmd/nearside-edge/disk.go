//go:build !faultydisk

package main

import "nearside/edge/journal"

// disk is where the journal is.
func disk() journal.FS { return journal.OS() }

// segment is the size of the journal's segments, 0 for the one that it has otherwise.
func segment() int64 { return 0 }
