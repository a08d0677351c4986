DELETE FROM leases WHERE holder = ANY($1::integer[])
