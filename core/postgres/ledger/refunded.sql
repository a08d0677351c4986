SELECT flight,
    coalesce(sum(units) FILTER (WHERE kind = 1), 0)::bigint, coalesce(sum(units) FILTER (WHERE kind = 2), 0)::bigint, sum(micros)::bigint
FROM refunds
WHERE flight = ANY($1::integer[])
GROUP BY flight
