-- Generated from the model approvals_app.Delegation by `make docs`.

-- Every change has its event, and is one of these: event:before>after.
CREATE CONSTRAINT TRIGGER delegations_transition AFTER INSERT OR UPDATE OR DELETE ON delegations
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit_check_transition(
        'delegation',
        'delegation.granted:>active',
        'delegation.ended:active>ended',
        'delegation.purged:active>',
        'delegation.purged:ended>');

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
