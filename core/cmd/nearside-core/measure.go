package main

import (
	"fmt"
	"time"

	"nearside/core/admin"
	"nearside/core/ops"
	"nearside/core/postgres"
	"nearside/core/publish"
)

// measure exposes the counters of the core's parts.
func measure(o *ops.Ops, db *postgres.DB, publisher *publish.Publisher, api *admin.API) {
	o.Gauge("nearside_core_catalog_version", "Newest catalog version that this core offers to edges.", nil, func() float64 {
		version, _ := publisher.Current()
		return float64(version)
	})
	o.Gauge("nearside_core_catalog_published_timestamp_seconds", "When it was published.", nil, func() float64 {
		return float64(publisher.PublishedAt().UnixMilli()) / 1000
	})
	o.Gauge("nearside_core_catalog_bytes", "Published size of it.", nil, func() float64 { return float64(publisher.Stats().Bytes.Load()) })
	o.Gauge("nearside_core_control_version", "Newest control version that this core offers to edges.", nil, func() float64 { return float64(publisher.ControlVersion()) })
	o.Counter("nearside_core_catalog_builds_total", "Catalog versions that this core built.", nil, func() float64 { return float64(publisher.Stats().Built.Load()) })
	o.Counter("nearside_core_catalog_failures_total", "Builds and look-ups of the catalog that failed.", nil, func() float64 { return float64(publisher.Stats().Failed.Load()) })
	o.Gauge("nearside_core_catalog_build_seconds", "What the last build took.", nil, func() float64 {
		return time.Duration(publisher.Stats().BuildNanos.Load()).Seconds()
	})
	for class := 1; class <= 5; class++ {
		o.Counter("nearside_core_admin_requests_total", "Requests to the admin API by class of status.",
			map[string]string{"status": fmt.Sprintf("%dxx", class)},
			func() float64 { return float64(api.Stats().Answered[class].Load()) })
	}
	o.Counter("nearside_core_admin_request_seconds_total", "Time spent in requests to the admin API.", nil, func() float64 {
		return time.Duration(api.Stats().Nanos.Load()).Seconds()
	})
	for i, state := range []string{"used", "idle", "most"} {
		o.Gauge("nearside_core_database_connections", "Connections to the database: in use, idle, and allowed.",
			map[string]string{"state": state}, func() float64 {
				used, idle, most := db.Connections()
				return float64([]int{used, idle, most}[i])
			})
	}
}
