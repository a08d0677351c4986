-- The caps in force on the days asked for become budgets.
INSERT INTO budgets (id, asked, "limit", unleased, unit)
SELECT k.id, c.cap, c.cap, c.cap, c.unit
FROM unnest($1::bigint[], $2::smallint[], $3::integer[], $4::date[]) AS k (id, kind, owner, day)
JOIN LATERAL (
    SELECT f.daily_cap_micros AS cap, f.daily_cap_from AS starts, greatest(f.cpm_micros / 1000, f.cpc_micros, 1) AS unit
    FROM flights f
    WHERE k.kind = 3 AND f.id = k.owner
    UNION ALL
    SELECT p.daily_cap_micros, p.daily_cap_from,
        (SELECT greatest(max(f.cpm_micros / 1000), max(f.cpc_micros), 1) FROM flights f WHERE f.live)
    FROM publishers p
    WHERE k.kind = 4 AND p.id = k.owner
) c ON c.cap > 0 AND (c.starts IS NULL OR c.starts <= k.day)
ORDER BY k.id
ON CONFLICT (id) DO NOTHING
