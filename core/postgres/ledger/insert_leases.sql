INSERT INTO leases (holder, budget, granted, spent, returned, velocity_milli)
SELECT u.holder, u.budget, u.granted, u.spent, u.returned, u.velocity_milli
FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
    AS u (holder, budget, granted, spent, returned, velocity_milli)
