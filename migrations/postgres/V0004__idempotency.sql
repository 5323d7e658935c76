-- Answers kept under Idempotency-Key, so that a repeated request gets the same one.

CREATE TABLE idempotency_keys (
    -- The first 16 bytes of SHA-256 over the key and the path it was used on.
    scope      uuid PRIMARY KEY,
    -- The first 16 bytes of SHA-256 over the body. It and the outcome are null while the key is only claimed: the
    -- command was refused, and the key may be used again.
    body       uuid,
    -- Text, not jsonb: it is given back as it was written.
    outcome    text,
    created_at timestamptz NOT NULL
);

-- Retention: which keys hold no more.
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);
