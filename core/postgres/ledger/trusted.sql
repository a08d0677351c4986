INSERT INTO credentials (holder, trust) VALUES ($1, $2) ON CONFLICT (holder) DO UPDATE SET trust = excluded.trust
