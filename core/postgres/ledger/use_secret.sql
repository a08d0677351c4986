-- The row of the holder is locked first, as everywhere.
WITH h AS (
    SELECT id FROM holders WHERE id = $1 FOR NO KEY UPDATE
), used AS (
    UPDATE credentials c SET next_hash = NULL FROM h WHERE c.holder = h.id AND c.next_hash = $2 RETURNING c.holder
)
UPDATE holders SET secret_hash = $2 FROM used WHERE holders.id = used.holder
