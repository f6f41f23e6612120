-- Generated from the model sessions_app.Freeze by `make docs`.

-- Every change has its event, and is one of these: event:before>after. By its name it fires before
-- the table's other deferred triggers, so that a missing event is what is told.
CREATE CONSTRAINT TRIGGER freezes_check_transition AFTER INSERT OR UPDATE OR DELETE ON freezes
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit_check_transition(
        'freeze',
        'freeze.began:>active',
        'freeze.lifted:active>lifted');

CREATE OR REPLACE FUNCTION freezes_stated() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    said jsonb;
BEGIN
    SELECT metadata INTO said FROM public.audit_events
        WHERE subject_type = 'freeze' AND subject_id = NEW.id AND seq = NEW.version;
    IF NEW.version = 1 AND NOT said ?& ARRAY['scope', 'agent_id', 'role', 'reason', 'frozen_by']
       OR NEW.version = 1 AND (
           said ? 'scope' AND said ->> 'scope' IS DISTINCT FROM NEW.scope::text
           OR said ? 'agent_id' AND said ->> 'agent_id' IS DISTINCT FROM NEW.agent_id::text
           OR said ? 'role' AND said ->> 'role' IS DISTINCT FROM NEW.role::text
           OR said ? 'reason' AND said ->> 'reason' IS DISTINCT FROM NEW.reason::text
           OR said ? 'frozen_by' AND said ->> 'frozen_by' IS DISTINCT FROM NEW.frozen_by::text) THEN
        RAISE EXCEPTION 'a row of freezes is not what its audit event says'
            USING ERRCODE = 'integrity_constraint_violation',
                  DETAIL = format('freeze %s, seq %s.', NEW.id, NEW.version);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION freezes_stated() IS
    'Trigger, deferred: what an event says is in a column, the row says too.';
CREATE CONSTRAINT TRIGGER freezes_check_values AFTER INSERT OR UPDATE ON freezes
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION freezes_stated();

CREATE TRIGGER freezes_refuse_truncate BEFORE TRUNCATE ON freezes
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();

CREATE TRIGGER freezes_immutable BEFORE UPDATE ON freezes FOR EACH ROW
    WHEN (OLD.id IS DISTINCT FROM NEW.id
        OR OLD.scope IS DISTINCT FROM NEW.scope
        OR OLD.agent_id IS DISTINCT FROM NEW.agent_id
        OR OLD.role IS DISTINCT FROM NEW.role
        OR OLD.reason IS DISTINCT FROM NEW.reason
        OR OLD.frozen_by IS DISTINCT FROM NEW.frozen_by
        OR OLD.created_at IS DISTINCT FROM NEW.created_at)
    EXECUTE FUNCTION audit_refuse();

CREATE OR REPLACE FUNCTION freezes_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    purged boolean := NEW.from_state IS NOT NULL AND NEW.to_state IS NULL;
BEGIN
    PERFORM FROM public.freezes WHERE id = NEW.subject_id AND (purged OR version >= NEW.seq);
    IF FOUND = purged THEN
        RAISE EXCEPTION 'an audit event tells of a change that was not made'
            USING ERRCODE = 'integrity_constraint_violation',
                  DETAIL = format('freeze %s, seq %s.', NEW.subject_id, NEW.seq);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION freezes_event() IS 'Trigger, deferred: every event of freezes has its change.';
CREATE CONSTRAINT TRIGGER freezes_event AFTER INSERT ON audit_events
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.subject_type = 'freeze')
    EXECUTE FUNCTION freezes_event();
