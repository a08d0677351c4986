-- Ids begin with the kind and the day: budgets without a day, then by day.
SELECT b.id, b.asked, b."limit", b.unleased, b.outstanding, b.settled, b.refunded, b.judged, b.unit, b.velocity_milli, b.tight, b.brokered, b.changed
FROM budgets b
WHERE b.id < $1 OR b.id BETWEEN $2 AND $3 OR b.id >= $4
ORDER BY b.id
