CREATE OR REPLACE FUNCTION tasks_expired() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status = 'approved' AND public.deadline_passed(OLD.approved_until, OLD.updated_at,
            OLD.agent_id, OLD.claimed_by_id, OLD.from_role, OLD.to_role) THEN
        RETURN NULL;
    END IF;
    PERFORM FROM public.approvals
        WHERE task_id = NEW.id AND revision = NEW.revision AND override_id IS NULL
          AND status = 'expired';
    IF OLD.status = 'awaiting_approval' AND FOUND THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'the time of task % has not passed', NEW.id
        USING ERRCODE = 'integrity_constraint_violation';
END $$;
COMMENT ON FUNCTION tasks_expired() IS
    'Trigger, deferred: a task expires with an approval of it, or unused once its approval ran out.';
