UPDATE ledger SET forgotten_at = NULL, forgotten_by = NULL, reason = '', recovered_at = $1 WHERE id = 1
