-- +goose Up
-- What the core learns from what was counted, and what it keeps for plots.

-- Work that is done now and then, by one core at a time.
CREATE TABLE jobs (
    name         text PRIMARY KEY,
    turn         timestamptz NOT NULL,         -- the newest turn that was done: its start, by the job's schedule
    started_at   timestamptz NOT NULL,         -- of the last run
    finished_at  timestamptz,                  -- of the last run; null: under way, or its core died
    succeeded_at timestamptz,                  -- end of the last run that went well
    core         text NOT NULL DEFAULT '',     -- who ran it last
    result       text NOT NULL DEFAULT '',     -- what came of the last run that went well
    error        text NOT NULL DEFAULT '',     -- of the last run; empty: it went well
    failures     integer NOT NULL DEFAULT 0    -- in a row
);

-- Clicks of 100 views, by the sample that the catalog in force carries. No row:
-- not known.
CREATE TABLE sampled_ctrs (
    kind       text NOT NULL CHECK (kind IN ('publisher', 'flight', 'ad')),
    id         integer NOT NULL,
    ctr        double precision NOT NULL CHECK (ctr >= 0 AND ctr <= 100), -- per cent
    views      bigint NOT NULL CHECK (views > 0),
    clicks     bigint NOT NULL CHECK (clicks >= 0),
    sampled_at timestamptz NOT NULL,
    PRIMARY KEY (kind, id)
);

-- Which share of a flight's views each country, geo region and publisher had.
CREATE TABLE traffic_fills (
    flight    integer PRIMARY KEY REFERENCES flights,
    fill      jsonb NOT NULL, -- sync/catalog.Shares
    views     bigint NOT NULL CHECK (views > 0),
    filled_at timestamptz NOT NULL
);

-- How much a flight is asked for in each hour of a week.
CREATE TABLE demands (
    flight    integer PRIMARY KEY,  -- 0: all requests together
    weights   integer[] NOT NULL CHECK (array_length(weights, 1) = 168), -- from Monday 00:00 UTC
    events    bigint NOT NULL,      -- how much was seen of it
    learnt_at timestamptz NOT NULL
);

-- Plan against delivery, a row a minute and flight under way. Planned and
-- delivered count from the flight's start.
CREATE TABLE flight_series (
    at             timestamptz NOT NULL, -- a whole minute
    flight         integer NOT NULL,
    planned_views  bigint NOT NULL,
    planned_clicks bigint NOT NULL,
    views          bigint NOT NULL,
    clicks         bigint NOT NULL,
    spent_micros   bigint NOT NULL,
    PRIMARY KEY (flight, at)
) PARTITION BY RANGE (at);
CREATE TABLE flight_series_default PARTITION OF flight_series DEFAULT;

-- What rollups held that are kept no longer, so that totals can still be
-- proved.
CREATE TABLE rollups_dropped (
    flight          integer PRIMARY KEY,
    views           bigint NOT NULL,
    clicks          bigint NOT NULL,
    unbilled_views  bigint NOT NULL,
    unbilled_clicks bigint NOT NULL,
    home_lost       bigint NOT NULL,
    spent_micros    bigint NOT NULL
);
