INSERT INTO token_keys (id, secret, seal_from, seal_until, verify_until)
SELECT u.id, u.secret, u.seal_from, u.seal_until, u.verify_until
FROM unnest($1::integer[], $2::bytea[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[])
    AS u (id, secret, seal_from, seal_until, verify_until)
ON CONFLICT (id) DO UPDATE SET seal_from = excluded.seal_from, seal_until = excluded.seal_until, verify_until = excluded.verify_until
