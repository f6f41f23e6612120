CREATE CONSTRAINT TRIGGER tasks_quorum AFTER UPDATE ON tasks
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.status = 'awaiting_approval' AND NEW.status = 'approved')
    EXECUTE FUNCTION tasks_quorum();

CREATE CONSTRAINT TRIGGER tasks_settled AFTER UPDATE ON tasks
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.status = 'awaiting_approval' AND NEW.status <> 'awaiting_approval')
    EXECUTE FUNCTION tasks_settled();

CREATE CONSTRAINT TRIGGER tasks_recalled AFTER UPDATE ON tasks
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.status IN ('awaiting_approval', 'cancelled') AND NEW.payload = OLD.payload)
    EXECUTE FUNCTION tasks_recalled();

CREATE CONSTRAINT TRIGGER tasks_policy_asked AFTER INSERT ON tasks
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tasks_policy();

CREATE CONSTRAINT TRIGGER tasks_policy_asked_again AFTER UPDATE ON tasks
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.payload <> NEW.payload AND NEW.erasure IS NULL)
    EXECUTE FUNCTION tasks_policy();

CREATE CONSTRAINT TRIGGER tasks_expired AFTER UPDATE ON tasks
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.status <> 'expired' AND NEW.status = 'expired') EXECUTE FUNCTION tasks_expired();
