-- While the core has forgotten, exchanges write holders alone.
LOCK TABLE holders, budgets, leases IN SHARE ROW EXCLUSIVE MODE
