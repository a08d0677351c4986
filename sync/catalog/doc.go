// Package catalog is the snapshot of everything an edge needs to decide, and
// the bytes in which the core publishes it.
//
// A Snapshot is a value: the core builds one in a transaction whenever somebody
// changes something, numbers it, and publishes it whole; an edge keeps the last
// one it got, on disk too, and compiles it (edge/decision). Versions only grow.
//
// # Published bytes
//
// Format 1. Integers are big endian.
//
//	 0   4  "NSCT"
//	 4   4  format, 1
//	 8   8  version of the snapshot
//	16   8  length of the JSON
//	24  32  SHA-256 of bytes 0 to 24 and of bytes 56 to the end
//	56      the snapshot as JSON, compressed with zstd
//
// Decode verifies the checksum before it unpacks and validates after, so that
// whatever it returns keeps the promises of Snapshot. The checksum finds
// damage; it does not say who wrote the bytes: that is the business of the
// connection they came over. New fields may be added within a format, since
// unknown fields are skipped; a change of meaning needs a new format.
//
// # Deltas
//
// From DeltasFrom flights on, an edge that has one version is sent the next as a
// Delta: the things that came, went or changed. Format 1, big endian:
//
//	 0   4  "NSCD"
//	 4   4  format, 1
//	 8   8  version of the snapshot it is made from
//	16   8  version of the snapshot it makes
//	24   8  length of the JSON
//	32  32  SHA-256 of bytes 0 to 32 and of bytes 64 to the end
//	64      the changes as JSON, compressed with zstd
//
// The JSON names the SHA-256 of the new snapshot's own JSON. Apply compares it,
// so that an edge which does not know all fields of a newer core's snapshots, or
// whose base differs in any way, does not go on with something else: it asks for
// the whole.
//
// # What it does not do
//
// No network, no files, no clock. It does not say which edges hold which
// version (core/publish does), and it does not decide.
package catalog
