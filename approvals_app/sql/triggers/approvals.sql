CREATE CONSTRAINT TRIGGER approvals_voice AFTER UPDATE ON approvals
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.status = 'pending' AND NEW.status IN ('approved', 'rejected'))
    EXECUTE FUNCTION approvals_voice();

CREATE CONSTRAINT TRIGGER approvals_of_the_task AFTER INSERT ON approvals
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION approvals_of_the_task();

CREATE CONSTRAINT TRIGGER approvals_quorum AFTER UPDATE ON approvals
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.status = 'pending' AND NEW.status IN ('approved', 'rejected'))
    EXECUTE FUNCTION approvals_quorum();

CREATE CONSTRAINT TRIGGER approvals_expired AFTER UPDATE ON approvals
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.status = 'pending' AND NEW.status = 'expired')
    EXECUTE FUNCTION approvals_expired();

CREATE CONSTRAINT TRIGGER approvals_withdrawn AFTER UPDATE ON approvals
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.status = 'pending' AND NEW.status = 'withdrawn')
    EXECUTE FUNCTION approvals_withdrawn();

-- A reminder is the one change that leaves the state alone, and it changes nothing else.
CREATE CONSTRAINT TRIGGER approvals_unchanged AFTER UPDATE ON approvals
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.status = NEW.status AND (OLD.status <> 'pending'
        OR (OLD.decided_by_id, OLD.decision_at, OLD.notes, OLD.escalated_to_id)
            IS DISTINCT FROM (NEW.decided_by_id, NEW.decision_at, NEW.notes, NEW.escalated_to_id)))
    EXECUTE FUNCTION audit_refuse();

CREATE CONSTRAINT TRIGGER approvals_kept AFTER DELETE ON approvals
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION approvals_kept();
