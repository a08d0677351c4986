UPDATE holders h
SET secret_hash = u.secret_hash, state = u.state, state_reason = u.state_reason, public_url = u.public_url, version = u.version,
    boot = u.boot, boot_ordinal = u.boot_ordinal, batch = u.batch, position = u.position, hash = u.hash, seen_at = u.seen_at,
    applied_catalog = u.applied_catalog, applied_control = u.applied_control, alone = u.alone,
    foreign_position = u.foreign_position, foreign_ack = u.foreign_ack, handed_in = u.handed_in, retired = u.retired,
    doubt = u.doubt, stated = u.stated, recovered = u.recovered, closed_at = u.closed_at
FROM unnest(
    $1::integer[], $2::bytea[], $3::text[], $4::text[], $5::text[], $6::text[],
    $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bytea[], $12::timestamptz[],
    $13::bigint[], $14::bigint[], $15::boolean[], $16::bigint[], $17::bigint[], $18::boolean[], $19::boolean[], $20::timestamptz[],
    $21::text[], $22::bigint[], $23::bigint[]
) AS u (
    id, secret_hash, state, state_reason, public_url, version,
    boot, boot_ordinal, batch, position, hash, seen_at,
    applied_catalog, applied_control, alone, foreign_position, foreign_ack, handed_in, retired, closed_at,
    doubt, stated, recovered
)
WHERE h.id = u.id
