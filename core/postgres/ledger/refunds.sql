SELECT id, flight, kind, units, micros, reason, actor, at
FROM refunds
WHERE flight = $1
ORDER BY id DESC
LIMIT 1000
