-- Incidents, and the notifications that tell of them.

CREATE TABLE incidents (
    incident_id        uuid PRIMARY KEY,
    -- The fingerprint: one cause is one incident.
    kind               text        COLLATE "C" NOT NULL,
    workflow_name      text        COLLATE "C" NOT NULL,
    step_name          text        COLLATE "C" NOT NULL,
    cohort             jsonb       NOT NULL,
    state              text        COLLATE "C" NOT NULL,
    severity           smallint    NOT NULL,
    -- How many bottlenecks it gathered.
    occurrences        bigint      NOT NULL,
    first_seen_at      timestamptz NOT NULL,
    last_seen_at       timestamptz NOT NULL,
    worst_factor       double precision,
    worst_duration_us  bigint,
    -- What to look at.
    example_execution  uuid,
    example_step       bigint,
    simulated          boolean     NOT NULL DEFAULT false,
    acknowledged_at    timestamptz,
    acknowledged_by    text,
    snoozed_until      timestamptz,
    resolved_at        timestamptz,
    resolved_reason    text,
    -- Every transition with its time, oldest first.
    history            jsonb       NOT NULL DEFAULT '[]'::jsonb,
    changed_at         timestamptz NOT NULL
);

-- At most one incident of a fingerprint is firing.
CREATE UNIQUE INDEX incidents_firing ON incidents (kind, workflow_name, step_name, cohort) WHERE state = 'firing';
-- The listing, newest first.
CREATE INDEX incidents_newest ON incidents (last_seen_at DESC, incident_id DESC);

-- One row per channel: its lease, under which one replica at a time sends.
CREATE TABLE notification_channels (
    channel      text COLLATE "C" PRIMARY KEY,
    lease_holder text,
    -- Grows with every lease: what an earlier holder settles late is refused.
    lease_token  bigint NOT NULL DEFAULT 0,
    lease_until  timestamptz,
    -- What the channel needs to edit its messages in place, by incident.
    message_refs jsonb  NOT NULL DEFAULT '{}'::jsonb
);

CREATE TABLE notification_outbox (
    notification_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    channel         text        COLLATE "C" NOT NULL,
    incident_id     uuid        NOT NULL,
    kind            text        COLLATE "C" NOT NULL,
    payload         jsonb       NOT NULL,
    created_at      timestamptz NOT NULL,
    attempts        integer     NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    sent_at         timestamptz,
    -- When and why the channel refused it for good.
    refused_at      timestamptz,
    refused_reason  text
);

-- What a channel has yet to send, in order.
CREATE INDEX notification_outbox_pending ON notification_outbox (channel, notification_id)
    WHERE sent_at IS NULL AND refused_at IS NULL;
