SELECT id
FROM holders
WHERE state = 'closed' AND NOT retired AND closed_at < $1
ORDER BY id
LIMIT 100
