-- Services that spans were of: who they are, what they do, in which executions they had a part, whom they called.
--
-- Names compare by bytes, as everywhere.

CREATE TABLE services (
    service      text        COLLATE "C" PRIMARY KEY,
    -- To the hour.
    last_seen_at timestamptz NOT NULL
);

CREATE TABLE service_operations (
    service      text        COLLATE "C" NOT NULL,
    operation    text        COLLATE "C" NOT NULL,
    -- The place of such spans between services.
    kind         text        COLLATE "C" NOT NULL,
    last_seen_at timestamptz NOT NULL,
    PRIMARY KEY (service, operation, kind)
);

-- What retention removes next.
CREATE INDEX services_seen ON services (last_seen_at);
CREATE INDEX service_operations_seen ON service_operations (last_seen_at);

-- Executions by service, newest first; partitioned as executions are, and dropped with them.
CREATE TABLE service_executions (
    service        text        COLLATE "C" NOT NULL,
    started_at     timestamptz NOT NULL,
    execution_id   uuid        NOT NULL,
    recorded_month date        NOT NULL,
    PRIMARY KEY (service, started_at, execution_id, recorded_month)
) PARTITION BY RANGE (recorded_month);

-- The months that executions have partitions for; the service makes those to come.
DO $$
DECLARE month record;
BEGIN
    FOR month IN
        SELECT child.relname AS name, pg_get_expr(child.relpartbound, child.oid) AS bounds
          FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
         WHERE inhparent = 'workflow_executions'::regclass
    LOOP
        EXECUTE format('CREATE TABLE %I PARTITION OF service_executions %s',
                       replace(month.name, 'workflow_executions', 'service_executions'), month.bounds);
    END LOOP;
END $$;

-- How often one service called another, by day (UTC).
CREATE TABLE service_calls (
    day    date   NOT NULL,
    parent text   COLLATE "C" NOT NULL,
    child  text   COLLATE "C" NOT NULL,
    calls  bigint NOT NULL,
    PRIMARY KEY (day, parent, child)
);
