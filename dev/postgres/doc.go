// Package postgres runs a private Postgres for development and tests.
//
// It promises a server that nobody else uses: its data directory, port and
// password (or socket) are its own, and it listens on loopback or on a socket
// in a directory that only its user can enter. Postgres refuses to run as
// root, so under root the server runs as the user postgres, or nobody where
// there is no such user, and owns its data directory.
//
// A server lives as long as the process that started it: [Start] ties it to
// its parent so that it goes down cleanly even when the parent is killed.
//
// It leaves out everything that production needs: replication, backup, tuning,
// upgrades of a data directory to another major version (the error then says
// to start afresh).
package postgres
