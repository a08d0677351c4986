SELECT forgotten_at IS NOT NULL, reason, stamp_key, catalog_version, control_version
FROM ledger
CROSS JOIN counters
WHERE ledger.id = 1
