-- The largest price that can debit the budget of a day: $1 its kind, $2 its owner.
SELECT greatest(max(f.cpm_micros / 1000), max(f.cpc_micros), 1)
FROM flights f
WHERE CASE WHEN $1::smallint = 3 THEN f.id = $2::integer ELSE f.live END
