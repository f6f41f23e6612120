-- Generated from the model sessions_app.Agent by `make docs`.

-- Every change has its event, and is one of these: event:before>after.
CREATE CONSTRAINT TRIGGER agents_transition AFTER INSERT OR UPDATE OR DELETE ON agents
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit_check_transition(
        'agent',
        'identity.created:>active',
        'identity.changed:>',
        'identity.revoked:active>revoked',
        'key.issued:>',
        'key.revoked:>');

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
