-- Generated from the model sessions_app.Task by `make docs`.

-- Every change has its event, and is one of these: event:before>after. By its name it fires before
-- the table's other deferred triggers, so that a missing event is what is told.
CREATE CONSTRAINT TRIGGER tasks_check_transition AFTER INSERT OR UPDATE OR DELETE ON tasks
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit_check_transition(
        'task',
        'task.routed:>awaiting_approval',
        'task.routed:>approved',
        'task.routed:>rejected',
        'task.revised:>',
        'task.approved:awaiting_approval>approved',
        'task.rejected:awaiting_approval>rejected',
        'task.expired:awaiting_approval>expired',
        'task.expired:approved>expired',
        'task.claimed:approved>claimed',
        'task.lease_extended:>',
        'task.released:claimed>approved',
        'task.completed:claimed>completed',
        'task.failed:claimed>failed',
        'task.cancelled:awaiting_approval>cancelled',
        'task.cancelled:approved>cancelled',
        'task.cancelled:claimed>cancelled',
        'task.recalled:approved>awaiting_approval',
        'task.recalled:approved>cancelled',
        'task.purged:rejected>',
        'task.purged:expired>',
        'task.purged:cancelled>',
        'task.purged:completed>',
        'task.purged:failed>');

CREATE TRIGGER tasks_refuse_truncate BEFORE TRUNCATE ON tasks
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();

CREATE TRIGGER tasks_immutable BEFORE UPDATE ON tasks FOR EACH ROW
    WHEN (OLD.id IS DISTINCT FROM NEW.id
        OR OLD.agent_id IS DISTINCT FROM NEW.agent_id
        OR OLD.session_id IS DISTINCT FROM NEW.session_id
        OR OLD.task_type IS DISTINCT FROM NEW.task_type
        OR OLD.from_role IS DISTINCT FROM NEW.from_role
        OR OLD.to_role IS DISTINCT FROM NEW.to_role
        OR OLD.on_behalf_of IS DISTINCT FROM NEW.on_behalf_of
        OR OLD.trace_id IS DISTINCT FROM NEW.trace_id
        OR OLD.idempotency_key IS DISTINCT FROM NEW.idempotency_key
        OR OLD.created_at IS DISTINCT FROM NEW.created_at)
    EXECUTE FUNCTION audit_refuse();

CREATE OR REPLACE FUNCTION tasks_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    purged boolean := NEW.from_state IS NOT NULL AND NEW.to_state IS NULL;
BEGIN
    PERFORM FROM public.tasks WHERE id = NEW.subject_id AND (purged OR version >= NEW.seq);
    IF FOUND = purged THEN
        RAISE EXCEPTION 'an audit event tells of a change that was not made'
            USING ERRCODE = 'integrity_constraint_violation',
                  DETAIL = format('task %s, seq %s.', NEW.subject_id, NEW.seq);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION tasks_event() IS 'Trigger, deferred: every event of tasks has its change.';
CREATE CONSTRAINT TRIGGER tasks_event AFTER INSERT ON audit_events
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.subject_type = 'task')
    EXECUTE FUNCTION tasks_event();
