-- Bearer tokens, keys of idempotent requests, the audit log.

-- name: TokenByHash :one
SELECT id, name, hash, role, publisher FROM api_tokens WHERE hash = $1 AND revoked_at IS NULL;

-- name: InsertToken :one
INSERT INTO api_tokens (name, hash, role, publisher) VALUES ($1, $2, $3, $4) RETURNING id, created_at;

-- name: ReadToken :one
SELECT t.id, t.name, t.role, p.slug AS publisher, t.created_at, t.revoked_at
FROM api_tokens t LEFT JOIN publishers p ON p.id = t.publisher
WHERE t.id = $1;

-- name: ListTokens :many
SELECT t.id, t.name, t.role, p.slug AS publisher, t.created_at, t.revoked_at
FROM api_tokens t LEFT JOIN publishers p ON p.id = t.publisher
WHERE t.id > sqlc.arg(after)
ORDER BY t.id
LIMIT sqlc.arg(n);

-- name: RevokeToken :execrows
UPDATE api_tokens SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL;

-- name: InsertJoinToken :one
INSERT INTO join_tokens (name, hash, region, expires_at) VALUES ($1, $2, $3, $4) RETURNING id;

-- name: ListJoinTokens :many
SELECT id, name, region, created_at, expires_at, revoked_at, uses, used_at FROM join_tokens ORDER BY id;

-- name: ListCredentials :many
SELECT h.id, h.region, h.node, h.state, h.seen_at, length(h.secret_hash) = 0 AS revoked,
    c.issued_at, coalesce(c.authority, '')::text AS authority, c.expires_at, c.trust
FROM holders h LEFT JOIN credentials c ON c.holder = h.id
WHERE h.state <> 'closed'
ORDER BY h.region, h.node, h.id;

-- name: RevokeCredential :execrows
-- The row of the holder is locked first, as everywhere.
WITH h AS (
    SELECT holders.id FROM holders WHERE holders.id = $1 FOR NO KEY UPDATE
), c AS (
    UPDATE credentials SET next_hash = NULL FROM h WHERE holder = h.id
)
UPDATE holders SET secret_hash = '' FROM h WHERE holders.id = h.id;

-- name: RevokeJoinToken :execrows
UPDATE join_tokens SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL;

-- name: ReadIdempotencyKey :one
SELECT request, answer FROM idempotency_keys WHERE token = $1 AND key = $2;

-- name: InsertIdempotencyKey :exec
INSERT INTO idempotency_keys (token, key, request, answer) VALUES ($1, $2, $3, $4);

-- name: ForgetIdempotencyKeys :execrows
DELETE FROM idempotency_keys WHERE created_at < $1;

-- name: InsertAudit :exec
INSERT INTO audit_log (actor, action, resource, detail) VALUES ($1, $2, $3, $4);

-- name: ListAudit :many
SELECT id, at, actor, action, resource, detail FROM audit_log
WHERE id < sqlc.arg(before)
ORDER BY id DESC
LIMIT sqlc.arg(n);

-- name: ListAuditOf :many
SELECT id, at, actor, action, resource, detail FROM audit_log
WHERE resource = sqlc.arg(resource) AND id < sqlc.arg(before)
ORDER BY id DESC
LIMIT sqlc.arg(n);
