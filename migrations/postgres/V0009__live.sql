-- What clients tell of executions besides their steps, and what has just changed, for whoever watches.

CREATE TABLE workflow_events (
    execution_id   uuid        NOT NULL,
    -- From 1, in the order in which they were recorded; given under the execution's lock.
    number         integer     NOT NULL,
    recorded_month date        NOT NULL,
    event_id       uuid        NOT NULL,
    kind           text        COLLATE "C" NOT NULL,
    level          text        COLLATE "C",
    step_id        bigint,
    at             timestamptz NOT NULL,
    recorded_at    timestamptz NOT NULL,
    message        text        NOT NULL,
    attributes     jsonb       NOT NULL,
    PRIMARY KEY (execution_id, number, recorded_month)
) PARTITION BY RANGE (recorded_month);

-- Finds an event that a batch has recorded already.
CREATE UNIQUE INDEX workflow_events_id ON workflow_events (execution_id, event_id, recorded_month);

-- The executions of every month that there is may be told of.
DO $$
DECLARE
    part record;
BEGIN
    FOR part IN
        SELECT child.relname, pg_get_expr(child.relpartbound, child.oid) AS bounds
          FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
         WHERE inhparent = 'workflow_steps'::regclass
    LOOP
        EXECUTE format('CREATE TABLE %I PARTITION OF workflow_events %s',
                       replace(part.relname, 'workflow_steps', 'workflow_events'), part.bounds);
    END LOOP;
END $$;

-- The numbers of batches of changes. Logged, so that no number is given twice, whatever happens to the table below.
CREATE SEQUENCE live_change_ids AS bigint;

-- One row per batch with all that it changed, for two minutes or so. Written with the batch and never needed to
-- restore anything: unlogged, it costs no log and is empty after a crash, which whoever follows notices by live_state.
CREATE UNLOGGED TABLE live_changes (
    change_id bigint      PRIMARY KEY DEFAULT nextval('live_change_ids'),
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    bytes     integer     NOT NULL,
    -- The changes as JSON.
    body      bytea       NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
        toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 20000);
-- Not worth compressing: it is read once or twice and then gone.
ALTER TABLE live_changes ALTER COLUMN body SET STORAGE EXTERNAL;

-- One row. Its epoch is another one whenever the table above has lost its rows to a crash; `trimmed` is the last batch
-- that was removed because of its age.
CREATE UNLOGGED TABLE live_state (
    is_all  boolean PRIMARY KEY DEFAULT true CHECK (is_all),
    epoch   uuid    NOT NULL DEFAULT gen_random_uuid(),
    trimmed bigint  NOT NULL DEFAULT 0
);
