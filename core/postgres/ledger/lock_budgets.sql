-- Those named, and those that the holders in $2 lease from.
SELECT b.id, b.asked, b."limit", b.unleased, b.outstanding, b.settled, b.refunded, b.judged, b.unit, b.velocity_milli, b.tight, b.brokered, b.changed
FROM budgets b
WHERE b.id = ANY($1::bigint[] || ARRAY(SELECT l.budget FROM leases l WHERE l.holder = ANY($2::integer[])))
ORDER BY b.id
FOR NO KEY UPDATE
