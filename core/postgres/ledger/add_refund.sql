INSERT INTO refunds (flight, kind, units, micros, reason, actor)
VALUES ($1, $2, $3, $4, $5, $6)
RETURNING id, at
