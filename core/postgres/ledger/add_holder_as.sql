INSERT INTO holders (id, region, node, disk, secret_hash, state, state_reason, public_url, version, boot, boot_ordinal, batch, position, hash, seen_at, created_at)
OVERRIDING SYSTEM VALUE
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
