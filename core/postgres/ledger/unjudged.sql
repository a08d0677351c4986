SELECT id
FROM holders
WHERE state = 'fenced' AND handed_in
UNION
SELECT h.id
FROM (SELECT DISTINCT home FROM foreign_events WHERE outcome = 0) f
JOIN holders h ON h.id = f.home AND h.state = 'closed'
ORDER BY id
