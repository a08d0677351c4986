-- What slugs refer to.

-- name: AdvertisersBySlug :many
SELECT id, slug FROM advertisers WHERE slug = ANY(sqlc.arg(slugs)::text[]);

-- name: PublisherGroupsBySlug :many
SELECT id, slug FROM publisher_groups WHERE slug = ANY(sqlc.arg(slugs)::text[]);

-- name: PublishersBySlug :many
SELECT id, slug FROM publishers WHERE slug = ANY(sqlc.arg(slugs)::text[]);

-- name: CampaignsBySlug :many
SELECT id, slug FROM campaigns WHERE slug = ANY(sqlc.arg(slugs)::text[]);

-- name: FlightsBySlug :many
SELECT id, slug FROM flights WHERE slug = ANY(sqlc.arg(slugs)::text[]) AND hidden_at IS NULL;

-- name: AdTypesBySlug :many
SELECT id, slug FROM ad_types WHERE slug = ANY(sqlc.arg(slugs)::text[]);

-- name: TopicsBySlug :many
SELECT id, slug FROM topics WHERE slug = ANY(sqlc.arg(slugs)::text[]);

-- name: GeoRegionsBySlug :many
SELECT id, slug FROM geo_regions WHERE slug = ANY(sqlc.arg(slugs)::text[]);
