-- What is normal: one row per key, and one per key and closed day.

-- With a rowid, unlike the executions: a state of up to 1.5 kB would not fit into the page of a table
-- without one, and would be spread over two with every batch.
CREATE TABLE step_baselines (
    key             BLOB    NOT NULL PRIMARY KEY CHECK (length(key) = 16),
    workflow_name   TEXT    NOT NULL,
    -- Empty for the workflow's executions as wholes: no step has an empty name.
    step_name       TEXT    NOT NULL,
    cohort          TEXT    NOT NULL DEFAULT '{}',
    last_seen_at    INTEGER,
    incident_id     BLOB,
    incident_streak INTEGER NOT NULL DEFAULT 0,
    state           BLOB    NOT NULL
) STRICT;

-- The histories of a workflow.
CREATE INDEX step_baselines_workflow
    ON step_baselines (workflow_name, step_name);
-- All workflows by name, without a walk over their steps.
CREATE UNIQUE INDEX step_baselines_workflows
    ON step_baselines (workflow_name) WHERE step_name = '';

CREATE TABLE baseline_segments (
    key   BLOB    NOT NULL CHECK (length(key) = 16),
    -- Days since 1970, in UTC.
    day   INTEGER NOT NULL,
    state BLOB    NOT NULL,
    PRIMARY KEY (key, day)
) STRICT, WITHOUT ROWID;
