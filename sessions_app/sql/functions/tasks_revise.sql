CREATE OR REPLACE FUNCTION tasks_revise() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.status, NEW.status) = ('approved', 'awaiting_approval') THEN
        IF NEW.revision <> OLD.revision + 1 OR (OLD.payload, OLD.edited_by_id, OLD.verdict,
                OLD.policy, OLD.policy_version, OLD.why)
            IS DISTINCT FROM (NEW.payload, NEW.edited_by_id, NEW.verdict, NEW.policy,
                NEW.policy_version, NEW.why) THEN
            RAISE EXCEPTION 'a task that is recalled waits with the payload that it has'
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    ELSIF NEW.revision <> OLD.revision + 1 OR NEW.payload = OLD.payload
       OR OLD.status <> 'awaiting_approval' OR NEW.status <> OLD.status THEN
        RAISE EXCEPTION 'the payload of a task changes by one revision, while it waits'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    PERFORM FROM public.task_revisions
        WHERE task_id = OLD.id AND number = OLD.revision AND payload = OLD.payload
          AND edited_by_id IS NOT DISTINCT FROM OLD.edited_by_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the payload that a revision replaces is kept'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION tasks_revise() IS
    'Trigger: a payload, and what was said of it, change together, while the task waits; a recalled '
    'task waits again with what it has.';
