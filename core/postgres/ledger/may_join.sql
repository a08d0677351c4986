SELECT EXISTS (SELECT FROM join_tokens WHERE hash = $1 AND revoked_at IS NULL)
