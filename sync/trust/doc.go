// Package trust says who a machine is to another one: the certificates that
// cores and edges show each other, who signs them, and how they are checked.
//
// # Who is who
//
// A private authority of the operator signs them all, so no public name is
// needed: what counts is the identity in the certificate, which stands there
// twice and must agree.
//
//	a core   URI nearside://core                          DNS core.nearside.internal
//	an edge  URI nearside://edge/REGION/NODE/HOLDER       DNS HOLDER.edge.nearside.internal
//
// An edge's certificate is good for both ends of a connection, since nodes of a
// region call each other; a core's for the server's end alone. Neither can sign.
// Keys are P-256; an edge makes its own and sends a request (PKCS #10) in which
// only the key counts: the core writes the identity.
//
// # Roots
//
// Roots are the authorities that a machine goes by, as PEM, at most 16: several
// while one follows another. The first one signs. Sum is how edge and core tell
// each other which ones they go by.
//
// # Clocks
//
// Certificates begin a day before they are made, so that a machine whose clock
// is hours behind still talks; how far a clock may be ahead is what is left of
// the certificate.
//
// # Files
//
// Reread keeps what was read from files and looks again when it is asked, at
// most once a second. What can no longer be read leaves the last good value in
// force.
//
// # What it leaves out
//
// Revocation lists. Whoever ends a credential ends the secret that goes with it,
// at the core; see docs/security.md for what a stolen certificate is worth until
// it expires.
package trust
