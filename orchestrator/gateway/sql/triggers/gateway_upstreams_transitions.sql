-- Generated from the model gateway.Upstream by `make docs`.

-- Every change has its event, and is one of these: event:before>after. By its name it fires before
-- the table's other deferred triggers, so that a missing event is what is told.
CREATE CONSTRAINT TRIGGER gateway_upstreams_check_transition AFTER INSERT OR UPDATE OR DELETE ON gateway_upstreams
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit_check_transition(
        'upstream',
        'upstream.created:>enabled',
        'upstream.changed:>',
        'upstream.secrets_replaced:>',
        'upstream.enabled:disabled>enabled',
        'upstream.disabled:enabled>disabled');

CREATE OR REPLACE FUNCTION gateway_upstreams_stated() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    said jsonb;
BEGIN
    SELECT metadata INTO said FROM public.audit_events
        WHERE subject_type = 'upstream' AND subject_id = NEW.id AND seq = NEW.version;
    IF NEW.version = 1 AND NOT said ?& ARRAY['name', 'kind', 'url', 'command', 'secret_names', 'role', 'agent_roles']
       OR said ? 'url' AND said ->> 'url' IS DISTINCT FROM NEW.url::text
       OR TG_OP = 'UPDATE' AND NEW.url IS DISTINCT FROM OLD.url AND NOT said ? 'url'
       OR said ? 'secrets' AND said ->> 'secrets' IS DISTINCT FROM NEW.secrets::text
       OR said ? 'secret_names' AND said -> 'secret_names' IS DISTINCT FROM to_jsonb(NEW.secret_names)
       OR TG_OP = 'UPDATE' AND NEW.secret_names IS DISTINCT FROM OLD.secret_names AND NOT said ? 'secret_names'
       OR said ? 'role' AND said ->> 'role' IS DISTINCT FROM NEW.role::text
       OR TG_OP = 'UPDATE' AND NEW.role IS DISTINCT FROM OLD.role AND NOT said ? 'role'
       OR said ? 'agent_roles' AND said -> 'agent_roles' IS DISTINCT FROM to_jsonb(NEW.agent_roles)
       OR TG_OP = 'UPDATE' AND NEW.agent_roles IS DISTINCT FROM OLD.agent_roles AND NOT said ? 'agent_roles'
       OR NEW.version = 1 AND (
           said ? 'name' AND said ->> 'name' IS DISTINCT FROM NEW.name::text
           OR said ? 'kind' AND said ->> 'kind' IS DISTINCT FROM NEW.kind::text
           OR said ? 'command' AND said -> 'command' IS DISTINCT FROM to_jsonb(NEW.command)) THEN
        RAISE EXCEPTION 'a row of gateway_upstreams is not what its audit event says'
            USING ERRCODE = 'integrity_constraint_violation',
                  DETAIL = format('upstream %s, seq %s.', NEW.id, NEW.version);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION gateway_upstreams_stated() IS
    'Trigger, deferred: what an event says is in a column, the row says too.';
CREATE CONSTRAINT TRIGGER gateway_upstreams_check_values AFTER INSERT OR UPDATE ON gateway_upstreams
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION gateway_upstreams_stated();

CREATE TRIGGER gateway_upstreams_refuse_truncate BEFORE TRUNCATE ON gateway_upstreams
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();

CREATE TRIGGER gateway_upstreams_immutable BEFORE UPDATE ON gateway_upstreams FOR EACH ROW
    WHEN (OLD.id IS DISTINCT FROM NEW.id
        OR OLD.name IS DISTINCT FROM NEW.name
        OR OLD.kind IS DISTINCT FROM NEW.kind
        OR OLD.command IS DISTINCT FROM NEW.command
        OR OLD.created_at IS DISTINCT FROM NEW.created_at)
    EXECUTE FUNCTION audit_refuse();

CREATE OR REPLACE FUNCTION gateway_upstreams_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    purged boolean := NEW.from_state IS NOT NULL AND NEW.to_state IS NULL;
BEGIN
    PERFORM FROM public.gateway_upstreams WHERE id = NEW.subject_id AND (purged OR version >= NEW.seq);
    IF FOUND = purged THEN
        RAISE EXCEPTION 'an audit event tells of a change that was not made'
            USING ERRCODE = 'integrity_constraint_violation',
                  DETAIL = format('upstream %s, seq %s.', NEW.subject_id, NEW.seq);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION gateway_upstreams_event() IS 'Trigger, deferred: every event of gateway_upstreams has its change.';
CREATE CONSTRAINT TRIGGER gateway_upstreams_event AFTER INSERT ON audit_events
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.subject_type = 'upstream')
    EXECUTE FUNCTION gateway_upstreams_event();
