CREATE CONSTRAINT TRIGGER tasks_quorum AFTER UPDATE ON tasks
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.status = 'awaiting_approval' AND NEW.status = 'approved')
    EXECUTE FUNCTION tasks_quorum();

CREATE CONSTRAINT TRIGGER tasks_settled AFTER UPDATE ON tasks
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.status = 'awaiting_approval' AND NEW.status <> 'awaiting_approval')
    EXECUTE FUNCTION tasks_settled();

-- Before anybody claimed it, an approved task ends or waits again: a recall, or its router or a
-- rejected override cancels it.
CREATE CONSTRAINT TRIGGER tasks_recalled AFTER UPDATE ON tasks
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.status = 'approved' AND NEW.status IN ('awaiting_approval', 'cancelled'))
    EXECUTE FUNCTION tasks_recalled();
