UPDATE counters
SET catalog_version = greatest(catalog_version, $1) + 1, control_version = greatest(control_version, $2)
WHERE id = 1
