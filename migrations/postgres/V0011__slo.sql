-- How many executions ended, and how, for each service level objective: in slots of a minute for windows of hours, and of
-- an hour for windows of days. Rows are as many as there are slots, however much happens.
CREATE TABLE slo_slots (
    slo         text        COLLATE "C" NOT NULL,
    -- The first 8 bytes of SHA-256 over what the objective counts: a changed one begins anew.
    definition  bigint      NOT NULL,
    -- Minutes that the slot has: 1 or 60.
    resolution  smallint    NOT NULL,
    slot_at     timestamptz NOT NULL,
    -- Executions that completed, failed or timed out.
    events      bigint      NOT NULL,
    -- Those of them that did not complete.
    failed      bigint      NOT NULL,
    -- Those that completed, but took longer than the target.
    slow        bigint      NOT NULL,
    -- The last one of each, where there was one.
    last_failed uuid,
    last_slow   uuid,
    PRIMARY KEY (slo, definition, resolution, slot_at)
    -- The present slots are written by every batch: there is room for their next version beside them.
) WITH (fillfactor = 50);

-- What retention removes next.
CREATE INDEX slo_slots_old ON slo_slots (resolution, slot_at);
