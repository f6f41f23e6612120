-- Generated from the model sessions_app.AgentSession by `make docs`.

-- Every change has its event, and is one of these: event:before>after. By its name it fires before
-- the table's other deferred triggers, so that a missing event is what is told.
CREATE CONSTRAINT TRIGGER sessions_check_transition AFTER INSERT OR UPDATE OR DELETE ON sessions
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

CREATE OR REPLACE FUNCTION sessions_stated() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    said jsonb;
BEGIN
    SELECT metadata INTO said FROM public.audit_events
        WHERE subject_type = 'session' AND subject_id = NEW.id AND seq = NEW.version;
    IF said ? 'task_id' AND said ->> 'task_id' IS DISTINCT FROM NEW.task_id::text
       OR NEW.version = 1 AND (
           said ? 'agent_id' AND said ->> 'agent_id' IS DISTINCT FROM NEW.agent_id::text
           OR said ? 'role' AND said ->> 'role' IS DISTINCT FROM NEW.role::text
           OR said ? 'trace_id' AND said ->> 'trace_id' IS DISTINCT FROM NEW.trace_id::text) THEN
        RAISE EXCEPTION 'a row of sessions is not what its audit event says'
            USING ERRCODE = 'integrity_constraint_violation',
                  DETAIL = format('session %s, seq %s.', NEW.id, NEW.version);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION sessions_stated() IS
    'Trigger, deferred: what an event says is in a column, the row says too.';
CREATE CONSTRAINT TRIGGER sessions_check_values AFTER INSERT OR UPDATE ON sessions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sessions_stated();

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
