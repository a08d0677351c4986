-- Plan against delivery.

-- name: FlightsUnderWay :many
-- What the plan of each flight under way is made of, and what it has delivered.
-- One that is overdue is under way for another 30 days while something is
-- missing.
SELECT f.id, f.start_date, f.end_date, f.hard_stop, f.sold_views, f.sold_clicks, f.pacing, f.pacing_interval_seconds,
    coalesce(d.weights, everybody.weights) AS demand,
    coalesce(t.views, 0)::bigint AS views, coalesce(t.clicks, 0)::bigint AS clicks, coalesce(t.spent_micros, 0)::bigint AS spent_micros
FROM flights f
LEFT JOIN flight_totals t ON t.flight = f.id
LEFT JOIN demands d ON d.flight = f.id AND f.pacing = 'traffic'
LEFT JOIN demands everybody ON everybody.flight = 0 AND f.pacing = 'traffic'
WHERE f.live AND f.hidden_at IS NULL AND f.sold_views + f.sold_clicks > 0 AND f.start_date <= sqlc.arg(today)::date
    AND (f.end_date >= sqlc.arg(today)::date OR NOT f.hard_stop AND f.end_date >= sqlc.arg(today)::date - 30
        AND (coalesce(t.views, 0) < f.sold_views OR coalesce(t.clicks, 0) < f.sold_clicks))
ORDER BY f.id;

-- name: InsertSeries :execrows
INSERT INTO flight_series (at, flight, planned_views, planned_clicks, views, clicks, spent_micros)
SELECT sqlc.arg(at)::timestamptz, unnest(sqlc.arg(flights)::integer[]),
    unnest(sqlc.arg(planned_views)::bigint[]), unnest(sqlc.arg(planned_clicks)::bigint[]),
    unnest(sqlc.arg(views)::bigint[]), unnest(sqlc.arg(clicks)::bigint[]), unnest(sqlc.arg(spent_micros)::bigint[])
ON CONFLICT DO NOTHING;

-- name: FlightSeries :many
-- The last sample of each step that has one. An index scan in each day's
-- partition of the range.
SELECT DISTINCT ON (begins) date_bin(make_interval(secs => sqlc.arg(step)::double precision), s.at, 'epoch')::timestamptz AS begins,
    s.planned_views, s.planned_clicks, s.views, s.clicks, s.spent_micros
FROM flight_series s
WHERE s.flight = sqlc.arg(flight) AND s.at >= sqlc.arg(since) AND s.at < sqlc.arg(until)
ORDER BY begins, s.at DESC;
