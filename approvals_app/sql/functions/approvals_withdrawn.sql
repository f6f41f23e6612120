CREATE OR REPLACE FUNCTION approvals_withdrawn() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.override_id IS NULL THEN
        PERFORM FROM public.tasks WHERE id = NEW.task_id
            AND (status <> 'awaiting_approval' OR revision <> NEW.revision);
    ELSE
        PERFORM FROM public.overrides WHERE id = NEW.override_id AND status <> 'open';
    END IF;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'approval % is still waited for', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION approvals_withdrawn() IS
    'Trigger, deferred: an approval is withdrawn when nothing waits for it any more.';
