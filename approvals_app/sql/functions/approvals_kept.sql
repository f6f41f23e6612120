-- What belongs to a task goes with it.
CREATE OR REPLACE FUNCTION approvals_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.tasks WHERE id = OLD.task_id;
    IF FOUND THEN
        RAISE EXCEPTION 'a row of % goes with its task', TG_TABLE_NAME
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION approvals_kept() IS
    'Trigger, deferred: approvals and overrides are purged with their task alone.';
