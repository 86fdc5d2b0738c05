-- +goose Up

-- The last number that was given out in each series of small numbers (store.Tx.Next). A number is not given out again after its row
-- is deleted.
CREATE TABLE sequence (
    name  TEXT   NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO sequence (name, value) SELECT 'token', COALESCE(MAX(id), 0) FROM token;
INSERT INTO sequence (name, value) SELECT 'realm', COALESCE(MAX(id), 0) FROM realm;
INSERT INTO sequence (name, value) SELECT 'resolver', COALESCE(MAX(id), 0) FROM resolver;
