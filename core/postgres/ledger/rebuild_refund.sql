-- At the price of now, and no more than what was paid.
INSERT INTO refunds (flight, kind, units, micros, reason, actor)
SELECT f.id, $2, $3, greatest(0, least($3 * CASE $2::smallint WHEN 1 THEN f.cpm_micros / 1000 ELSE f.cpc_micros END,
        coalesce((SELECT spent_micros FROM flight_totals WHERE flight = f.id), 0)
        - coalesce((SELECT sum(micros) FROM refunds WHERE flight = f.id), 0)::bigint)),
    'billed beyond what was sold, before the core was recovered', 'nearside-core recover'
FROM flights f
WHERE f.id = $1
