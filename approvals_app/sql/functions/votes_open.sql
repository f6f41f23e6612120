CREATE OR REPLACE FUNCTION votes_open() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.approvals AS approval JOIN public.tasks AS task ON task.id = approval.task_id
        WHERE approval.id = NEW.approval_id AND (approval.status = 'pending'
            -- What was said against the task counts on where others are asked instead.
            OR (approval.escalated_to_id IS NOT NULL AND task.status = 'awaiting_approval'
                AND task.revision = approval.revision))
        FOR NO KEY UPDATE OF task, approval;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'approval % is decided; its votes stay', NEW.approval_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION votes_open() IS 'Trigger: a vote can be withdrawn until the decision.';
