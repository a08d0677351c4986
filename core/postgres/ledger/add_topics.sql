INSERT INTO topic_counts AS t (hour, region, topic, flight, country, decisions, offers, views, clicks, unbilled_views, unbilled_clicks, home_lost, spent_micros)
SELECT u.hour, u.region, u.topic, u.flight, u.country, u.decisions, u.offers, u.views, u.clicks, u.unbilled_views, u.unbilled_clicks, u.home_lost, u.spent_micros
FROM unnest(
    $1::timestamptz[], $2::text[], $3::integer[], $4::integer[], $5::text[], $6::bigint[], $7::bigint[],
    $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[]
) AS u (hour, region, topic, flight, country, decisions, offers, views, clicks, unbilled_views, unbilled_clicks, home_lost, spent_micros)
ON CONFLICT (hour, topic, flight, country, region) DO UPDATE
SET decisions = t.decisions + excluded.decisions, offers = t.offers + excluded.offers,
    views = t.views + excluded.views, clicks = t.clicks + excluded.clicks,
    unbilled_views = t.unbilled_views + excluded.unbilled_views, unbilled_clicks = t.unbilled_clicks + excluded.unbilled_clicks,
    home_lost = t.home_lost + excluded.home_lost, spent_micros = t.spent_micros + excluded.spent_micros
