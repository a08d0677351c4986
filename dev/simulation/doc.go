// Package simulation plays the exchange between edge nodes and the core in one
// goroutine, from a seed, and breaks everything that may break. What it runs is
// the code that ships: edge/keeper with the holder's steps, the state directory
// and the journal on a disk that fails on demand (edge/journal/faultfs), tokens,
// the holder's half of the exchange, and core/ledger over its memory store.
// Whatever happens, the invariants of docs/architecture.md must hold after every
// event.
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
//   - Messages are lost, repeated, delayed past each other and cut off, as
//     are replies; what a node gave up waiting for may still reach the core.
//   - Nodes are killed, lose power in the middle of a write, meet a failing
//     write, sync or rename, a full disk, flipped bits, a machine rolled back to a
//     snapshot; they lose their disk, drain and come back. A disk keeps of
//     unsynced data what the seed likes.
//   - The core dies, with what waited in it, or between a commit and its
//     replies. Transactions fail, run twice, or commit with an error.
//   - Postgres is restored from the past, in one run of eight: the truth of a
//     while ago is put back while nodes have gone on, and an operator runs the
//     recovery that ships, leaving out who is not heard in time.
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
// Answers given by a disk that was then lost, damaged or rolled back are excused
// from this sum, and counted; they never excuse a debit. Every third seed keeps
// journals on two disks: then only what a node took alone, or what more than one
// disk of a region was harmed for, is excused. There machines also lose power with
// a group on half a disk that has left for the peer.
//
// Threads of a process are coroutines: they wait for time, for a message, or in
// a group commit for the disk (journal.Options.Gather), and only there another
// one goes on.
//
// # What is checked
//
// Violation names the invariant. The oracle listens to the disk: it reads the
// journal's frames and records by their documentation, so it knows what was
// recorded and what a sync made durable without asking the code under test, and
// works out by itself what events cost and what batches, leases, budgets and
// reports must say.
//
//	I1   the equation of every budget, and its leases' sum, after each commit
//	I2   what is available, after each record
//	I3   granted at a holder ≤ granted and committed at the core
//	I4   no batch of a holder that is not open; one judge for each event
//	I5   answered or sent ⇒ durable; after a crash the journal has it
//	I6   one record for each bit; debits, counts and batches are the sum of the
//	     records, byte for byte after a replay; no batch is jumped
//	I7   totals never fall; a batch that is sent again is the same
//	I8   nothing returns to unleased but what a holder has given back, or a close
//	I9   a remainder stays until the close, and is nothing after it
//	I10  settled ≤ the limit, as an independent account has it
//	I11  control versions only grow at a node, and survive a crash
//	I12  gossip changes nothing but controls: what a journal was granted is what
//	     the core granted (I3)
//	sum  the account at the end
//
// # What is not covered
//
// edge/uplink is played by this package, call for call; its streams and HTTP are
// not here, nor is core/ingest, whose groups and retries core.go plays. The
// store is core/ledger's Memory; core/postgres passes the same conformance suite.
// Steps of a keeper that hold its lock while they write (Enroll, Open) run
// without anything in between. Not simulated yet: floors within
// a boot, and batches that are sealed early for their size.
package simulation
