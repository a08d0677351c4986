// Package wire holds the messages that edges and the core exchange, generated
// from exchange.proto, whose comments are their specification.
//
// The protocol carries its own version in RegisterRequest, SyncRequest and
// WatchRequest; a side that does not speak it answers FAILED_PRECONDITION and
// names the versions it speaks. Fields are only ever added.
//
// Totals (granted, spent, returned) are running totals: lost, repeated and
// reordered messages are harmless. Rollups are increments and are applied
// exactly once, in the transaction that advances the holder's cursor.
package wire

//go:generate protoc -I ../.. --go_out=../.. --go_opt=module=nearside --connect-go_out=../.. --connect-go_opt=module=nearside,simple sync/wire/exchange.proto sync/wire/peer.proto
