-- +goose Up
-- What a core needs that finds out that it lost history, and refunds.

ALTER TABLE holders
    ADD COLUMN doubt     text NOT NULL DEFAULT '',  -- what it claims and cannot be, while nobody else bears it out
    ADD COLUMN stated    bigint NOT NULL DEFAULT 0, -- 0: no statement is here; else 1 + the time of the stamp in it
    ADD COLUMN recovered bigint NOT NULL DEFAULT 0; -- the last batch whose totals its statement told; their reports came, or come, with the batches
CREATE INDEX holders_doubted ON holders (id) WHERE doubt <> '';

-- With this key the core signs what it has committed. Edges never see it.
ALTER TABLE ledger
    ADD COLUMN stamp_key bytea NOT NULL
        DEFAULT sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8')),
    ADD COLUMN recovered_at timestamptz; -- when history was last recovered

-- What holders say of their accounts while the core cannot know. No reference:
-- the core may have forgotten the holder itself.
CREATE TABLE statements (
    holder    integer PRIMARY KEY,
    at        timestamptz NOT NULL,  -- when it came
    proven    boolean NOT NULL,      -- the holder's credential, or the core's own stamp, says whose it is
    statement bytea NOT NULL         -- wire.Statement
);

-- Events that were billed and are given back. The budget's refunded is their sum.
CREATE TABLE refunds (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    flight    integer NOT NULL REFERENCES flights,
    kind      smallint NOT NULL CHECK (kind IN (1, 2)), -- view, click
    units     bigint NOT NULL CHECK (units > 0),
    micros    bigint NOT NULL CHECK (micros >= 0),
    reason    text NOT NULL,
    actor     text NOT NULL,
    at        timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX refunds_flight ON refunds (flight, at);
