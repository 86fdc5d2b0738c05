-- +goose Up

-- The fingerprint of the key file that seals what is secret here (secret.Keys.Fingerprint). NULL until a program has started with it.
ALTER TABLE instance ADD COLUMN key_check BLOB;

-- One row, written after a failed write to learn whether the database takes writes again (store/health.go).
CREATE TABLE write_probe (
    id      BIGINT NOT NULL PRIMARY KEY,
    content BLOB   NOT NULL
);
