CREATE OR REPLACE FUNCTION tasks_recalled() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    told record;
BEGIN
    SELECT actor, actor_id INTO told FROM public.audit_events
        WHERE subject_type = 'task' AND subject_id = NEW.id AND seq = OLD.version + 1
          AND event_type = 'task.recalled';
    IF NOT FOUND THEN
        RETURN NULL;  -- cancelled otherwise: tasks_check_transition lets nothing else wait again
    END IF;
    IF OLD.consumed_by_id IS NOT NULL THEN
        RAISE EXCEPTION 'task % was claimed; it can not be recalled', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.status = 'awaiting_approval' AND NEW.revision <> OLD.revision + 1 THEN
        RAISE EXCEPTION 'recalled, task % waits as its next revision', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NOT starts_with(told.actor, 'human:') THEN
        RAISE EXCEPTION 'task % was recalled by nobody', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NOT public.may_recall(NEW.id, OLD.revision, told.actor_id::integer) THEN
        -- Tried again, the operation sees that they may not any more.
        RAISE EXCEPTION 'user % may not recall task %', told.actor_id, NEW.id
            USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION tasks_recalled() IS
    'Trigger, deferred: whoever decided or was asked recalls a task, before anybody claimed it.';
