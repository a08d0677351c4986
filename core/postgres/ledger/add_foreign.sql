INSERT INTO foreign_events (home, position, boot, seq, kind, sender, event, at, outcome)
SELECT u.home, u.position, u.boot, u.seq, u.kind, u.sender, u.event, u.at, u.outcome
FROM unnest(
    $1::integer[], $2::bigint[], $3::bigint[], $4::bigint[], $5::smallint[], $6::integer[], $7::bytea[], $8::timestamptz[], $9::smallint[]
) AS u (home, position, boot, seq, kind, sender, event, at, outcome)
