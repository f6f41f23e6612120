CREATE OR REPLACE FUNCTION approvals_quorum() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    said bigint;
    rightful bigint;
BEGIN
    IF NEW.decision_at NOT BETWEEN
        transaction_timestamp() - interval '5 seconds' AND clock_timestamp() + interval '5 seconds'
    THEN
        RAISE EXCEPTION 'approval % is decided when it is decided', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.decided_by_id IS NULL THEN
        IF NEW.override_id IS NOT NULL OR NEW.decision_at > clock_timestamp()
           OR NEW.at_deadline ->> 'then' IS DISTINCT FROM 'approve_without_a_human'
           OR NEW.at_deadline #>> '{escalate,0}' IS NOT NULL THEN
            RAISE EXCEPTION 'the deadline of approval % has not passed', NEW.id
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        PERFORM FROM public.approvals_voices(NEW.task_id, NEW.revision, NEW.override_id)
            WHERE choice <> 'yes';
        IF FOUND THEN
            RAISE EXCEPTION 'somebody spoke against approval %, and silence does not', NEW.id
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NULL;
    END IF;
    IF NEW.status = 'rejected' THEN
        SELECT count(*) INTO said
            FROM public.approvals_voices(NEW.task_id, NEW.revision, NEW.override_id)
            WHERE choice = 'no';
        PERFORM FROM public.votes WHERE approval_id = NEW.id AND status = 'cast'
            AND voter_id = NEW.decided_by_id AND choice = 'no';
        IF said < NEW.deny_threshold OR NOT FOUND THEN
            RAISE EXCEPTION 'approval % was rejected without the votes for it', NEW.id
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NULL;
    END IF;
    PERFORM FROM public.overrides
        WHERE task_id = NEW.task_id AND revision = NEW.revision
          AND opened_by_id = NEW.decided_by_id AND NEW.override_id IS NULL;
    IF FOUND THEN
        RETURN NULL;
    END IF;
    PERFORM FROM public.approvals_voices(NEW.task_id, NEW.revision, NEW.override_id)
        WHERE choice = 'changes';
    IF FOUND THEN
        RAISE EXCEPTION 'approval % was approved without the votes for it: changes are asked for',
            NEW.id USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    SELECT count(*) INTO said
        FROM public.approvals_voices(NEW.task_id, NEW.revision, NEW.override_id)
        WHERE approval_id = NEW.id AND choice = 'yes';
    SELECT count(*) INTO rightful FROM public.votes_in_favour(NEW.id);
    PERFORM FROM public.votes WHERE approval_id = NEW.id AND status = 'cast'
        AND voter_id = NEW.decided_by_id AND choice = 'yes';
    IF said < NEW.needed OR NOT FOUND THEN
        RAISE EXCEPTION 'approval % was approved without the votes for it', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF rightful < NEW.needed THEN
        -- Tried again, the operation sees who may not say so any more.
        RAISE EXCEPTION 'approval % was approved by somebody who may not any more', NEW.id
            USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION approvals_quorum() IS
    'Trigger, deferred: a decision has its votes, or an override, or its policy and its deadline.';
