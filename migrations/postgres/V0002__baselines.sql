-- What is normal: one row per workflow, step and cohort, and one per closed day of each.

-- Rewritten with every batch: a page keeps room for the new version of its rows, and no index names a column that
-- changes, so that updates stay within the page (HOT) and leave the indexes alone. `state` stays uncompressed and in
-- the row: it is at most 1.5 kB and already compact.
CREATE TABLE step_baselines (
    -- The first 16 bytes of SHA-256 over workflow, step and cohort; uuid because it is 16 bytes without a header.
    key             uuid PRIMARY KEY,
    workflow_name   text        COLLATE "C" NOT NULL,
    -- Empty: the workflow's executions as wholes.
    step_name       text        COLLATE "C" NOT NULL,
    cohort          jsonb       NOT NULL,
    state           bytea       NOT NULL,
    last_seen_at    timestamptz,
    incident_id     uuid,
    incident_streak integer     NOT NULL DEFAULT 0
) WITH (fillfactor = 70);

ALTER TABLE step_baselines ALTER COLUMN state SET STORAGE PLAIN;

-- The histories of one workflow.
CREATE INDEX step_baselines_of_workflow ON step_baselines (workflow_name, step_name);
-- Every workflow by name.
CREATE INDEX step_baselines_workflows ON step_baselines (workflow_name) WHERE step_name = '';

CREATE TABLE baseline_segments (
    key   uuid  NOT NULL,
    day   date  NOT NULL,
    state bytea NOT NULL,
    PRIMARY KEY (key, day)
);
