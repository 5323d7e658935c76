-- Services that spans were of: who they are, what they do, in which executions they had a part, whom they called.

CREATE TABLE services (
    service      TEXT    NOT NULL PRIMARY KEY,
    -- To the hour.
    last_seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE service_operations (
    service      TEXT    NOT NULL,
    operation    TEXT    NOT NULL,
    -- The place of such spans between services.
    kind         TEXT    NOT NULL,
    last_seen_at INTEGER NOT NULL,
    PRIMARY KEY (service, operation, kind)
) STRICT, WITHOUT ROWID;

-- What retention removes next.
CREATE INDEX services_seen
    ON services (last_seen_at);
CREATE INDEX service_operations_seen
    ON service_operations (last_seen_at);

-- Executions by service, newest first, read backwards. Rows go with their execution.
CREATE TABLE service_executions (
    service TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    id      BLOB    NOT NULL,
    PRIMARY KEY (service, at, id)
) STRICT, WITHOUT ROWID;

-- How often one service called another, by day since 1970 (UTC).
CREATE TABLE service_calls (
    day    INTEGER NOT NULL,
    parent TEXT    NOT NULL,
    child  TEXT    NOT NULL,
    calls  INTEGER NOT NULL,
    PRIMARY KEY (day, parent, child)
) STRICT, WITHOUT ROWID;
