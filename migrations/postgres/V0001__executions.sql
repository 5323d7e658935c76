-- Executions and their steps.
--
-- Both are partitioned by recorded_month, the first day of the month (UTC) in which the execution was first recorded:
-- steps share it with their execution, so that retention drops whole months, and no date that a client sends ever makes
-- a partition. Partitions are made ahead by the service. There is no default partition: once rows had landed in it, the
-- partition of their month could not be made any more; the writer makes a missing one and tries again instead.
--
-- No foreign keys: each would take a row lock per insert, and the batch holds the execution's row anyway.
-- Names compare by bytes (COLLATE "C"): in one order everywhere, whatever the database's locale.

CREATE TABLE workflow_executions (
    execution_id        uuid        NOT NULL,
    recorded_month      date        NOT NULL,
    workflow_name       text        COLLATE "C" NOT NULL,
    status              text        COLLATE "C" NOT NULL,
    started_at          timestamptz NOT NULL,
    ended_at            timestamptz,
    duration_us         bigint,
    correlation_id      text        COLLATE "C",
    version             text,
    attributes          jsonb       NOT NULL,
    -- Payloads are text, not jsonb: they are given back as they were written.
    input               text,
    output              text,
    error               jsonb,
    parent_execution_id uuid,
    link_trace_id       uuid,
    link_span_id        bigint,
    simulated           boolean     NOT NULL,
    recorded_at         timestamptz NOT NULL,
    -- When a running execution is to be looked at: the stall timer.
    judge_at            timestamptz,
    steps_completed     bigint      NOT NULL,
    worst_severity      smallint,
    PRIMARY KEY (execution_id, recorded_month)
) PARTITION BY RANGE (recorded_month);

-- The listing, newest first, and that of one workflow.
CREATE INDEX workflow_executions_newest ON workflow_executions (started_at DESC, execution_id DESC);
CREATE INDEX workflow_executions_of_workflow ON workflow_executions (workflow_name, started_at DESC, execution_id DESC);
-- A client finds its executions by its own id.
CREATE INDEX workflow_executions_correlation ON workflow_executions (correlation_id, started_at DESC, execution_id DESC)
    WHERE correlation_id IS NOT NULL;
-- Counts of running executions, and the search for silent ones.
CREATE INDEX workflow_executions_running ON workflow_executions (workflow_name, recorded_at) WHERE status = 'running';
-- The listings of what may be rare: went wrong, had a bottleneck, took very long or short.
CREATE INDEX workflow_executions_unsuccessful ON workflow_executions (status, started_at DESC, execution_id DESC)
    WHERE status IN ('failed', 'timed_out', 'cancelled');
CREATE INDEX workflow_executions_bottleneck ON workflow_executions (worst_severity, started_at DESC, execution_id DESC)
    WHERE worst_severity IS NOT NULL;
CREATE INDEX workflow_executions_duration ON workflow_executions (duration_us) WHERE duration_us IS NOT NULL;
-- The listing by attribute. Executions without attributes cost it nothing.
CREATE INDEX workflow_executions_attributes ON workflow_executions USING gin (attributes jsonb_path_ops)
    WHERE attributes <> '{}'::jsonb;

CREATE TABLE workflow_steps (
    execution_id      uuid        NOT NULL,
    step_id           bigint      NOT NULL,
    recorded_month    date        NOT NULL,
    step_name         text        COLLATE "C" NOT NULL,
    step_type         text        COLLATE "C" NOT NULL,
    parent_step_id    bigint,
    attempt           integer     NOT NULL,
    status            text        COLLATE "C" NOT NULL,
    started_at        timestamptz NOT NULL,
    ended_at          timestamptz,
    duration_us       bigint,
    attributes        jsonb       NOT NULL,
    error             jsonb,
    -- The verdict: all null where the step was normal. judged_us is the duration that was judged, which of a step
    -- judged while it ran is not how long it took in the end.
    severity          smallint,
    judged_us         bigint,
    historical_avg_us bigint,
    samples           bigint,
    p95_us            bigint,
    cohort            jsonb,
    in_flight         boolean     NOT NULL,
    -- When a running step is to be looked at.
    judge_at          timestamptz,
    changed_at        timestamptz NOT NULL,
    incident_id       uuid,
    PRIMARY KEY (execution_id, step_id, recorded_month)
) PARTITION BY RANGE (recorded_month);

-- The watchdog: which running steps are due.
CREATE INDEX workflow_steps_due ON workflow_steps (judge_at) WHERE status = 'running';

-- Finds the partition of an execution, and makes ids unique over all of them: a partitioned table can only promise
-- uniqueness within a partition.
CREATE TABLE execution_directory (
    execution_id   uuid PRIMARY KEY,
    recorded_month date NOT NULL
);
