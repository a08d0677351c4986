-- Campaigns, flights and ads.

-- name: ReadCampaign :one
SELECT c.id, c.version, c.slug, c.name, a.slug AS advertiser, c.campaign_type,
    ARRAY(SELECT g.slug FROM campaign_groups m JOIN publisher_groups g ON g.id = m.grp
        WHERE m.campaign = c.id ORDER BY g.slug)::text[] AS publisher_groups,
    ARRAY(SELECT p.slug FROM campaign_excluded_publishers m JOIN publishers p ON p.id = m.publisher
        WHERE m.campaign = c.id ORDER BY p.slug)::text[] AS exclude_publishers
FROM campaigns c JOIN advertisers a ON a.id = c.advertiser
WHERE c.slug = $1;

-- name: ListCampaigns :many
SELECT c.id, c.version, c.slug, c.name, a.slug AS advertiser, c.campaign_type,
    ARRAY(SELECT g.slug FROM campaign_groups m JOIN publisher_groups g ON g.id = m.grp
        WHERE m.campaign = c.id ORDER BY g.slug)::text[] AS publisher_groups,
    ARRAY(SELECT p.slug FROM campaign_excluded_publishers m JOIN publishers p ON p.id = m.publisher
        WHERE m.campaign = c.id ORDER BY p.slug)::text[] AS exclude_publishers
FROM campaigns c JOIN advertisers a ON a.id = c.advertiser
WHERE c.id > sqlc.arg(after)
ORDER BY c.id
LIMIT sqlc.arg(n);

-- name: ListCampaignsOf :many
SELECT c.id, c.version, c.slug, c.name, a.slug AS advertiser, c.campaign_type,
    ARRAY(SELECT g.slug FROM campaign_groups m JOIN publisher_groups g ON g.id = m.grp
        WHERE m.campaign = c.id ORDER BY g.slug)::text[] AS publisher_groups,
    ARRAY(SELECT p.slug FROM campaign_excluded_publishers m JOIN publishers p ON p.id = m.publisher
        WHERE m.campaign = c.id ORDER BY p.slug)::text[] AS exclude_publishers
FROM campaigns c JOIN advertisers a ON a.id = c.advertiser
WHERE c.id > sqlc.arg(after) AND a.slug = sqlc.arg(advertiser)
ORDER BY c.id
LIMIT sqlc.arg(n);

-- name: InsertCampaign :one
INSERT INTO campaigns (slug, name, advertiser, campaign_type) VALUES ($1, $2, $3, $4) RETURNING id, version;

-- name: UpdateCampaign :one
UPDATE campaigns SET name = $2, advertiser = $3, campaign_type = $4, version = version + 1
WHERE id = $1
RETURNING version;

-- name: ClearCampaignGroups :exec
DELETE FROM campaign_groups WHERE campaign = $1;

-- name: AddCampaignGroups :exec
INSERT INTO campaign_groups (campaign, grp) SELECT $1, unnest(sqlc.arg(groups)::integer[]);

-- name: ClearCampaignExclusions :exec
DELETE FROM campaign_excluded_publishers WHERE campaign = $1;

-- name: AddCampaignExclusions :exec
INSERT INTO campaign_excluded_publishers (campaign, publisher) SELECT $1, unnest(sqlc.arg(publishers)::integer[]);

-- name: ReadFlight :one
SELECT f.id, f.version, f.slug, f.name, c.slug AS campaign, f.live, f.start_date, f.end_date, f.hard_stop,
    f.cpm_micros, f.cpc_micros, f.sold_views, f.sold_clicks, f.daily_cap_micros, f.daily_cap_from,
    f.pacing, f.pacing_interval_seconds, f.priority_multiplier, f.prioritize_ads_ctr,
    f.targeting, f.traffic_cap, f.settings, f.state, f.control
FROM flights f JOIN campaigns c ON c.id = f.campaign
WHERE f.slug = $1 AND f.hidden_at IS NULL;

-- name: ListFlights :many
SELECT f.id, f.version, f.slug, f.name, c.slug AS campaign, f.live, f.start_date, f.end_date, f.hard_stop,
    f.cpm_micros, f.cpc_micros, f.sold_views, f.sold_clicks, f.daily_cap_micros, f.daily_cap_from,
    f.pacing, f.pacing_interval_seconds, f.priority_multiplier, f.prioritize_ads_ctr,
    f.targeting, f.traffic_cap, f.settings, f.state, f.control
FROM flights f JOIN campaigns c ON c.id = f.campaign
WHERE f.id > sqlc.arg(after) AND f.hidden_at IS NULL
ORDER BY f.id
LIMIT sqlc.arg(n);

-- name: ListFlightsOf :many
SELECT f.id, f.version, f.slug, f.name, c.slug AS campaign, f.live, f.start_date, f.end_date, f.hard_stop,
    f.cpm_micros, f.cpc_micros, f.sold_views, f.sold_clicks, f.daily_cap_micros, f.daily_cap_from,
    f.pacing, f.pacing_interval_seconds, f.priority_multiplier, f.prioritize_ads_ctr,
    f.targeting, f.traffic_cap, f.settings, f.state, f.control
FROM flights f JOIN campaigns c ON c.id = f.campaign
WHERE f.id > sqlc.arg(after) AND f.hidden_at IS NULL
    AND c.slug = sqlc.arg(campaign)
ORDER BY f.id
LIMIT sqlc.arg(n);

-- name: InsertFlight :one
INSERT INTO flights (slug, name, campaign, live, start_date, end_date, hard_stop, cpm_micros, cpc_micros,
    sold_views, sold_clicks, daily_cap_micros, daily_cap_from, pacing, pacing_interval_seconds,
    priority_multiplier, prioritize_ads_ctr, targeting, traffic_cap, settings)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
RETURNING id, version;

-- name: UpdateFlight :one
UPDATE flights
SET name = $2, campaign = $3, live = $4, start_date = $5, end_date = $6, hard_stop = $7, cpm_micros = $8,
    cpc_micros = $9, sold_views = $10, sold_clicks = $11, daily_cap_micros = $12, daily_cap_from = $13,
    pacing = $14, pacing_interval_seconds = $15, priority_multiplier = $16, prioritize_ads_ctr = $17,
    targeting = $18, traffic_cap = $19, settings = $20, version = version + 1
WHERE id = $1
RETURNING version;

-- name: ReadAd :one
SELECT a.id, a.version, a.slug, a.name, f.slug AS flight, a.live, a.headline, a.content, a.cta, a.link, a.image_url,
    ARRAY(SELECT t.slug FROM ad_ad_types m JOIN ad_types t ON t.id = m.ad_type
        WHERE m.ad = a.id ORDER BY t.slug)::text[] AS ad_types
FROM ads a JOIN flights f ON f.id = a.flight
WHERE a.slug = $1 AND f.hidden_at IS NULL;

-- name: ListAds :many
SELECT a.id, a.version, a.slug, a.name, f.slug AS flight, a.live, a.headline, a.content, a.cta, a.link, a.image_url,
    ARRAY(SELECT t.slug FROM ad_ad_types m JOIN ad_types t ON t.id = m.ad_type
        WHERE m.ad = a.id ORDER BY t.slug)::text[] AS ad_types
FROM ads a JOIN flights f ON f.id = a.flight
WHERE a.id > sqlc.arg(after) AND f.hidden_at IS NULL
ORDER BY a.id
LIMIT sqlc.arg(n);

-- name: ListAdsOf :many
SELECT a.id, a.version, a.slug, a.name, f.slug AS flight, a.live, a.headline, a.content, a.cta, a.link, a.image_url,
    ARRAY(SELECT t.slug FROM ad_ad_types m JOIN ad_types t ON t.id = m.ad_type
        WHERE m.ad = a.id ORDER BY t.slug)::text[] AS ad_types
FROM ads a JOIN flights f ON f.id = a.flight
WHERE a.id > sqlc.arg(after) AND f.hidden_at IS NULL
    AND f.slug = sqlc.arg(flight)
ORDER BY a.id
LIMIT sqlc.arg(n);

-- name: InsertAd :one
INSERT INTO ads (slug, name, flight, live, headline, content, cta, link, image_url)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
RETURNING id, version;

-- name: UpdateAd :one
UPDATE ads
SET name = $2, flight = $3, live = $4, headline = $5, content = $6, cta = $7, link = $8, image_url = $9,
    version = version + 1
WHERE id = $1
RETURNING version;

-- name: ClearAdTypes :exec
DELETE FROM ad_ad_types WHERE ad = $1;

-- name: AddAdTypes :exec
INSERT INTO ad_ad_types (ad, ad_type) SELECT $1, unnest(sqlc.arg(ad_types)::integer[]);
