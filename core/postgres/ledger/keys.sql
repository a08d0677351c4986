SELECT id, secret, seal_from, seal_until, verify_until
FROM token_keys
ORDER BY id
