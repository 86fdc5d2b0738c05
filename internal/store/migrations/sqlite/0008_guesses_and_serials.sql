-- +goose Up

-- known: 1 for a name that is an administrator's or a user's. Rows of other names are the first to go (access/guard.go).
-- Rows from before this step may be of either kind. They count as known until they are a day old; those without a delay are
-- dropped here, because strangers could make any number of them.
ALTER TABLE auth_failure ADD COLUMN known SMALLINT NOT NULL DEFAULT 1;
DELETE FROM auth_failure WHERE count <= 3;

CREATE INDEX auth_failure_old ON auth_failure (not_before_ms);
CREATE INDEX auth_failure_unknown ON auth_failure (not_before_ms) WHERE known = 0;
CREATE INDEX auth_failure_unknown_client ON auth_failure (client, not_before_ms) WHERE known = 0;

-- For a serial without a wildcard; its case does not count.
CREATE INDEX token_serial_lower ON token (lower(serial));
