INSERT INTO windows (holder, boot, floor, next, bits)
SELECT u.holder, u.boot, u.floor, u.next, u.bits
FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[]) AS u (holder, boot, floor, next, bits)
ON CONFLICT (holder, boot) DO UPDATE SET floor = excluded.floor, next = excluded.next, bits = excluded.bits
