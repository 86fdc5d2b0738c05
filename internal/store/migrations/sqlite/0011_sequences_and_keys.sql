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

-- WITHOUT ROWID keeps the rows in the tree of their key, so that a row is in one tree instead of two: a look-up by the key takes
-- one search, and a new row changes one page less. delivery and attempt keep their rowid, because long rows make such a tree deep.
CREATE TABLE challenge_new (
    id             BLOB     NOT NULL PRIMARY KEY,
    transaction_id TEXT     NOT NULL, -- 20 digits
    serial         TEXT     NOT NULL,
    code_mac       BLOB     NOT NULL, -- HMAC(delivery id, serial, code)
    delivery_id    BLOB     NOT NULL,
    state          SMALLINT NOT NULL,
    received_count BIGINT   NOT NULL, -- answers that were tried
    created_ms     BIGINT   NOT NULL,
    valid_until_ms BIGINT   NOT NULL,
    ended_ms       BIGINT
) WITHOUT ROWID;
INSERT INTO challenge_new (id, transaction_id, serial, code_mac, delivery_id, state, received_count, created_ms, valid_until_ms, ended_ms)
SELECT id, transaction_id, serial, code_mac, delivery_id, state, received_count, created_ms, valid_until_ms, ended_ms FROM challenge;
DROP TABLE challenge;
ALTER TABLE challenge_new RENAME TO challenge;
CREATE INDEX challenge_transaction ON challenge (transaction_id);
CREATE INDEX challenge_serial ON challenge (serial, state);
CREATE INDEX challenge_delivery ON challenge (delivery_id);
CREATE INDEX challenge_valid ON challenge (valid_until_ms);
CREATE INDEX challenge_ended ON challenge (ended_ms) WHERE state <> 0;

CREATE TABLE waiter_new (
    delivery_id    BLOB NOT NULL,
    transaction_id TEXT NOT NULL,
    serial         TEXT NOT NULL,
    challenge_id   BLOB NOT NULL,
    ended          TEXT NOT NULL, -- why it waits no more: answered, superseded, disabled, cancelled; '' while it waits
    PRIMARY KEY (delivery_id, challenge_id)
) WITHOUT ROWID;
INSERT INTO waiter_new (delivery_id, transaction_id, serial, challenge_id, ended)
SELECT delivery_id, transaction_id, serial, challenge_id, ended FROM waiter;
DROP TABLE waiter;
ALTER TABLE waiter_new RENAME TO waiter;
CREATE INDEX waiter_transaction ON waiter (transaction_id);
CREATE INDEX waiter_challenge ON waiter (challenge_id);

-- The embedded queue. state: 0 ready, 1 leased, 2 scheduled, 3 dead.
CREATE TABLE job_new (
    id           BLOB     NOT NULL PRIMARY KEY, -- drawn by the caller: enqueue-if-absent
    queue        TEXT     NOT NULL,
    kind         TEXT     NOT NULL,
    priority     SMALLINT NOT NULL, -- 0 first .. 3 last
    state        SMALLINT NOT NULL,
    run_at_ms    BIGINT   NOT NULL,
    not_after_ms BIGINT   NOT NULL,
    worker       BLOB, -- while leased
    token        BIGINT   NOT NULL, -- claim token: rises with every claim
    verdict      SMALLINT NOT NULL, -- of the running claim: 0 run, 1 expired, 2 poisoned
    swept_owner  BLOB, -- the worker that was swept while it held the job
    crashes      BIGINT   NOT NULL,
    payload      BLOB,
    reason       TEXT     NOT NULL, -- of a dead job
    created_ms   BIGINT   NOT NULL,
    lane         TEXT     NOT NULL DEFAULT ''
) WITHOUT ROWID;
INSERT INTO job_new (id, queue, kind, priority, state, run_at_ms, not_after_ms, worker, token, verdict, swept_owner, crashes, payload, reason,
    created_ms, lane)
SELECT id, queue, kind, priority, state, run_at_ms, not_after_ms, worker, token, verdict, swept_owner, crashes, payload, reason,
    created_ms, lane
FROM job;
DROP TABLE job;
ALTER TABLE job_new RENAME TO job;
CREATE INDEX job_ready ON job (queue, kind, lane, priority, run_at_ms, id, not_after_ms) WHERE state = 0;
CREATE INDEX job_due ON job (queue, kind, lane, run_at_ms, id) WHERE state = 2;
CREATE INDEX job_leased ON job (worker) WHERE state = 1;
CREATE INDEX job_dead ON job (queue, run_at_ms) WHERE state = 3;

CREATE TABLE audit_new (
    id             BLOB     NOT NULL PRIMARY KEY,
    at_ms          BIGINT   NOT NULL,
    action         TEXT     NOT NULL, -- "POST /validate/check", "delivery accepted"
    success        SMALLINT NOT NULL,
    authentication TEXT     NOT NULL, -- ACCEPT REJECT CHALLENGE or ''
    serial         TEXT     NOT NULL,
    token_type     TEXT     NOT NULL,
    login          TEXT     NOT NULL,
    realm          TEXT     NOT NULL,
    resolver       TEXT     NOT NULL,
    administrator  TEXT     NOT NULL,
    client         TEXT     NOT NULL, -- address
    transaction_id TEXT     NOT NULL,
    delivery_id    BLOB,
    info           TEXT     NOT NULL
) WITHOUT ROWID;
INSERT INTO audit_new (id, at_ms, action, success, authentication, serial, token_type, login, realm, resolver, administrator, client,
    transaction_id, delivery_id, info)
SELECT id, at_ms, action, success, authentication, serial, token_type, login, realm, resolver, administrator, client,
    transaction_id, delivery_id, info
FROM audit;
DROP TABLE audit;
ALTER TABLE audit_new RENAME TO audit;
CREATE INDEX audit_at ON audit (at_ms);
