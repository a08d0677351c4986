-- Views first: a click's view may have a later position.
SELECT f.position, f.boot, f.seq, f.kind, f.sender, f.event, f.at,
    EXISTS (
        SELECT FROM foreign_events v
        WHERE v.home = f.home AND v.boot = f.boot AND v.seq = f.seq AND v.kind = 1 AND v.outcome IN (1, 2)
    ) AS viewed
FROM foreign_events f
WHERE f.home = $1 AND f.outcome = 0
ORDER BY f.kind, f.position
LIMIT $2
