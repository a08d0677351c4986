-- +goose Up
-- Little remains of the budget: in each region one node, the flight's broker,
-- leases it and offers the flight.
ALTER TABLE budgets ADD COLUMN brokered boolean NOT NULL DEFAULT false;
