INSERT INTO statements (holder, at, proven, statement)
SELECT u.holder, u.at, u.proven, u.statement
FROM unnest($1::integer[], $2::timestamptz[], $3::boolean[], $4::bytea[]) AS u (holder, at, proven, statement)
ON CONFLICT (holder) DO UPDATE SET at = excluded.at, proven = excluded.proven, statement = excluded.statement
