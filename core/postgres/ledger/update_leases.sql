UPDATE leases l
SET granted = u.granted, spent = u.spent, returned = u.returned, velocity_milli = u.velocity_milli
FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
    AS u (holder, budget, granted, spent, returned, velocity_milli)
WHERE l.holder = u.holder AND l.budget = u.budget
