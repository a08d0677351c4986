// Package admin is the admin API: the rooms in which people and scripts edit
// what edges decide with, and look at what came of it.
//
// # Promises
//
// A write is one transaction. It takes the counters' row first, so writes of
// all cores happen one after another and catalog versions are ordered as the
// commits are; it checks everything, changes the rows, asks the ledger for the
// budgets, writes the audit log, raises the catalog version and notifies the
// publishers of all cores. Either all of it happened or nothing. The answer
// carries the version that includes the write, in Nearside-Catalog-Version and
// in the body's catalog_version; a write that changes nothing makes no new
// version.
//
//   - POST creates. With an Idempotency-Key the same request again, for 24
//     hours, is answered as the first was, and changes nothing; a different
//     request under the same key is 422.
//   - PUT replaces: what the body leaves out takes its default. PATCH merges
//     (RFC 7396): what the body leaves out stays, null takes the default.
//     A slug never changes. Fields that are read only are accepted and ignored,
//     so that what was read can be sent back.
//   - If-Match on PUT, PATCH and DELETE refuses with 412 where the resource is
//     not at that ETag any more. An ETag is the number of the resource's last
//     change; a flight's delivery and budgets move without it.
//   - Lists are in order of creation and walked with limit and cursor.
//   - Errors are RFC 9457 problem documents whose errors name each field and
//     what was expected: 400 for what is not JSON, 422 for what is not right.
//
// # Access
//
// Authorization: Bearer with a token that nearside-core token create or
// POST /v1/tokens said once. Tokens are 256 random bits, kept as SHA-256. Role
// admin may do everything, viewer may read everything; role publisher is for
// decisions at edges and may do nothing here. The credentials of edges live in
// another table and are worth nothing here.
//
// # Failure
//
// Without the database every request is 503. A refusal of concurrency is tried
// again three times. What went wrong inside is logged and answered as 500
// without its text. Bodies are at most 1 MB and nested at most as deep as the
// resources are; no answer repeats more than 20 errors.
//
// # What it leaves out
//
// Users and passwords: whoever holds a token is the token. Nothing is deleted
// but flights, which are killed and hidden, and tokens, which are revoked:
// delivery refers to everything else for ever.
package admin
