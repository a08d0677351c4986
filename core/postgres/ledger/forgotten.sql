SELECT forgotten_at IS NOT NULL FROM ledger WHERE id = 1
