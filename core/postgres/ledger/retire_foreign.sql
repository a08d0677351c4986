DELETE FROM foreign_events WHERE home = ANY($1::integer[])
