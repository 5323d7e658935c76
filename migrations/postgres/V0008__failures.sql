-- Groups of failures that say the same, the words they are found by, and the executions they were in.

-- One row per distinct failure, however many there were.
CREATE TABLE failure_groups (
    -- The first 16 bytes of SHA-256 over the tokens.
    fingerprint        uuid        PRIMARY KEY,
    count              bigint      NOT NULL,
    first_seen_at      timestamptz NOT NULL,
    last_seen_at       timestamptz NOT NULL,
    last_execution_id  uuid        NOT NULL,
    -- Null: the execution itself failed.
    last_step_id       bigint,
    last_workflow_name text        COLLATE "C" NOT NULL,
    -- When one was last recorded, whenever it was seen: what retention goes by.
    noted_day          date        NOT NULL,
    -- Sorted, each once.
    tokens             text[]      COLLATE "C" NOT NULL,
    -- Of the first one, cut.
    error_type         text,
    message            text        NOT NULL
) WITH (fillfactor = 70);

-- The listing, last seen first, and what retention removes next.
CREATE INDEX failure_groups_seen ON failure_groups (last_seen_at DESC, fingerprint DESC);
CREATE INDEX failure_groups_noted ON failure_groups (noted_day);

-- Which groups have a word, by the number of their words: a common word is looked up in small groups only. Rows are
-- written once, with their group.
CREATE TABLE failure_tokens (
    token       text     COLLATE "C" NOT NULL,
    size        smallint NOT NULL,
    fingerprint uuid     NOT NULL,
    PRIMARY KEY (token, size, fingerprint)
);

-- The same groups, seen from one workflow.
CREATE TABLE failure_workflows (
    workflow_name     text        COLLATE "C" NOT NULL,
    fingerprint       uuid        NOT NULL,
    count             bigint      NOT NULL,
    first_seen_at     timestamptz NOT NULL,
    last_seen_at      timestamptz NOT NULL,
    last_execution_id uuid        NOT NULL,
    last_step_id      bigint,
    noted_day         date        NOT NULL,
    PRIMARY KEY (workflow_name, fingerprint)
) WITH (fillfactor = 70);

CREATE INDEX failure_workflows_seen ON failure_workflows (workflow_name, last_seen_at DESC, fingerprint DESC);
CREATE INDEX failure_workflows_noted ON failure_workflows (noted_day);

-- Which failures an execution had, its own and those of its steps: partitioned as executions are, and dropped with them.
CREATE TABLE execution_failures (
    execution_id   uuid    NOT NULL,
    fingerprint    uuid    NOT NULL,
    recorded_month date    NOT NULL,
    times          bigint  NOT NULL,
    -- Whether the execution itself failed so.
    of_execution   boolean NOT NULL,
    -- The step that did so last; null: none.
    step_id        bigint,
    PRIMARY KEY (execution_id, fingerprint, recorded_month)
) PARTITION BY RANGE (recorded_month);

-- The listing of executions by their errors.
CREATE INDEX execution_failures_of_group ON execution_failures (fingerprint, execution_id);

-- The months that there are already: what they hold may fail yet.
DO $$
DECLARE
    month record;
BEGIN
    FOR month IN
        SELECT substring(child.relname FROM '[0-9]{4}_[0-9]{2}$') AS name,
               pg_get_expr(child.relpartbound, child.oid) AS bounds
          FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
         WHERE inhparent = 'workflow_executions'::regclass
    LOOP
        EXECUTE format('CREATE TABLE execution_failures_%s PARTITION OF execution_failures %s', month.name, month.bounds);
    END LOOP;
END $$;
