-- Generated from the model approvals_app.Delegation by `make docs`.

-- Every change has its event, and is one of these: event:before>after. By its name it fires before
-- the table's other deferred triggers, so that a missing event is what is told.
CREATE CONSTRAINT TRIGGER delegations_check_transition AFTER INSERT OR UPDATE OR DELETE ON delegations
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit_check_transition(
        'delegation',
        'delegation.granted:>active',
        'delegation.ended:active>ended',
        'delegation.purged:active>',
        'delegation.purged:ended>');

CREATE OR REPLACE FUNCTION delegations_stated() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    said jsonb;
BEGIN
    SELECT metadata INTO said FROM public.audit_events
        WHERE subject_type = 'delegation' AND subject_id = NEW.id AND seq = NEW.version;
    IF NEW.version = 1 AND NOT said ?& ARRAY['approval_id', 'starts_at', 'ends_at', 'reason']
       OR NEW.version = 1 AND (
           said ? 'delegator_id' AND said ->> 'delegator_id' IS DISTINCT FROM NEW.delegator_id::text
           OR said ? 'delegate_id' AND said ->> 'delegate_id' IS DISTINCT FROM NEW.delegate_id::text
           OR said ? 'approval_id' AND said ->> 'approval_id' IS DISTINCT FROM NEW.approval_id::text
           OR said ? 'starts_at' AND (said ->> 'starts_at')::timestamptz IS DISTINCT FROM NEW.starts_at
           OR said ? 'ends_at' AND (said ->> 'ends_at')::timestamptz IS DISTINCT FROM NEW.ends_at
           OR said ? 'reason' AND said ->> 'reason' IS DISTINCT FROM NEW.reason::text) THEN
        RAISE EXCEPTION 'a row of delegations is not what its audit event says'
            USING ERRCODE = 'integrity_constraint_violation',
                  DETAIL = format('delegation %s, seq %s.', NEW.id, NEW.version);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION delegations_stated() IS
    'Trigger, deferred: what an event says is in a column, the row says too.';
CREATE CONSTRAINT TRIGGER delegations_check_values AFTER INSERT OR UPDATE ON delegations
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION delegations_stated();

CREATE TRIGGER delegations_refuse_truncate BEFORE TRUNCATE ON delegations
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();

CREATE TRIGGER delegations_immutable BEFORE UPDATE ON delegations FOR EACH ROW
    WHEN (OLD.id IS DISTINCT FROM NEW.id
        OR OLD.delegator_id IS DISTINCT FROM NEW.delegator_id
        OR OLD.delegate_id IS DISTINCT FROM NEW.delegate_id
        OR OLD.approval_id IS DISTINCT FROM NEW.approval_id
        OR OLD.starts_at IS DISTINCT FROM NEW.starts_at
        OR OLD.ends_at IS DISTINCT FROM NEW.ends_at
        OR OLD.reason IS DISTINCT FROM NEW.reason
        OR OLD.created_at IS DISTINCT FROM NEW.created_at)
    EXECUTE FUNCTION audit_refuse();

CREATE OR REPLACE FUNCTION delegations_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    purged boolean := NEW.from_state IS NOT NULL AND NEW.to_state IS NULL;
BEGIN
    PERFORM FROM public.delegations WHERE id = NEW.subject_id AND (purged OR version >= NEW.seq);
    IF FOUND = purged THEN
        RAISE EXCEPTION 'an audit event tells of a change that was not made'
            USING ERRCODE = 'integrity_constraint_violation',
                  DETAIL = format('delegation %s, seq %s.', NEW.subject_id, NEW.seq);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION delegations_event() IS 'Trigger, deferred: every event of delegations has its change.';
CREATE CONSTRAINT TRIGGER delegations_event AFTER INSERT ON audit_events
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.subject_type = 'delegation')
    EXECUTE FUNCTION delegations_event();
