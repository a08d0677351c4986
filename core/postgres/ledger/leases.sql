SELECT l.holder, l.budget, l.granted, l.spent, l.returned, l.velocity_milli
FROM unnest($1::integer[], $2::bigint[]) AS k (holder, budget)
JOIN leases l ON l.holder = k.holder AND l.budget = k.budget
