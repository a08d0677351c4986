-- What an event costs, and the newest control that this database knows.
SELECT f.id, CASE WHEN f.cpm_micros > 0 THEN f.cpm_micros / 1000 ELSE 0 END, f.cpc_micros, coalesce(c.version, 0)
FROM flights f
LEFT JOIN LATERAL (SELECT version FROM controls WHERE flight = f.id ORDER BY version DESC LIMIT 1) c ON true
