CREATE OR REPLACE FUNCTION tasks_erased() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.audit_events
        WHERE subject_type = 'task' AND subject_id = NEW.id AND seq = NEW.version
          AND event_type = 'payload.erased' AND starts_with(actor, 'human:')
          AND metadata -> 'erasure' = NEW.erasure
          AND xid = pg_current_xact_id();
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the payload of task % was erased, and no event says by whom', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    PERFORM FROM public.task_revisions
        WHERE task_id = NEW.id AND payload <> NEW.payload;
    IF FOUND THEN
        RAISE EXCEPTION 'an earlier payload of task % is not erased', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION tasks_erased() IS
    'Trigger, deferred: an event says who erased a payload and why, and no revision keeps it.';
