-- Executions and their steps.
--
-- Times are microseconds since 1970 in UTC, durations microseconds, ids the 16 bytes of the trace id
-- and the 64 bits of the span id as a signed number, JSON is text. The tables mirror those of
-- PostgreSQL, with two differences:
-- * there are no partitions here, so no recorded_month: retention deletes rows in small portions, by
--   recorded_at;
-- * there is no execution_directory: without partitions the primary key alone finds an execution and
--   keeps its id unique.
--
-- No foreign keys: what belongs together is checked when it is recorded, in the same transaction,
-- and a check by the database would read every parent a second time.

-- Keyed by id without a rowid: recording looks up by id alone, and ids minted here arrive in order.
CREATE TABLE workflow_executions (
    execution_id        BLOB    NOT NULL PRIMARY KEY CHECK (length(execution_id) = 16),
    workflow_name       TEXT    NOT NULL,
    status              TEXT    NOT NULL,
    started_at          INTEGER NOT NULL,
    ended_at            INTEGER,
    duration_us         INTEGER,
    recorded_at         INTEGER NOT NULL,
    worst_severity      INTEGER,
    steps_completed     INTEGER NOT NULL DEFAULT 0,
    simulated           INTEGER NOT NULL DEFAULT 0,
    judge_at            INTEGER,
    correlation_id      TEXT,
    version             TEXT,
    parent_execution_id BLOB,
    link_trace_id       BLOB,
    link_span_id        INTEGER,
    -- What may be large comes last: SQLite reads a row only as far as it is asked to.
    attributes          TEXT    NOT NULL DEFAULT '{}',
    error               TEXT,
    input               TEXT,
    output              TEXT
) STRICT, WITHOUT ROWID;

-- Listings, newest first: all of them, and those of a workflow. Read backwards, so that new rows are
-- appended at the end. Status and duration stand at the end of the indexes, so that an execution which
-- a filter leaves out is passed over without being looked up.
CREATE INDEX workflow_executions_started
    ON workflow_executions (started_at, execution_id, status, duration_us);
CREATE INDEX workflow_executions_workflow
    ON workflow_executions (workflow_name, started_at, execution_id, status, duration_us);
CREATE INDEX workflow_executions_correlation
    ON workflow_executions (correlation_id, started_at, execution_id) WHERE correlation_id IS NOT NULL;
-- What runs: counted by workflow, listed, and looked through for what has been silent for long.
CREATE INDEX workflow_executions_running
    ON workflow_executions (workflow_name, started_at, execution_id, recorded_at) WHERE status = 'running';
-- What may be rare: went wrong, had a bottleneck, took very long or short.
CREATE INDEX workflow_executions_unsuccessful
    ON workflow_executions (status, started_at, execution_id, duration_us)
    WHERE status IN ('failed', 'timed_out', 'cancelled');
CREATE INDEX workflow_executions_bottleneck
    ON workflow_executions (worst_severity, started_at, execution_id, status, duration_us) WHERE worst_severity IS NOT NULL;
CREATE INDEX workflow_executions_duration
    ON workflow_executions (duration_us, started_at, execution_id, status) WHERE duration_us IS NOT NULL;
-- What retention deletes next.
CREATE INDEX workflow_executions_recorded
    ON workflow_executions (recorded_at);

-- Finds executions by an attribute, newest first: the first 8 bytes of SHA-256 over its key and value.
-- What is found is compared with the attributes themselves.
CREATE TABLE execution_attributes (
    digest INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    id     BLOB    NOT NULL,
    PRIMARY KEY (digest, at, id)
) STRICT, WITHOUT ROWID;

-- Keyed by execution and step without a rowid, so that the steps of an execution lie side by side.
CREATE TABLE workflow_steps (
    execution_id      BLOB    NOT NULL CHECK (length(execution_id) = 16),
    step_id           INTEGER NOT NULL,
    status            TEXT    NOT NULL,
    severity          INTEGER,
    started_at        INTEGER NOT NULL,
    changed_at        INTEGER NOT NULL,
    step_name         TEXT    NOT NULL,
    step_type         TEXT    NOT NULL,
    parent_step_id    INTEGER,
    attempt           INTEGER NOT NULL,
    ended_at          INTEGER,
    duration_us       INTEGER,
    -- The duration judged: what had elapsed, where a step was judged in flight.
    judged_us         INTEGER,
    historical_avg_us INTEGER,
    samples           INTEGER,
    p95_us            INTEGER,
    cohort            TEXT,
    in_flight         INTEGER,
    judge_at          INTEGER,
    incident_id       BLOB,
    attributes        TEXT    NOT NULL DEFAULT '{}',
    error             TEXT,
    PRIMARY KEY (execution_id, step_id)
) STRICT, WITHOUT ROWID;

-- Running steps whose time to be looked at has come.
CREATE INDEX workflow_steps_running
    ON workflow_steps (judge_at) WHERE status = 'running';
-- The judged steps of an execution, which are few among many.
CREATE INDEX workflow_steps_judged
    ON workflow_steps (execution_id, severity) WHERE severity IS NOT NULL;
