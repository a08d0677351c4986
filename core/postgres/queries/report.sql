-- What was decided and delivered, by any of the dimensions.

-- name: DeliveryReport :many
-- Decisions and offers are not counted by ad. A dimension that is not asked
-- for is '' (and at is 1970), so that rows fold. Refunds are known by flight
-- alone, and count in the hour in which they were given.
WITH part AS (
    SELECT r.hour, r.region, r.flight, r.ad, r.publisher, r.country, 0::bigint AS decisions, 0::bigint AS offers,
        r.views, r.clicks, r.unbilled_views, r.unbilled_clicks, r.spent_micros,
        0::bigint AS refunded_views, 0::bigint AS refunded_clicks, 0::bigint AS refunded_micros
    FROM rollups r
    WHERE r.hour >= sqlc.arg(since) AND r.hour < sqlc.arg(until)
        AND (sqlc.arg(region)::text = '' OR r.region = sqlc.arg(region))
        AND (sqlc.arg(country)::text = '' OR r.country = sqlc.arg(country))
        AND (sqlc.narg(flight)::integer IS NULL OR r.flight = sqlc.narg(flight))
        AND (sqlc.narg(publisher)::integer IS NULL OR r.publisher = sqlc.narg(publisher))
    UNION ALL
    SELECT d.hour, d.region, d.flight, 0, d.publisher, d.country, d.decisions, d.offers, 0, 0, 0, 0, 0, 0, 0, 0
    FROM decision_counts d
    WHERE d.hour >= sqlc.arg(since) AND d.hour < sqlc.arg(until)
        AND (sqlc.arg(region)::text = '' OR d.region = sqlc.arg(region))
        AND (sqlc.arg(country)::text = '' OR d.country = sqlc.arg(country))
        AND (sqlc.narg(flight)::integer IS NULL OR d.flight = sqlc.narg(flight))
        AND (sqlc.narg(publisher)::integer IS NULL OR d.publisher = sqlc.narg(publisher))
    UNION ALL
    SELECT date_trunc('hour', b.at, 'UTC'), '', b.flight, 0, 0, '', 0, 0, 0, 0, 0, 0, 0,
        CASE WHEN b.kind = 1 THEN b.units ELSE 0 END, CASE WHEN b.kind = 2 THEN b.units ELSE 0 END, b.micros
    FROM refunds b
    WHERE b.at >= sqlc.arg(since) AND b.at < sqlc.arg(until)
        AND sqlc.arg(region)::text = '' AND sqlc.arg(country)::text = '' AND sqlc.narg(publisher)::integer IS NULL
        AND (sqlc.narg(flight)::integer IS NULL OR b.flight = sqlc.narg(flight))
), folded AS (
    SELECT
        CASE WHEN sqlc.arg(by_hour)::boolean THEN part.hour
            WHEN sqlc.arg(by_day)::boolean THEN date_trunc('day', part.hour, 'UTC')
            ELSE timestamptz 'epoch' END AS at,
        CASE WHEN sqlc.arg(by_region)::boolean THEN part.region ELSE '' END AS region,
        CASE WHEN sqlc.arg(by_country)::boolean THEN part.country ELSE '' END AS country,
        CASE WHEN sqlc.arg(by_publisher)::boolean THEN part.publisher ELSE 0 END AS publisher,
        CASE WHEN sqlc.arg(by_advertiser)::boolean THEN c.advertiser ELSE 0 END AS advertiser,
        CASE WHEN sqlc.arg(by_campaign)::boolean THEN f.campaign ELSE 0 END AS campaign,
        CASE WHEN sqlc.arg(by_flight)::boolean THEN part.flight ELSE 0 END AS flight,
        CASE WHEN sqlc.arg(by_ad)::boolean THEN part.ad ELSE 0 END AS ad,
        sum(part.decisions) AS decisions, sum(part.offers) AS offers, sum(part.views) AS views, sum(part.clicks) AS clicks,
        sum(part.unbilled_views) AS unbilled_views, sum(part.unbilled_clicks) AS unbilled_clicks, sum(part.spent_micros) AS spent_micros,
        sum(part.refunded_views) AS refunded_views, sum(part.refunded_clicks) AS refunded_clicks, sum(part.refunded_micros) AS refunded_micros
    FROM part
    LEFT JOIN flights f ON f.id = part.flight
    LEFT JOIN campaigns c ON c.id = f.campaign
    WHERE (sqlc.narg(campaign)::integer IS NULL OR f.campaign = sqlc.narg(campaign))
        AND (sqlc.narg(advertiser)::integer IS NULL OR c.advertiser = sqlc.narg(advertiser))
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
)
SELECT folded.at::timestamptz AS at, folded.region::text AS region, folded.country::text AS country,
    coalesce(p.slug, '')::text AS publisher, coalesce(v.slug, '')::text AS advertiser, coalesce(c.slug, '')::text AS campaign,
    coalesce(f.slug, '')::text AS flight, coalesce(a.slug, '')::text AS ad,
    folded.decisions::bigint AS decisions, folded.offers::bigint AS offers, folded.views::bigint AS views,
    folded.clicks::bigint AS clicks, folded.unbilled_views::bigint AS unbilled_views,
    folded.unbilled_clicks::bigint AS unbilled_clicks, folded.spent_micros::bigint AS spent_micros,
    folded.refunded_views::bigint AS refunded_views, folded.refunded_clicks::bigint AS refunded_clicks,
    folded.refunded_micros::bigint AS refunded_micros
FROM folded
LEFT JOIN publishers p ON p.id = folded.publisher
LEFT JOIN advertisers v ON v.id = folded.advertiser
LEFT JOIN campaigns c ON c.id = folded.campaign
LEFT JOIN flights f ON f.id = folded.flight
LEFT JOIN ads a ON a.id = folded.ad
ORDER BY folded.at, v.slug, c.slug, f.slug, a.slug, p.slug, folded.region, folded.country
LIMIT sqlc.arg(n) OFFSET sqlc.arg(skip);

-- name: TopicReport :many
-- By topic: a page of several counts for each of them. Dimensions fold as above.
WITH part AS (
    SELECT r.hour, r.region, r.topic, r.flight, r.country, r.decisions, r.offers, r.views, r.clicks, r.unbilled_views, r.unbilled_clicks, r.spent_micros
    FROM topic_counts r
    WHERE r.hour >= sqlc.arg(since) AND r.hour < sqlc.arg(until)
        AND (sqlc.arg(region)::text = '' OR r.region = sqlc.arg(region))
        AND (sqlc.arg(country)::text = '' OR r.country = sqlc.arg(country))
        AND (sqlc.narg(flight)::integer IS NULL OR r.flight = sqlc.narg(flight))
        AND (sqlc.narg(topic)::integer IS NULL OR r.topic = sqlc.narg(topic))
), folded AS (
    SELECT
        CASE WHEN sqlc.arg(by_hour)::boolean THEN part.hour
            WHEN sqlc.arg(by_day)::boolean THEN date_trunc('day', part.hour, 'UTC')
            ELSE timestamptz 'epoch' END AS at,
        part.topic AS topic,
        CASE WHEN sqlc.arg(by_region)::boolean THEN part.region ELSE '' END AS region,
        CASE WHEN sqlc.arg(by_country)::boolean THEN part.country ELSE '' END AS country,
        CASE WHEN sqlc.arg(by_advertiser)::boolean THEN c.advertiser ELSE 0 END AS advertiser,
        CASE WHEN sqlc.arg(by_campaign)::boolean THEN f.campaign ELSE 0 END AS campaign,
        CASE WHEN sqlc.arg(by_flight)::boolean THEN part.flight ELSE 0 END AS flight,
        sum(part.decisions) AS decisions, sum(part.offers) AS offers, sum(part.views) AS views, sum(part.clicks) AS clicks,
        sum(part.unbilled_views) AS unbilled_views, sum(part.unbilled_clicks) AS unbilled_clicks, sum(part.spent_micros) AS spent_micros
    FROM part
    LEFT JOIN flights f ON f.id = part.flight
    LEFT JOIN campaigns c ON c.id = f.campaign
    WHERE (sqlc.narg(campaign)::integer IS NULL OR f.campaign = sqlc.narg(campaign))
        AND (sqlc.narg(advertiser)::integer IS NULL OR c.advertiser = sqlc.narg(advertiser))
    GROUP BY 1, 2, 3, 4, 5, 6, 7
)
SELECT folded.at::timestamptz AS at, coalesce(t.slug, '')::text AS topic, folded.region::text AS region, folded.country::text AS country,
    coalesce(v.slug, '')::text AS advertiser, coalesce(c.slug, '')::text AS campaign, coalesce(f.slug, '')::text AS flight,
    folded.decisions::bigint AS decisions, folded.offers::bigint AS offers, folded.views::bigint AS views,
    folded.clicks::bigint AS clicks, folded.unbilled_views::bigint AS unbilled_views,
    folded.unbilled_clicks::bigint AS unbilled_clicks, folded.spent_micros::bigint AS spent_micros
FROM folded
LEFT JOIN topics t ON t.id = folded.topic
LEFT JOIN advertisers v ON v.id = folded.advertiser
LEFT JOIN campaigns c ON c.id = folded.campaign
LEFT JOIN flights f ON f.id = folded.flight
ORDER BY folded.at, t.slug, folded.topic, v.slug, c.slug, f.slug, folded.region, folded.country
LIMIT sqlc.arg(n) OFFSET sqlc.arg(skip);

-- name: AnyFlightsBySlug :many
-- Deleted ones too: their delivery stays in reports.
SELECT id, slug FROM flights WHERE slug = ANY(sqlc.arg(slugs)::text[]);
