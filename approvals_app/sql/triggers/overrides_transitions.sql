-- Generated from the model approvals_app.Override by `make docs`.

-- Every change has its event, and is one of these: event:before>after. By its name it fires before
-- the table's other deferred triggers, so that a missing event is what is told.
CREATE CONSTRAINT TRIGGER overrides_check_transition AFTER INSERT OR UPDATE OR DELETE ON overrides
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit_check_transition(
        'override',
        'override.opened:>open',
        'override.upheld:open>upheld',
        'override.condemned:open>condemned',
        'override.purged:upheld>',
        'override.purged:condemned>');

CREATE OR REPLACE FUNCTION overrides_stated() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    said jsonb;
BEGIN
    SELECT metadata INTO said FROM public.audit_events
        WHERE subject_type = 'override' AND subject_id = NEW.id AND seq = NEW.version;
    IF NEW.version = 1 AND NOT said ?& ARRAY['payload_digest', 'reason']
       OR NEW.version = 1 AND (
           said ? 'task_id' AND said ->> 'task_id' IS DISTINCT FROM NEW.task_id::text
           OR said ? 'revision' AND said ->> 'revision' IS DISTINCT FROM NEW.revision::text
           OR said ? 'payload_digest' AND said ->> 'payload_digest' IS DISTINCT FROM NEW.payload_digest::text
           OR said ? 'opened_by_id' AND said ->> 'opened_by_id' IS DISTINCT FROM NEW.opened_by_id::text
           OR said ? 'reason' AND said ->> 'reason' IS DISTINCT FROM NEW.reason::text
           OR said ? 'review_due_at' AND (said ->> 'review_due_at')::timestamptz IS DISTINCT FROM NEW.review_due_at
           OR said ? 'role' AND said ->> 'role' IS DISTINCT FROM NEW.role::text
           OR said ? 'trace_id' AND said ->> 'trace_id' IS DISTINCT FROM NEW.trace_id::text) THEN
        RAISE EXCEPTION 'a row of overrides is not what its audit event says'
            USING ERRCODE = 'integrity_constraint_violation',
                  DETAIL = format('override %s, seq %s.', NEW.id, NEW.version);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION overrides_stated() IS
    'Trigger, deferred: what an event says is in a column, the row says too.';
CREATE CONSTRAINT TRIGGER overrides_check_values AFTER INSERT OR UPDATE ON overrides
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION overrides_stated();

CREATE TRIGGER overrides_refuse_truncate BEFORE TRUNCATE ON overrides
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();

CREATE TRIGGER overrides_immutable BEFORE UPDATE ON overrides FOR EACH ROW
    WHEN (OLD.id IS DISTINCT FROM NEW.id
        OR OLD.task_id IS DISTINCT FROM NEW.task_id
        OR OLD.revision IS DISTINCT FROM NEW.revision
        OR OLD.payload_digest IS DISTINCT FROM NEW.payload_digest
        OR OLD.opened_by_id IS DISTINCT FROM NEW.opened_by_id
        OR OLD.reason IS DISTINCT FROM NEW.reason
        OR OLD.review_due_at IS DISTINCT FROM NEW.review_due_at
        OR OLD.role IS DISTINCT FROM NEW.role
        OR OLD.trace_id IS DISTINCT FROM NEW.trace_id
        OR OLD.created_at IS DISTINCT FROM NEW.created_at)
    EXECUTE FUNCTION audit_refuse();

CREATE OR REPLACE FUNCTION overrides_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    purged boolean := NEW.from_state IS NOT NULL AND NEW.to_state IS NULL;
BEGIN
    PERFORM FROM public.overrides WHERE id = NEW.subject_id AND (purged OR version >= NEW.seq);
    IF FOUND = purged THEN
        RAISE EXCEPTION 'an audit event tells of a change that was not made'
            USING ERRCODE = 'integrity_constraint_violation',
                  DETAIL = format('override %s, seq %s.', NEW.subject_id, NEW.seq);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION overrides_event() IS 'Trigger, deferred: every event of overrides has its change.';
CREATE CONSTRAINT TRIGGER overrides_event AFTER INSERT ON audit_events
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.subject_type = 'override')
    EXECUTE FUNCTION overrides_event();
