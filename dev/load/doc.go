// Package load is made-up readers of publishers' pages: they ask edges for
// ads, look at them for a while and click on few.
//
// Readers have real addresses: addresses of each country are looked up in the
// country database that is built into the edge, so that geo targeting sees
// what it would see of the world. They are sent in X-Forwarded-For, which an edge
// believes where it was told to trust one proxy.
//
// [Client] does single requests, for tests and tools; [Traffic] is a stream of
// page views at a rate. Traffic never waits for an answer before the next page
// view (arrivals are random and independent, as readers are), and never keeps
// more than a bounded number of page views open: beyond it arrivals are
// counted as skipped.
//
// It leaves out everything that an attacker would do; invalid traffic is made
// by the tests that are about it.
package load
