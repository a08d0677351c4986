-- The budgets of the days in $1 to $2 (of flights) and $3 to $4 (of publishers)
-- are granted in multiples of the largest price that can debit them now.
WITH days AS (
    SELECT b.id, CASE
        WHEN b.id < $3 THEN (SELECT greatest(f.cpm_micros / 1000, f.cpc_micros, 1) FROM flights f WHERE f.id = (b.id & 4294967295)::integer)
        ELSE (SELECT greatest(max(f.cpm_micros / 1000), max(f.cpc_micros), 1) FROM flights f WHERE f.live)
    END AS unit
    FROM budgets b
    WHERE b.id BETWEEN $1 AND $2 OR b.id BETWEEN $3 AND $4
    ORDER BY b.id
    FOR NO KEY UPDATE OF b
)
UPDATE budgets b
SET unit = d.unit, changed = b.changed + 1
FROM days d
WHERE b.id = d.id AND b.unit <> d.unit
