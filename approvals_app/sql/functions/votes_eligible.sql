-- Whoever votes is asked, is nobody whom separation of duties excludes, and has no other seat.
CREATE OR REPLACE FUNCTION votes_eligible() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    approval public.approvals;
    task public.tasks;
    people integer[] := ARRAY[NEW.voter_id, NEW.seat_of_id];
    leeway interval := '5 seconds';
BEGIN
    SELECT * INTO approval FROM public.approvals WHERE id = NEW.approval_id;
    -- Votes on one task wait for each other here, whoever casts them.
    SELECT * INTO task FROM public.tasks WHERE id = approval.task_id FOR NO KEY UPDATE;
    SELECT * INTO approval FROM public.approvals WHERE id = NEW.approval_id;
    IF approval.status <> 'pending' OR approval.approver_role <> NEW.role
       OR approval.payload_digest <> NEW.payload_digest
       -- The operation judged the deadline a moment ago, and CHECKs hold the decision to it.
       OR (approval.override_id IS NULL AND (approval.expires_at <= clock_timestamp() - leeway
           OR approval.revision <> task.revision OR task.status <> 'awaiting_approval')) THEN
        RAISE EXCEPTION 'approval % is not open for this vote', NEW.approval_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NOT public.approvals_member(NEW.seat_of_id, NEW.role) THEN
        RAISE EXCEPTION 'user % is no member of %', NEW.seat_of_id, NEW.role
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.voter_id <> NEW.seat_of_id THEN
        PERFORM FROM public.delegations AS delegation
            JOIN public.auth_user AS delegate ON delegate.id = delegate_id
            WHERE delegator_id = NEW.seat_of_id AND delegate_id = NEW.voter_id
              AND status = 'active' AND delegate.is_active
              AND starts_at <= clock_timestamp()
              AND (ends_at IS NULL OR ends_at > clock_timestamp() - leeway)
              AND (delegation.approval_id IS NULL OR delegation.approval_id = approval.id);
        IF NOT FOUND THEN
            RAISE EXCEPTION 'user % does not stand in for user %', NEW.voter_id, NEW.seat_of_id
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    END IF;
    PERFORM FROM public.overrides
        WHERE id = approval.override_id AND opened_by_id = ANY(people);
    IF FOUND OR public.approvals_excluded(task, ARRAY[approval.requested_by_id], people) THEN
        RAISE EXCEPTION 'separation of duties: this vote on approval % is excluded', approval.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    PERFORM FROM public.approvals_voices(approval) AS vote
        WHERE vote.id <> NEW.id AND (vote.voter_id = ANY(people) OR vote.seat_of_id = ANY(people));
    IF FOUND THEN
        RAISE EXCEPTION 'one person has one voice in the decision on task %', approval.task_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION votes_eligible() IS
    'Trigger: who votes is asked, is not excluded by separation of duties, and has one seat.';
