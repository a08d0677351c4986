// Package decision chooses the ad for a request.
//
// The core publishes a snapshot of everything (sync/catalog). Compile turns it
// into a Catalog: names become numbers, each flight gets a position in an
// inverted index, prices and priorities become factors. Decide then answers a
// Request with an Outcome. The rules it follows are rows of a table:
// conformance/rules.md.
//
// # Promises
//
// A decision allocates nothing, takes no lock, reads no clock and does no I/O.
// It is a function of catalog, request, accounts, time and seed: with the same
// of all five it is the same decision. Any number of goroutines may decide with
// one Catalog, each with a Scratch of its own, and a new Catalog takes the place
// of the old between two decisions without anybody waiting.
//
// Its cost follows the flights that match, not those that exist. What every
// request has (publisher group, ad type, country, device, day) is intersected as
// sets of flights, 64 at a time; a flight that must find something rare
// (a keyword, a topic, a domain, a publisher) is not even looked at by requests
// without it. Flights that the Shape of a request admits can be kept in a cache:
// see Candidates and DecideAmong.
//
// Need is global and spending is local: how much a flight needs comes from
// what has been delivered everywhere (Account.Settled), and whether it may be
// offered from what this edge may still spend (Account.Left). Being wrong about
// either costs an offer that is not billed; that no budget is overspent is the
// business of whoever owns the accounts.
//
// # Explaining
//
// Every refusal has a Reason from a small fixed set, in the order in which
// filters are looked at. Explain gives it for each flight with the values that
// were compared, or the weight and probability; it agrees with Decide and
// changes nothing. Refusals walks all flights without allocating, for counting
// one request in many; Scratch.Refused names those that matched a request but
// could not be offered at that moment, and costs nothing.
//
// # When things fail
//
// Compile refuses a snapshot that is not valid; names in targeting that do not
// exist (a publisher, a topic, a geo region) match nothing. A daily cap whose
// day Roll has not prepared refuses. A request that names the publisher of
// another catalog is decided with this catalog's publisher of that slug, or not
// at all.
//
// # What it does not do
//
// It does not keep offers for a client (sticky), count how often a client has
// seen a flight, nor parse or check what came over HTTP: edge/serve does. It
// does not reserve or spend: edge/keeper does, once there is an offer.
// Rotations and div ids pass it by.
package decision
