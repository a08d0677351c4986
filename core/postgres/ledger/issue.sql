INSERT INTO credentials (holder, next_hash, issued_at, authority, expires_at)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (holder) DO UPDATE SET
    next_hash = excluded.next_hash, issued_at = excluded.issued_at, authority = excluded.authority, expires_at = excluded.expires_at
