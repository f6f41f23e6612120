-- Generated from the model approvals_app.ApprovalPolicy by `make docs`.

-- Every change has its event, and is one of these: event:before>after.
CREATE CONSTRAINT TRIGGER approval_policies_transition AFTER INSERT OR UPDATE OR DELETE ON approval_policies
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit_check_transition(
        'policy',
        'policy.created:>active',
        'policy.changed:>',
        'policy.retired:active>retired',
        'policy.restored:retired>active');

CREATE TRIGGER approval_policies_refuse_truncate BEFORE TRUNCATE ON approval_policies
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();

CREATE TRIGGER approval_policies_immutable BEFORE UPDATE ON approval_policies FOR EACH ROW
    WHEN (OLD.id IS DISTINCT FROM NEW.id
        OR OLD.name IS DISTINCT FROM NEW.name
        OR OLD.created_at IS DISTINCT FROM NEW.created_at)
    EXECUTE FUNCTION audit_refuse();

CREATE OR REPLACE FUNCTION approval_policies_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    purged boolean := NEW.from_state IS NOT NULL AND NEW.to_state IS NULL;
BEGIN
    PERFORM FROM public.approval_policies WHERE id = NEW.subject_id AND (purged OR version >= NEW.seq);
    IF FOUND = purged THEN
        RAISE EXCEPTION 'an audit event tells of a change that was not made'
            USING ERRCODE = 'integrity_constraint_violation',
                  DETAIL = format('policy %s, seq %s.', NEW.subject_id, NEW.seq);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION approval_policies_event() IS 'Trigger, deferred: every event of approval_policies has its change.';
CREATE CONSTRAINT TRIGGER approval_policies_event AFTER INSERT ON audit_events
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.subject_type = 'policy')
    EXECUTE FUNCTION approval_policies_event();
