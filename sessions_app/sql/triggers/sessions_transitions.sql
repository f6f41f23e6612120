-- Generated from the model sessions_app.AgentSession by `make docs`.

-- Every change has its event, and is one of these: event:before>after.
CREATE CONSTRAINT TRIGGER sessions_transition AFTER INSERT OR UPDATE OR DELETE ON sessions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit_check_transition(
        'session',
        'session.opened:>pending',
        'session.activated:pending>active',
        'session.updated:>',
        'session.completed:active>completed',
        'session.failed:active>failed',
        'session.expired:pending>expired',
        'session.expired:active>expired',
        'session.purged:completed>',
        'session.purged:failed>',
        'session.purged:expired>');

CREATE TRIGGER sessions_refuse_truncate BEFORE TRUNCATE ON sessions
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();

CREATE TRIGGER sessions_immutable BEFORE UPDATE ON sessions FOR EACH ROW
    WHEN (OLD.id IS DISTINCT FROM NEW.id
        OR OLD.agent_id IS DISTINCT FROM NEW.agent_id
        OR OLD.role IS DISTINCT FROM NEW.role
        OR OLD.trace_id IS DISTINCT FROM NEW.trace_id
        OR OLD.created_at IS DISTINCT FROM NEW.created_at)
    EXECUTE FUNCTION audit_refuse();

CREATE OR REPLACE FUNCTION sessions_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    purged boolean := NEW.from_state IS NOT NULL AND NEW.to_state IS NULL;
BEGIN
    PERFORM FROM public.sessions WHERE id = NEW.subject_id AND (purged OR version >= NEW.seq);
    IF FOUND = purged THEN
        RAISE EXCEPTION 'an audit event tells of a change that was not made'
            USING ERRCODE = 'integrity_constraint_violation',
                  DETAIL = format('session %s, seq %s.', NEW.subject_id, NEW.seq);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION sessions_event() IS 'Trigger, deferred: every event of sessions has its change.';
CREATE CONSTRAINT TRIGGER sessions_event AFTER INSERT ON audit_events
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.subject_type = 'session')
    EXECUTE FUNCTION sessions_event();
