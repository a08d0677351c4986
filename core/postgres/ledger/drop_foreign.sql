DELETE FROM foreign_events f
USING (
    SELECT e.home, e.position
    FROM foreign_events e
    JOIN holders h ON h.id = e.home AND h.state = 'open'
    WHERE e.outcome <> 0 AND e.at < $1
    LIMIT 10000
) old
WHERE f.home = old.home AND f.position = old.position
