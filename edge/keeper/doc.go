// Package keeper keeps a holder's state and its journal together: every step
// of edge/holder is written before the next one is taken, and nobody is
// answered before what was written is durable.
//
// # What it promises
//
//   - View and Click return once their record, and all before it, is on disk.
//     So does the answer to a repeat, which waits for everything so far (I5).
//   - Offer does no I/O, takes no lock and allocates nothing.
//   - A batch leaves only when its seal is durable, and leaves again as it was.
//   - The checkpoint on disk is always as of a seal that the core has
//     acknowledged, so that what came after the core's cursor can be read
//     back: that is what a fenced holder hands in.
//
// # How it fails
//
// The first write error ends it: Failed is closed, Err says why, and the
// process should exit and start again. A full disk is no such error: View and
// Click then answer ErrFull until there is room, and offers of paid ads stop
// before that. A journal that is damaged, or that cannot be this holder's
// history, is left where it is; the directory becomes a new disk and asks the
// core for a new holder, and the old one is fenced there.
//
// # A holder's life
//
//	Open         reads the identity, replays the journal, begins a boot
//	Enroll       binds the directory to a holder: a new one after a fence
//	Prepare      what to send; Heard: what came back
//	Fence        leaves judging to the core; beacons are kept as foreign until
//	             Enroll has brought a new holder, then the old journal is read
//	             by Former and handed in
//	Drain        no more offers; when all is settled the last batch closes
//
// # Reservations
//
// An offer reserves room in its budgets until it is viewed or for three times
// the median view delay. Reservations are counted per budget in slots of half a
// second; a slot that is past gives back what nobody viewed. They decide how
// much is offered, never what is billed, and are lost in a crash.
//
// # What it leaves out
//
// The network (edge/uplink, edge/peer) and the choice of ads (edge/decision).
package keeper
