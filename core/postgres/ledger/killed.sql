SELECT id
FROM flights
WHERE id = ANY($1::integer[]) AND state = 'kill'
