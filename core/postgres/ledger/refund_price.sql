-- What one event costs now, and what was paid and not refunded yet.
SELECT CASE $2::smallint WHEN 1 THEN f.cpm_micros / 1000 ELSE f.cpc_micros END,
    coalesce((SELECT spent_micros FROM flight_totals WHERE flight = f.id), 0)
        - coalesce((SELECT sum(micros) FROM refunds WHERE flight = f.id), 0)::bigint
FROM flights f
WHERE f.id = $1
