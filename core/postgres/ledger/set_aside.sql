-- What holders that are not closed may still spend of flights' events, and what
-- that is worth. Ids of budgets of days begin at $1.
SELECT h.id, h.region, h.node, h.state, h.state_reason, h.version, h.seen_at, h.created_at,
    coalesce(sum(l.granted - l.spent - l.returned), 0)::bigint,
    coalesce(sum((l.granted - l.spent - l.returned)::numeric
        * CASE l.budget >> 56 WHEN 1 THEN f.cpm_micros / 1000 ELSE f.cpc_micros END), 0)::bigint
FROM holders h
LEFT JOIN leases l ON l.holder = h.id AND l.budget < $1 AND l.granted > l.spent + l.returned
LEFT JOIN flights f ON f.id = (l.budget & 4294967295)
WHERE h.state <> 'closed' AND h.seen_at <= $2
GROUP BY h.id
ORDER BY h.seen_at, h.id
