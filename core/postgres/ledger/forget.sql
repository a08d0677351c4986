UPDATE ledger
SET forgotten_at = $1, forgotten_by = $2, reason = $3
WHERE id = 1 AND forgotten_at IS NULL
