-- +goose Up
-- Credentials that end, are bound, and are replaced without a pause.

ALTER TABLE join_tokens
    ADD COLUMN region     text NOT NULL DEFAULT '', -- '': any
    ADD COLUMN expires_at timestamptz, -- null: never
    ADD COLUMN uses       bigint NOT NULL DEFAULT 0, -- registrations with it
    ADD COLUMN used_at    timestamptz; -- the last one

-- A holder's next secret, until it is used, and its newest certificate.
CREATE TABLE credentials (
    holder    integer PRIMARY KEY REFERENCES holders,
    next_hash bytea, -- SHA-256 of the secret that was given out and not yet used
    issued_at timestamptz,
    authority text NOT NULL DEFAULT '', -- fingerprint of what signed the certificate; '': there is none
    expires_at timestamptz, -- of the certificate
    trust     bytea -- which authorities it said it goes by: SHA-256 of their PEM
);
