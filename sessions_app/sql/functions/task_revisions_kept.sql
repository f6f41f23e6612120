CREATE OR REPLACE FUNCTION task_revisions_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM FROM public.tasks WHERE id = OLD.task_id;
        IF FOUND THEN
            RAISE EXCEPTION 'a revision goes with its task'
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NULL;
    END IF;
    PERFORM FROM public.tasks JOIN public.audit_events ON subject_id = tasks.id
        WHERE tasks.id = NEW.task_id AND tasks.revision > NEW.number
          AND subject_type = 'task' AND event_type IN ('task.revised', 'task.recalled')
          AND xid = pg_current_xact_id()
          AND audit_events.metadata ->> 'replaces' = NEW.payload_digest;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'a revision is kept when the task is revised or recalled'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION task_revisions_kept() IS
    'Trigger, deferred: a payload is kept when it is replaced, for as long as its task is there.';
