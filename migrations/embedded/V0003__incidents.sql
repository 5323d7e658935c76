-- Incidents, and what channels are told of them.

CREATE TABLE incidents (
    incident_id          BLOB    NOT NULL PRIMARY KEY CHECK (length(incident_id) = 16),
    -- The fingerprint: one cause over time.
    fingerprint          BLOB    NOT NULL CHECK (length(fingerprint) = 16),
    kind                 TEXT    NOT NULL,
    workflow_name        TEXT    NOT NULL,
    step_name            TEXT    NOT NULL,
    cohort               TEXT    NOT NULL DEFAULT '{}',
    state                TEXT    NOT NULL,
    severity             INTEGER NOT NULL,
    occurrences          INTEGER NOT NULL DEFAULT 1,
    first_seen_at        INTEGER NOT NULL,
    last_seen_at         INTEGER NOT NULL,
    worst_factor         REAL,
    -- The worst occurrence.
    example_execution_id BLOB,
    example_step_id      INTEGER,
    acknowledged_at      INTEGER,
    acknowledged_by      TEXT,
    snoozed_until        INTEGER,
    resolved_at          INTEGER,
    resolved_reason      TEXT,
    history              TEXT    NOT NULL DEFAULT '[]'
) STRICT;

-- At most one incident fires per cause.
CREATE UNIQUE INDEX incidents_firing
    ON incidents (fingerprint) WHERE resolved_at IS NULL;
-- The latest one of a cause, which may fire again.
CREATE INDEX incidents_fingerprint
    ON incidents (fingerprint, last_seen_at);
CREATE INDEX incidents_last_seen
    ON incidents (last_seen_at);

CREATE TABLE notification_outbox (
    notification_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    channel         TEXT    NOT NULL,
    incident_id     BLOB    NOT NULL,
    kind            TEXT    NOT NULL,
    payload         TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    attempts        INTEGER NOT NULL DEFAULT 0,
    next_attempt_at INTEGER NOT NULL,
    sent_at         INTEGER,
    refused_at      INTEGER,
    refused_reason  TEXT
) STRICT;

-- What waits, in the order in which its channel is to hear of it.
CREATE INDEX notification_outbox_waiting
    ON notification_outbox (channel, notification_id) WHERE sent_at IS NULL AND refused_at IS NULL;

CREATE TABLE notification_channels (
    channel      TEXT    NOT NULL PRIMARY KEY,
    lease_holder TEXT,
    lease_token  BLOB,
    lease_until  INTEGER,
    -- Where the messages of open incidents are, so that they can be updated in place.
    message_refs TEXT    NOT NULL DEFAULT '{}'
) STRICT, WITHOUT ROWID;
