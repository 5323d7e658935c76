-- What was answered under an Idempotency-Key, for as long as the key holds.

CREATE TABLE idempotency_keys (
    scope      BLOB    NOT NULL PRIMARY KEY CHECK (length(scope) = 16),
    body       BLOB    NOT NULL CHECK (length(body) = 16),
    -- The answer as JSON; none while the key is only claimed.
    outcome    TEXT,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What retention deletes next.
CREATE INDEX idempotency_keys_created
    ON idempotency_keys (created_at);
