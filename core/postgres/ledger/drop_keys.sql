DELETE FROM token_keys WHERE id = ANY($1::integer[])
