CREATE OR REPLACE FUNCTION key_issued() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.agent_keys
        WHERE agent_id = NEW.subject_id AND prefix = NEW.metadata ->> 'prefix';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'an audit event tells of a key that was not issued'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION key_issued() IS 'Trigger, deferred: an event of an issued key has its key.';
