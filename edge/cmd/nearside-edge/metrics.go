package main

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"nearside/edge/holder"
	"nearside/edge/journal"
)

// expose names every counter of the edge.
func (e *edge) expose() {
	o, stats, up := e.ops, e.server.Stats(), e.up.Stats()
	o.Counters("nearside_edge_decisions_total", "Decision requests by what became of them.", []string{"outcome"},
		func(say func(float64, ...string)) {
			stats.EachAnswer(func(answer string, n uint64) { say(float64(n), answer) })
		})
	o.Histogram("nearside_edge_decision_seconds", "Time inside the handler of decisions.", stats.Latency.Read)
	o.Counters("nearside_edge_beacons_total", "Views, clicks and view times by what became of them.", []string{"event", "reason"},
		func(say func(float64, ...string)) {
			stats.EachBeacon(func(event, reason string, n uint64) { say(float64(n), event, reason) })
		})
	o.Counters("nearside_edge_verdicts_total", "What the holder judged of views and clicks.", []string{"verdict"},
		func(say func(float64, ...string)) {
			e.keeper.EachVerdict(func(v holder.Verdict, n uint64) { say(float64(n), v.String()) })
		})
	o.Counters("nearside_edge_strayed_total", "Views and clicks of other homes that went by way of the core, by why no peer judged them.", []string{"why"},
		func(say func(float64, ...string)) {
			e.keeper.EachStrayed(func(why string, n uint64) { say(float64(n), why) })
		})
	counter := func(name, help string, n interface{ Load() uint64 }) {
		o.Counter(name, help, func() float64 { return float64(n.Load()) })
	}
	counter("nearside_edge_panics_total", "Requests that ended in a panic.", &stats.Panics)
	counter("nearside_edge_rejected_total", "Requests that were not HTTP, too large or too slow.", &stats.Rejected)
	counter("nearside_edge_template_failures_total", "Ads rendered with the built-in template because their type's own failed.", &stats.Templates)
	counter("nearside_edge_records_total", "Decisions of which a record was kept for replay.", &stats.Recorded)
	counter("nearside_edge_explanations_total", "Explanations given.", &stats.Explained)
	counter("nearside_edge_exchanges_total", "Exchanges that the core answered.", &up.Exchanges)
	counter("nearside_edge_exchange_failures_total", "Exchanges that failed.", &up.Failures)
	counter("nearside_edge_statements_total", "Statements of the account that a core took which lost history.", &up.Statements)
	counter("nearside_edge_exchanges_withheld_total", "Exchanges whose grants were not taken because the core forgot.", &up.Withheld)
	counter("nearside_edge_catalogs_total", "Catalogs put in force.", &up.Catalogs)
	counter("nearside_edge_catalog_deltas_total", "Of the catalogs put in force, those made from deltas.", &up.Deltas)
	counter("nearside_edge_bad_catalogs_total", "Catalogs that could not be read or applied.", &up.BadNews)
	counter("nearside_edge_fences_total", "Times this node's holder was fenced.", &up.Fences)
	o.Counter("nearside_edge_exchange_seconds_total", "Time from sending to the answer, of all answered exchanges.",
		func() float64 { return float64(up.Nanos.Load()) / 1e9 })
	o.Counter("nearside_edge_uncounted_total", "Decisions and refusals left out of reports for want of room.",
		func() float64 { return float64(e.tally.Dropped()) })
	o.Gauge("nearside_edge_stream_open", "Whether the core's stream is open.", func() float64 { return truth(up.Connected.Load()) })
	o.Gauge("nearside_edge_catalog_version", "Version of the catalog in force.", func() float64 { return float64(e.server.Version()) })

	o.Gauge("nearside_edge_exchange_age_seconds", "Time since the core last answered; -1 before the first time.", func() float64 {
		heard := e.status.Load().HeardAt
		if heard == 0 {
			return -1
		}
		return time.Since(time.UnixMilli(heard)).Seconds()
	})
	o.Gauge("nearside_edge_clock_skew_seconds", "This clock less the core's.", func() float64 { return float64(e.status.Load().Skew) / 1000 })
	o.Gauges("nearside_edge_leased", "What may still be debited here, of all leases.", []string{"unit"},
		func(say func(float64, ...string)) {
			_, available, _ := e.keeper.Held()
			say(float64(available), "events")
		})
	o.Counters("nearside_edge_spent_total", "What this holder has debited.", []string{"unit"},
		func(say func(float64, ...string)) {
			_, _, spent := e.keeper.Held()
			say(float64(spent), "events")
		})
	o.Gauge("nearside_edge_in_flight", "Offers whose view may still come; a drain waits for them, within bounds.", func() float64 { return float64(e.keeper.InFlight()) })
	o.Gauge("nearside_edge_leases", "Leases held.", func() float64 {
		leases, _, _ := e.keeper.Held()
		return float64(leases)
	})
	o.Gauge("nearside_edge_batches_unacknowledged", "Sealed batches that the core has not acknowledged.", func() float64 { return float64(e.status.Load().Sealed) })
	o.Gauge("nearside_edge_former_holders", "Fenced holders whose journals are still to be handed in.", func() float64 { return float64(e.status.Load().Former) })
	o.Gauge("nearside_edge_paid_stopped", "Whether paid offers have stopped: too long without the core, or the disk nearly full.",
		func() float64 { return truth(e.status.Load().PaidStopped) })
	o.Gauge("nearside_edge_disk_free_bytes", "Room left where the journal is.", func() float64 { return float64(e.status.Load().DiskFree) })
	o.Counter("nearside_edge_gossip_key_changes_total", "Times that the region's keys were replaced while the edge ran.", func() float64 { return float64(e.files.changes.Load()) })
	o.Counter("nearside_edge_credential_renewals_total", "Times that the credential was renewed with the core.", func() float64 { return float64(e.up.Stats().Renewals.Load()) })
	o.Gauge("nearside_edge_certificate_expiry_timestamp_seconds", "When the certificate that this node shows others runs out; 0 where it has none.", func() float64 {
		if e.credential == nil || !e.credential.Has() {
			return 0
		}
		return float64(e.credential.Until().Unix())
	})
	o.Gauge("nearside_edge_region_nodes", "Live nodes of this region as gossip has it, this one included; 1 where the region does not gossip.", func() float64 {
		if e.region == nil {
			return 1
		}
		return float64(len(e.region.Peers()))
	})
	e.exposeJournal()
	e.exposeCopies()
	load := newLoad()
	o.Gauge("nearside_edge_saturation", "How busy this node is, from 0 to 1: the larger of its share of the processors and of connections.",
		func() float64 { return max(load.read(), e.server.Connections()) })
}

// exposeJournal names the counters of the journal in use. They start over with
// a new holder.
func (e *edge) exposeJournal() {
	counter := func(name, help string, read func(*journal.Stats) float64) {
		e.ops.Counter(name, help, func() float64 {
			if s := e.keeper.Journal(); s != nil {
				return read(s)
			}
			return 0
		})
	}
	counter("nearside_edge_journal_records_total", "Records appended.", func(s *journal.Stats) float64 { return float64(s.Appends.Load()) })
	counter("nearside_edge_journal_refused_total", "Records for which there was no room.", func(s *journal.Stats) float64 { return float64(s.Refused.Load()) })
	counter("nearside_edge_journal_commits_total", "Groups of records made durable.", func(s *journal.Stats) float64 { return float64(s.Commits.Load()) })
	counter("nearside_edge_journal_bytes_total", "Bytes of those groups.", func(s *journal.Stats) float64 { return float64(s.Bytes.Load()) })
	counter("nearside_edge_journal_sync_seconds_total", "Time spent making them durable.", func(s *journal.Stats) float64 { return float64(s.SyncNanos.Load()) / 1e9 })
	counter("nearside_edge_journal_checkpoints_total", "Checkpoints taken.", func(s *journal.Stats) float64 { return float64(s.Checkpoints.Load()) })
	e.ops.Gauge("nearside_edge_journal_segments", "Files of the journal.", func() float64 {
		if s := e.keeper.Journal(); s != nil {
			return float64(s.Segments.Load())
		}
		return 0
	})
}

// exposeCopies names what there is to know of journals on a second disk.
func (e *edge) exposeCopies() {
	o := e.ops
	o.Gauge("nearside_edge_copies", "Journals of other nodes that are kept here.", func() float64 {
		if e.copies == nil {
			return 0
		}
		return float64(e.copies.Copies())
	})
	o.Counter("nearside_edge_copies_handed_in_total", "Journals of lost holders that were handed in from here.",
		func() float64 { return float64(e.up.Stats().Copies.Load()) })
	if e.line == nil {
		return
	}
	s := e.line.Stats()
	o.Gauge("nearside_edge_alone", "Whether what is journalled is on one disk only, though it should be on two.", func() float64 { return truth(e.line.Alone()) })
	o.Counter("nearside_edge_replica_alone_total", "Times that no peer kept this node's journal.", func() float64 { return float64(s.Alones.Load()) })
	o.Counter("nearside_edge_replica_appends_total", "Appends to the copy that a peer answered.", func() float64 { return float64(s.Appends.Load()) })
	o.Counter("nearside_edge_replica_seconds_total", "Time from sending to the answer, of those.", func() float64 { return float64(s.Nanos.Load()) / 1e9 })
	o.Counter("nearside_edge_replica_bytes_total", "Bytes of records brought to the copy.", func() float64 { return float64(s.Bytes.Load()) })
	o.Counter("nearside_edge_replica_checkpoints_total", "Checkpoints brought to the copy.", func() float64 { return float64(s.Checkpoints.Load()) })
	o.Counter("nearside_edge_replica_failures_total", "Peers that did not keep, or go on keeping, the copy.", func() float64 { return float64(s.Failures.Load()) })
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// load measures this process's share of the processors it may use, between one
// read and the next.
type load struct {
	mu   sync.Mutex
	at   time.Time
	used time.Duration
	last float64
}

func newLoad() *load { return &load{at: time.Now(), used: processorTime()} }

func (l *load) read() float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, used := time.Now(), processorTime()
	if passed := now.Sub(l.at); passed >= time.Second {
		l.last = min(1, float64(used-l.used)/float64(passed)/float64(processors))
		l.at, l.used = now, used
	}
	return l.last
}

func processorTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
