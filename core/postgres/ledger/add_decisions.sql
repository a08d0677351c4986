INSERT INTO decision_counts AS d (hour, region, publisher, country, flight, decisions, offers)
SELECT u.hour, u.region, u.publisher, u.country, u.flight, u.decisions, u.offers
FROM unnest($1::timestamptz[], $2::text[], $3::integer[], $4::text[], $5::integer[], $6::bigint[], $7::bigint[])
    AS u (hour, region, publisher, country, flight, decisions, offers)
ON CONFLICT (hour, publisher, flight, country, region) DO UPDATE
SET decisions = d.decisions + excluded.decisions, offers = d.offers + excluded.offers
