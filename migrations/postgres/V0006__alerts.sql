-- Incidents, and what channels are told of them.
--
-- The tables of V0003, and the two columns of step_baselines, were made ahead of what uses them: no version has ever
-- read or written them. They are made anew here in the form that is needed.

DROP TABLE notification_outbox, notification_channels, incidents;

ALTER TABLE step_baselines DROP COLUMN incident_id, DROP COLUMN incident_streak;
-- What is known of the incidents of a history, and its last ends; null: nothing. At most 256 bytes, and rewritten with
-- the state: it stays uncompressed and in the row like that.
ALTER TABLE step_baselines ADD COLUMN alarm bytea;
ALTER TABLE step_baselines ALTER COLUMN alarm SET STORAGE PLAIN;

-- The incident that the silence of an execution belongs to, while it is silent. That of steps is there already.
ALTER TABLE workflow_executions ADD COLUMN incident_id uuid;

-- What may be asked for by a query or a dashboard is in columns; an incident is read back from its body alone.
CREATE TABLE incidents (
    -- Begins with the moment of its opening, so that ids are in that order.
    incident_id   uuid PRIMARY KEY,
    -- The first 16 bytes of SHA-256 over kind, workflow, step and cohort.
    fingerprint   uuid        NOT NULL,
    -- Whether a further finding would belong to it: while it fires, and for a while after.
    is_current    boolean     NOT NULL,
    kind          text        COLLATE "C" NOT NULL,
    workflow_name text        COLLATE "C" NOT NULL,
    -- Null: it is about executions as wholes.
    step_name     text        COLLATE "C",
    cohort        jsonb       NOT NULL,
    state         text        COLLATE "C" NOT NULL,
    severity      smallint    NOT NULL,
    occurrences   bigint      NOT NULL,
    first_seen_at timestamptz NOT NULL,
    last_seen_at  timestamptz NOT NULL,
    resolved_at   timestamptz,
    -- When it is to be looked at without a finding.
    due_at        timestamptz,
    changed_at    timestamptz NOT NULL,
    -- The whole of it, as JSON; text, because it is written and read whole.
    body          text        NOT NULL
) WITH (fillfactor = 70);

-- One cause is one incident: whoever opens a second one at the same moment finds out here.
CREATE UNIQUE INDEX incidents_current ON incidents (fingerprint) WHERE is_current;
-- What time alone will change.
CREATE INDEX incidents_due ON incidents (due_at) WHERE due_at IS NOT NULL;
-- The listings, newest opening first: of a workflow, and of what fires. That of all is the primary key.
CREATE INDEX incidents_of_workflow ON incidents (workflow_name, incident_id);
CREATE INDEX incidents_firing ON incidents (incident_id) WHERE state = 'firing';
-- What retention removes next.
CREATE INDEX incidents_over ON incidents (resolved_at) WHERE NOT is_current;

-- The histories of incidents. Rows are added and never changed.
CREATE TABLE incident_entries (
    incident_id uuid        NOT NULL,
    entry_id    bigint      GENERATED ALWAYS AS IDENTITY,
    at          timestamptz NOT NULL,
    -- A transition, or `action`.
    what        text        COLLATE "C" NOT NULL,
    note        text,
    PRIMARY KEY (incident_id, entry_id)
);

-- What channels are to be told, each in the order of its numbers.
CREATE TABLE notification_outbox (
    notification_id     bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    channel             text        COLLATE "C" NOT NULL,
    incident_id         uuid        NOT NULL,
    transition          text        COLLATE "C" NOT NULL,
    -- Whether people are to be told, and not only what keeps state.
    loud                boolean     NOT NULL,
    -- The execution that opened the incident: what it opens together is told together.
    execution_id        uuid        NOT NULL,
    -- The incident as it was just after, as JSON, and when that had last changed.
    incident            text        NOT NULL,
    incident_changed_at timestamptz NOT NULL,
    created_at          timestamptz NOT NULL,
    -- Before that it is not sent; held: because of the channel's quiet hours.
    not_before          timestamptz NOT NULL,
    held                boolean     NOT NULL,
    attempts            integer     NOT NULL DEFAULT 0,
    -- When it was done with, and how: sent, refused or dropped, and why.
    settled_at          timestamptz,
    outcome             text        COLLATE "C",
    reason              text
);

-- What a channel has yet to send, in order. What is pending has neither outcome nor settled_at: what is looked for by
-- channel says the one, and what is looked for by incident the other, so that no plan takes the wrong index.
CREATE INDEX notification_outbox_pending ON notification_outbox (channel, notification_id, not_before)
    WHERE outcome IS NULL;
-- Whether something of the same incident comes before.
CREATE INDEX notification_outbox_in_turn ON notification_outbox (incident_id, channel, notification_id)
    WHERE settled_at IS NULL;
-- What is told together.
CREATE INDEX notification_outbox_together ON notification_outbox (channel, execution_id, transition, notification_id)
    WHERE outcome IS NULL AND loud;
-- What a channel was told of an incident.
CREATE INDEX notification_outbox_of_incident ON notification_outbox (incident_id, channel);
-- When a channel was told of openings, and what it refused.
CREATE INDEX notification_outbox_told ON notification_outbox (channel, settled_at)
    WHERE outcome IN ('sent', 'refused') AND transition = 'opened';
CREATE INDEX notification_outbox_refused ON notification_outbox (channel, settled_at) WHERE outcome = 'refused';
-- What retention removes next.
CREATE INDEX notification_outbox_settled ON notification_outbox (settled_at) WHERE settled_at IS NOT NULL;

-- One row per channel: its lease, under which one replica at a time sends, and how it is.
CREATE TABLE notification_channels (
    channel      text        COLLATE "C" PRIMARY KEY,
    lease_holder text,
    -- Grows with every lease: what an earlier holder says is refused.
    lease_token  bigint      NOT NULL DEFAULT 0,
    -- Null: nobody has it.
    lease_until  timestamptz,
    -- Nothing is sent before: its rate, or a pause after a failure.
    not_before   timestamptz NOT NULL DEFAULT '1970-01-01 00:00:00+00',
    -- In a row, up to now.
    failures     integer     NOT NULL DEFAULT 0,
    fault_at     timestamptz,
    fault        text,
    last_sent_at timestamptz
) WITH (fillfactor = 50);

-- Messages that a channel has posted and can edit: where each incident is told of. Several with one reference are in
-- one message.
CREATE TABLE notification_messages (
    incident_id uuid        NOT NULL,
    channel     text        COLLATE "C" NOT NULL,
    -- What the channel needs to find it again.
    reference   text        NOT NULL,
    -- What the incident's changed_at was when the message last showed it.
    shown_at    timestamptz NOT NULL,
    -- Whether the incident will not change any more, and the message shows it so.
    is_final    boolean     NOT NULL DEFAULT false,
    PRIMARY KEY (incident_id, channel)
);

-- Messages that may have to be edited yet.
CREATE INDEX notification_messages_open ON notification_messages (channel, incident_id) WHERE NOT is_final;
-- What a message tells of.
CREATE INDEX notification_messages_reference ON notification_messages (channel, reference);
