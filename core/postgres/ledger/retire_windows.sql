DELETE FROM windows WHERE holder = ANY($1::integer[])
