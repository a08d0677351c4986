UPDATE budgets b
SET asked = u.asked, "limit" = u.lim, unleased = u.unleased, outstanding = u.outstanding, settled = u.settled, refunded = u.refunded,
    judged = u.judged, unit = u.unit, velocity_milli = u.velocity_milli, tight = u.tight, brokered = u.brokered, changed = u.changed
FROM unnest(
    $1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],
    $10::bigint[], $11::boolean[], $12::boolean[], $13::bigint[]
) AS u (id, asked, lim, unleased, outstanding, settled, refunded, judged, unit, velocity_milli, tight, brokered, changed)
WHERE b.id = u.id
