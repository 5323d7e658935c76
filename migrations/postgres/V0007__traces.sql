-- Executions and steps that OpenTelemetry tells of.

-- What is known of an execution because its spans told so, as JSON; text, because it is written and read whole.
ALTER TABLE workflow_executions ADD COLUMN trace text;
-- When its trace is to be looked at: settled, or closed because nothing comes any more.
ALTER TABLE workflow_executions ADD COLUMN settle_at timestamptz;

CREATE INDEX workflow_executions_settle ON workflow_executions (settle_at) WHERE settle_at IS NOT NULL;

-- What a step has because it came as a span, as JSON: its place between services, events and links.
ALTER TABLE workflow_steps ADD COLUMN span text;
-- Whether its end enters its histories with its whole trace, and not by itself.
ALTER TABLE workflow_steps ADD COLUMN by_trace boolean NOT NULL DEFAULT false;
