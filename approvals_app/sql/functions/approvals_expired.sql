CREATE OR REPLACE FUNCTION approvals_expired() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.escalated_to_id IS NULL THEN
        IF NEW.expires_at > clock_timestamp() THEN
            RAISE EXCEPTION 'the deadline of approval % has not passed', NEW.id
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NULL;
    END IF;
    PERFORM FROM public.approvals AS next
        WHERE next.id = NEW.escalated_to_id AND next.id <> NEW.id
          AND next.task_id = NEW.task_id AND next.revision = NEW.revision
          AND next.override_id IS NULL AND NEW.override_id IS NULL
          AND next.deny_threshold <= NEW.deny_threshold
          AND (next.status = 'pending' OR next.updated_at >= transaction_timestamp())
          AND ((NEW.expires_at <= clock_timestamp()
                AND next.approver_role = NEW.at_deadline #>> '{escalate,0,role}'
                AND next.needed >= (NEW.at_deadline #>> '{escalate,0,count}')::int)
            -- Its people are asked for more voices, since another approval came to them.
            OR (next.approver_role = NEW.approver_role AND next.needed >= NEW.needed
                AND EXISTS (SELECT FROM public.approvals AS late
                    WHERE late.escalated_to_id = next.id AND late.id <> NEW.id
                      AND late.approver_role <> next.approver_role)));
    IF NOT FOUND THEN
        RAISE EXCEPTION 'approval % was escalated otherwise than it says', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION approvals_expired() IS
    'Trigger, deferred: an approval expires after its deadline, to whom it says.';
