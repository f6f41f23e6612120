-- Generated from the model audit_app.Webhook by `make docs`.

-- Every change has its event, and is one of these: event:before>after.
CREATE CONSTRAINT TRIGGER webhooks_transition AFTER INSERT OR UPDATE OR DELETE ON webhooks
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
