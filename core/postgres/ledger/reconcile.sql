-- Each budget against its leases, its refunds and what was counted as billed, each flight's totals against its rollups, those
-- that are kept no longer included. What pages of one topic had is part of what all pages had.
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
    SELECT 'refunded', b.id, b.refunded, coalesce(r.units, 0)
    FROM budgets b
    LEFT JOIN (SELECT (kind::bigint << 56) | flight AS budget, sum(units)::bigint AS units FROM refunds GROUP BY flight, kind) r ON r.budget = b.id
    WHERE b.id >> 56 IN (1, 2) -- of the cap of a day a recovery may give back what no refund of events tells
    UNION ALL
    -- What was billed is what was counted. A flight that has sold views alone, or
    -- clicks alone, has no other events in its account; one that has sold both
    -- may have counted events in a time in which they were free.
    SELECT 'billed', b.id, b.settled, CASE b.id >> 56 WHEN 1 THEN coalesce(s.views, 0) ELSE coalesce(s.clicks, 0) END
    FROM budgets b
    LEFT JOIN sums s ON s.flight = (b.id & 4294967295)
    WHERE b.id >> 56 IN (1, 2)
        -- the counts of what a recovery was told come with the next batches
        AND NOT EXISTS (SELECT FROM holders h JOIN leases l ON l.holder = h.id AND l.budget = b.id WHERE h.batch < h.recovered)
        AND (NOT EXISTS (SELECT FROM budgets o WHERE o.id = (b.id # (3::bigint << 56)))
            OR b.settled > CASE b.id >> 56 WHEN 1 THEN coalesce(s.views, 0) ELSE coalesce(s.clicks, 0) END)
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
    UNION ALL
    SELECT c.what, t.flight, c.have, least(c.have, coalesce(c.most, 0))
    FROM (
        SELECT flight, max(views) AS views, max(clicks) AS clicks, max(unbilled_views) AS unbilled_views, max(unbilled_clicks) AS unbilled_clicks,
            max(home_lost) AS home_lost, max(spent_micros) AS spent_micros
        FROM (
            SELECT flight, sum(views)::bigint AS views, sum(clicks)::bigint AS clicks, sum(unbilled_views)::bigint AS unbilled_views,
                sum(unbilled_clicks)::bigint AS unbilled_clicks, sum(home_lost)::bigint AS home_lost, sum(spent_micros)::bigint AS spent_micros
            FROM topic_counts
            WHERE flight > 0
            GROUP BY flight, topic
        ) AS by_topic
        GROUP BY flight
    ) AS t
    LEFT JOIN sums s ON s.flight = t.flight
    CROSS JOIN LATERAL (VALUES
        ('topic views', t.views, s.views),
        ('topic clicks', t.clicks, s.clicks),
        ('topic unbilled_views', t.unbilled_views, s.unbilled_views),
        ('topic unbilled_clicks', t.unbilled_clicks, s.unbilled_clicks),
        ('topic home_lost', t.home_lost, s.home_lost),
        ('topic spent_micros', t.spent_micros, s.spent_micros)
    ) AS c (what, have, most)
)
SELECT what, id, have, want
FROM compared
WHERE have <> want
ORDER BY what, id
