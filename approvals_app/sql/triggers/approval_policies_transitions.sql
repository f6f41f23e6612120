-- Generated from the model approvals_app.ApprovalPolicy by `make docs`.

-- Every change has its event, and is one of these: event:before>after. By its name it fires before
-- the table's other deferred triggers, so that a missing event is what is told.
CREATE CONSTRAINT TRIGGER approval_policies_check_transition AFTER INSERT OR UPDATE OR DELETE ON approval_policies
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit_check_transition(
        'policy',
        'policy.created:>active',
        'policy.changed:>',
        'policy.retired:active>retired',
        'policy.restored:retired>active');

CREATE OR REPLACE FUNCTION approval_policies_stated() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    said jsonb;
BEGIN
    SELECT metadata INTO said FROM public.audit_events
        WHERE subject_type = 'policy' AND subject_id = NEW.id AND seq = NEW.version;
    IF NEW.version = 1 AND NOT said ?& ARRAY['name', 'priority', 'description', 'rule']
       OR said ? 'priority' AND said ->> 'priority' IS DISTINCT FROM NEW.priority::text
       OR TG_OP = 'UPDATE' AND NEW.priority IS DISTINCT FROM OLD.priority AND NOT said ? 'priority'
       OR said ? 'description' AND said ->> 'description' IS DISTINCT FROM NEW.description::text
       OR TG_OP = 'UPDATE' AND NEW.description IS DISTINCT FROM OLD.description AND NOT said ? 'description'
       OR said ? 'rule' AND said -> 'rule' IS DISTINCT FROM coalesce(NEW.rule, 'null')
       OR TG_OP = 'UPDATE' AND NEW.rule IS DISTINCT FROM OLD.rule AND NOT said ? 'rule'
       OR NEW.version = 1 AND (
           said ? 'name' AND said ->> 'name' IS DISTINCT FROM NEW.name::text) THEN
        RAISE EXCEPTION 'a row of approval_policies is not what its audit event says'
            USING ERRCODE = 'integrity_constraint_violation',
                  DETAIL = format('policy %s, seq %s.', NEW.id, NEW.version);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION approval_policies_stated() IS
    'Trigger, deferred: what an event says is in a column, the row says too.';
CREATE CONSTRAINT TRIGGER approval_policies_check_values AFTER INSERT OR UPDATE ON approval_policies
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION approval_policies_stated();

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
