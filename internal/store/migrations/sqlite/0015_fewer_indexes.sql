-- +goose Up

-- Each index of these tables is written with each login. Ids are UUIDv7 and rise with time, so housekeeping finds the oldest rows at the
-- begin of the table.
DROP INDEX audit_at;
DROP INDEX challenge_ended;

-- How deliveries ended. A delivery enters it with its outcome, or when it is deferred.
DROP INDEX delivery_outcome;
CREATE INDEX delivery_outcome ON delivery (reason, state, route, updated_ms, created_ms, realm) WHERE state NOT IN ('queued', 'sending');
