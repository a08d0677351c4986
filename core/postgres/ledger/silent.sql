SELECT id
FROM holders
WHERE state = 'open' AND seen_at < $1
ORDER BY id
