-- What clients tell of executions besides their steps.
--
-- The changes that whoever watches is told are in no table here: there is one process, which keeps them in memory.

CREATE TABLE workflow_events (
    execution_id BLOB    NOT NULL CHECK (length(execution_id) = 16),
    -- From 1, in the order in which they were recorded.
    number       INTEGER NOT NULL,
    event_id     BLOB    NOT NULL CHECK (length(event_id) = 16),
    kind         TEXT    NOT NULL,
    level        TEXT,
    step_id      INTEGER,
    at           INTEGER NOT NULL,
    recorded_at  INTEGER NOT NULL,
    message      TEXT    NOT NULL,
    attributes   TEXT    NOT NULL DEFAULT '{}',
    PRIMARY KEY (execution_id, number)
) STRICT, WITHOUT ROWID;

-- Finds an event that a batch has recorded already.
CREATE UNIQUE INDEX workflow_events_id ON workflow_events (execution_id, event_id);
