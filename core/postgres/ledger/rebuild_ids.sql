SELECT setval(pg_get_serial_sequence($1::text, 'id'), greatest($2::bigint, nextval(pg_get_serial_sequence($1::text, 'id'))))
