CREATE OR REPLACE FUNCTION approvals_voice() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.audit_events
        WHERE subject_type = 'approval' AND subject_id = NEW.id AND seq = NEW.version
          AND CASE WHEN NEW.decided_by_id IS NULL THEN starts_with(actor, 'system:')
              ELSE starts_with(actor, 'human:') AND actor_id = NEW.decided_by_id::text END;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'approval % was decided by somebody else than its event says', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION approvals_voice() IS
    'Trigger, deferred: whom the row names decided, and is human, by the event too.';
