CREATE TABLE harbor_webhook_meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO harbor_webhook_meta VALUES ('clock', 0), ('policy_version', 0), ('switched_on', 1);

CREATE TABLE harbor_webhook_policies (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    event_types TEXT NOT NULL,
    creator TEXT NOT NULL,
    creation_time INTEGER NOT NULL,
    update_time INTEGER NOT NULL,
    enabled INTEGER NOT NULL,
    UNIQUE (project_id, name)
) STRICT;

CREATE TABLE harbor_webhook_targets (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    policy_id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    target_type TEXT NOT NULL,
    address TEXT NOT NULL,
    auth_header TEXT,
    skip_cert_verify INTEGER NOT NULL,
    payload_format TEXT,
    options TEXT
) STRICT;
CREATE INDEX harbor_webhook_targets_policy ON harbor_webhook_targets (policy_id, position);

-- An event that is fanned out stays as its id alone, until the id is forgotten.
CREATE TABLE harbor_webhook_outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id BLOB NOT NULL UNIQUE,
    event TEXT,
    since INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)),
    token INTEGER,
    lease_until INTEGER NOT NULL DEFAULT 0,
    done_at INTEGER,
    set_aside TEXT
) STRICT;
CREATE INDEX harbor_webhook_outbox_open ON harbor_webhook_outbox (seq) WHERE done_at IS NULL;
CREATE INDEX harbor_webhook_outbox_done ON harbor_webhook_outbox (done_at) WHERE done_at IS NOT NULL;

CREATE TABLE harbor_webhook_bodies (
    id BLOB PRIMARY KEY,
    format TEXT NOT NULL,
    content_type TEXT NOT NULL,
    bytes BLOB NOT NULL
) STRICT;

-- state: 0 due, 1 leased, 2 parked, 3 delivered, 4 dead, 5 cancelled
CREATE TABLE harbor_webhook_deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id BLOB NOT NULL,
    event_type TEXT NOT NULL,
    project_id INTEGER NOT NULL,
    policy_id INTEGER NOT NULL,
    target_id INTEGER NOT NULL,
    target_type TEXT NOT NULL,
    body_id BLOB,
    -- The body's bytes.
    size INTEGER NOT NULL DEFAULT 0,
    state INTEGER NOT NULL,
    reason TEXT,
    detail TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    spent INTEGER NOT NULL DEFAULT 0,
    losses INTEGER NOT NULL DEFAULT 0,
    since INTEGER NOT NULL,
    due INTEGER NOT NULL,
    token INTEGER NOT NULL DEFAULT 0,
    lease_until INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (event_id, target_id)
) STRICT;
CREATE INDEX harbor_webhook_deliveries_due ON harbor_webhook_deliveries (target_id, due, id) WHERE state = 0;
CREATE INDEX harbor_webhook_deliveries_leased ON harbor_webhook_deliveries (lease_until) WHERE state = 1;
CREATE INDEX harbor_webhook_deliveries_waiting ON harbor_webhook_deliveries (since) WHERE state IN (0, 1);
CREATE INDEX harbor_webhook_deliveries_parked ON harbor_webhook_deliveries (id) WHERE state = 2;
CREATE INDEX harbor_webhook_deliveries_policy ON harbor_webhook_deliveries (policy_id, id);
CREATE INDEX harbor_webhook_deliveries_finished ON harbor_webhook_deliveries (policy_id, id) WHERE state IN (3, 5);
CREATE INDEX harbor_webhook_deliveries_dead ON harbor_webhook_deliveries (policy_id, id) WHERE state = 4;
CREATE INDEX harbor_webhook_deliveries_dead_since ON harbor_webhook_deliveries (updated_at) WHERE state = 4;
CREATE INDEX harbor_webhook_deliveries_body ON harbor_webhook_deliveries (body_id);

CREATE TABLE harbor_webhook_attempts (
    delivery_id INTEGER NOT NULL,
    number INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    duration_us INTEGER NOT NULL,
    status INTEGER,
    failure TEXT,
    text TEXT NOT NULL,
    truncated INTEGER NOT NULL,
    remote_addr TEXT,
    PRIMARY KEY (delivery_id, number)
) STRICT, WITHOUT ROWID;

-- next_at is when the lane can be claimed from; NULL without due deliveries, or without room for one more in flight.
CREATE TABLE harbor_webhook_lanes (
    target_id INTEGER PRIMARY KEY,
    policy_id INTEGER NOT NULL,
    project_id INTEGER NOT NULL,
    max_waiting INTEGER NOT NULL,
    max_in_flight INTEGER NOT NULL,
    waiting INTEGER NOT NULL DEFAULT 0,
    in_flight INTEGER NOT NULL DEFAULT 0,
    -- The bodies of what waits.
    bytes INTEGER NOT NULL DEFAULT 0,
    gate_until INTEGER NOT NULL DEFAULT 0,
    gate_why TEXT,
    served INTEGER NOT NULL DEFAULT 0,
    next_at INTEGER,
    -- The rate: the time of one token, and when the next one is there; in microseconds.
    spacing_us INTEGER NOT NULL DEFAULT 0,
    token_us INTEGER NOT NULL DEFAULT 0,
    -- The health: see Health.
    failures INTEGER NOT NULL DEFAULT 0,
    failing INTEGER NOT NULL DEFAULT 0,
    opened INTEGER NOT NULL DEFAULT 0,
    ramp INTEGER,
    failing_since INTEGER NOT NULL DEFAULT 0,
    -- Of those that wait, the parked ones; and what has ended and is kept. The row stays as long as there are any.
    parked INTEGER NOT NULL DEFAULT 0,
    delivered INTEGER NOT NULL DEFAULT 0,
    dead INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0,
    -- The attempts of its newest hour: when that began, how many were taken and how many failed, and how long they took.
    hour INTEGER NOT NULL DEFAULT 0,
    hour_taken INTEGER NOT NULL DEFAULT 0,
    hour_failed INTEGER NOT NULL DEFAULT 0,
    hour_us INTEGER NOT NULL DEFAULT 0,
    hour_longest_us INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX harbor_webhook_lanes_next ON harbor_webhook_lanes (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX harbor_webhook_lanes_policy ON harbor_webhook_lanes (policy_id);
CREATE INDEX harbor_webhook_lanes_project ON harbor_webhook_lanes (project_id);

-- Hours that are over. The present one lies with the lane, which is written with each attempt anyway.
CREATE TABLE harbor_webhook_hours (
    target_id INTEGER NOT NULL,
    hour INTEGER NOT NULL,
    taken INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    us INTEGER NOT NULL,
    longest_us INTEGER NOT NULL,
    PRIMARY KEY (target_id, hour)
) STRICT, WITHOUT ROWID;
CREATE INDEX harbor_webhook_hours_hour ON harbor_webhook_hours (hour);
