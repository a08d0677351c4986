// Package serve is the edge's public port: decisions, and the beacons that
// count views, clicks and the time an ad was seen. It is the only package that
// imports fasthttp.
//
// # What it promises
//
// The names, types, status codes and bodies of the EthicalAds decision API, so
// that its client and its server-side users notice nothing but speed. A
// decision does no I/O and takes nothing from outside this process: visitor,
// catalog and sticky offers are in memory. A view or click is answered once the
// Judge has made it durable; a view whose record cannot be kept is 503, so that
// whoever retries still counts. A click always leads to the advertiser.
//
// The native API, POST /v1/decisions, answers all slots of a page in one call with
// the same offers; no advertiser is on a page twice but for a roadblock, which
// has the page to itself. POST /v1/decisions/explain says why; it changes nothing.
//
// Nearly all decisions are asked for in one plain form, which is answered without
// the HTTP server's help (the lane); the answers are the same.
//
// # How it fails
//
// Without a catalog decisions are 503. Where the Judge gives no sequence number
// (drain, no key, no holder) an offer becomes "no ad". What an outsider sends
// is answered with the error that names the field; headers, bodies, lists and
// every table here have a limit; a panic costs one request and is counted.
// Nothing of a request is logged.
//
// # What it leaves out
//
// It decides nothing (edge/decision), keeps no money (the Judge) and renders
// nothing (edge/creative). Sticky offers, frequency caps and rate limits are this
// node's alone, best effort: their tables forget when they are full. Clients that
// send DNT or Sec-GPC are not counted for frequency caps.
package serve
