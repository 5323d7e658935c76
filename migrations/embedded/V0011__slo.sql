-- How many executions ended, and how, for each service level objective: in slots of a minute for windows of hours, and of
-- an hour for windows of days. Rows are as many as there are slots, however much happens.
CREATE TABLE slo_slots (
    slo         TEXT    NOT NULL,
    -- The first 8 bytes of SHA-256 over what the objective counts: a changed one begins anew.
    definition  INTEGER NOT NULL,
    -- Minutes that the slot has: 1 or 60.
    resolution  INTEGER NOT NULL,
    slot_at     INTEGER NOT NULL,
    -- Executions that completed, failed or timed out.
    events      INTEGER NOT NULL,
    -- Those of them that did not complete.
    failed      INTEGER NOT NULL,
    -- Those that completed, but took longer than the target.
    slow        INTEGER NOT NULL,
    -- The last one of each, where there was one.
    last_failed BLOB,
    last_slow   BLOB,
    PRIMARY KEY (slo, definition, resolution, slot_at)
) STRICT, WITHOUT ROWID;

-- What retention removes next.
CREATE INDEX slo_slots_old ON slo_slots (resolution, slot_at);
