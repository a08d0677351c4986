SELECT l.holder, l.budget, l.granted, l.spent, l.returned, l.velocity_milli
FROM leases l
WHERE l.holder = ANY($1::integer[])
