SELECT f.home, f.boot, f.seq, f.kind
FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::smallint[]) AS k (home, boot, seq, kind)
JOIN foreign_events f ON f.home = k.home AND f.boot = k.boot AND f.seq = k.seq AND f.kind = k.kind
