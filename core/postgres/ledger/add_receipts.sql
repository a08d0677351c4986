INSERT INTO receipts (holder, kind, version, applied_at)
SELECT u.holder, u.kind, u.version, u.applied_at
FROM unnest($1::integer[], $2::text[], $3::bigint[], $4::timestamptz[]) AS u (holder, kind, version, applied_at)
ON CONFLICT (kind, version, holder) DO NOTHING
