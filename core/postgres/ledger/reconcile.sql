-- Each budget against its leases, each flight's totals against its rollups, those
-- that are kept no longer included.
WITH parts AS (
    SELECT budget, sum(granted - spent - returned)::bigint AS outstanding, sum(spent)::bigint AS spent, sum(velocity_milli)::bigint AS velocity
    FROM leases
    GROUP BY budget
), sums AS (
    SELECT flight, sum(views)::bigint AS views, sum(clicks)::bigint AS clicks, sum(unbilled_views)::bigint AS unbilled_views,
        sum(unbilled_clicks)::bigint AS unbilled_clicks, sum(home_lost)::bigint AS home_lost, sum(spent_micros)::bigint AS spent_micros
    FROM (
        SELECT flight, views, clicks, unbilled_views, unbilled_clicks, home_lost, spent_micros FROM rollups
        UNION ALL
        SELECT flight, views, clicks, unbilled_views, unbilled_clicks, home_lost, spent_micros FROM rollups_dropped
    ) AS counted
    GROUP BY flight
), compared AS (
    SELECT c.what, b.id AS id, c.have, c.want
    FROM budgets b
    LEFT JOIN parts p ON p.budget = b.id
    CROSS JOIN LATERAL (VALUES
        ('outstanding', b.outstanding, coalesce(p.outstanding, 0)),
        ('settled', b.settled - b.judged, coalesce(p.spent, 0)),
        ('velocity', b.velocity_milli, coalesce(p.velocity, 0))
    ) AS c (what, have, want)
    UNION ALL
    SELECT c.what, coalesce(t.flight, s.flight), coalesce(c.have, 0), coalesce(c.want, 0)
    FROM flight_totals t
    FULL JOIN sums s ON s.flight = t.flight
    CROSS JOIN LATERAL (VALUES
        ('views', t.views, s.views),
        ('clicks', t.clicks, s.clicks),
        ('unbilled_views', t.unbilled_views, s.unbilled_views),
        ('unbilled_clicks', t.unbilled_clicks, s.unbilled_clicks),
        ('home_lost', t.home_lost, s.home_lost),
        ('spent_micros', t.spent_micros, s.spent_micros)
    ) AS c (what, have, want)
)
SELECT what, id, have, want
FROM compared
WHERE have <> want
ORDER BY what, id
