INSERT INTO budgets (id, asked, "limit", unleased, unit)
VALUES ($1, $2, $2, $2, $3)
