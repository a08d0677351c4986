-- Whether the core forgot, and how many holders are open.
SELECT forgotten_at IS NOT NULL, (SELECT count(*) FROM holders WHERE state = 'open')
FROM ledger
WHERE id = 1
