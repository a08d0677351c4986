SELECT holder, at, proven, statement
FROM statements
ORDER BY holder
