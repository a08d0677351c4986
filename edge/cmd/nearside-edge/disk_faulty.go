//go:build faultydisk

package main

import (
	"os"

	"nearside/edge/journal"
	"nearside/edge/journal/faultfs"
)

// disk is one that fails as the plan in a file says: dev/e2e builds such an edge.
func disk() journal.FS { return faultfs.Over(journal.OS(), os.Getenv("NEARSIDE_FAULTY_DISK")) }
