-- Resources that refer to nothing.

-- name: ReadAdvertiser :one
SELECT id, version, slug, name FROM advertisers WHERE slug = $1;

-- name: ListAdvertisers :many
SELECT id, version, slug, name FROM advertisers WHERE id > sqlc.arg(after) ORDER BY id LIMIT sqlc.arg(n);

-- name: InsertAdvertiser :one
INSERT INTO advertisers (slug, name) VALUES ($1, $2) RETURNING id, version;

-- name: UpdateAdvertiser :one
UPDATE advertisers SET name = $2, version = version + 1 WHERE id = $1 RETURNING version;

-- name: ReadPublisherGroup :one
SELECT id, version, slug, name FROM publisher_groups WHERE slug = $1;

-- name: ListPublisherGroups :many
SELECT id, version, slug, name FROM publisher_groups WHERE id > sqlc.arg(after) ORDER BY id LIMIT sqlc.arg(n);

-- name: InsertPublisherGroup :one
INSERT INTO publisher_groups (slug, name) VALUES ($1, $2) RETURNING id, version;

-- name: UpdatePublisherGroup :one
UPDATE publisher_groups SET name = $2, version = version + 1 WHERE id = $1 RETURNING version;

-- name: ReadAdType :one
SELECT id, version, slug, name, settings FROM ad_types WHERE slug = $1;

-- name: ListAdTypes :many
SELECT id, version, slug, name, settings FROM ad_types WHERE id > sqlc.arg(after) ORDER BY id LIMIT sqlc.arg(n);

-- name: InsertAdType :one
INSERT INTO ad_types (slug, name, settings) VALUES ($1, $2, $3) RETURNING id, version;

-- name: UpdateAdType :one
UPDATE ad_types SET name = $2, settings = $3, version = version + 1 WHERE id = $1 RETURNING version;

-- name: ReadTopic :one
SELECT id, version, slug, name, keywords FROM topics WHERE slug = $1;

-- name: ListTopics :many
SELECT id, version, slug, name, keywords FROM topics WHERE id > sqlc.arg(after) ORDER BY id LIMIT sqlc.arg(n);

-- name: InsertTopic :one
INSERT INTO topics (slug, name, keywords) VALUES ($1, $2, $3) RETURNING id, version;

-- name: UpdateTopic :one
UPDATE topics SET name = $2, keywords = $3, version = version + 1 WHERE id = $1 RETURNING version;

-- name: ReadGeoRegion :one
SELECT id, version, slug, name, countries FROM geo_regions WHERE slug = $1;

-- name: ListGeoRegions :many
SELECT id, version, slug, name, countries FROM geo_regions WHERE id > sqlc.arg(after) ORDER BY id LIMIT sqlc.arg(n);

-- name: InsertGeoRegion :one
INSERT INTO geo_regions (slug, name, countries) VALUES ($1, $2, $3) RETURNING id, version;

-- name: UpdateGeoRegion :one
UPDATE geo_regions SET name = $2, countries = $3, version = version + 1 WHERE id = $1 RETURNING version;
