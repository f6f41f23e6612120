CREATE OR REPLACE VIEW active_sessions AS
    SELECT id, role, task_id, created_at, updated_at FROM sessions
    WHERE status = 'active' ORDER BY created_at DESC;
COMMENT ON VIEW active_sessions IS 'Sessions at work, newest first.';
