package journal

import "sync/atomic"

// Stats count since Open. They are read while they change.
type Stats struct {
	Appends         atomic.Uint64 // records
	Refused         atomic.Uint64 // records that Append answered ErrFull
	Commits         atomic.Uint64 // groups made durable
	Bytes           atomic.Uint64 // of those groups on disk
	Syncs           atomic.Uint64 // of segments
	SyncNanos       atomic.Uint64 // spent in them
	Checkpoints     atomic.Uint64
	CheckpointBytes atomic.Uint64
	CheckpointNanos atomic.Uint64
	Recycled        atomic.Uint64 // segments that a checkpoint freed
	SpareFailures   atomic.Uint64 // tries to make a spare that failed for want of room
	Torn            atomic.Uint64 // bytes of a torn last group that Open dropped
	Recovered       atomic.Uint64 // records that Open found after the checkpoint
	Segments        atomic.Int64  // files of the log now
	Spares          atomic.Int64  // files ready to become segments
	Free            atomic.Int64  // bytes, as last looked at
	Poisoned        atomic.Int64  // 1 once the journal is poisoned
}
