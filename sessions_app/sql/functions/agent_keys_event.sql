CREATE OR REPLACE FUNCTION agent_keys_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.audit_events
        WHERE subject_type = 'agent' AND subject_id = NEW.agent_id AND xid = pg_current_xact_id()
          AND CASE TG_OP
              WHEN 'INSERT' THEN event_type = 'key.issued' AND metadata ->> 'prefix' = NEW.prefix
              ELSE event_type = 'key.revoked' AND jsonb_exists(metadata -> 'prefixes', NEW.prefix)
              END;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'a key of agent % changed without its audit event', NEW.agent_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    PERFORM FROM public.agent_keys
        WHERE agent_id = NEW.agent_id AND prefix = NEW.prefix AND id <> NEW.id;
    IF FOUND AND TG_OP = 'INSERT' THEN
        RAISE EXCEPTION 'two keys of agent % have one audit event', NEW.agent_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION agent_keys_event() IS
    'Trigger, deferred: no key is issued or revoked without an event of its agent that names it.';
