//go:build faultydisk

package main

import (
	"os"
	"strconv"

	"nearside/edge/journal"
	"nearside/edge/journal/faultfs"
)

// disk is one that fails as the plan in a file says: dev/e2e builds such an edge.
func disk() journal.FS { return faultfs.Over(journal.OS(), os.Getenv("NEARSIDE_FAULTY_DISK")) }

// segment is small where a test wants to fill a journal in a moment.
func segment() int64 {
	n, _ := strconv.ParseInt(os.Getenv("NEARSIDE_SEGMENT_SIZE"), 10, 64)
	return n
}
