SELECT h.id, h.region, h.node, h.state, h.seen_at, l.budget, l.granted, l.spent, l.returned, l.velocity_milli
FROM leases l
JOIN holders h ON h.id = l.holder
WHERE l.budget = ANY($1::bigint[])
ORDER BY h.region, h.node, h.id, l.budget
