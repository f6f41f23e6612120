-- Generated from the model audit_app.Webhook by `make docs`.

-- Every change has its event, and is one of these: event:before>after. By its name it fires before
-- the table's other deferred triggers, so that a missing event is what is told.
CREATE CONSTRAINT TRIGGER webhooks_check_transition AFTER INSERT OR UPDATE OR DELETE ON webhooks
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit_check_transition(
        'webhook',
        'webhook.created:>active',
        'webhook.changed:>',
        'webhook.secret_rotated:>',
        'webhook.paused:active>paused',
        'webhook.resumed:paused>active',
        'webhook.resumed:disabled>active',
        'webhook.disabled:active>disabled',
        'webhook.disabled:paused>disabled');

CREATE OR REPLACE FUNCTION webhooks_stated() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    said jsonb;
BEGIN
    SELECT metadata INTO said FROM public.audit_events
        WHERE subject_type = 'webhook' AND subject_id = NEW.id AND seq = NEW.version;
    IF NEW.version = 1 AND NOT said ?& ARRAY['name', 'url', 'event_types', 'roles']
       OR said ? 'url' AND said ->> 'url' IS DISTINCT FROM NEW.url::text
       OR TG_OP = 'UPDATE' AND NEW.url IS DISTINCT FROM OLD.url AND NOT said ? 'url'
       OR said ? 'event_types' AND said -> 'event_types' IS DISTINCT FROM to_jsonb(NEW.event_types)
       OR TG_OP = 'UPDATE' AND NEW.event_types IS DISTINCT FROM OLD.event_types AND NOT said ? 'event_types'
       OR said ? 'roles' AND said -> 'roles' IS DISTINCT FROM to_jsonb(NEW.roles)
       OR TG_OP = 'UPDATE' AND NEW.roles IS DISTINCT FROM OLD.roles AND NOT said ? 'roles'
       OR said ? 'secret' AND said ->> 'secret' IS DISTINCT FROM NEW.secret::text
       OR said ? 'old_secret' AND said ->> 'old_secret' IS DISTINCT FROM NEW.old_secret::text
       OR said ? 'old_secret_until' AND (said ->> 'old_secret_until')::timestamptz IS DISTINCT FROM NEW.old_secret_until
       OR NEW.version = 1 AND (
           said ? 'name' AND said ->> 'name' IS DISTINCT FROM NEW.name::text) THEN
        RAISE EXCEPTION 'a row of webhooks is not what its audit event says'
            USING ERRCODE = 'integrity_constraint_violation',
                  DETAIL = format('webhook %s, seq %s.', NEW.id, NEW.version);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION webhooks_stated() IS
    'Trigger, deferred: what an event says is in a column, the row says too.';
CREATE CONSTRAINT TRIGGER webhooks_check_values AFTER INSERT OR UPDATE ON webhooks
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION webhooks_stated();

CREATE TRIGGER webhooks_refuse_truncate BEFORE TRUNCATE ON webhooks
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();

CREATE TRIGGER webhooks_immutable BEFORE UPDATE ON webhooks FOR EACH ROW
    WHEN (OLD.id IS DISTINCT FROM NEW.id
        OR OLD.name IS DISTINCT FROM NEW.name
        OR OLD.created_at IS DISTINCT FROM NEW.created_at)
    EXECUTE FUNCTION audit_refuse();

CREATE OR REPLACE FUNCTION webhooks_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    purged boolean := NEW.from_state IS NOT NULL AND NEW.to_state IS NULL;
BEGIN
    PERFORM FROM public.webhooks WHERE id = NEW.subject_id AND (purged OR version >= NEW.seq);
    IF FOUND = purged THEN
        RAISE EXCEPTION 'an audit event tells of a change that was not made'
            USING ERRCODE = 'integrity_constraint_violation',
                  DETAIL = format('webhook %s, seq %s.', NEW.subject_id, NEW.seq);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION webhooks_event() IS 'Trigger, deferred: every event of webhooks has its change.';
CREATE CONSTRAINT TRIGGER webhooks_event AFTER INSERT ON audit_events
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.subject_type = 'webhook')
    EXECUTE FUNCTION webhooks_event();
