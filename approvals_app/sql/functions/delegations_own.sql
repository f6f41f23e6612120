CREATE OR REPLACE FUNCTION delegations_own() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.audit_events
        WHERE subject_type = 'delegation' AND subject_id = NEW.id AND seq = NEW.version
          AND starts_with(actor, 'human:') AND actor_id = NEW.delegator_id::text;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'delegation % is not granted by whose seat it is', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION delegations_own() IS
    'Trigger, deferred: people give away their own seat, and nobody another''s.';
