// Package simulation plays the exchange between edge nodes and the core in one
// goroutine, from a seed, and breaks everything that may break. What it runs is
// the code that ships: the holder's steps (edge/holder), its journal on a disk
// that fails on demand (edge/journal, Inline, over edge/journal/faultfs), the
// holder's half of the exchange (sync/exchange), and core/ledger over its
// memory store. Whatever happens, the invariants of docs/architecture.md must
// hold after every event.
//
// # A run
//
// A seed chooses a plan: nodes, regions, flights and publishers with small
// budgets and daily caps, rates, how bad the network is. An event heap with a
// virtual clock plays it; every node has a clock of its own, milliseconds off,
// in some runs hours.
//
//   - Readers get offers and send views and clicks: early, late, twice, to the
//     node that offered, to one of its region, to one elsewhere.
//   - Messages are lost, repeated, delayed past each other and cut off; so are
//     replies, and a late reply may still be heard.
//   - Nodes are killed, lose power in the middle of a write, meet a failing
//     write, sync or rename, lose their disk, drain and come back. A disk keeps
//     of unsynced data what the seed likes.
//   - The core dies, with what waited in it, or between a commit and its
//     replies. Transactions fail, run twice, or commit with an error.
//   - Operators pause and kill flights, raise and lower budgets, fence holders
//     that live, close fenced ones early.
//
// A run ends by healing everything, draining every node and letting every token
// die. Then each event that was taken must have had one effect, budgets and
// reports must be the sum of those effects, and no event that a reader was
// answered for may be missing:
//
//	Σ answered = Σ settled + Σ unbilled + Σ home lost
//
// # What is checked
//
// Violation names the invariant. The oracle works out by itself what an event
// costs, and compares every record, batch, lease, budget and report with that.
//
//	I1   the equation of every budget, and its leases' sum, after each commit
//	I2   what is available, after each record
//	I3   granted at a holder ≤ granted and committed at the core
//	I4   no batch of a holder that is not open; one judge for each event
//	I5   answered or sent ⇒ durable; after a crash the journal has it
//	I6   one record for each bit; debits, counts and batches are the sum of the
//	     records, byte for byte after a replay
//	I7   totals never fall; a batch that is sent again is the same
//	I8   nothing returns to unleased but what a holder has given back, or a close
//	I9   a remainder stays until the close, and is nothing after it
//	I10  settled ≤ the limit, as an independent account has it
//	I11  control versions only grow at a node, and survive a crash
//	I12  gossip leaves leases as they were
//	sum  the account at the end
//
// # What is not covered
//
// The shell around a holder is this package's own: it takes the steps of
// edge/keeper in their order, but leaves out pacing, reservations of offers in
// flight, sizing by demand (wants are drawn from the seed), floors within a
// boot, a full disk, and token keys. HTTP, the binary's exits and core/ingest's
// queues are not here either, nor is core/postgres: its store passes
// core/ledger's conformance suite instead. Not simulated yet: a database
// restored from the past (there is no recovery to play), machine snapshots
// rolled back, flipped bits, replication between peers.
package simulation
