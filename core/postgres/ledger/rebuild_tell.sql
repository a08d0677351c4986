SELECT pg_notify('nearside_catalog', ''), pg_notify('nearside_control', '')
