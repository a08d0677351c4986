// Package migrations holds the schema of the truth as SQL files for goose,
// embedded. They go forwards only, and new code runs on the schema before it.
package migrations

import "embed"

// Files are the migrations, in order of their names.
//
//go:embed *.sql
var Files embed.FS
