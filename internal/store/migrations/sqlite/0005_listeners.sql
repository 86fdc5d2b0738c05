-- +goose Up

-- Where processes that share this database answer requests: nobody connects to it as to a mail server. A server writes its rows
-- anew while it serves (app/listeners.go).
CREATE TABLE listener (
    address    TEXT   NOT NULL, -- IP address and port
    holder     TEXT   NOT NULL, -- random for each start
    expires_ms BIGINT NOT NULL,
    PRIMARY KEY (address, holder)
);

-- Messages from before 0002 get the realm that their token has now, if there still is one: a filter by realm would hide them.
-- Those made since say '' where the token had no owner.
UPDATE delivery
SET realm = (SELECT user_realm FROM token WHERE token.serial = delivery.serial)
WHERE realm = '' AND serial IN (SELECT serial FROM token)
    AND created_ms / 1000 <= (SELECT unixepoch(tstamp) FROM goose_db_version WHERE version_id = 2);

-- For the oldest rows, which housekeeping deletes.
CREATE INDEX audit_at ON audit (at_ms);
