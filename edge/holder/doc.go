// Package holder is what a holder of leases knows and what an event may do to
// it: leases, dedupe windows, what was counted since the last batch, controls.
// It is pure. Every step looks at the state, decides, changes the state and
// returns the record that the journal must keep; Replay makes the same change
// from the same record, so a replayed journal is the state (a property that the
// tests check at every record).
//
// # What it promises
//
//   - One record sets an event's bit, debits every budget that its token names,
//     or none of them, and adds to the counts (I6).
//   - What is available of a lease never falls below zero (I2); it grows by
//     Grant alone (I3), and totals only grow (I7).
//   - An event counts once among the counts, and once for each topic of its page
//     among those by topic: sums over topics overlap.
//   - A batch is exactly what lies between two seals. It is cut by the seal's
//     record, in replay as in life, so that it can be sent again unchanged.
//   - However long the core is away, what waits to be sent takes no more memory:
//     of batches beyond the first Kept there are only the seals.
//   - Below a floor, and for a boot that is not known, nothing is billed.
//   - Controls only get newer (I11).
//
// The steps append one record to a byte slice; a step that has nothing to keep
// returns the slice as it was. The shell (edge/keeper) gives what a step
// returned to the journal before it takes the next step, and answers a reader
// only when that, and all before it, is durable.
//
// # Windows
//
// Two bits for each sequence number of each boot: viewed, clicked. They are
// kept in blocks of 4 096 numbers. A floor rises by whole blocks, when a
// block's tokens are dead or when a boot has offered more than MaxSpan, and is
// itself a record.
//
// # Clicks that wait for their views
//
// A click whose view has not been judged waits for it, until Keep after the
// offer: one that came straight here is held (record 11, at most MaxHeld of them),
// one that came through the core waits under its position (record 4). It is judged
// when its view has been, and refused as not viewed where that never comes. The
// last batch of all gives those that are held to the core.
//
// # Records, versions 1 and 2
//
// A record is one byte of version, one byte of kind, and fields; u is a
// uvarint and s a signed varint as in encoding/binary, numbers with a size in
// bytes are big-endian.
//
//	1 boot     u holder, 8 boot, u ordinal, s at
//	2 judged   1 outcome, u foreign position (0: it came to its home), event,
//	           1 n, n × (u budget, u amount)
//	3 foreign  event                          its home is elsewhere
//	4 waiting  u foreign position, event      a foreign click whose view has not come
//	5 grant    u budget, u granted            the new total
//	6 return   u budget, u returned           the new total
//	7 seal     u batch, u acknowledged batch, s at, 1 closing, u next
//	8 floor    8 boot, u floor                2⁶⁴−1: the whole boot
//	9 control  u version, u flight, 1 state
//	10 fence   s at
//	11 held    event                          a click that came here before its view
//
//	event      1 kind (1 view, 2 click), u holder, 8 boot, u seq, u ad, u flight,
//	           u publisher, 2 country, u view price, u click price, s issued,
//	           u flags, s at; in version 2 then 1 n, n × 2 topic
//
// A held record is of version 2, as is one whose event has topics, and a judged one
// whose outcome is 5, home lost, or 4, not viewed, of an event that was held; the
// others are of version 1. So an older edge reads what has none of these in it.
//
// Bytes after the last field, an unknown kind or a record that the state does
// not allow (a bit set twice, a debit beyond what is available) are errors: the
// journal is then not this holder's history, and the holder is fenced.
//
// # Checkpoint, version 2
//
// The whole state; see (*State).Encode. One of version 1 is read, too. The journal
// adds a checksum.
//
// # What it leaves out
//
// Time (an argument, unix milliseconds), the journal's hashes (told to it by
// Covered), reservations of offers in flight and their measured rates
// (edge/keeper).
package holder
