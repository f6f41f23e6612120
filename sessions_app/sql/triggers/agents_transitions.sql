-- Generated from the model sessions_app.Agent by `make docs`.

-- Every change has its event, and is one of these: event:before>after. By its name it fires before
-- the table's other deferred triggers, so that a missing event is what is told.
CREATE CONSTRAINT TRIGGER agents_check_transition AFTER INSERT OR UPDATE OR DELETE ON agents
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit_check_transition(
        'agent',
        'identity.created:>active',
        'identity.changed:>',
        'identity.revoked:active>revoked',
        'key.issued:>',
        'key.revoked:>');

CREATE OR REPLACE FUNCTION agents_stated() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    said jsonb;
BEGIN
    SELECT metadata INTO said FROM public.audit_events
        WHERE subject_type = 'agent' AND subject_id = NEW.id AND seq = NEW.version;
    IF NEW.version = 1 AND NOT said ?& ARRAY['name', 'roles', 'owner_id', 'subject']
       OR said ? 'name' AND said ->> 'name' IS DISTINCT FROM NEW.name::text
       OR TG_OP = 'UPDATE' AND NEW.name IS DISTINCT FROM OLD.name AND NOT said ? 'name'
       OR said ? 'roles' AND said -> 'roles' IS DISTINCT FROM to_jsonb(NEW.roles)
       OR TG_OP = 'UPDATE' AND NEW.roles IS DISTINCT FROM OLD.roles AND NOT said ? 'roles'
       OR said ? 'owner_id' AND said ->> 'owner_id' IS DISTINCT FROM NEW.owner_id::text
       OR TG_OP = 'UPDATE' AND NEW.owner_id IS DISTINCT FROM OLD.owner_id AND NOT said ? 'owner_id'
       OR said ? 'subject' AND said ->> 'subject' IS DISTINCT FROM NEW.subject::text
       OR TG_OP = 'UPDATE' AND NEW.subject IS DISTINCT FROM OLD.subject AND NOT said ? 'subject' THEN
        RAISE EXCEPTION 'a row of agents is not what its audit event says'
            USING ERRCODE = 'integrity_constraint_violation',
                  DETAIL = format('agent %s, seq %s.', NEW.id, NEW.version);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION agents_stated() IS
    'Trigger, deferred: what an event says is in a column, the row says too.';
CREATE CONSTRAINT TRIGGER agents_check_values AFTER INSERT OR UPDATE ON agents
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION agents_stated();

CREATE TRIGGER agents_refuse_truncate BEFORE TRUNCATE ON agents
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();

CREATE TRIGGER agents_immutable BEFORE UPDATE ON agents FOR EACH ROW
    WHEN (OLD.id IS DISTINCT FROM NEW.id
        OR OLD.created_at IS DISTINCT FROM NEW.created_at)
    EXECUTE FUNCTION audit_refuse();

CREATE OR REPLACE FUNCTION agents_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    purged boolean := NEW.from_state IS NOT NULL AND NEW.to_state IS NULL;
BEGIN
    PERFORM FROM public.agents WHERE id = NEW.subject_id AND (purged OR version >= NEW.seq);
    IF FOUND = purged THEN
        RAISE EXCEPTION 'an audit event tells of a change that was not made'
            USING ERRCODE = 'integrity_constraint_violation',
                  DETAIL = format('agent %s, seq %s.', NEW.subject_id, NEW.seq);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION agents_event() IS 'Trigger, deferred: every event of agents has its change.';
CREATE CONSTRAINT TRIGGER agents_event AFTER INSERT ON audit_events
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.subject_type = 'agent')
    EXECUTE FUNCTION agents_event();
