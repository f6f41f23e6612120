CREATE OR REPLACE FUNCTION tasks_written() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.audit_events
        WHERE subject_type = 'task' AND subject_id = NEW.id AND seq > OLD.version
          AND event_type = 'task.revised' AND xid = pg_current_xact_id()
          AND CASE WHEN NEW.edited_by_id IS NULL THEN NOT starts_with(actor, 'human:')
              ELSE starts_with(actor, 'human:') AND actor_id = NEW.edited_by_id::text END;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the revision of task % is another''s than its event says', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION tasks_written() IS
    'Trigger, deferred: who wrote a revision is whom its event names.';
