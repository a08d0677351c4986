INSERT INTO flight_totals AS t (flight, views, clicks, unbilled_views, unbilled_clicks, home_lost, spent_micros, as_of)
SELECT u.flight, u.views, u.clicks, u.unbilled_views, u.unbilled_clicks, u.home_lost, u.spent_micros, $8
FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
    AS u (flight, views, clicks, unbilled_views, unbilled_clicks, home_lost, spent_micros)
ON CONFLICT (flight) DO UPDATE
SET views = t.views + excluded.views, clicks = t.clicks + excluded.clicks,
    unbilled_views = t.unbilled_views + excluded.unbilled_views, unbilled_clicks = t.unbilled_clicks + excluded.unbilled_clicks,
    home_lost = t.home_lost + excluded.home_lost, spent_micros = t.spent_micros + excluded.spent_micros,
    as_of = greatest(t.as_of, excluded.as_of)
