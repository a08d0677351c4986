// Package ingest answers edges: Register, Sync, Watch and HandIn over Connect.
// It is the shell around core/ledger, which decides, and core/publish, which
// knows what edges should have.
//
// # Sync
//
// Requests wait in a bounded queue for at most Options.Window, and go through
// the ledger together in one transaction, each holder once in a group. Every
// reply has waited for the commit. A group that fails is repeated holder by
// holder: the one that fails alone is refused and logged, the others do not
// notice. Where none succeeds the store is taken to be away, and all are told
// to come again.
//
// To a reply are added, from memory: what all holders together have settled of
// the budgets that changed since the holder last heard (Delivered), the newest
// catalog and control versions, controls the edge does not have, and, once a
// minute, the token keys. Where exchanges take long, NextMs asks edges to come
// less often.
//
// Delivered numbers are this process's own: a holder that comes from another
// core, or from one that was restarted, is told everything once.
//
// # Watch
//
// One stream for each holder; a second one ends the first. What is newer than
// what the edge has is sent at once, controls before the catalog, then an empty
// event every Heartbeat.
//
// # Credentials
//
// The secret that Register gives is "<holder>.<64 hex digits>"; the store keeps
// the SHA-256 of what follows the dot. It is checked, as the join token is,
// before a body is read. Bodies are limited.
//
// # What it leaves out
//
// TLS, listening and HTTP/2 settings (core/cmd/nearside-core). Requests are
// lost with the process: an edge that was not answered sends again, and the
// ledger recognises what it has.
package ingest
