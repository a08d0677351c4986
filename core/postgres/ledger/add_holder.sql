INSERT INTO holders (region, node, disk, secret_hash, public_url, version, seen_at, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
RETURNING id
