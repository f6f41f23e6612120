-- Generated from the model approvals_app.Approval by `make docs`.

-- Every change has its event, and is one of these: event:before>after. By its name it fires before
-- the table's other deferred triggers, so that a missing event is what is told.
CREATE CONSTRAINT TRIGGER approvals_check_transition AFTER INSERT OR UPDATE OR DELETE ON approvals
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

CREATE OR REPLACE FUNCTION approvals_stated() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    said jsonb;
BEGIN
    SELECT metadata INTO said FROM public.audit_events
        WHERE subject_type = 'approval' AND subject_id = NEW.id AND seq = NEW.version;
    IF NEW.version = 1 AND NOT said ?& ARRAY['task_id', 'payload_digest', 'revision', 'needed', 'deny_threshold', 'at_deadline', 'expires_at', 'reason', 'signed']
       OR said ? 'remind_at' AND (said ->> 'remind_at')::timestamptz IS DISTINCT FROM NEW.remind_at
       OR said ? 'escalated_to_id' AND said ->> 'escalated_to_id' IS DISTINCT FROM NEW.escalated_to_id::text
       OR said ? 'decided_by_id' AND said ->> 'decided_by_id' IS DISTINCT FROM NEW.decided_by_id::text
       OR said ? 'decision_at' AND (said ->> 'decision_at')::timestamptz IS DISTINCT FROM NEW.decision_at
       OR said ? 'notes' AND said ->> 'notes' IS DISTINCT FROM NEW.notes::text
       OR NEW.version = 1 AND (
           said ? 'task_id' AND said ->> 'task_id' IS DISTINCT FROM NEW.task_id::text
           OR said ? 'approver_role' AND said ->> 'approver_role' IS DISTINCT FROM NEW.approver_role::text
           OR said ? 'needed' AND said ->> 'needed' IS DISTINCT FROM NEW.needed::text
           OR said ? 'deny_threshold' AND said ->> 'deny_threshold' IS DISTINCT FROM NEW.deny_threshold::text
           OR said ? 'revision' AND said ->> 'revision' IS DISTINCT FROM NEW.revision::text
           OR said ? 'reason' AND said ->> 'reason' IS DISTINCT FROM NEW.reason::text
           OR said ? 'requested_by_id' AND said ->> 'requested_by_id' IS DISTINCT FROM NEW.requested_by_id::text
           OR said ? 'payload_digest' AND said ->> 'payload_digest' IS DISTINCT FROM NEW.payload_digest::text
           OR said ? 'expires_at' AND (said ->> 'expires_at')::timestamptz IS DISTINCT FROM NEW.expires_at
           OR said ? 'at_deadline' AND said -> 'at_deadline' IS DISTINCT FROM coalesce(NEW.at_deadline, 'null')
           OR said ? 'reminders' AND said -> 'reminders' IS DISTINCT FROM coalesce(NEW.reminders, 'null')
           OR said ? 'valid_for' AND said ->> 'valid_for' IS DISTINCT FROM NEW.valid_for::text
           OR said ? 'risk' AND said ->> 'risk' IS DISTINCT FROM NEW.risk::text
           OR said ? 'look_for' AND said ->> 'look_for' IS DISTINCT FROM NEW.look_for::text
           OR said ? 'type_out' AND said ->> 'type_out' IS DISTINCT FROM NEW.type_out::text
           OR said ? 'instruction' AND said ->> 'instruction' IS DISTINCT FROM NEW.instruction::text
           OR said ? 'must_confirm' AND said ->> 'must_confirm' IS DISTINCT FROM NEW.must_confirm::text
           OR said ? 'signed' AND said ->> 'signed' IS DISTINCT FROM NEW.signed::text
           OR said ? 'override_id' AND said ->> 'override_id' IS DISTINCT FROM NEW.override_id::text
           OR said ? 'trace_id' AND said ->> 'trace_id' IS DISTINCT FROM NEW.trace_id::text) THEN
        RAISE EXCEPTION 'a row of approvals is not what its audit event says'
            USING ERRCODE = 'integrity_constraint_violation',
                  DETAIL = format('approval %s, seq %s.', NEW.id, NEW.version);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION approvals_stated() IS
    'Trigger, deferred: what an event says is in a column, the row says too.';
CREATE CONSTRAINT TRIGGER approvals_check_values AFTER INSERT OR UPDATE ON approvals
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION approvals_stated();

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
        OR OLD.instruction IS DISTINCT FROM NEW.instruction
        OR OLD.must_confirm IS DISTINCT FROM NEW.must_confirm
        OR OLD.signed IS DISTINCT FROM NEW.signed
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
