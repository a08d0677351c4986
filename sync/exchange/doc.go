// Package exchange is how a holder and the core keep one truth between them:
// both halves of the protocol as plain state machines, and the rules that they
// share. It knows no network, no disk and no clock; the shells on both sides
// (edge/uplink, core/ingest) bring messages in and carry them out.
//
// # What the halves agree on
//
// Money travels as running totals, reports as numbered batches. A batch is
// what the holder's journal held between two seals; its identity is its number,
// the seal's position and the journal's commit hash there (wire.Cursor). The
// core applies batch n+1 only onto n and remembers the cursor, so that every
// message may be lost, repeated or late.
//
// The holder's half (Edge) sends one batch at a time and the same one until its
// cursor comes back. What it does with a reply follows from where the core's
// cursor stands to what was sealed here:
//
//	cursor                              the holder
//	that of the batch sent              has been heard; sends the next
//	of the batch before it              sends it again
//	later than anything sealed here     fences itself: this journal is an old copy
//	same number, another identity       fences itself: two journals, one holder
//	earlier than one already heard      takes no grants: the core forgot
//
// # What it leaves out
//
// Sizing of leases (sync/lease), the journal, and what a batch holds
// (edge/holder).
package exchange
