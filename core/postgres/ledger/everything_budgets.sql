SELECT b.id, b.asked, b."limit", b.unleased, b.outstanding, b.settled, b.refunded, b.judged, b.unit, b.velocity_milli, b.tight, b.brokered, b.changed
FROM budgets b
ORDER BY b.id
