-- What is learnt from what was counted. docs/ad-ops.md says how; core/learn why.

-- name: ClickSamples :many
-- Views and clicks since an hour: on paid campaigns at each publisher that
-- allows them, of each live flight, of each live ad of one.
--
-- Plan, at 10 million rollups in 12 months of 1000 flights: a parallel scan of
-- the one or two months that the window touches (850 000 rows) into a hash
-- aggregate of 4 MB, and hash joins of its 14 000 groups. 0.6 to 1.2 s on 2
-- processors that were busy with other things.
WITH sums AS (
    SELECT r.publisher, r.flight, r.ad, sum(r.views) AS views, sum(r.clicks) AS clicks
    FROM rollups r
    WHERE r.hour >= sqlc.arg(since)
    GROUP BY r.publisher, r.flight, r.ad
)
SELECT 'publisher'::text AS kind, p.id, sum(s.views)::bigint AS views, sum(s.clicks)::bigint AS clicks
FROM sums s
JOIN publishers p ON p.id = s.publisher AND p.settings @> '{"allow_paid_campaigns": true}'
JOIN flights f ON f.id = s.flight
JOIN campaigns c ON c.id = f.campaign AND c.campaign_type = 'paid'
GROUP BY p.id
HAVING sum(s.views) > 0
UNION ALL
SELECT 'flight', f.id, sum(s.views)::bigint, sum(s.clicks)::bigint
FROM sums s
JOIN flights f ON f.id = s.flight AND f.live AND f.hidden_at IS NULL
GROUP BY f.id
HAVING sum(s.views) >= sqlc.arg(least)::bigint
UNION ALL
SELECT 'ad', a.id, sum(s.views)::bigint, sum(s.clicks)::bigint
FROM sums s
JOIN ads a ON a.id = s.ad AND a.live
JOIN flights f ON f.id = a.flight AND f.live AND f.hidden_at IS NULL
GROUP BY a.id
HAVING sum(s.views) >= sqlc.arg(least)::bigint
ORDER BY 1, 2;

-- name: SampledCTRs :many
SELECT kind, id, ctr, views, clicks, sampled_at FROM sampled_ctrs;

-- name: PutSampledCTRs :exec
INSERT INTO sampled_ctrs (kind, id, ctr, views, clicks, sampled_at)
SELECT unnest(sqlc.arg(kinds)::text[]), unnest(sqlc.arg(ids)::integer[]), unnest(sqlc.arg(ctrs)::double precision[]),
    unnest(sqlc.arg(views)::bigint[]), unnest(sqlc.arg(clicks)::bigint[]), sqlc.arg(sampled_at)::timestamptz
ON CONFLICT (kind, id) DO UPDATE
SET ctr = excluded.ctr, views = excluded.views, clicks = excluded.clicks, sampled_at = excluded.sampled_at;

-- name: TrafficShares :many
-- Of all views of each live paid flight: what its publishers, countries and geo
-- regions had. The largest 20 of each kind from a hundredth up, and whatever
-- has a cap.
--
-- Plan, at 10 million rollups: one scan of all months, as the fill is of a
-- flight's whole life, joined by hash with the flights that count, into a hash
-- aggregate of 12 MB with both groupings in the same pass; nothing goes to
-- disk. Grouping sets are not done in parallel: one processor, once a night;
-- 58 s on a machine with 17 runnable processes for each processor.
WITH sums AS ( -- by publisher, where country is null, and by country
    SELECT r.flight, r.publisher, r.country, sum(r.views) AS views
    FROM rollups r
    JOIN flights f ON f.id = r.flight AND f.live AND f.hidden_at IS NULL
    JOIN campaigns c ON c.id = f.campaign AND c.campaign_type = 'paid'
    GROUP BY GROUPING SETS ((r.flight, r.publisher), (r.flight, r.country))
), totals AS (
    SELECT flight, sum(views) AS views FROM sums WHERE country IS NULL GROUP BY flight HAVING sum(views) > 0
), parts AS (
    SELECT s.flight, 'publishers' AS kind, p.slug AS name, s.views
    FROM sums s JOIN publishers p ON p.id = s.publisher
    UNION ALL
    SELECT s.flight, 'countries', s.country, s.views
    FROM sums s
    WHERE s.country ~ '^[A-Z]{2}$'
    UNION ALL
    SELECT s.flight, 'regions', g.slug, sum(s.views)
    FROM sums s JOIN geo_regions g ON s.country = ANY(g.countries)
    GROUP BY s.flight, g.slug
), ranked AS (
    SELECT flight, kind, name, views, row_number() OVER (PARTITION BY flight, kind ORDER BY views DESC, name) AS place
    FROM parts
)
SELECT r.flight, t.views::bigint AS of_views, r.kind::text AS kind, r.name::text AS name, r.views::bigint AS views
FROM ranked r
JOIN totals t ON t.flight = r.flight
JOIN flights f ON f.id = r.flight
WHERE r.place <= sqlc.arg(most)::bigint AND r.views * 100 >= t.views
    OR jsonb_exists(f.traffic_cap -> r.kind, r.name)
ORDER BY r.flight, r.kind, r.place;

-- name: TrafficCaps :many
-- The live flights with caps, and the fill that the catalog has of them.
SELECT f.id, f.traffic_cap, coalesce(t.fill, '{}')::jsonb AS fill
FROM flights f LEFT JOIN traffic_fills t ON t.flight = f.id
WHERE f.traffic_cap <> '{}' AND f.live AND f.hidden_at IS NULL;

-- name: PutTrafficFills :exec
INSERT INTO traffic_fills (flight, fill, views, filled_at)
SELECT unnest(sqlc.arg(flights)::integer[]), unnest(sqlc.arg(fills)::jsonb[]), unnest(sqlc.arg(views)::bigint[]), sqlc.arg(filled_at)::timestamptz
ON CONFLICT (flight) DO UPDATE
SET fill = excluded.fill, views = excluded.views, filled_at = excluded.filled_at;

-- name: RequestsByHour :many
-- How many decisions there were in each hour in which there was one.
SELECT hour, sum(decisions)::bigint AS decisions FROM decision_counts
WHERE hour >= sqlc.arg(since) AND hour < sqlc.arg(until)
GROUP BY hour
HAVING sum(decisions) > 0
ORDER BY hour;

-- name: DemandedFlights :many
-- Flights whose curve is used, with what was seen of them in each hour of a
-- week (from Monday 00:00 UTC): offers, and refusals of requests that they
-- matched.
--
-- Plan, at 10 million decision counts: a scan of the one or two months of the
-- window (770 000 rows), joined by hash with the flights, into hash aggregates
-- of 7 MB. With RequestsByHour, which does the same in parallel, 1.4 to 1.8 s.
WITH wanted AS (
    SELECT id, start_date, targeting FROM flights WHERE live AND hidden_at IS NULL AND pacing = 'traffic'
), seen AS (
    SELECT d.flight, d.hour, sum(d.offers) AS n
    FROM decision_counts d JOIN wanted w ON w.id = d.flight
    WHERE d.hour >= sqlc.arg(since) AND d.hour < sqlc.arg(until)
    GROUP BY d.flight, d.hour
    UNION ALL
    SELECT r.flight, r.hour, sum(r.n)
    FROM refusals r JOIN wanted w ON w.id = r.flight
    WHERE r.hour >= sqlc.arg(since) AND r.hour < sqlc.arg(until) AND r.reason = ANY(sqlc.arg(reasons)::text[])
    GROUP BY r.flight, r.hour
), weekly AS (
    SELECT flight, ((extract(isodow FROM hour AT TIME ZONE 'UTC') - 1) * 24 + extract(hour FROM hour AT TIME ZONE 'UTC'))::integer AS of_week,
        sum(n)::bigint AS n
    FROM seen
    GROUP BY 1, 2
), folded AS (
    SELECT flight, array_agg(of_week ORDER BY of_week) AS hours, array_agg(n ORDER BY of_week) AS counts
    FROM weekly
    GROUP BY flight
)
SELECT w.id, w.start_date, w.targeting, coalesce(k.hours, '{}')::integer[] AS hours, coalesce(k.counts, '{}')::bigint[] AS counts
FROM wanted w LEFT JOIN folded k ON k.flight = w.id
ORDER BY w.id;

-- name: Demands :many
SELECT flight, weights, events FROM demands;

-- name: PutDemand :exec
INSERT INTO demands (flight, weights, events, learnt_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (flight) DO UPDATE SET weights = excluded.weights, events = excluded.events, learnt_at = excluded.learnt_at;

-- name: LearntOfFlights :many
SELECT f.id, s.ctr, s.views AS sample_views, s.clicks AS sample_clicks, s.sampled_at, t.fill, t.filled_at, d.weights, d.events, d.learnt_at
FROM flights f
LEFT JOIN sampled_ctrs s ON s.kind = 'flight' AND s.id = f.id
LEFT JOIN traffic_fills t ON t.flight = f.id
LEFT JOIN demands d ON d.flight = f.id
WHERE f.id = ANY(sqlc.arg(ids)::integer[]);

-- name: CTRsOf :many
SELECT id, ctr, views, clicks, sampled_at FROM sampled_ctrs WHERE kind = sqlc.arg(kind) AND id = ANY(sqlc.arg(ids)::integer[]);
