CREATE OR REPLACE FUNCTION votes_voice() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.audit_events
        WHERE subject_type = 'vote' AND subject_id = NEW.id AND seq = NEW.version
          AND starts_with(actor, 'human:') AND actor_id = NEW.voter_id::text;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'vote % is another''s than its event says', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION votes_voice() IS
    'Trigger, deferred: whom a vote names cast it and withdrew it, by its events too.';
