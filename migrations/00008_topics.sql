-- +goose Up
-- What was decided and counted, by what pages were about: once for each topic of
-- a page, so that sums over topics overlap. Neither publisher nor ad, so that the
-- rows stay few. topic 0: pages about none of the topics; flight 0: no ad.
CREATE TABLE topic_counts (
    hour      timestamptz NOT NULL,
    region    text NOT NULL,
    topic     integer NOT NULL CHECK (topic BETWEEN 0 AND 65535),
    flight    integer NOT NULL,
    country   text NOT NULL,
    decisions bigint NOT NULL DEFAULT 0,
    offers    bigint NOT NULL DEFAULT 0,
    views     bigint NOT NULL DEFAULT 0,
    clicks    bigint NOT NULL DEFAULT 0,
    unbilled_views  bigint NOT NULL DEFAULT 0,
    unbilled_clicks bigint NOT NULL DEFAULT 0,
    home_lost       bigint NOT NULL DEFAULT 0,
    spent_micros    bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (hour, topic, flight, country, region)
) PARTITION BY RANGE (hour);
CREATE TABLE topic_counts_default PARTITION OF topic_counts DEFAULT;
