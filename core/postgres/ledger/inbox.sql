SELECT f.home, f.position, f.event
FROM unnest($1::integer[]) AS k (home)
JOIN holders h ON h.id = k.home AND h.foreign_position > h.foreign_ack
CROSS JOIN LATERAL (
    SELECT e.home, e.position, e.event
    FROM foreign_events e
    WHERE e.home = k.home AND e.outcome = 0 AND e.position > h.foreign_ack
    ORDER BY e.position
    LIMIT $2
) f
ORDER BY f.home, f.position
