SELECT boot, floor, next, bits
FROM windows
WHERE holder = $1
