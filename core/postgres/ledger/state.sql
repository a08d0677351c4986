-- Whether the core forgot, how many holders are open, which of them claim what
-- cannot be, and what stamps are made and judged by.
SELECT forgotten_at IS NOT NULL, (SELECT count(*) FROM holders WHERE state = 'open'),
    ARRAY(SELECT id FROM holders WHERE doubt <> '' AND state = 'open'),
    stamp_key, recovered_at
FROM ledger
WHERE id = 1
