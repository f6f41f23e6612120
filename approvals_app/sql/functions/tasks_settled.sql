CREATE OR REPLACE FUNCTION tasks_settled() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.approvals
        WHERE task_id = NEW.id AND status = 'pending' AND override_id IS NULL;
    IF FOUND THEN
        RAISE EXCEPTION 'people are still asked about task %, which does not wait', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION tasks_settled() IS
    'Trigger, deferred: nobody is asked about a task that waits no more.';
