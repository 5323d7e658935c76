-- Incidents, and what channels are told of them.
--
-- The tables of V0003, and the two columns of step_baselines, were made ahead of what uses them: no version
-- has ever read or written them. They are made anew here in the form that is needed.

DROP TABLE notification_outbox;
DROP TABLE notification_channels;
DROP TABLE incidents;

ALTER TABLE step_baselines DROP COLUMN incident_id;
ALTER TABLE step_baselines DROP COLUMN incident_streak;
-- What is known of the incidents of a history, and its last ends; null: nothing. At most 256 bytes.
ALTER TABLE step_baselines ADD COLUMN alarm BLOB;

-- The incident that the silence of an execution belongs to, while it is silent. That of steps is there
-- already.
ALTER TABLE workflow_executions ADD COLUMN incident_id BLOB;

-- What may be asked for by a query or a dashboard is in columns; an incident is read back from its body alone.
CREATE TABLE incidents (
    -- Begins with the moment of its opening, so that ids are in that order.
    incident_id   BLOB    NOT NULL PRIMARY KEY CHECK (length(incident_id) = 16),
    -- The first 16 bytes of SHA-256 over kind, workflow, step and cohort.
    fingerprint   BLOB    NOT NULL CHECK (length(fingerprint) = 16),
    -- Whether a further finding would belong to it: while it fires, and for a while after.
    is_current    INTEGER NOT NULL,
    kind          TEXT    NOT NULL,
    workflow_name TEXT    NOT NULL,
    -- Null: it is about executions as wholes.
    step_name     TEXT,
    cohort        TEXT    NOT NULL,
    state         TEXT    NOT NULL,
    severity      INTEGER NOT NULL,
    occurrences   INTEGER NOT NULL,
    first_seen_at INTEGER NOT NULL,
    last_seen_at  INTEGER NOT NULL,
    resolved_at   INTEGER,
    -- When it is to be looked at without a finding.
    due_at        INTEGER,
    changed_at    INTEGER NOT NULL,
    -- The whole of it, as JSON.
    body          TEXT    NOT NULL
) STRICT;

-- One cause is one incident.
CREATE UNIQUE INDEX incidents_current
    ON incidents (fingerprint) WHERE is_current;
-- What time alone will change.
CREATE INDEX incidents_due
    ON incidents (due_at) WHERE due_at IS NOT NULL;
-- The listings, newest opening first: of a workflow, and of what fires. That of all is the primary key.
CREATE INDEX incidents_of_workflow
    ON incidents (workflow_name, incident_id);
CREATE INDEX incidents_firing
    ON incidents (incident_id, kind, severity) WHERE state = 'firing';
-- What retention removes next.
CREATE INDEX incidents_over
    ON incidents (resolved_at) WHERE NOT is_current;

-- The histories of incidents. Rows are added and never changed.
CREATE TABLE incident_entries (
    entry_id    INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    incident_id BLOB    NOT NULL CHECK (length(incident_id) = 16),
    at          INTEGER NOT NULL,
    -- A transition, or `action`.
    what        TEXT    NOT NULL,
    note        TEXT
) STRICT;

CREATE INDEX incident_entries_of_incident
    ON incident_entries (incident_id, entry_id);

-- What channels are to be told, each in the order of its numbers.
CREATE TABLE notification_outbox (
    notification_id     INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    channel             TEXT    NOT NULL,
    incident_id         BLOB    NOT NULL CHECK (length(incident_id) = 16),
    transition          TEXT    NOT NULL,
    -- Whether people are to be told, and not only what keeps state.
    loud                INTEGER NOT NULL,
    -- The execution that opened the incident: what it opens together is told together.
    execution_id        BLOB    NOT NULL,
    -- The incident as it was just after, as JSON, and when that had last changed.
    incident            TEXT    NOT NULL,
    incident_changed_at INTEGER NOT NULL,
    created_at          INTEGER NOT NULL,
    -- Before that it is not sent; held: because of the channel's quiet hours.
    not_before          INTEGER NOT NULL,
    held                INTEGER NOT NULL,
    attempts            INTEGER NOT NULL DEFAULT 0,
    -- When it was done with, and how: sent, refused or dropped, and why.
    settled_at          INTEGER,
    outcome             TEXT,
    reason              TEXT
) STRICT;

-- What a channel has yet to send, in order.
CREATE INDEX notification_outbox_pending
    ON notification_outbox (channel, notification_id, not_before, incident_id) WHERE settled_at IS NULL;
-- Whether something of the same incident comes before.
CREATE INDEX notification_outbox_in_turn
    ON notification_outbox (incident_id, channel, notification_id) WHERE settled_at IS NULL;
-- What is told together.
CREATE INDEX notification_outbox_together
    ON notification_outbox (channel, execution_id, transition, notification_id)
    WHERE settled_at IS NULL AND loud;
-- What a channel was told of an incident.
CREATE INDEX notification_outbox_of_incident
    ON notification_outbox (incident_id, channel, outcome);
-- When a channel was told of openings, and what it refused.
CREATE INDEX notification_outbox_told
    ON notification_outbox (channel, settled_at) WHERE outcome IN ('sent', 'refused') AND transition = 'opened';
CREATE INDEX notification_outbox_refused
    ON notification_outbox (channel, settled_at) WHERE outcome = 'refused';
-- What retention removes next.
CREATE INDEX notification_outbox_settled
    ON notification_outbox (settled_at) WHERE settled_at IS NOT NULL;

-- One row per channel: its lease, under which one holder at a time sends, and how it is.
CREATE TABLE notification_channels (
    channel      TEXT    NOT NULL PRIMARY KEY,
    lease_holder TEXT,
    -- Grows with every lease: what an earlier holder says is refused.
    lease_token  INTEGER NOT NULL DEFAULT 0,
    -- Null: nobody has it.
    lease_until  INTEGER,
    -- Nothing is sent before: its rate, or a pause after a failure.
    not_before   INTEGER NOT NULL DEFAULT 0,
    -- In a row, up to now.
    failures     INTEGER NOT NULL DEFAULT 0,
    fault_at     INTEGER,
    fault        TEXT,
    last_sent_at INTEGER
) STRICT, WITHOUT ROWID;

-- Messages that a channel has posted and can edit: where each incident is told of. Several with one reference
-- are in one message.
CREATE TABLE notification_messages (
    incident_id BLOB    NOT NULL CHECK (length(incident_id) = 16),
    channel     TEXT    NOT NULL,
    -- What the channel needs to find it again.
    reference   TEXT    NOT NULL,
    -- What the incident's changed_at was when the message last showed it.
    shown_at    INTEGER NOT NULL,
    -- Whether the incident will not change any more, and the message shows it so.
    is_final    INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (incident_id, channel)
) STRICT, WITHOUT ROWID;

-- Messages that may have to be edited yet.
CREATE INDEX notification_messages_open
    ON notification_messages (channel, incident_id, shown_at) WHERE NOT is_final;
-- What a message tells of.
CREATE INDEX notification_messages_reference
    ON notification_messages (channel, reference, incident_id);
