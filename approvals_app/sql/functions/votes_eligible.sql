CREATE OR REPLACE FUNCTION votes_eligible() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    asked public.approvals;
    task public.tasks;
    obstacle record;
BEGIN
    SELECT * INTO asked FROM public.approvals WHERE id = NEW.approval_id;
    -- Votes on one task wait for each other here, whoever casts them.
    SELECT * INTO task FROM public.tasks WHERE id = asked.task_id FOR NO KEY UPDATE;
    SELECT * INTO asked FROM public.approvals WHERE id = NEW.approval_id;
    SELECT * INTO obstacle
        FROM public.vote_obstacle(NEW.approval_id, NEW.voter_id, NEW.seat_of_id);
    IF FOUND THEN
        RAISE EXCEPTION 'user % may not vote on approval % in the seat of user %: %, %',
            NEW.voter_id, NEW.approval_id, NEW.seat_of_id, obstacle.code, obstacle.reason
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF (asked.approver_role, asked.payload_digest) IS DISTINCT FROM (NEW.role, NEW.payload_digest)
       OR (asked.override_id IS NULL
           AND (asked.revision <> task.revision OR task.status <> 'awaiting_approval')) THEN
        RAISE EXCEPTION 'approval % is not open for this vote', NEW.approval_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION votes_eligible() IS
    'Trigger: a vote is of what its approval is of, and vote_obstacle() finds none.';
