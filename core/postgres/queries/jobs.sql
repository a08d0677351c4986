-- Work that is done now and then.

-- name: ReadJob :one
SELECT name, turn, started_at, finished_at, succeeded_at, core, result, error, failures FROM jobs WHERE name = $1;

-- name: ListJobs :many
SELECT name, turn, started_at, finished_at, succeeded_at, core, result, error, failures FROM jobs ORDER BY name;

-- name: StartJob :exec
-- A run counts as failed until it ends well: a core may die of it.
INSERT INTO jobs (name, turn, started_at, core, error, failures)
VALUES (sqlc.arg(name), 'epoch', sqlc.arg(started_at), sqlc.arg(core), 'not finished', 1)
ON CONFLICT (name) DO UPDATE
SET started_at = excluded.started_at, finished_at = NULL, core = excluded.core, error = excluded.error,
    failures = least(jobs.failures, 1000) + 1;

-- name: EndJobWell :exec
UPDATE jobs
SET turn = greatest(turn, sqlc.arg(turn)), finished_at = sqlc.arg(finished_at), succeeded_at = sqlc.arg(finished_at),
    result = sqlc.arg(result), error = '', failures = 0
WHERE name = sqlc.arg(name);

-- name: EndJobBadly :exec
UPDATE jobs SET finished_at = sqlc.arg(finished_at), error = sqlc.arg(error) WHERE name = sqlc.arg(name);
