CREATE TABLE administrator (
    name                TEXT   NOT NULL PRIMARY KEY,
    email               TEXT   NOT NULL,
    password_hash       TEXT   NOT NULL,
    password_changed_ms BIGINT NOT NULL, -- sessions from before it are void
    created_ms          BIGINT NOT NULL
);

CREATE TABLE attempt (
    delivery_id BLOB   NOT NULL,
    number      BIGINT NOT NULL, -- from 1
    route       TEXT   NOT NULL,
    owner       TEXT   NOT NULL,
    started_ms  BIGINT NOT NULL,
    dot_at_ms   BIGINT, -- when the dot was committed
    ended_ms    BIGINT,
    class       TEXT   NOT NULL, -- what the protocol said: accepted temporary permanent unreachable unknown late; '' while open
    phase       TEXT   NOT NULL, -- where it ended
    phases      TEXT   NOT NULL, -- JSON: [{"phase": .., "ms": ..}]
    reply_code  BIGINT NOT NULL, -- 0: none
    enhanced    TEXT   NOT NULL, -- RFC 3463
    text        TEXT   NOT NULL, diagnosis TEXT NOT NULL DEFAULT '', -- scrubbed
    PRIMARY KEY (delivery_id, number)
);

CREATE TABLE "audit" (
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

CREATE TABLE auth_failure (
    name          TEXT   NOT NULL,
    client        TEXT   NOT NULL,
    count         BIGINT NOT NULL,
    not_before_ms BIGINT NOT NULL, known SMALLINT NOT NULL DEFAULT 1,
    PRIMARY KEY (name, client)
);

CREATE INDEX auth_failure_old ON auth_failure (not_before_ms);

CREATE INDEX auth_failure_unknown ON auth_failure (not_before_ms) WHERE known = 0;

CREATE INDEX auth_failure_unknown_client ON auth_failure (client, not_before_ms) WHERE known = 0;

CREATE TABLE "challenge" (
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

CREATE INDEX challenge_delivery ON challenge (delivery_id);

CREATE INDEX challenge_serial ON challenge (serial, state);

CREATE INDEX challenge_transaction ON challenge (transaction_id);

CREATE INDEX challenge_valid ON challenge (valid_until_ms);

CREATE TABLE delivery (
    id            BLOB     NOT NULL PRIMARY KEY,
    channel       TEXT     NOT NULL, -- mail
    route         TEXT     NOT NULL, -- identifier of the SMTP server; '' for a test mail of an unsaved one
    sealed        BLOB, -- recipient, subject, body; erased with the final state
    recipient     TEXT     NOT NULL, -- masked, for logs and lists
    serial        TEXT     NOT NULL,
    via           TEXT     NOT NULL, -- queue, inline
    not_after_ms  BIGINT   NOT NULL,
    state         TEXT     NOT NULL, -- queued deferred sending accepted failed expired dropped unknown
    reason        TEXT     NOT NULL, -- of a final state, else ''
    epoch         BIGINT   NOT NULL,
    owner         TEXT     NOT NULL, -- of the dot: worker or request; '' else
    own_until_ms  BIGINT   NOT NULL,
    unsure        SMALLINT NOT NULL,
    attempts      BIGINT   NOT NULL,
    next_try_ms   BIGINT   NOT NULL,
    relayed_ms    BIGINT   NOT NULL, -- when the relay last enqueued it
    message_id    TEXT     NOT NULL,
    created_ms    BIGINT   NOT NULL,
    updated_ms    BIGINT   NOT NULL
, realm TEXT NOT NULL DEFAULT '');

CREATE INDEX delivery_end ON delivery (not_after_ms, id) WHERE state IN ('queued', 'deferred', 'sending');

CREATE INDEX delivery_listed ON delivery (id, state, route, serial, realm, created_ms);

CREATE INDEX delivery_not_accepted ON delivery (state, id, route, serial, realm, created_ms)
    WHERE state IN ('failed', 'expired', 'dropped', 'unknown');

CREATE INDEX delivery_open ON delivery (next_try_ms, id) WHERE state IN ('queued', 'deferred', 'sending');

CREATE INDEX delivery_outcome ON delivery (reason, state, route, updated_ms, created_ms, realm) WHERE state NOT IN ('queued', 'sending');

CREATE INDEX delivery_route ON delivery (route, id, state, serial, realm, created_ms);

CREATE INDEX delivery_serial ON delivery (serial, id);

CREATE INDEX delivery_updated ON delivery (updated_ms);

CREATE TABLE instance (
    id             TEXT   NOT NULL PRIMARY KEY,
    host           TEXT   NOT NULL,
    created_ms     BIGINT NOT NULL,
    generation     BIGINT NOT NULL,
    oldest_program BIGINT NOT NULL
, key_check BLOB);

CREATE TABLE "job" (
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

CREATE INDEX job_dead ON job (queue, run_at_ms) WHERE state = 3;

CREATE INDEX job_due ON job (queue, kind, lane, run_at_ms, id) WHERE state = 2;

CREATE INDEX job_leased ON job (worker) WHERE state = 1;

CREATE INDEX job_ready ON job (queue, kind, lane, priority, run_at_ms, id, not_after_ms) WHERE state = 0;

CREATE TABLE lease (
    name       TEXT   NOT NULL PRIMARY KEY,
    holder     TEXT   NOT NULL,
    term       BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL
);

CREATE TABLE queue_worker (
    id         BLOB   NOT NULL PRIMARY KEY, -- random for each start
    queue      TEXT   NOT NULL,
    host       TEXT   NOT NULL,
    pid        BIGINT NOT NULL,
    version    TEXT   NOT NULL,
    handlers   BIGINT NOT NULL,
    lock_file  TEXT   NOT NULL, -- locked by the process while it lives
    boot       TEXT   NOT NULL, -- the host's boot id: lock_file tells something on this host alone
    started_ms BIGINT NOT NULL,
    beat_ms    BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL
);

CREATE TABLE realm (
    id         BIGINT   NOT NULL PRIMARY KEY,
    name       TEXT     NOT NULL UNIQUE, -- lower case
    is_default SMALLINT NOT NULL
);

CREATE TABLE realm_resolver (
    realm_id    BIGINT NOT NULL,
    resolver_id BIGINT NOT NULL,
    priority    BIGINT, -- lowest first, none last
    PRIMARY KEY (realm_id, resolver_id)
);

CREATE TABLE resolver (
    id   BIGINT NOT NULL PRIMARY KEY,
    name TEXT   NOT NULL UNIQUE,
    type TEXT   NOT NULL,
    data TEXT   NOT NULL -- a JSON object of strings: the parameters as they were given
);

CREATE TABLE sequence (
    name  TEXT   NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);

CREATE TABLE setting (
    key         TEXT NOT NULL PRIMARY KEY,
    value       TEXT NOT NULL,
    sealed      BLOB,
    type        TEXT NOT NULL,
    description TEXT NOT NULL
);

CREATE TABLE smtp_server (
    identifier                  TEXT     NOT NULL PRIMARY KEY,
    server                      TEXT     NOT NULL,
    port                        BIGINT   NOT NULL,
    username                    TEXT     NOT NULL,
    password_sealed             BLOB, -- place (smtp_server, password, identifier, target)
    sender                      TEXT     NOT NULL,
    tls                         SMALLINT NOT NULL,
    description                 TEXT     NOT NULL,
    timeout_s                   BIGINT   NOT NULL,
    enqueue_job                 SMALLINT NOT NULL,
    smime                       SMALLINT NOT NULL,
    dont_send_on_error          SMALLINT NOT NULL,
    private_key                 TEXT     NOT NULL,
    private_key_password_sealed BLOB,
    certificate                 TEXT     NOT NULL,
    tls_verify                  SMALLINT NOT NULL,
    ca_file                     TEXT     NOT NULL,
    ehlo_name                   TEXT     NOT NULL
, revision BIGINT NOT NULL DEFAULT 1);

CREATE TABLE token (
    serial                 TEXT     NOT NULL PRIMARY KEY,
    id                     BIGINT   NOT NULL UNIQUE,
    type                   TEXT     NOT NULL,
    description            TEXT     NOT NULL,
    active                 SMALLINT NOT NULL,
    revoked                SMALLINT NOT NULL,
    rollout_state          TEXT     NOT NULL,
    pin_hash               TEXT     NOT NULL, -- empty: an empty PIN
    otplen                 BIGINT   NOT NULL,
    failcount              BIGINT   NOT NULL,
    max_failcount          BIGINT   NOT NULL,
    count_window           BIGINT   NOT NULL,
    sync_window            BIGINT   NOT NULL,
    count_auth             BIGINT   NOT NULL,
    count_auth_success     BIGINT   NOT NULL,
    last_auth_ms           BIGINT,
    failcounter_exceeded_ms BIGINT,
    resolver               TEXT     NOT NULL, -- '' : no user
    user_id                TEXT     NOT NULL,
    user_realm             TEXT     NOT NULL,
    assigned_ms            BIGINT, -- when it got its user
    email_sealed           BLOB, -- sealed: purpose seed, place (token, email, serial)
    dynamic_email          SMALLINT NOT NULL, -- the address is the user's, looked up for each message
    email_identifier       TEXT     NOT NULL, -- the token's own SMTP server; empty: that of /system/
    challenge_count        BIGINT   NOT NULL, -- challenges that were made for it
    created_ms             BIGINT   NOT NULL
);

CREATE INDEX token_serial_lower ON token (lower(serial));

CREATE INDEX token_user ON token (resolver, user_id);

CREATE TABLE token_info (
    serial TEXT NOT NULL,
    key    TEXT NOT NULL,
    value  TEXT NOT NULL,
    PRIMARY KEY (serial, key)
);

CREATE TABLE token_realm (
    serial TEXT NOT NULL,
    realm  TEXT NOT NULL,
    PRIMARY KEY (serial, realm)
);

CREATE TABLE "waiter" (
    delivery_id    BLOB NOT NULL,
    transaction_id TEXT NOT NULL,
    serial         TEXT NOT NULL,
    challenge_id   BLOB NOT NULL,
    ended          TEXT NOT NULL, -- why it waits no more: answered, superseded, disabled, cancelled; '' while it waits
    PRIMARY KEY (delivery_id, challenge_id)
) WITHOUT ROWID;

CREATE INDEX waiter_challenge ON waiter (challenge_id);

CREATE INDEX waiter_transaction ON waiter (transaction_id);

CREATE TABLE write_probe (
    id      BIGINT NOT NULL PRIMARY KEY,
    content BLOB   NOT NULL
);

