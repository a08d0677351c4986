UPDATE join_tokens SET uses = uses + 1, used_at = $2 WHERE id = $1
