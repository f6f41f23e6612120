CREATE OR REPLACE FUNCTION tasks_single_use() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.approved_until IS DISTINCT FROM OLD.approved_until
       AND (OLD.status, NEW.status) <> ('awaiting_approval', 'approved')
       AND ((OLD.status, NEW.status) <> ('approved', 'awaiting_approval')
            OR NEW.approved_until IS NOT NULL) THEN
        RAISE EXCEPTION 'how long an approval holds is said when it is given'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.consumed_by_id IS DISTINCT FROM OLD.consumed_by_id
       AND (OLD.consumed_by_id IS NOT NULL OR NEW.status <> 'claimed') THEN
        RAISE EXCEPTION 'an approval is used once'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.status = 'claimed' AND OLD.status <> 'claimed' AND NEW.approved_until IS NOT NULL
       AND (NEW.consumed_by_id IS DISTINCT FROM NEW.claimed_by_id
            -- Who claimed in time takes the claim up again to report. The operation judged the time
            -- a moment ago.
            OR OLD.consumed_by_id IS NULL AND public.deadline_passed(
                NEW.approved_until + interval '5 seconds', OLD.updated_at, OLD.agent_id,
                NEW.claimed_by_id, OLD.from_role, OLD.to_role)) THEN
        RAISE EXCEPTION 'what humans approved is claimed in time, by one agent'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.status = 'expired' AND OLD.consumed_by_id IS NOT NULL THEN
        RAISE EXCEPTION 'what was claimed does not expire as unused'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION tasks_single_use() IS
    'Trigger: a human approval is used by the claims of one agent, the first in time; used, it does not expire.';
