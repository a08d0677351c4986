-- Publishers and their groups.

-- name: ReadPublisher :one
SELECT p.id, p.version, p.slug, p.name, p.settings, p.daily_cap_micros, p.daily_cap_from,
    ARRAY(SELECT g.slug FROM publisher_group_members m JOIN publisher_groups g ON g.id = m.grp
        WHERE m.publisher = p.id ORDER BY g.slug)::text[] AS groups
FROM publishers p
WHERE p.slug = $1;

-- name: ListPublishers :many
SELECT p.id, p.version, p.slug, p.name, p.settings, p.daily_cap_micros, p.daily_cap_from,
    ARRAY(SELECT g.slug FROM publisher_group_members m JOIN publisher_groups g ON g.id = m.grp
        WHERE m.publisher = p.id ORDER BY g.slug)::text[] AS groups
FROM publishers p
WHERE p.id > sqlc.arg(after)
ORDER BY p.id
LIMIT sqlc.arg(n);

-- name: InsertPublisher :one
INSERT INTO publishers (slug, name, settings, daily_cap_micros, daily_cap_from)
VALUES ($1, $2, $3, $4, $5)
RETURNING id, version;

-- name: UpdatePublisher :one
UPDATE publishers
SET name = $2, settings = $3, daily_cap_micros = $4, daily_cap_from = $5, version = version + 1
WHERE id = $1
RETURNING version;

-- name: ClearPublisherGroups :exec
DELETE FROM publisher_group_members WHERE publisher = $1;

-- name: AddPublisherGroups :exec
INSERT INTO publisher_group_members (publisher, grp) SELECT $1, unnest(sqlc.arg(groups)::integer[]);
