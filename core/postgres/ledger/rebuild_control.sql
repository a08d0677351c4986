-- An operator's word that was forgotten, under a version above all.
WITH raised AS (
    UPDATE counters SET control_version = control_version + 1 WHERE id = 1 RETURNING control_version
), said AS (
    INSERT INTO controls (version, flight, state, actor)
    SELECT control_version, $1::integer, $2::text, 'recover' FROM raised
)
UPDATE flights SET state = $2::text, control = raised.control_version, version = version + 1
FROM raised
WHERE id = $1::integer
