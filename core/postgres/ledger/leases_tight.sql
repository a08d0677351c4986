-- Few budgets are tight at a time; their own index leads to the leases.
SELECT l.holder, l.budget, l.granted, l.spent, l.returned, l.velocity_milli,
    b.id, b.asked, b."limit", b.unleased, b.outstanding, b.settled, b.refunded, b.judged, b.unit, b.velocity_milli, b.tight, b.brokered, b.changed
FROM budgets b
JOIN leases l ON l.budget = b.id AND l.holder = ANY($1::integer[])
WHERE b.tight AND l.granted > l.spent + l.returned
