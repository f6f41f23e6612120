-- Generated from the model approvals_app.Approval by `make docs`.

-- Every change has its event, and is one of these: event:before>after.
CREATE CONSTRAINT TRIGGER approvals_transition AFTER INSERT OR UPDATE OR DELETE ON approvals
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit_check_transition(
        'approval',
        'approval.requested:>pending',
        'approval.approved:pending>approved',
        'approval.approved_by_deadline:pending>approved',
        'approval.rejected:pending>rejected',
        'approval.expired:pending>expired',
        'approval.withdrawn:pending>withdrawn',
        'approval.reminded:>',
        'approval.purged:approved>',
        'approval.purged:rejected>',
        'approval.purged:expired>',
        'approval.purged:withdrawn>');

CREATE TRIGGER approvals_refuse_truncate BEFORE TRUNCATE ON approvals
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();

CREATE TRIGGER approvals_immutable BEFORE UPDATE ON approvals FOR EACH ROW
    WHEN (OLD.id IS DISTINCT FROM NEW.id
        OR OLD.task_id IS DISTINCT FROM NEW.task_id
        OR OLD.approver_role IS DISTINCT FROM NEW.approver_role
        OR OLD.needed IS DISTINCT FROM NEW.needed
        OR OLD.deny_threshold IS DISTINCT FROM NEW.deny_threshold
        OR OLD.revision IS DISTINCT FROM NEW.revision
        OR OLD.reason IS DISTINCT FROM NEW.reason
        OR OLD.payload_digest IS DISTINCT FROM NEW.payload_digest
        OR OLD.expires_at IS DISTINCT FROM NEW.expires_at
        OR OLD.at_deadline IS DISTINCT FROM NEW.at_deadline
        OR OLD.reminders IS DISTINCT FROM NEW.reminders
        OR OLD.valid_for IS DISTINCT FROM NEW.valid_for
        OR OLD.override_id IS DISTINCT FROM NEW.override_id
        OR OLD.requested_by_id IS DISTINCT FROM NEW.requested_by_id
        OR OLD.trace_id IS DISTINCT FROM NEW.trace_id
        OR OLD.risk IS DISTINCT FROM NEW.risk
        OR OLD.look_for IS DISTINCT FROM NEW.look_for
        OR OLD.type_out IS DISTINCT FROM NEW.type_out
        OR OLD.created_at IS DISTINCT FROM NEW.created_at)
    EXECUTE FUNCTION audit_refuse();

CREATE OR REPLACE FUNCTION approvals_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    purged boolean := NEW.from_state IS NOT NULL AND NEW.to_state IS NULL;
BEGIN
    PERFORM FROM public.approvals WHERE id = NEW.subject_id AND (purged OR version >= NEW.seq);
    IF FOUND = purged THEN
        RAISE EXCEPTION 'an audit event tells of a change that was not made'
            USING ERRCODE = 'integrity_constraint_violation',
                  DETAIL = format('approval %s, seq %s.', NEW.subject_id, NEW.seq);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION approvals_event() IS 'Trigger, deferred: every event of approvals has its change.';
CREATE CONSTRAINT TRIGGER approvals_event AFTER INSERT ON audit_events
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.subject_type = 'approval')
    EXECUTE FUNCTION approvals_event();
