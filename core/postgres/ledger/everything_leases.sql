SELECT holder, budget, granted, spent, returned, velocity_milli
FROM leases
ORDER BY holder, budget
