// Package world runs everything on one machine: a private Postgres, a core,
// and edges in several regions, all on 127.0.0.1, all real processes.
//
// # What it promises
//
// [Start] returns when everything answers: the schema is there, the sample
// catalog is loaded (the first time), every edge is ready. A core or an edge
// that ends is started again after a while, or stays dead where the
// configuration says so. [World.Stop] ends what it started and nothing else:
// edges first, which drain, then the core, then Postgres. The state stays in
// the directory, and the next Start on it goes on from there.
//
// Processes are known by the ids that starting them returned. On Linux the
// kernel ends them when this process ends, however it ends: edges and the core
// at once, Postgres with a fast shutdown.
//
// # How it fails
//
// A port that is taken, a second world in the same directory, a state that
// belongs to another database, missing programs: one line that says so, before
// anything is started. A part that does not come up is named with what it
// said last.
//
// With a Network each part runs on a machine of its own, and forwarders stand on
// the loopback ports; there may then be a standby of Postgres too.
//
// # Files
//
//	lock               held by the one process that uses the directory
//	postgres/          data directory; under root, where the unprivileged user
//	                   cannot enter the directory, a link to one in /var/lib/nearside-dev
//	standby/           data directory of its standby, where there is one
//	wan.sock           of dev/planet
//	postgres.password  of its superuser, from 127.0.0.1 and the Network
//	database           which database the state belongs to
//	admin.token        for the admin API
//	join.token         with which edges join
//	gossip.key         with which the edges of the regions encrypt their gossip
//	edges/NAME/        state directory of an edge
//	log/NAME.log       what each process said
package world
