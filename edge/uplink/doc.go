// Package uplink is an edge's line to the core: it registers the state
// directory, exchanges with the core every interval, listens for catalogs and
// controls, and hands in what a fenced holder left.
//
// # What it promises
//
// A catalog that is kept on disk is applied before anything is asked of the
// core, so an edge that starts while the core is away serves. A new catalog or
// control is applied the moment it comes. What it sends is what the keeper
// prepared, and is sent again until the core has heard it.
//
// # How it fails
//
// An exchange that fails is repeated after half to one and a half intervals, at
// the next of the core's addresses, however often it has failed: edges are back
// soon after the core is, and together knock no oftener than they exchange. The
// stream is opened again, and is given up when nothing came for half a minute
// (the core beats every ten seconds). Run ends with an error where the process must end: a newer boot of
// this directory has spoken (ErrSuperseded), or the disk cannot be written.
// FENCED and FORGOTTEN end nothing: a fenced holder is replaced by a new one,
// and where the core forgot, grants are not taken until it says otherwise.
//
// When its context ends it drains: no more offers, the views in flight land,
// the last batch closes the holder. Where the core cannot be reached in time
// Run ends with ErrOpen: the holder stays as it is and the next start continues
// it.
//
// # What it leaves out
//
// What a batch holds and what a reply means (edge/keeper, sync/exchange).
package uplink
