-- +goose Up
-- What people edit: everything an edge's catalog is made of, with its audit.

-- One row: counters that only grow. Taken FOR UPDATE by every write of the
-- admin API, so that catalog versions and control versions are ordered as the
-- commits are.
CREATE TABLE counters (
    id              smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    catalog_version bigint NOT NULL DEFAULT 1, -- 1 is the empty catalog
    control_version bigint NOT NULL DEFAULT 0
);
INSERT INTO counters DEFAULT VALUES;

CREATE TABLE advertisers (
    id         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slug       text NOT NULL UNIQUE,
    name       text NOT NULL,
    version    bigint NOT NULL DEFAULT 1
);

CREATE TABLE publisher_groups (
    id      integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slug    text NOT NULL UNIQUE,
    name    text NOT NULL,
    version bigint NOT NULL DEFAULT 1
);

CREATE TABLE publishers (
    id       integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slug     text NOT NULL UNIQUE,
    name     text NOT NULL,
    version  bigint NOT NULL DEFAULT 1,
    -- the remaining fields of the resource, as the admin API writes them
    settings jsonb NOT NULL DEFAULT '{}',
    -- kept beside settings because budgets depend on them
    daily_cap_micros bigint NOT NULL DEFAULT 0 CHECK (daily_cap_micros >= 0),
    daily_cap_from   date
);

CREATE TABLE publisher_group_members (
    publisher integer NOT NULL REFERENCES publishers ON DELETE CASCADE,
    grp       integer NOT NULL REFERENCES publisher_groups ON DELETE CASCADE,
    PRIMARY KEY (publisher, grp)
);

CREATE TABLE campaigns (
    id            integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slug          text NOT NULL UNIQUE,
    name          text NOT NULL,
    version       bigint NOT NULL DEFAULT 1,
    advertiser    integer NOT NULL REFERENCES advertisers,
    campaign_type text NOT NULL CHECK (campaign_type IN ('paid', 'affiliate', 'community', 'publisher-house', 'house'))
);

CREATE TABLE campaign_groups (
    campaign integer NOT NULL REFERENCES campaigns ON DELETE CASCADE,
    grp      integer NOT NULL REFERENCES publisher_groups,
    PRIMARY KEY (campaign, grp)
);

CREATE TABLE campaign_excluded_publishers (
    campaign  integer NOT NULL REFERENCES campaigns ON DELETE CASCADE,
    publisher integer NOT NULL REFERENCES publishers ON DELETE CASCADE,
    PRIMARY KEY (campaign, publisher)
);

CREATE TABLE flights (
    id         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slug       text NOT NULL UNIQUE,
    name       text NOT NULL,
    version    bigint NOT NULL DEFAULT 1,
    campaign   integer NOT NULL REFERENCES campaigns,
    live       boolean NOT NULL DEFAULT false,
    start_date date NOT NULL,
    end_date   date NOT NULL,
    hard_stop  boolean NOT NULL DEFAULT false,
    cpm_micros bigint NOT NULL DEFAULT 0 CHECK (cpm_micros >= 0 AND cpm_micros % 1000 = 0),
    cpc_micros bigint NOT NULL DEFAULT 0 CHECK (cpc_micros >= 0),
    sold_views  bigint NOT NULL DEFAULT 0 CHECK (sold_views >= 0),
    sold_clicks bigint NOT NULL DEFAULT 0 CHECK (sold_clicks >= 0),
    daily_cap_micros bigint NOT NULL DEFAULT 0 CHECK (daily_cap_micros >= 0),
    daily_cap_from   date,
    pacing     text NOT NULL DEFAULT 'even' CHECK (pacing IN ('even', 'traffic', 'asap')),
    pacing_interval_seconds integer NOT NULL DEFAULT 3600 CHECK (pacing_interval_seconds > 0),
    priority_multiplier     integer NOT NULL DEFAULT 1,
    prioritize_ads_ctr      boolean NOT NULL DEFAULT false,
    -- targeting and the other fields that only decisions read, as the admin API writes them
    targeting  jsonb NOT NULL DEFAULT '{}',
    traffic_cap jsonb NOT NULL DEFAULT '{}',
    settings   jsonb NOT NULL DEFAULT '{}',
    state      text NOT NULL DEFAULT 'run' CHECK (state IN ('run', 'pause', 'kill')),
    control    bigint NOT NULL DEFAULT 0,
    hidden_at  timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX flights_campaign ON flights (campaign);

CREATE TABLE ad_types (
    id       integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slug     text NOT NULL UNIQUE,
    name     text NOT NULL,
    version  bigint NOT NULL DEFAULT 1,
    settings jsonb NOT NULL DEFAULT '{}'
);

CREATE TABLE ads (
    id        integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slug      text NOT NULL UNIQUE,
    name      text NOT NULL,
    version   bigint NOT NULL DEFAULT 1,
    flight    integer NOT NULL REFERENCES flights,
    live      boolean NOT NULL DEFAULT true,
    headline  text NOT NULL DEFAULT '',
    content   text NOT NULL DEFAULT '',
    cta       text NOT NULL DEFAULT '',
    link      text NOT NULL,
    image_url text NOT NULL DEFAULT ''
);
CREATE INDEX ads_flight ON ads (flight);

CREATE TABLE ad_ad_types (
    ad      integer NOT NULL REFERENCES ads ON DELETE CASCADE,
    ad_type integer NOT NULL REFERENCES ad_types,
    PRIMARY KEY (ad, ad_type)
);

CREATE TABLE topics (
    id       integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slug     text NOT NULL UNIQUE,
    name     text NOT NULL,
    version  bigint NOT NULL DEFAULT 1,
    keywords text[] NOT NULL DEFAULT '{}'
);

CREATE TABLE geo_regions (
    id        integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slug      text NOT NULL UNIQUE,
    name      text NOT NULL,
    version   bigint NOT NULL DEFAULT 1,
    countries text[] NOT NULL DEFAULT '{}'
);

-- Bearer tokens are kept as SHA-256 only; their text is 256 random bits.
CREATE TABLE api_tokens (
    id         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL,
    hash       bytea NOT NULL UNIQUE,
    role       text NOT NULL CHECK (role IN ('admin', 'viewer', 'publisher')),
    publisher  integer REFERENCES publishers ON DELETE CASCADE, -- role publisher: whose decisions it may ask for
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);

CREATE TABLE idempotency_keys (
    token      integer NOT NULL REFERENCES api_tokens ON DELETE CASCADE,
    key        text NOT NULL,
    request    bytea NOT NULL, -- SHA-256 of method, path and body
    answer     jsonb NOT NULL, -- the resource as it was answered
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (token, key)
);

CREATE TABLE audit_log (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT now(),
    actor    text NOT NULL,
    action   text NOT NULL,
    resource text NOT NULL,
    detail   jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_log_resource ON audit_log (resource, id DESC);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

-- Published bytes of sync/catalog. The newest row is what edges should have.
CREATE TABLE catalog_versions (
    version      bigint PRIMARY KEY,
    published_at timestamptz NOT NULL DEFAULT now(),
    bytes        bytea NOT NULL,
    checksum     bytea NOT NULL,
    flights      integer NOT NULL
);

-- Control: what an operator said about a flight; the highest version wins.
CREATE TABLE controls (
    version bigint PRIMARY KEY,
    flight  integer NOT NULL REFERENCES flights,
    state   text NOT NULL CHECK (state IN ('run', 'pause', 'kill')),
    at      timestamptz NOT NULL DEFAULT now(),
    actor   text NOT NULL
);
CREATE INDEX controls_flight ON controls (flight, version DESC);
