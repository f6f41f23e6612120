-- Generated from the model approvals_app.Passkey by `make docs`.

-- Every change has its event, and is one of these: event:before>after. By its name it fires before
-- the table's other deferred triggers, so that a missing event is what is told.
CREATE CONSTRAINT TRIGGER passkeys_check_transition AFTER INSERT OR UPDATE OR DELETE ON passkeys
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit_check_transition(
        'passkey',
        'passkey.registered:>active',
        'passkey.renamed:>',
        'passkey.revoked:active>revoked');

CREATE OR REPLACE FUNCTION passkeys_stated() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    said jsonb;
BEGIN
    SELECT metadata INTO said FROM public.audit_events
        WHERE subject_type = 'passkey' AND subject_id = NEW.id AND seq = NEW.version;
    IF NEW.version = 1 AND NOT said ?& ARRAY['user', 'credential_id', 'public_key', 'transports', 'label']
       OR said ? 'label' AND said ->> 'label' IS DISTINCT FROM NEW.label::text
       OR TG_OP = 'UPDATE' AND NEW.label IS DISTINCT FROM OLD.label AND NOT said ? 'label'
       OR NEW.version = 1 AND (
           said ? 'user_id' AND said ->> 'user_id' IS DISTINCT FROM NEW.user_id::text
           OR said ? 'credential_id' AND said ->> 'credential_id' IS DISTINCT FROM NEW.credential_id::text
           OR said ? 'public_key' AND said ->> 'public_key' IS DISTINCT FROM NEW.public_key::text
           OR said ? 'transports' AND said -> 'transports' IS DISTINCT FROM coalesce(NEW.transports, 'null')
           OR said ? 'user' AND said ->> 'user' IS DISTINCT FROM NEW.user_id::text) THEN
        RAISE EXCEPTION 'a row of passkeys is not what its audit event says'
            USING ERRCODE = 'integrity_constraint_violation',
                  DETAIL = format('passkey %s, seq %s.', NEW.id, NEW.version);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION passkeys_stated() IS
    'Trigger, deferred: what an event says is in a column, the row says too.';
CREATE CONSTRAINT TRIGGER passkeys_check_values AFTER INSERT OR UPDATE ON passkeys
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION passkeys_stated();

CREATE TRIGGER passkeys_refuse_truncate BEFORE TRUNCATE ON passkeys
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();

CREATE TRIGGER passkeys_immutable BEFORE UPDATE ON passkeys FOR EACH ROW
    WHEN (OLD.id IS DISTINCT FROM NEW.id
        OR OLD.user_id IS DISTINCT FROM NEW.user_id
        OR OLD.credential_id IS DISTINCT FROM NEW.credential_id
        OR OLD.public_key IS DISTINCT FROM NEW.public_key
        OR OLD.transports IS DISTINCT FROM NEW.transports
        OR OLD.created_at IS DISTINCT FROM NEW.created_at)
    EXECUTE FUNCTION audit_refuse();

CREATE OR REPLACE FUNCTION passkeys_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    purged boolean := NEW.from_state IS NOT NULL AND NEW.to_state IS NULL;
BEGIN
    PERFORM FROM public.passkeys WHERE id = NEW.subject_id AND (purged OR version >= NEW.seq);
    IF FOUND = purged THEN
        RAISE EXCEPTION 'an audit event tells of a change that was not made'
            USING ERRCODE = 'integrity_constraint_violation',
                  DETAIL = format('passkey %s, seq %s.', NEW.subject_id, NEW.seq);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION passkeys_event() IS 'Trigger, deferred: every event of passkeys has its change.';
CREATE CONSTRAINT TRIGGER passkeys_event AFTER INSERT ON audit_events
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.subject_type = 'passkey')
    EXECUTE FUNCTION passkeys_event();
