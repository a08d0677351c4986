-- Homes may have judged other events under the numbers that were given anew.
WITH waits AS (
    SELECT home, position, row_number() OVER (PARTITION BY home ORDER BY position) AS n
    FROM foreign_events
    WHERE home = ANY($1::integer[]) AND outcome = 0
), moved AS (
    UPDATE foreign_events f
    SET position = h.foreign_position + w.n
    FROM waits w
    JOIN holders h ON h.id = w.home
    WHERE f.home = w.home AND f.position = w.position
    RETURNING f.home
)
UPDATE holders h
SET foreign_position = h.foreign_position + m.n
FROM (SELECT home, count(*) AS n FROM moved GROUP BY home) m
WHERE h.id = m.home
