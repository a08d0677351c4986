SELECT flight, views, clicks, unbilled_views, unbilled_clicks, home_lost, spent_micros, as_of
FROM flight_totals
WHERE flight = ANY($1::integer[])
