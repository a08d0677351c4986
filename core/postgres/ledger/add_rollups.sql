INSERT INTO rollups AS r (hour, region, flight, ad, publisher, country, views, clicks, unbilled_views, unbilled_clicks, home_lost, spent_micros)
SELECT u.hour, u.region, u.flight, u.ad, u.publisher, u.country, u.views, u.clicks, u.unbilled_views, u.unbilled_clicks, u.home_lost, u.spent_micros
FROM unnest(
    $1::timestamptz[], $2::text[], $3::integer[], $4::integer[], $5::integer[], $6::text[],
    $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[]
) AS u (hour, region, flight, ad, publisher, country, views, clicks, unbilled_views, unbilled_clicks, home_lost, spent_micros)
ON CONFLICT (hour, flight, ad, publisher, country, region) DO UPDATE
SET views = r.views + excluded.views, clicks = r.clicks + excluded.clicks,
    unbilled_views = r.unbilled_views + excluded.unbilled_views, unbilled_clicks = r.unbilled_clicks + excluded.unbilled_clicks,
    home_lost = r.home_lost + excluded.home_lost, spent_micros = r.spent_micros + excluded.spent_micros
