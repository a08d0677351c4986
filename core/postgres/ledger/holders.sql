SELECT id, region, node, disk, secret_hash, state, state_reason, public_url, version, boot, boot_ordinal,
    batch, position, hash, seen_at, applied_catalog, applied_control, alone,
    foreign_position, foreign_ack, handed_in, retired, doubt, stated, recovered, created_at, closed_at
FROM holders
WHERE state <> 'closed' OR closed_at > $1
ORDER BY region, node, id
