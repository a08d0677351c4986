-- Counters, controls and the published catalog.

-- name: LockCounters :one
-- Every write of the admin API takes this lock first, so that versions are
-- ordered as the commits are.
SELECT catalog_version, control_version FROM counters WHERE id = 1 FOR UPDATE;

-- name: RaiseCatalogVersion :one
-- An edge may have applied a version that a restored database has forgotten;
-- the next one must be above it. What is absurdly high was not issued here.
UPDATE counters
SET catalog_version = greatest(catalog_version,
    (SELECT coalesce(max(applied_catalog), 0) FROM holders WHERE applied_catalog < 1::bigint << 53)) + 1
WHERE id = 1
RETURNING catalog_version;

-- name: RaiseControlVersion :one
UPDATE counters
SET control_version = greatest(control_version,
    (SELECT coalesce(max(applied_control), 0) FROM holders WHERE applied_control < 1::bigint << 53)) + 1
WHERE id = 1
RETURNING control_version;

-- name: CatalogVersion :one
SELECT catalog_version FROM counters WHERE id = 1;

-- name: InsertControl :exec
INSERT INTO controls (version, flight, state, actor) VALUES ($1, $2, $3, $4);

-- name: SetFlightState :one
UPDATE flights SET state = $2, control = $3, version = version + 1 WHERE id = $1 RETURNING version;

-- name: HideFlight :exec
UPDATE flights SET hidden_at = now() WHERE id = $1;

-- name: ControlsSince :many
-- The newest control of each flight that was controlled after the version.
SELECT DISTINCT ON (flight) version, flight, state FROM controls
WHERE version > $1
ORDER BY flight, version DESC;

-- name: NotifyCatalog :exec
SELECT pg_notify('nearside_catalog', '');

-- name: NotifyControl :exec
SELECT pg_notify('nearside_control', '');

-- name: NewestCatalog :one
SELECT version, published_at, bytes, flights FROM catalog_versions ORDER BY version DESC LIMIT 1;

-- name: CatalogBytes :one
SELECT bytes FROM catalog_versions WHERE version = $1;

-- name: NewestCatalogVersion :one
SELECT coalesce(max(version), 0)::bigint FROM catalog_versions;

-- name: InsertCatalog :exec
-- The first core to publish a version decides its bytes.
INSERT INTO catalog_versions (version, published_at, bytes, checksum, flights)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (version) DO NOTHING;

-- name: ForgetCatalogs :execrows
DELETE FROM catalog_versions c
WHERE c.published_at < $1 AND c.version < (SELECT max(newest.version) FROM catalog_versions newest);

-- name: ListCatalogVersions :many
SELECT version, published_at, checksum, flights, length(bytes)::integer AS bytes FROM catalog_versions
WHERE version < sqlc.arg(before)
ORDER BY version DESC
LIMIT sqlc.arg(n);

-- name: ReceiptsOf :many
-- When each holder first applied the version or a later one, which includes it.
SELECT h.id, h.region, h.node, h.state, r.version, r.applied_at
FROM holders h
CROSS JOIN LATERAL (
    SELECT receipts.version, receipts.applied_at FROM receipts
    WHERE receipts.kind = sqlc.arg(kind) AND receipts.version >= sqlc.arg(version) AND receipts.holder = h.id
    ORDER BY receipts.version LIMIT 1
) r
WHERE h.id > sqlc.arg(after)
ORDER BY h.id
LIMIT sqlc.arg(n);

-- name: WaitingFor :many
-- Open holders that have not said that they applied the version or a later one.
SELECT h.id, h.region, h.node, h.seen_at
FROM holders h
WHERE h.state = 'open' AND NOT EXISTS (
    SELECT FROM receipts
    WHERE receipts.kind = sqlc.arg(kind) AND receipts.version >= sqlc.arg(version) AND receipts.holder = h.id
)
ORDER BY h.region, h.node
LIMIT 1000;

-- name: Versions :one
SELECT catalog_version, control_version FROM counters WHERE id = 1;

-- name: SnapshotAdvertisers :many
SELECT id, slug, name FROM advertisers ORDER BY id;

-- name: SnapshotGroups :many
SELECT id, slug, name FROM publisher_groups ORDER BY id;

-- name: SnapshotPublishers :many
SELECT p.id, p.slug, p.name, p.settings, p.daily_cap_micros, p.daily_cap_from, coalesce(s.ctr, 0)::double precision AS sampled_ctr
FROM publishers p LEFT JOIN sampled_ctrs s ON s.kind = 'publisher' AND s.id = p.id
ORDER BY p.id;

-- name: SnapshotPublisherGroups :many
SELECT publisher, grp FROM publisher_group_members ORDER BY publisher, grp;

-- name: SnapshotTokenHashes :many
SELECT publisher, hash FROM api_tokens
WHERE role = 'publisher' AND publisher IS NOT NULL AND revoked_at IS NULL
ORDER BY publisher, id;

-- name: SnapshotCampaigns :many
SELECT id, slug, name, advertiser, campaign_type FROM campaigns ORDER BY id;

-- name: SnapshotCampaignGroups :many
SELECT campaign, grp FROM campaign_groups ORDER BY campaign, grp;

-- name: SnapshotCampaignExclusions :many
SELECT campaign, publisher FROM campaign_excluded_publishers ORDER BY campaign, publisher;

-- name: SnapshotFlights :many
-- A hidden flight stays for a while, for the clicks on what was offered of it.
-- Fill is of use only beside a cap, demand only to traffic pacing, where all
-- requests together stand for what is not known of one flight.
SELECT f.id, f.slug, f.name, f.campaign, f.live, f.start_date, f.end_date, f.hard_stop, f.cpm_micros, f.cpc_micros,
    f.sold_views, f.sold_clicks, f.daily_cap_micros, f.daily_cap_from, f.pacing, f.pacing_interval_seconds,
    f.priority_multiplier, f.prioritize_ads_ctr, f.targeting, f.traffic_cap, f.settings, f.state, f.control,
    coalesce(s.ctr, 0)::double precision AS sampled_ctr, t.fill, coalesce(d.weights, everybody.weights) AS demand
FROM flights f
LEFT JOIN sampled_ctrs s ON s.kind = 'flight' AND s.id = f.id
LEFT JOIN traffic_fills t ON t.flight = f.id AND f.traffic_cap <> '{}'
LEFT JOIN demands d ON d.flight = f.id AND f.pacing = 'traffic'
LEFT JOIN demands everybody ON everybody.flight = 0 AND f.pacing = 'traffic'
WHERE f.hidden_at IS NULL OR f.hidden_at > sqlc.arg(hidden_after)
ORDER BY f.id;

-- name: SnapshotAds :many
SELECT a.id, a.slug, a.name, a.flight, a.live, a.headline, a.content, a.cta, a.link, a.image_url,
    coalesce(s.ctr, 0)::double precision AS sampled_ctr
FROM ads a JOIN flights f ON f.id = a.flight
LEFT JOIN sampled_ctrs s ON s.kind = 'ad' AND s.id = a.id
WHERE f.hidden_at IS NULL OR f.hidden_at > sqlc.arg(hidden_after)
ORDER BY a.id;

-- name: SnapshotAdAdTypes :many
SELECT ad, ad_type FROM ad_ad_types ORDER BY ad, ad_type;

-- name: SnapshotAdTypes :many
SELECT id, slug, name, settings FROM ad_types ORDER BY id;

-- name: SnapshotTopics :many
SELECT id, slug, name, keywords FROM topics ORDER BY id;

-- name: SnapshotGeoRegions :many
SELECT id, slug, name, countries FROM geo_regions ORDER BY id;
