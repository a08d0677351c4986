// Package ledger decides who may spend what. It is the core's half of the
// exchange: pure steps from stored rows, messages and a time to changed rows
// and replies, over a Store that loads, locks and writes. There is one store in
// Postgres (core/postgres) and one in memory here; both pass ledgertest.
//
// # The account
//
// A budget is an account with a limit, in events or in micros:
//
//	limit + refunded = unleased + outstanding + settled     (I1, at every commit, all ≥ 0)
//
//	grant    unleased → outstanding       the holder may spend it
//	settle   outstanding → settled        the holder has spent it; settled never falls
//	return   outstanding → unleased       the holder gives it back
//
// While the limit in force is above the one asked for (it was lowered below
// what is out), whatever would reach unleased lowers the limit instead, and
// leases are recalled.
//
// # The holder
//
// A holder is open, fenced or closed. Open: it judges its own events and
// spends its leases. Fenced: it gets no grants, its batches are not applied,
// and what it held stays set aside; once it, or whoever has its journal, has
// handed in its windows and later events, the core judges those, out of the
// holder's remainder first, then out of unleased. Closed: the remainder went
// to unleased in the transaction that closed it (I9). Time alone frees nothing
// (I8): Sweep closes only holders silent for Rules.FenceAfter, which is the
// operator's decision taken beforehand.
//
// # The exchange
//
// Exchange takes the requests of many holders in one transaction. The holder's
// cursor (number, position and commit hash of the last batch applied) makes
// each batch count once:
//
//	batch, against the cursor              answer
//	at or below it                         stored totals of every lease; nothing applied
//	the next                               applied whole, cursor advanced
//	the same number, another hash          the holder is fenced
//	totals that contradict the lease       the holder is fenced
//	beyond the next, or more granted       FORGOTTEN, to this holder; where another one, or
//	than the core ever gave                all there are, say such things too: to all
//
// The boot with the highest ordinal is the holder; older ones are superseded.
// Two boots with one ordinal are two copies of one directory: fenced.
//
// # A core that forgot
//
// A database that was restored from the past, or a standby that lagged, does
// not know what it has granted since. Each reply carries a stamp, the core's own
// signature under what it has committed of the holder until then; a holder that
// brings one which is newer than what the core remembers proves it. From then on
// nothing is applied, granted, closed or registered: everybody is answered
// FORGOTTEN and asked for a statement (TakeStatement) of its whole account.
// Recover rebuilds leases, cursors and budgets from the statements, as an
// operator's command. See docs/decisions/0040.
//
// # When things fail
//
// Nothing of a failed transaction stays, and every step may be repeated: what
// was applied is recognised by the cursor, the events by (home, boot,
// sequence, kind). Exchange of a group that fails is repeated by its caller
// holder by holder, so that one offender does not hold up the others.
//
// # What it leaves out
//
// Credentials, queues and streams (core/ingest). Delivered totals and catalog
// versions are added to replies there. Brokers are not here yet.
package ledger
