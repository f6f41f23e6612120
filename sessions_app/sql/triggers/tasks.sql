CREATE TRIGGER tasks_judged BEFORE INSERT ON tasks
    FOR EACH ROW EXECUTE FUNCTION tasks_judged();

CREATE TRIGGER tasks_revise BEFORE UPDATE ON tasks FOR EACH ROW
    WHEN (NEW.erasure IS NULL AND (OLD.payload, OLD.revision, OLD.edited_by_id, OLD.verdict, OLD.policy,
            OLD.policy_version, OLD.why)
        IS DISTINCT FROM (NEW.payload, NEW.revision, NEW.edited_by_id, NEW.verdict, NEW.policy,
            NEW.policy_version, NEW.why))
    EXECUTE FUNCTION tasks_revise();

-- By its name it fires before tasks_single_use, so that a freeze is what is told.
CREATE TRIGGER tasks_frozen BEFORE UPDATE ON tasks FOR EACH ROW
    WHEN (NEW.status = 'claimed' AND (OLD.status <> 'claimed'
        OR OLD.claimed_by_id IS DISTINCT FROM NEW.claimed_by_id))
    EXECUTE FUNCTION tasks_frozen();

CREATE TRIGGER tasks_single_use BEFORE UPDATE ON tasks FOR EACH ROW
    WHEN ((OLD.status, OLD.approved_until, OLD.consumed_by_id)
        IS DISTINCT FROM (NEW.status, NEW.approved_until, NEW.consumed_by_id))
    EXECUTE FUNCTION tasks_single_use();

CREATE TRIGGER tasks_unambiguous BEFORE INSERT OR UPDATE OF payload ON tasks
    FOR EACH ROW EXECUTE FUNCTION tasks_unambiguous();

CREATE CONSTRAINT TRIGGER tasks_written AFTER UPDATE ON tasks
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.payload <> NEW.payload AND NEW.erasure IS NULL)
    EXECUTE FUNCTION tasks_written();

CREATE TRIGGER tasks_erase BEFORE UPDATE ON tasks FOR EACH ROW
    WHEN (OLD.erasure IS NOT NULL OR NEW.erasure IS NOT NULL)
    EXECUTE FUNCTION tasks_erase();

CREATE CONSTRAINT TRIGGER tasks_erased AFTER INSERT OR UPDATE ON tasks
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.erasure IS NOT NULL)
    EXECUTE FUNCTION tasks_erased();

CREATE CONSTRAINT TRIGGER tasks_extended AFTER UPDATE ON tasks
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.status = NEW.status AND OLD.lease_expires_at IS DISTINCT FROM NEW.lease_expires_at)
    EXECUTE FUNCTION tasks_extended();

-- Two changes leave the state alone, a revision or a longer lease, and change nothing else; of a
-- third, an erasure, tasks_erase() says what it changes.
CREATE CONSTRAINT TRIGGER tasks_unchanged AFTER UPDATE ON tasks
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.status = NEW.status AND NEW.erasure IS NULL AND (
        (OLD.revision = NEW.revision) = (OLD.lease_expires_at IS NOT DISTINCT FROM NEW.lease_expires_at)
        OR (OLD.claimed_by_id, OLD.claimed_session_id, OLD.result, OLD.error)
            IS DISTINCT FROM (NEW.claimed_by_id, NEW.claimed_session_id, NEW.result, NEW.error)))
    EXECUTE FUNCTION audit_refuse();
