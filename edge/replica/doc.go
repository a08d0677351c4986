// Package replica keeps a holder's journal on a second disk of its region, so
// that what was answered outlives the first one. Line is the holder's side: it
// picks a peer and brings it every frame of the journal. Store is the peer's: it
// keeps the copies of others, and gives one back when its holder is lost.
//
// # What it promises
//
// Line.Wait returns when a peer has a record, and all before it, on its disk, or
// when the holder is alone. A copy is a beginning of the journal as the holder's
// disk had it, or was about to: every frame is taken only onto the boundary whose
// hash it names. A copy is read back as the journal itself would be: a
// checkpoint, then records and boundaries.
//
// # How a copy follows
//
//	Follow   opens a session, which ends every one before it, so that what an
//	         earlier process sent and the network kept cannot undo what a later
//	         one appended. The peer says how far its copy goes. Within a session
//	         every Append has a later turn than the one before.
//	Append   frames onto a boundary that the copy has. Frames it has already are
//	         passed over; where one differs, the copy is cut at the boundary
//	         before: a holder that lost an unsynced tail goes on from where its own
//	         disk ends. A boundary that the copy does not have is refused.
//	checkpoint  where the two have no boundary in common, the copy begins afresh
//	         with the holder's checkpoint; later ones replace it, so that the
//	         copy stays about as large as the journal.
//
// Frames leave before they are durable at the holder, so that both disks are
// written at once.
//
// # When things fail
//
// A peer that does not answer, has no room, or has left the region is given up
// for the next one by rendezvous over the region's nodes. A record that has
// waited for Patience without a peer makes the holder alone: Wait then returns at
// once, Alone says so, and it ends when some peer has checkpoint and tail again.
//
// A peer that has more of the journal than the holder ever made durable refuses
// to follow: the holder's disk was rolled back, and the copy is what is left.
//
// A copy whose disk fails is closed, and opened anew when it is followed again; a
// damaged one is dropped, since its holder has the whole. A copy that grows where
// the disk is nearly full is refused: the node's own journal comes first.
//
// # Files
//
// Each copy is a journal of its own (edge/journal) in copies/HOLDER-JOURNAL, the
// holder's number and the 32 hex digits of its journal's id. Its records,
// version 1; numbers are big-endian:
//
//	1 version, 1 kind, then
//	1 frame  8 position of its last record, 16 hash, 8 what was durable at the
//	         holder then, body
//	2 cut    8 position, 16 hash: frames after this boundary are not part of the
//	         journal
//	3 mark   nothing; a place to take a checkpoint at
//
// The state of its checkpoint, version 1:
//
//	1 version, 4 holder, 16 journal, 8 position, 16 hash, 8 what was durable at
//	the holder then, state of the holder's checkpoint
//
// # What it leaves out
//
// The network (edge/peer), what records mean (edge/holder), and handing in
// (edge/uplink).
package replica
