// Package decision chooses the ad for a request: the compiled catalog, the
// index over it, and Decide.
package decision
