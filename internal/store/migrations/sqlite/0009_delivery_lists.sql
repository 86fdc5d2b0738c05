-- +goose Up

-- The list of deliveries by state. Few rows have one of these states, so a list that finds nothing reads few entries. A message that is
-- accepted never enters this index. The columns are those that can be filtered.
CREATE INDEX delivery_not_accepted ON delivery (state, id, route, serial, realm, created_ms)
    WHERE state IN ('failed', 'expired', 'dropped', 'unknown');
