// Package journal keeps on disk what must survive a crash: an ordered log of
// records, and a checkpoint that lets the log's beginning be forgotten.
//
// # What it promises
//
// A record for which Wait returned nil is there after any crash, in its place,
// unaltered, and so is everything appended before it. A record that nobody
// waited for may be there or not, but never without those before it. One
// goroutine writes whatever was appended since its last write as one group and
// makes it durable with one fdatasync, so groups grow with the load.
//
// A position counts records: the record at position n is the n-th ever appended
// to this journal, across boots. After each group there is a boundary: a
// position with a hash that depends on every byte before it. Boundaries are what
// checkpoints, seals and replicas are taken at.
//
// # When things fail
//
// The first failed write or sync poisons the journal: every Append and Wait from
// then on fails with ErrPoisoned, and nothing is tried again, since after a
// failed fsync the kernel may call lost pages clean. The process should exit;
// the next Open copies what is valid of the open segment into a new file, and
// syncs it, before anything is trusted.
//
// A torn last group is dropped: it was never answered. Damage anywhere else is
// a CorruptError that names file and offset. One gap remains: damage inside the
// very last group after it was synced, followed by a crash, looks like a torn
// one. A clean Close leaves no such gap.
//
// A full disk is no failure while spare segments last. Append returns ErrFull
// only for a record that would not fit into them, and works again when a
// checkpoint has recycled segments or the disk has room. It leaves the last spare
// alone where there should be two or more, and the end of the open segment:
// AppendLate may still use half of that end, AppendLast all of it and then the spare,
// where the disk has room for a checkpoint beside it, and SaveCheckpoint the room of the
// spare, so that a disk that the journal itself has filled empties once a checkpoint may
// be taken.
//
// A directory belongs to one process at a time (ErrLocked) and to the place
// where it was made (ErrCopied for a copy, or on another machine).
//
// # Files
//
// Numbers are big-endian; CRC is CRC-32C (Castagnoli). All files lie in one
// directory; whatever ends in .tmp is left over and removed by Open.
//
//	lock           empty; held with flock while open
//	identity       text lines: "nearside journal 1", "id HEX", "inode N" (its own),
//	               "machine HEX", "crc HEX" over the lines before
//	checkpoint     the newest checkpoint
//	seg-HEX16      a segment, by its number from 1 on
//	spare-HEX16    a preallocated or recycled file, not part of the log
//
// Checkpoint, version 1:
//
//	0   8   "nearckpt"
//	8   4   version, 1
//	12  16  id of the journal
//	28  8   position
//	36  16  hash
//	52  8   n, the length of the state
//	60  n   state
//	..  4   CRC of everything before
//
// Segment, version 1. Its first sector of 512 bytes, zero from offset 64 on:
//
//	0   8   "nearjrnl"
//	8   4   version, 1
//	12  16  id of the journal
//	28  8   number of the segment
//	36  8   base position: the last record before this segment
//	44  16  base hash: the boundary's hash there; the id itself at position 0
//	60  4   CRC of the 60 bytes before
//
// Then frames, one for each group, each at the start of a sector and zero-padded
// to the end of one, so that no write touches a sector that was answered for:
//
//	0   4   CRC of the 48 bytes that follow, continued from the seed
//	4   4   n, the length of the body
//	8   8   position of the last record in it
//	16  16  hash of the boundary before
//	32  16  hash of this boundary: the first 16 bytes of
//	        SHA-256(hash before | position | body)
//	48  4   CRC of the body, continued from the seed
//	52  n   body: records, each 4 bytes length and as many bytes
//
// The seed is the CRC of the journal's id and the segment's number, so what a
// recycled file held before never reads as a frame, nor does any content that
// an outsider chose. A header that is valid proves that the frame before it was
// synced, and so does a segment's header for the whole segment before it: a
// frame that fails with such a proof behind it is damage, without one it is torn.
//
// The disk is trusted to write one sector without harming others, and to have
// written what it acknowledged a sync for.
//
// A replica needs no other format: a frame names its predecessor's hash, and a
// peer takes it only onto that.
//
// # What it leaves out
//
// What records mean, when to checkpoint, and detection of a whole directory
// rolled back in place; the core's cursor finds that.
package journal
