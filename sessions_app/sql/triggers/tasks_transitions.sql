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
        'task.recalled:>',
        'task.recalled:awaiting_approval>cancelled',
        'task.recalled:approved>awaiting_approval',
        'task.recalled:approved>cancelled',
        'task.purged:rejected>',
        'task.purged:expired>',
        'task.purged:cancelled>',
        'task.purged:completed>',
        'task.purged:failed>',
        'payload.erased:>');

CREATE OR REPLACE FUNCTION tasks_stated() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    said jsonb;
BEGIN
    SELECT metadata INTO said FROM public.audit_events
        WHERE subject_type = 'task' AND subject_id = NEW.id AND seq = NEW.version;
    IF NEW.version = 1 AND NOT said ?& ARRAY['payload_digest', 'on_behalf_of', 'verdict', 'policy', 'policy_version', 'why']
       OR said ? 'description' AND said ->> 'description' IS DISTINCT FROM NEW.description::text
       OR said ? 'data' AND said -> 'data' IS DISTINCT FROM coalesce(NEW.data, 'null')
       OR said ? 'context' AND said -> 'context' IS DISTINCT FROM coalesce(NEW.context, 'null')
       OR said ? 'payload' AND said ->> 'payload' IS DISTINCT FROM NEW.payload::text
       OR said ? 'payload_digest' AND said ->> 'payload_digest' IS DISTINCT FROM NEW.payload_digest::text
       OR TG_OP = 'UPDATE' AND NEW.payload_digest IS DISTINCT FROM OLD.payload_digest AND NOT said ? 'payload_digest'
       OR said ? 'identifiers' AND said -> 'identifiers' IS DISTINCT FROM to_jsonb(NEW.identifiers)
       OR said ? 'revision' AND said ->> 'revision' IS DISTINCT FROM NEW.revision::text
       OR said ? 'edited_by_id' AND said ->> 'edited_by_id' IS DISTINCT FROM NEW.edited_by_id::text
       OR said ? 'verdict' AND said ->> 'verdict' IS DISTINCT FROM NEW.verdict::text
       OR TG_OP = 'UPDATE' AND NEW.verdict IS DISTINCT FROM OLD.verdict AND NOT said ? 'verdict'
       OR said ? 'policy' AND said ->> 'policy' IS DISTINCT FROM NEW.policy::text
       OR TG_OP = 'UPDATE' AND NEW.policy IS DISTINCT FROM OLD.policy AND NOT said ? 'policy'
       OR said ? 'policy_version' AND said ->> 'policy_version' IS DISTINCT FROM NEW.policy_version::text
       OR TG_OP = 'UPDATE' AND NEW.policy_version IS DISTINCT FROM OLD.policy_version AND NOT said ? 'policy_version'
       OR said ? 'why' AND said ->> 'why' IS DISTINCT FROM NEW.why::text
       OR TG_OP = 'UPDATE' AND NEW.why IS DISTINCT FROM OLD.why AND NOT said ? 'why'
       OR said ? 'claimed_by_id' AND said ->> 'claimed_by_id' IS DISTINCT FROM NEW.claimed_by_id::text
       OR said ? 'claimed_session_id' AND said ->> 'claimed_session_id' IS DISTINCT FROM NEW.claimed_session_id::text
       OR said ? 'approved_until' AND (said ->> 'approved_until')::timestamptz IS DISTINCT FROM NEW.approved_until
       OR said ? 'consumed_by_id' AND said ->> 'consumed_by_id' IS DISTINCT FROM NEW.consumed_by_id::text
       OR said ? 'result' AND said -> 'result' IS DISTINCT FROM coalesce(NEW.result, 'null')
       OR said ? 'error' AND said -> 'error' IS DISTINCT FROM coalesce(NEW.error, 'null')
       OR said ? 'erasure' AND said -> 'erasure' IS DISTINCT FROM coalesce(NEW.erasure, 'null')
       OR NEW.version = 1 AND (
           said ? 'agent_id' AND said ->> 'agent_id' IS DISTINCT FROM NEW.agent_id::text
           OR said ? 'session_id' AND said ->> 'session_id' IS DISTINCT FROM NEW.session_id::text
           OR said ? 'task_type' AND said ->> 'task_type' IS DISTINCT FROM NEW.task_type::text
           OR said ? 'from_role' AND said ->> 'from_role' IS DISTINCT FROM NEW.from_role::text
           OR said ? 'to_role' AND said ->> 'to_role' IS DISTINCT FROM NEW.to_role::text
           OR said ? 'on_behalf_of' AND said ->> 'on_behalf_of' IS DISTINCT FROM NEW.on_behalf_of::text
           OR said ? 'trace_id' AND said ->> 'trace_id' IS DISTINCT FROM NEW.trace_id::text
           OR said ? 'idempotency_key' AND said ->> 'idempotency_key' IS DISTINCT FROM NEW.idempotency_key::text) THEN
        RAISE EXCEPTION 'a row of tasks is not what its audit event says'
            USING ERRCODE = 'integrity_constraint_violation',
                  DETAIL = format('task %s, seq %s.', NEW.id, NEW.version);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION tasks_stated() IS
    'Trigger, deferred: what an event says is in a column, the row says too.';
CREATE CONSTRAINT TRIGGER tasks_check_values AFTER INSERT OR UPDATE ON tasks
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tasks_stated();

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
