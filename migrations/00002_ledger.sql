-- +goose Up
-- Who may spend what. Money is an integer number of micros; events are counted.

-- id is sync/lease.Budget: kind, day and owner in one number.
CREATE TABLE budgets (
    id          bigint PRIMARY KEY,
    asked       bigint NOT NULL CHECK (asked >= 0), -- the limit that was asked for
    "limit"     bigint NOT NULL CHECK ("limit" >= 0), -- the limit in force: above asked only while more than that is out or settled
    unleased    bigint NOT NULL CHECK (unleased >= 0),
    outstanding bigint NOT NULL DEFAULT 0 CHECK (outstanding >= 0),
    settled     bigint NOT NULL DEFAULT 0 CHECK (settled >= 0),
    refunded    bigint NOT NULL DEFAULT 0 CHECK (refunded >= 0 AND refunded <= settled),
    judged      bigint NOT NULL DEFAULT 0 CHECK (judged >= 0 AND judged <= settled), -- settled out of no lease: judged by the core, or by holders that were retired
    unit        bigint NOT NULL DEFAULT 1 CHECK (unit > 0), -- the most that one event debits: 1 event, or the largest price
    velocity_milli bigint NOT NULL DEFAULT 0 CHECK (velocity_milli >= 0), -- the sum over its leases
    tight       boolean NOT NULL DEFAULT false, -- leases are being recalled
    changed     bigint NOT NULL DEFAULT 0, -- counts the changes of this row
    CONSTRAINT i1 CHECK ("limit" + refunded = unleased + outstanding + settled),
    CONSTRAINT i10 CHECK (settled - refunded <= "limit")
) WITH (fillfactor = 50);
CREATE INDEX budgets_tight ON budgets (id) WHERE tight;

-- A holder is one state directory of one edge node.
CREATE TABLE holders (
    id           integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    region       text NOT NULL,
    node         text NOT NULL,
    disk         text NOT NULL,
    secret_hash  bytea NOT NULL,
    state        text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'fenced', 'closed')),
    state_reason text NOT NULL DEFAULT '',
    public_url   text NOT NULL DEFAULT '',
    version      text NOT NULL DEFAULT '',
    boot         bigint NOT NULL DEFAULT 0,
    boot_ordinal bigint NOT NULL DEFAULT 0,
    -- the cursor: the last batch applied
    batch        bigint NOT NULL DEFAULT 0,
    position     bigint NOT NULL DEFAULT 0,
    hash         bytea NOT NULL DEFAULT '',
    seen_at      timestamptz NOT NULL DEFAULT now(),
    applied_catalog bigint NOT NULL DEFAULT 0,
    applied_control bigint NOT NULL DEFAULT 0,
    alone        boolean NOT NULL DEFAULT false,
    -- foreign events whose home this is: the last number given, and the last it has journalled
    foreign_position bigint NOT NULL DEFAULT 0,
    foreign_ack      bigint NOT NULL DEFAULT 0,
    handed_in    boolean NOT NULL DEFAULT false, -- its windows are here, whole
    retired      boolean NOT NULL DEFAULT false, -- closed so long ago that its leases, windows and events were dropped
    created_at   timestamptz NOT NULL DEFAULT now(),
    closed_at    timestamptz
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX holders_open_name ON holders (region, node) WHERE state = 'open';

CREATE TABLE leases (
    holder   integer NOT NULL REFERENCES holders,
    budget   bigint NOT NULL REFERENCES budgets,
    granted  bigint NOT NULL DEFAULT 0 CHECK (granted >= 0),
    spent    bigint NOT NULL DEFAULT 0 CHECK (spent >= 0),
    returned bigint NOT NULL DEFAULT 0 CHECK (returned >= 0),
    velocity_milli bigint NOT NULL DEFAULT 0 CHECK (velocity_milli >= 0), -- units per second in thousandths, as last heard
    PRIMARY KEY (holder, budget),
    CONSTRAINT lease_covered CHECK (spent + returned <= granted)
) WITH (fillfactor = 50);
CREATE INDEX leases_budget ON leases (budget);

-- The dedupe bits a closed or fenced holder handed in, for judging late events.
CREATE TABLE windows (
    holder integer NOT NULL REFERENCES holders,
    boot   bigint NOT NULL,
    floor  bigint NOT NULL,
    next   bigint NOT NULL,
    bits   bytea NOT NULL,
    PRIMARY KEY (holder, boot)
);

-- Events that arrived away from their home. Judged once: by the home while it
-- is open, by the core from the fence on.
-- position counts the events of one home, in the order of commits.
CREATE TABLE foreign_events (
    home     integer NOT NULL REFERENCES holders,
    position bigint NOT NULL,
    boot     bigint NOT NULL,
    seq      bigint NOT NULL,
    kind     smallint NOT NULL CHECK (kind IN (1, 2)), -- view, click
    sender   integer NOT NULL REFERENCES holders,
    event    bytea NOT NULL, -- wire.Event
    at       timestamptz NOT NULL, -- when it came here
    outcome  smallint NOT NULL DEFAULT 0, -- 0 waiting; exchange.Outcome
    PRIMARY KEY (home, position),
    UNIQUE (home, boot, seq, kind)
);
CREATE INDEX foreign_events_waiting ON foreign_events (home, position) WHERE outcome = 0;

-- What was counted, by hour. Increments applied once by the holder's cursor.
CREATE TABLE rollups (
    hour      timestamptz NOT NULL,
    region    text NOT NULL,
    flight    integer NOT NULL,
    ad        integer NOT NULL,
    publisher integer NOT NULL,
    country   text NOT NULL,
    views     bigint NOT NULL DEFAULT 0,
    clicks    bigint NOT NULL DEFAULT 0,
    unbilled_views  bigint NOT NULL DEFAULT 0,
    unbilled_clicks bigint NOT NULL DEFAULT 0,
    home_lost       bigint NOT NULL DEFAULT 0,
    spent_micros    bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (hour, flight, ad, publisher, country, region)
) PARTITION BY RANGE (hour);
CREATE TABLE rollups_default PARTITION OF rollups DEFAULT;

-- The same, summed by flight: what /v1/flights/{slug} shows.
CREATE TABLE flight_totals (
    flight    integer PRIMARY KEY,
    views     bigint NOT NULL DEFAULT 0,
    clicks    bigint NOT NULL DEFAULT 0,
    unbilled_views  bigint NOT NULL DEFAULT 0,
    unbilled_clicks bigint NOT NULL DEFAULT 0,
    home_lost       bigint NOT NULL DEFAULT 0,
    spent_micros    bigint NOT NULL DEFAULT 0,
    as_of     timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

-- Allowed to be lost: decisions, offers and refusals, for reports and diagnosis.
CREATE TABLE decision_counts (
    hour      timestamptz NOT NULL,
    region    text NOT NULL,
    publisher integer NOT NULL,
    country   text NOT NULL,
    flight    integer NOT NULL, -- 0: no ad
    decisions bigint NOT NULL DEFAULT 0,
    offers    bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (hour, publisher, flight, country, region)
) PARTITION BY RANGE (hour);
CREATE TABLE decision_counts_default PARTITION OF decision_counts DEFAULT;

CREATE TABLE refusals (
    hour   timestamptz NOT NULL,
    region text NOT NULL,
    flight integer NOT NULL, -- 0: not about one flight
    reason text NOT NULL,
    n      bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (hour, flight, reason, region)
);

-- Which edge applied which catalog and control version, when.
CREATE TABLE receipts (
    holder     integer NOT NULL REFERENCES holders,
    kind       text NOT NULL CHECK (kind IN ('catalog', 'control')),
    version    bigint NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, version, holder)
);

-- Seals and opens offers. No seal_until: until the next key; no verify_until: always.
CREATE TABLE token_keys (
    id           integer PRIMARY KEY CHECK (id BETWEEN 1 AND 65535),
    secret       bytea NOT NULL CHECK (length(secret) = 32),
    seal_from    timestamptz NOT NULL,
    seal_until   timestamptz,
    verify_until timestamptz
);

CREATE TABLE join_tokens (
    id         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL,
    hash       bytea NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);

-- One row. Set when a holder proved that the core lost history: all grants
-- stop until nearside-core recover has rebuilt the leases.
CREATE TABLE ledger (
    id           smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    forgotten_at timestamptz,
    forgotten_by integer REFERENCES holders,
    reason       text NOT NULL DEFAULT ''
);
INSERT INTO ledger DEFAULT VALUES;
