-- What is judged while it runs.

-- The verdict that nothing has been heard of a running execution for too long, while that is so; null otherwise.
ALTER TABLE workflow_executions ADD COLUMN stalled jsonb;

-- The watchdog: which running executions are due. That of steps is there already.
CREATE INDEX workflow_executions_due ON workflow_executions (judge_at) WHERE status = 'running';
