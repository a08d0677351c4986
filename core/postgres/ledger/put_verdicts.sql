UPDATE foreign_events f
SET outcome = u.outcome
FROM unnest($1::integer[], $2::bigint[], $3::smallint[]) AS u (home, position, outcome)
WHERE f.home = u.home AND f.position = u.position AND f.outcome = 0
