-- What is kept no longer.

-- name: ForgetRefusals :execrows
DELETE FROM refusals
WHERE ctid = ANY(ARRAY(SELECT old.ctid FROM refusals old WHERE old.hour < sqlc.arg(before) ORDER BY old.hour LIMIT sqlc.arg(n)));
