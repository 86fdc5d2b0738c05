-- +goose Up

-- The relay walks the rows that have no final state in pages: each page begins behind the last row of the page before.
DROP INDEX delivery_open;
CREATE INDEX delivery_open ON delivery (next_try_ms, id) WHERE state IN ('queued', 'deferred', 'sending');
DROP INDEX delivery_end;
CREATE INDEX delivery_end ON delivery (not_after_ms, id) WHERE state IN ('queued', 'deferred', 'sending');
