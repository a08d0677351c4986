SELECT hour, region, reason, n
FROM refusals
WHERE flight = $1 AND hour >= $2
ORDER BY hour, region, reason
