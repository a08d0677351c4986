SELECT h.region, h.node, h.secret_hash, c.next_hash, c.issued_at, coalesce(c.authority, ''), c.expires_at, c.trust
FROM holders h LEFT JOIN credentials c ON c.holder = h.id
WHERE h.id = $1
