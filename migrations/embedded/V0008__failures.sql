-- Groups of failures that say the same, the words they are found by, and the executions they were in.
--
-- As in PostgreSQL; here a group has a small number of its own, which is never used twice.

CREATE TABLE failure_groups (
    group_id           INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The first 16 bytes of SHA-256 over the tokens.
    fingerprint        BLOB    NOT NULL UNIQUE CHECK (length(fingerprint) = 16),
    count              INTEGER NOT NULL,
    first_seen_at      INTEGER NOT NULL,
    last_seen_at       INTEGER NOT NULL,
    last_execution_id  BLOB    NOT NULL,
    -- Null: the execution itself failed.
    last_step_id       INTEGER,
    last_workflow_name TEXT    NOT NULL,
    -- When one was last recorded, whenever it was seen, in days since 1970: what retention goes by.
    noted_day          INTEGER NOT NULL,
    -- Sorted, each once, parted by blanks.
    tokens             TEXT    NOT NULL,
    -- Of the first one, cut.
    error_type         TEXT,
    message            TEXT    NOT NULL
) STRICT;

-- The listing, last seen first, and what retention removes next.
CREATE INDEX failure_groups_seen ON failure_groups (last_seen_at, fingerprint);
CREATE INDEX failure_groups_noted ON failure_groups (noted_day);

-- Which groups have a word, by the number of their words: a common word is looked up in small groups only. Rows are
-- written once, with their group.
CREATE TABLE failure_tokens (
    token    TEXT    NOT NULL,
    size     INTEGER NOT NULL,
    group_id INTEGER NOT NULL,
    PRIMARY KEY (token, size, group_id)
) STRICT, WITHOUT ROWID;

-- The same groups, seen from one workflow.
CREATE TABLE failure_workflows (
    workflow_name     TEXT    NOT NULL,
    fingerprint       BLOB    NOT NULL,
    count             INTEGER NOT NULL,
    first_seen_at     INTEGER NOT NULL,
    last_seen_at      INTEGER NOT NULL,
    last_execution_id BLOB    NOT NULL,
    last_step_id      INTEGER,
    noted_day         INTEGER NOT NULL,
    PRIMARY KEY (workflow_name, fingerprint)
) STRICT, WITHOUT ROWID;

CREATE INDEX failure_workflows_seen ON failure_workflows (workflow_name, last_seen_at, fingerprint);
CREATE INDEX failure_workflows_noted ON failure_workflows (noted_day);

-- Which failures an execution had, its own and those of its steps; deleted with it.
CREATE TABLE execution_failures (
    execution_id BLOB    NOT NULL,
    group_id     INTEGER NOT NULL,
    times        INTEGER NOT NULL,
    -- Whether the execution itself failed so.
    of_execution INTEGER NOT NULL,
    -- The step that did so last; null: none.
    step_id      INTEGER,
    PRIMARY KEY (execution_id, group_id)
) STRICT, WITHOUT ROWID;

-- The listing of executions by their errors.
CREATE INDEX execution_failures_of_group ON execution_failures (group_id, execution_id);
