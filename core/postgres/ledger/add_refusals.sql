INSERT INTO refusals AS r (hour, region, flight, reason, n)
SELECT u.hour, u.region, u.flight, u.reason, u.n
FROM unnest($1::timestamptz[], $2::text[], $3::integer[], $4::text[], $5::bigint[]) AS u (hour, region, flight, reason, n)
ON CONFLICT (hour, flight, reason, region) DO UPDATE SET n = r.n + excluded.n
