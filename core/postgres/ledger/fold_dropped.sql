INSERT INTO rollups_dropped AS d (flight, views, clicks, unbilled_views, unbilled_clicks, home_lost, spent_micros)
SELECT g.flight, sum(g.views), sum(g.clicks), sum(g.unbilled_views), sum(g.unbilled_clicks), sum(g.home_lost), sum(g.spent_micros)
FROM %s g
GROUP BY g.flight
ON CONFLICT (flight) DO UPDATE
SET views = d.views + excluded.views, clicks = d.clicks + excluded.clicks,
    unbilled_views = d.unbilled_views + excluded.unbilled_views, unbilled_clicks = d.unbilled_clicks + excluded.unbilled_clicks,
    home_lost = d.home_lost + excluded.home_lost, spent_micros = d.spent_micros + excluded.spent_micros
